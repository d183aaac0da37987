from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ncalab.train import Pool
from ncalab.train.pool import circle_masks


def seeds(count: int, value: float = 0.0) -> Tensor:
    return torch.full((count, 5, 6, 7), value)


def fill(pool: Pool, losses: Tensor) -> None:
    """Put state i with loss i into slot i of a pool, for all its slots."""
    pool.sample(seeds(pool.size))
    slots = pool._slots
    assert slots is not None
    states = 1.0 + slots.float()[:, None, None, None].expand(pool.size, 5, 6, 7)
    pool.update(states, losses=losses[slots])


def test_a_fresh_pool_holds_only_seeds() -> None:
    seed = torch.rand(8, 5, 6, 7)

    assert torch.equal(Pool().sample(seed), seed)
    assert Pool().size == 1024


def test_samples_are_drawn_uniformly() -> None:
    pool = Pool(n_seed=0, size=10, generator=torch.Generator().manual_seed(0))
    fill(pool, torch.zeros(10))

    counts = torch.zeros(11)
    for _ in range(1000):
        for value in pool.sample(seeds(3))[:, 0, 0, 0]:
            counts[int(value)] += 1

    # 300 each are expected; the standard deviation is 15.
    assert counts[0] == 0
    assert (counts[1:] - 300).abs().max() < 75


def test_the_worst_of_a_batch_become_seeds() -> None:
    pool = Pool(n_seed=2, size=6)
    fill(pool, torch.tensor([0.5, 0.1, 0.9, 0.2, 0.8, 0.3]))

    batch = pool.sample(seeds(6, value=-1.0))

    assert sorted(batch[:, 0, 0, 0].tolist()) == [-1.0, -1.0, 1.0, 2.0, 4.0, 6.0]


def test_without_losses_any_sample_may_become_a_seed() -> None:
    pool = Pool(n_seed=1, size=3, generator=torch.Generator().manual_seed(0))
    replaced = set()
    for _ in range(30):
        pool.sample(seeds(3))
        pool.update(torch.arange(1.0, 4.0)[:, None, None, None].expand(3, 5, 6, 7))
        values = set(pool.sample(seeds(3))[:, 0, 0, 0].tolist())
        replaced |= {1.0, 2.0, 3.0} - values

    assert replaced == {1.0, 2.0, 3.0}


def test_a_state_with_a_nan_loss_is_replaced_first() -> None:
    pool = Pool(n_seed=1, size=3)
    fill(pool, torch.tensor([5.0, torch.nan, 9.0]))

    assert sorted(pool.sample(seeds(3))[:, 0, 0, 0].tolist()) == [0.0, 1.0, 3.0]


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 3))
def test_any_batch_size_goes_in_and_out(batch: int, other: int, n_seed: int) -> None:
    pool = Pool(n_seed=n_seed, damage=True, p_damage=1.0, size=4)

    for count in (batch, other, batch):
        sample = pool.sample(seeds(count, value=1.0))
        assert sample.shape == (count, 5, 6, 7)
        pool.update(sample + 1, losses=torch.rand(count))


def test_only_the_best_samples_are_damaged_each_in_its_own_way() -> None:
    generator = torch.Generator().manual_seed(3)
    pool = Pool(0, damage=True, p_damage=1.0, size=6, num_damaged=2, generator=generator)
    fill(pool, torch.tensor([0.5, 0.1, 0.9, 0.2, 0.8, 0.3]))

    batch = pool.sample(seeds(6))

    damaged = {int(state.max()): state for state in batch if (state == 0).any()}
    assert set(damaged) == {2, 4}  # slots 1 and 3 have the lowest losses
    holes = [(state == 0) for state in damaged.values()]
    assert not torch.equal(holes[0], holes[1])
    for hole in holes:  # the same hole in all channels
        assert torch.equal(hole, hole[:1].expand_as(hole))


@pytest.mark.parametrize(("p_damage", "expected"), [(0.0, 0), (0.25, 250), (1.0, 1000)])
def test_damage_comes_with_its_probability(p_damage: float, expected: int) -> None:
    generator = torch.Generator().manual_seed(0)
    pool = Pool(0, damage=True, p_damage=p_damage, size=1, num_damaged=1, generator=generator)

    damaged = 0
    for _ in range(1000):
        damaged += int((pool.sample(seeds(1, value=1.0)) == 0).any())

    assert abs(damaged - expected) <= 5 * (1000 * p_damage * (1 - p_damage)) ** 0.5


def test_without_damage_nothing_is_cut() -> None:
    pool = Pool(n_seed=0, damage=False, p_damage=1.0, size=2)

    assert (pool.sample(seeds(2, value=1.0)) == 1).all()


def test_the_pool_keeps_no_graph_and_shares_no_memory() -> None:
    pool = Pool(n_seed=0, size=1)
    pool.sample(seeds(1))
    state = seeds(1, value=2.0).requires_grad_()
    pool.update(state)

    first = pool.sample(seeds(1))
    first.zero_()

    assert not first.requires_grad
    assert (pool.sample(seeds(1)) == 2).all()


@given(st.integers(1, 12), st.integers(1, 12))
def test_no_circle_is_empty(width: int, height: int) -> None:
    masks = circle_masks(20, width, height)

    assert masks.shape == (20, 1, width, height)
    assert masks.flatten(1).any(dim=1).all()


def test_circles_are_round_and_of_the_papers_size() -> None:
    masks = circle_masks(200, 201, 201, generator=torch.Generator().manual_seed(0))

    for mask in masks[:, 0]:
        rows, columns = mask.any(1).sum().item(), mask.any(0).sum().item()
        # A diameter of 0.1 to 0.4 of the grid, give or take a cell.
        assert 0.1 * 200 - 1 <= rows <= 0.4 * 200 + 1
        assert abs(rows - columns) <= 1
        # Between the cells of the outermost rows and the next ones, give or take half a diagonal.
        low, high = (torch.pi / 4 * (rows + d) ** 2 for d in (-1 - 2**0.5, 1 + 2**0.5))
        assert low <= mask.sum().item() <= high


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_seed": -1}, "n_seed must be at least 0, got -1"),
        ({"p_damage": 1.5}, r"p_damage must be in \[0, 1\], got 1.5"),
        ({"damage": "no"}, "damage must be True or False, got 'no'"),
        ({"size": 0}, "size must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        Pool(**arguments)


def test_misuse_is_named() -> None:
    pool = Pool(size=2)
    with pytest.raises(RuntimeError, match="sample must be called before update"):
        pool.update(seeds(1))
    pool.sample(seeds(2))
    with pytest.raises(ValueError, match="batch must have 2 samples, got 3"):
        pool.update(seeds(3))
    with pytest.raises(ValueError, match="losses must have 2 samples, got 1"):
        pool.update(seeds(2), losses=torch.rand(1))
    pool.update(seeds(2))
    with pytest.raises(ValueError, match=r"seed must have the shape of the pool's states"):
        pool.sample(torch.zeros(2, 5, 6, 8))
