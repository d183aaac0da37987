"""Counts of classes, and labels that cannot be class numbers."""

import pytest
import torch
from torch import Tensor

from ncalab.tasks.class_counts import count_classes

DTYPES = (torch.uint8, torch.int64, torch.uint16, torch.float32, torch.float64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_label_counts_whatever_its_type(dtype: torch.dtype) -> None:
    labels = [torch.tensor([[0, 2], [2, 2]]).to(dtype), torch.tensor(1).to(dtype)]

    assert count_classes("labels", labels) == (1, 1, 3)


def test_true_is_class_one() -> None:
    assert count_classes("masks", [torch.tensor([True, False, True])]) == (1, 2)


def test_many_classes_are_counted_as_few_are() -> None:
    labels = torch.arange(5000).repeat(2)

    assert count_classes("labels", [labels]) == (2,) * 5000


def test_labels_that_are_negative_or_ignored_are_no_class() -> None:
    labels = torch.tensor([0, 1, -1, 255, 1])

    assert count_classes("masks", [labels], ignore_index=255) == (1, 2)


def test_known_classes_need_not_occur() -> None:
    assert count_classes("labels", [torch.tensor([3])], num_classes=5) == (0, 0, 0, 1, 0)
    assert len(count_classes("labels", [torch.tensor([999, 0])], num_classes=1000)) == 1000


def test_without_labels_there_are_no_classes() -> None:
    assert count_classes("masks", [torch.empty(0, 3), torch.tensor([-1])]) == ()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 255], "masks must hold class numbers 0 and 1, got 0 and 255; divide by 255"),
        ([0, 65535], "masks must hold class numbers 0 and 1, got 0 and 65535; divide by 65535"),
        ([0, 128, 255], "masks must hold class numbers from 0 on, got 3 of them up to 255"),
        ([0, 10**9], "masks must hold class numbers from 0 on, got 2 of them up to 1000000000"),
        ([0.0, 1e30], "masks must hold class numbers from 0 on, got 2 of them up to"),
        ([0.5], "masks must hold class numbers, which are whole, got 0.5"),
        ([float("nan")], "masks must hold class numbers, which are whole, got nan"),
        ([float("inf")], "masks must hold class numbers, which are whole, got inf"),
    ],
)
def test_labels_that_are_no_class_numbers_are_refused(labels: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count_classes("masks", [torch.tensor(labels)])


@pytest.mark.parametrize(
    ("labels", "known", "message"),
    [
        (torch.tensor([0, 255]), 1, "divide by 255"),
        (torch.tensor([0, 1, 2]), 1, "num_classes must be at least 3 for these masks, got 1"),
        (torch.tensor([0, 3]), 3, "num_classes must be at least 4 for these masks, got 3"),
    ],
)
def test_there_are_no_more_classes_than_are_known(labels: Tensor, known: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count_classes("masks", [labels], num_classes=known)
