from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ncalab.core.fire import (
    FireClock,
    check_seed,
    current_clock,
    draw_seed,
    fire_keys,
    hash_cells,
)

SEEDS = st.integers(0, 2**63 - 1)


def hash_in_unsigned_words(cell: int, low: int, high: int) -> int:
    """Transcribe the cell hash with Python's integers, which never overflow."""
    word = 2**32
    x = (cell + low) % word
    x ^= x >> 16
    x = x * 0x7FEB352D % word
    x ^= high
    x ^= x >> 15
    x = x * 0x846CA68B % word
    return x ^ (x >> 16)


def splitmix(x: int) -> int:
    """Transcribe splitmix64 with Python's integers."""
    word = 2**64
    x = (x + 0x9E3779B97F4A7C15) % word
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % word
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % word
    return x ^ (x >> 31)


@given(SEEDS, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 2**31 - 1))
def test_hash_equals_a_transcription_in_unbounded_integers(
    seed: int, step: int, sample: int, cell: int
) -> None:
    words = splitmix(splitmix(splitmix(seed) ^ step) ^ sample)
    want = hash_in_unsigned_words(cell, words % 2**32, words >> 32)

    keys = fire_keys(seed, [step], [sample])[0]
    got = int(hash_cells(torch.tensor([cell], dtype=torch.int32), keys)[0, 0]) % 2**32

    assert got == want


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.8, 1.0])
def test_share_of_firing_cells_is_the_fire_rate(rate: float) -> None:
    mask = FireClock(5, rate, range(4), 0, 1, torch.device("cpu")).mask(0, 128, 128)

    deviation = (rate * (1 - rate) / mask.numel()) ** 0.5
    assert abs(mask.float().mean().item() - rate) <= 5 * deviation


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])


def test_masks_of_steps_samples_seeds_and_neighbours_are_uncorrelated() -> None:
    clocks = [FireClock(seed, 0.5, range(2), 0, 2, torch.device("cpu")) for seed in (1, 2)]
    first, other = ([clock.mask(step, 200, 200) for step in range(2)] for clock in clocks)
    mask = first[0][0]

    pairs = {
        "step": (mask, first[1][0]),
        "sample": (mask, first[0][1]),
        "seed": (mask, other[0][0]),
        "neighbour": (mask[..., 1:], mask[..., :-1]),
        "row": (mask[:, 1:], mask[:, :-1]),
    }

    for name, pair in pairs.items():
        assert abs(correlation(*pair)) < 5 / 200, name  # five standard deviations


def test_masks_of_a_batch_equal_those_of_its_samples_alone() -> None:
    batch = FireClock(9, 0.5, range(8), 3, 2, torch.device("cpu"))

    for sample in range(8):
        alone = FireClock(9, 0.5, [sample], 3, 2, torch.device("cpu"))
        assert torch.equal(batch.mask(4, 5, 7)[sample : sample + 1], alone.mask(4, 5, 7))


@settings(max_examples=20)
@given(SEEDS)
def test_a_seed_is_accepted_up_to_63_bits(seed: int) -> None:
    assert check_seed(seed) == seed


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=rf"seed must be in .*got {seed}"):
        fire_keys(seed, [0], [0])


def test_seeds_come_from_the_default_generator() -> None:
    torch.manual_seed(4)
    first = [draw_seed(), draw_seed()]
    torch.manual_seed(4)

    assert first == [draw_seed(), draw_seed()]
    assert first[0] != first[1]


def test_a_clock_runs_only_inside_its_rollout() -> None:
    clock = FireClock(0, 0.5, [0], 0, 1, torch.device("cpu"))

    with clock.running():
        assert current_clock() is clock
    assert current_clock() is None


def test_a_first_cell_stands_for_a_range_of_columns() -> None:
    clock = FireClock(3, 0.5, (0, 4), 0, 2, torch.device("cpu"), columns=range(5, 9))

    counted = clock.without_columns(7)

    assert counted is not None and counted.columns is None
    assert torch.equal(counted.mask(1, 4, 7), clock.mask(1, 4, 7))
    whole = replace(clock, columns=None).mask(1, 20, 7)
    assert torch.equal(clock.mask(1, 4, 7), whole[:, :, 5:9])
    assert replace(clock, columns=(8, 9, 0)).without_columns(7) is None
