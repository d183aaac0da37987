from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ncalab.train import Pool


def seeds(count: int, value: float = 0.0) -> Tensor:
    return torch.full((count, 5, 6, 7), value)


def fill(pool: Pool, losses: Tensor, seed: float = 0.0) -> None:
    """Put state i with loss i into slot i of a pool, for all its slots."""
    pool.sample(seeds(pool.size, seed))
    assert pool._drawn is not None
    slots = pool._drawn.places
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
    fill(pool, torch.tensor([0.5, 0.1, 0.9, 0.2, 0.8, 0.3]), seed=-1.0)

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
    fill(pool, torch.zeros(1), seed=1.0)

    damaged = 0
    for _ in range(1000):
        damaged += int((pool.sample(seeds(1, value=1.0)) == 0).any())

    assert abs(damaged - expected) <= 5 * (1000 * p_damage * (1 - p_damage)) ** 0.5


def test_a_seed_that_has_not_grown_is_never_cut() -> None:
    pool = Pool(0, damage=True, p_damage=1.0, size=4, num_damaged=4)
    pool.sample(seeds(2, value=1.0))
    pool.update(seeds(2, value=2.0), losses=torch.zeros(2))

    cut = [(state == 0).any().item() for state in pool.sample(seeds(4, value=1.0))]
    grown = [(state == 2.0).any().item() for state in pool.batch] if pool.batch is not None else []

    assert cut == grown and sum(cut) == 2


def test_a_batch_continues_for_as_many_rollouts_as_asked_for() -> None:
    pool = Pool(n_seed=1, damage=True, p_damage=1.0, size=16, rollouts=3)
    grown: list[Tensor] = []
    for number in range(6):
        batch = pool.sample(seeds(4))
        continued = bool(grown) and torch.equal(batch, grown[-1])
        assert continued == (number % 3 > 0)
        grown.append(torch.rand(4, 5, 6, 7))
        pool.update(grown[-1], losses=torch.rand(4))


def test_a_continued_batch_keeps_its_labels() -> None:
    pool = Pool(size=8, rollouts=2)
    states, fields = pool.draw(torch.rand(3, 5, 6, 7), {"label": torch.tensor([1, 2, 3])})
    pool.update(states + 1)

    again, same = pool.draw(torch.rand(3, 5, 6, 7), {"label": torch.tensor([4, 5, 6])})

    assert torch.equal(again, states + 1) and torch.equal(same["label"], fields["label"])


def test_a_batch_of_another_size_is_drawn_anew() -> None:
    pool = Pool(n_seed=2, size=8, rollouts=2)
    pool.sample(seeds(3))
    pool.update(seeds(3, value=1.0))

    assert torch.equal(pool.sample(seeds(2)), seeds(2))


def test_a_restored_pool_continues_the_batch() -> None:
    pool = Pool(size=8, rollouts=2)
    pool.sample(seeds(3))
    pool.update(torch.rand(3, 5, 6, 7))
    other = Pool(size=8, rollouts=2)

    other.load_state_dict(pool.state_dict())

    assert torch.equal(pool.sample(seeds(3)), other.sample(seeds(3)))


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_seed": -1}, "n_seed must be at least 0, got -1"),
        ({"p_damage": 1.5}, r"p_damage must be in \[0, 1\], got 1.5"),
        ({"damage": "no"}, "damage must be True or False, got 'no'"),
        ({"size": 0}, "size must be at least 1, got 0"),
        ({"fresh_fraction": 2.0}, r"fresh_fraction must be in \[0, 1\], got 2.0"),
        ({"generator": 3}, "generator must be a Generator or None, got int"),
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


def numbered(count: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """Return padded images whose two image channels hold their number, and labels that do."""
    numbers = torch.arange(first, first + count)
    images = torch.zeros(count, 5, 6, 7)
    images[:, :2] = numbers[:, None, None, None]
    return images, numbers[:, None] * 10


def draw_and_grow(pool: Pool, count: int, first: int, **losses: Any) -> tuple[Tensor, Tensor]:
    images, labels = numbered(count, first)
    states, fields = pool.draw(images, {"label": labels}, image_channels=2, fixed_channels=2)
    grown = states.clone()
    grown[:, 2:] += 1
    pool.update(grown, losses=losses.get("losses", torch.rand(count)))
    return states, fields["label"]


@pytest.mark.parametrize("size", [4, 9, 40])
@pytest.mark.parametrize("n_seed", [0, 1, 3])
def test_every_state_comes_with_its_own_image_and_label(size: int, n_seed: int) -> None:
    generator = torch.Generator().manual_seed(0)
    pool = Pool(n_seed, damage=True, p_damage=1.0, size=size, generator=generator)

    grown = 0
    for first in range(60):
        states, labels = draw_and_grow(pool, 6, first)
        numbers = states[:, 0, 0, 0]
        assert torch.equal(labels[:, 0], (numbers * 10).long())
        assert torch.equal(states[:, :2], numbers[:, None, None, None].expand(6, 2, 6, 7))
        grown += int((states[:, 2:].amax(dim=(1, 2, 3)) > 1).sum())
    assert grown > 20  # states do come back


def test_the_sample_that_replaces_a_bad_one_brings_its_label() -> None:
    pool = Pool(n_seed=2, size=3, generator=torch.Generator().manual_seed(0))
    draw_and_grow(pool, 3, 0, losses=torch.zeros(3))

    states, labels = draw_and_grow(pool, 3, 100)

    fresh = states[:, 2:].amax(dim=(1, 2, 3)) == 0
    assert fresh.sum() == 2
    assert (labels[fresh] >= 1000).all() and (labels[~fresh] < 1000).all()


@pytest.mark.parametrize(("fraction", "fresh"), [(0.0, 1), (0.3, 2), (0.5, 3), (1.0, 5)])
def test_a_share_of_a_batch_of_differing_samples_starts_anew(fraction: float, fresh: int) -> None:
    pool = Pool(n_seed=1, size=5, fresh_fraction=fraction, damage=True, p_damage=1.0)
    draw_and_grow(pool, 5, 0)
    for _ in range(4):
        states, _ = draw_and_grow(pool, 5, 7)
        assert (states[:, 2:].amax(dim=(1, 2, 3)) == 0).sum() == fresh


def test_of_one_picture_no_more_starts_anew_than_n_seed() -> None:
    pool = Pool(n_seed=1, size=6)
    for _ in range(4):
        batch = pool.sample(seeds(6))
        pool.update(batch + 1)

    assert (pool.sample(seeds(6)) == 0).flatten(1).all(dim=1).sum() == 1


def test_hard_images_stay_in_the_pool_as_long_as_easy_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    pool = Pool(n_seed=2, size=32, generator=generator)
    images, labels = numbered(8)
    kept = torch.zeros(8)
    for _ in range(600):
        _, fields = pool.draw(images, {"label": labels}, image_channels=2)
        number = fields["label"][:, 0] // 10
        # Image 7 always has the largest loss.
        pool.update(images, losses=number + torch.rand(8, generator=generator) / 2)
        kept += torch.bincount(number, minlength=8)

    # 600 each are expected, if they leave as they come.
    assert (kept - 600).abs().max() < 120


def test_of_one_picture_the_worst_go_although_hidden_channels_begin_as_noise() -> None:
    pool = Pool(n_seed=1, size=4)
    labels = torch.zeros(4, 1)
    noise = torch.rand(2, 4, 5, 6, 7)
    noise[:, :, :2] = 1
    pool.draw(noise[0], {"label": labels}, image_channels=2)
    losses = torch.tensor([0.2, 0.9, 0.1, 0.3])
    grown = losses[:, None, None, None].expand(4, 5, 6, 7)
    pool.update(grown, losses=losses)

    states, _ = pool.draw(noise[1], {"label": labels}, image_channels=2)

    assert (states == 0.9).sum() == 0 and (states == 0.3).any()


def test_a_state_is_sampled_in_the_place_of_its_own_seed_only() -> None:
    generator = torch.Generator().manual_seed(0)
    pool = Pool(n_seed=0, size=8, fresh_fraction=0, generator=generator)
    seed = torch.arange(4.0)[:, None, None, None].expand(4, 5, 6, 7)

    for _ in range(12):
        batch = pool.sample(seed)
        assert torch.equal(batch[:, 0], seed[:, 0])
        grown = batch.clone()
        grown[:, 1:] += 10
        pool.update(grown)

    assert (batch[:, 1:] >= 10).all()  # there is room for all four: each continues from its own


def test_seeds_that_are_never_alike_start_from_themselves() -> None:
    pool = Pool(n_seed=0, size=2)

    for _ in range(4):
        seed = torch.rand(2, 5, 6, 7)
        assert torch.equal(pool.sample(seed), seed)
        pool.update(seed + 1)


def test_what_does_not_belong_to_what_is_in_the_pool_is_refused() -> None:
    pool = Pool(size=2)
    images, labels = numbered(2)
    with pytest.raises(ValueError, match="label must have 2 samples, got 1"):
        pool.draw(images, {"label": labels[:1]})
    pool.draw(images, {"label": labels})
    pool.update(images)

    with pytest.raises(ValueError, match="keeps with its states, label, got nothing"):
        pool.sample(images)
    with pytest.raises(ValueError, match="keeps with its states, label, got goal, label"):
        pool.draw(images, {"label": labels, "goal": labels})
    with pytest.raises(ValueError, match=r"label must have the shape of the pool's labels \(1,\)"):
        pool.draw(images, {"label": labels[:, 0]})


def test_what_is_drawn_may_be_changed_without_changing_the_pool() -> None:
    pool = Pool(n_seed=0, size=2, fresh_fraction=0)
    images, labels = numbered(2)
    states, fields = pool.draw(images, {"label": labels})
    fields["label"].zero_()
    pool.update(states)
    again = pool.draw(images, {"label": labels})[1]["label"]

    assert sorted(again.flatten().tolist()) == [0, 10]


def test_a_slot_that_is_drawn_twice_holds_one_whole_sample() -> None:
    pool = Pool(n_seed=1, size=3, generator=torch.Generator().manual_seed(0))

    for first in range(20):
        states, labels = draw_and_grow(pool, 8, first)
        assert torch.equal(labels[:, 0], (states[:, 0, 0, 0] * 10).long())


def test_a_pool_goes_on_from_its_state_to_the_bit() -> None:
    pools = [Pool(2, damage=True, size=6) for _ in range(2)]
    for first in range(4):
        draw_and_grow(pools[0], 4, first)
    pools[1].load_state_dict(pools[0].state_dict())

    results = []
    for pool in pools:
        torch.manual_seed(3)
        results.append([draw_and_grow(pool, 4, first) for first in range(9, 14)])

    for (states, labels), (others, same) in zip(*results, strict=True):
        assert torch.equal(states, others) and torch.equal(labels, same)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_default_dtype_of_torch_does_not_matter(dtype: torch.dtype) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        pool = Pool(damage=True, size=4)
        for _ in range(3):
            batch = pool.sample(torch.ones(2, 5, 6, 7))
            pool.update(batch, losses=torch.rand(2))
    finally:
        torch.set_default_dtype(before)

    assert batch.dtype == dtype and pool._slots.losses.isfinite().any()


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_circles_lie_within_the_share_of_the_grid_that_is_asked_for(spread: float) -> None:
    generator = torch.Generator().manual_seed(3)
    pool = Pool(
        0,
        damage=True,
        p_damage=1.0,
        size=99,
        num_damaged=99,
        damage_spread=spread,
        generator=generator,
    )
    states = torch.ones(99, 1, 41, 41)
    pool.sample(states)
    pool.update(states, losses=torch.zeros(99))

    holes = (pool.sample(states) == 0).any(0)[0]

    away = torch.linspace(-1, 1, 41).abs()
    farthest = [away[holes.any(axis)].max().item() for axis in (0, 1)]
    # A radius is at most 0.4 of half the grid.
    assert max(farthest) <= spread + 0.4
    assert min(farthest) >= min(1.0, spread + 0.2)


def test_a_pool_keeps_where_it_damages() -> None:
    pool = Pool(damage=True, damage_spread=0.75)

    assert pool.clone().damage_spread == 0.75
    assert "damage_spread=0.75" in repr(pool) and "damage_spread" not in repr(Pool())
    with pytest.raises(ValueError, match=r"damage_spread must be in \[0, 1\], got 1.5"):
        Pool(damage_spread=1.5)
