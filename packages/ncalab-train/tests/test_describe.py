import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import invert

from ncalab.train import EarlyStopping, Pool
from ncalab.train.describe import describe, differences


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((30, 40), [30, 40]),
        (math.nan, "nan"),
        (np.float64(0.5), 0.5),
        (torch.tensor([1, 2]), [1, 2]),
        (torch.device("cuda:1"), "cuda:1"),
        (Path("a/b"), "a/b"),
        (torch.nn.Tanh, "torch.nn.modules.activation.Tanh"),
        (invert, "image_files.invert"),
        ({"b": {2, 1}}, {"b": [1, 2]}),
    ],
)
def test_settings_become_data(value: Any, expected: Any) -> None:
    assert describe(value) == expected


def test_objects_are_described_by_what_they_are_set_to() -> None:
    first, same, other = Pool(size=8), Pool(size=8), Pool(size=9)
    same.sample(torch.zeros(2, 3, 4, 4))
    same.update(torch.ones(2, 3, 4, 4))

    assert describe(first) == describe(same)
    assert differences(describe(first), describe(other)) == ["size was 8, is 9"]
    assert describe(EarlyStopping(5)) != describe(EarlyStopping(6))


def test_partial_functions_differ_by_their_arguments() -> None:
    first, second = (functools.partial(round, ndigits=digits) for digits in (1, 2))

    assert describe(first) == describe(functools.partial(round, ndigits=1))
    assert differences(describe(first), describe(second)) == [
        "args was [[], {'ndigits': 1}], is [[], {'ndigits': 2}]"
    ]


def test_differences_are_named_with_their_place() -> None:
    before = {"a": {"x": 1, "y": 2}, "gone": 3}
    now = {"a": {"x": 1, "y": 5}, "new": 4}

    assert differences(before, now) == [
        "a.y was 2, is 5",
        "gone was 3, is 'absent'",
        "new was 'absent', is 4",
    ]
