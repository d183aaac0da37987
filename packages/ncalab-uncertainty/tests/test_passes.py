import pytest
import torch
from torch import Tensor
from uncertainty_models import images, make

from ncalab.core import AbstractNCAModel
from ncalab.core.rollout import rollout
from ncalab.uncertainty import NQM, passes
from ncalab.uncertainty.passes import pass_samples, pass_seed


def test_no_two_passes_fire_the_same_cells() -> None:
    indices = [i for n in range(5) for i in pass_samples(None, 4, n)]

    assert len(set(indices)) == 20


def test_an_image_fires_the_same_cells_in_any_batch() -> None:
    assert pass_samples([3], 1, 2) == pass_samples(None, 4, 2)[3:]


def test_seeds_of_passes_are_valid_and_differ() -> None:
    seeds = [pass_seed(2**63 - 2, n) for n in range(50)]

    assert len(set(seeds)) == 50
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes of the batches that rollouts are run with."""
    sizes: list[int] = []

    def counted(model: AbstractNCAModel, x: Tensor, steps: int, **options: object) -> Tensor:
        sizes.append(len(x))
        return rollout(model, x, steps, **options)  # type: ignore[arg-type]  # passed on as they come

    monkeypatch.setattr(passes, "rollout", counted)
    return sizes


def test_passes_run_as_one_batch_where_memory_allows(batches: list[int]) -> None:
    model = make("mask")

    NQM(model, N=5)(images(model, batch=2))

    assert batches == [10]


def test_batches_stay_within_the_memory(batches: list[int]) -> None:
    model = make("mask")
    x = images(model, batch=2)
    # Two grids of 6 channels ten times, of perception twice, and of 8 neurons twice; in bytes.
    one = 2 * 7 * 5 * (10 * 6 + 2 * model.input_vector_size + 2 * 8) * 4

    NQM(model, N=5, memory=2 * one)(x)
    NQM(model, N=2, memory=1)(x)

    assert batches == [4, 4, 2, 2, 2]


def test_how_passes_are_put_together_changes_nothing() -> None:
    model = make("classes", pad_noise=True)
    x = images(model)

    together = NQM(model, N=4)(x, seed=1)
    alone = NQM(model, N=4, memory=1)(x, seed=1)

    torch.testing.assert_close(together[0], alone[0], rtol=0, atol=1e-6)
    for one, other in zip(together[1], alone[1], strict=True):
        torch.testing.assert_close(one.output_image, other.output_image, rtol=0, atol=1e-6)


def test_passes_of_different_numbers_of_steps_run_in_different_batches(batches: list[int]) -> None:
    model = make("values")

    _, predictions, _ = NQM(model, N=12)(images(model), steps=(2, 5), seed=0)

    assert {p.steps for p in predictions} == {2, 3, 4}
    assert sum(batches) == 24
    assert len(batches) > 3
