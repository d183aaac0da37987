import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from ncalab.train.seeds import derived_seed, rewound, seeded


def draws() -> tuple[float, float, float]:
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_derived_seeds_are_repeatable_and_all_different() -> None:
    seeds = [derived_seed(seed, index) for seed in range(30) for index in range(30)]

    assert seeds == [derived_seed(seed, index) for seed in range(30) for index in range(30)]
    assert len(set(seeds)) == 900


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        derived_seed(-1, 0)


def test_a_seeded_block_is_repeatable_and_leaves_the_callers_generators_alone() -> None:
    with seeded(7):
        expected = draws()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    undisturbed = [draws() for _ in range(2)]
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)

    first = draws()
    with seeded(7):
        inside = draws()
    second = draws()

    assert inside == expected
    assert [first, second] == undisturbed


def test_generators_are_put_back_also_after_an_error() -> None:
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)

    with pytest.raises(OSError, match="gone"), seeded(7):
        raise OSError("gone")

    assert torch.equal(torch.rand(1), expected)


def test_a_rewound_loader_gives_the_same_order_again() -> None:
    numbers = TensorDataset(torch.arange(20))
    loader = DataLoader(numbers, shuffle=True, generator=torch.Generator().manual_seed(5))
    orders = []
    for _ in range(2):
        with rewound([loader, None]):
            orders.append([int(number) for (number,) in loader])

    assert orders[0] == orders[1] != sorted(orders[0])
