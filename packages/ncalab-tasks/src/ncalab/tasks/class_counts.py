"""Number of images, or of pixels, of each class."""

from collections import Counter
from collections.abc import Iterable

from torch import Tensor

_CHUNK = 2**22
# Classes up to which a table of counts is quicker than sorting.
_TABLE = 2**12
# Labels that are not class numbers leave gaps: so many numbers for each one that occurs. There are
# few numbers below the first one, whatever the gaps.
_FEW_NUMBERS, _MOST_GAPS = 32, 8
# White in images of 8 and 16 bits.
_WHITE = (2**8 - 1, 2**16 - 1)


def count_classes(
    name: str,
    labels: Iterable[Tensor],
    *,
    num_classes: int | None = None,
    ignore_index: int | None = None,
) -> tuple[int, ...]:
    """Count how often each class occurs.

    Args:
        name: What to call the labels in errors.
        labels: Class numbers of any shape, or floating point that is whole; negative ones do not
            count.
        num_classes: Number of classes, if it is known; 1 stands for a mask of two.
        ignore_index: A label that does not count.

    Returns:
        Number of times that each class occurs, from class 0 to the last one that is known.

    Raises:
        ValueError: If labels cannot be class numbers: they are not whole, there are not so many
            classes, or far fewer than the largest one says.

    >>> from torch import tensor
    >>> count_classes("labels", [tensor([0, 2, 2]), tensor([-1])], num_classes=4)
    (1, 0, 2, 0)
    >>> count_classes("masks", [tensor([[0, 255]])])
    Traceback (most recent call last):
    ValueError: masks must hold class numbers 0 and 1, got 0 and 255; divide by 255
    """
    counts: Counter[int] = Counter()
    for label in labels:
        for chunk in label.reshape(-1).split(_CHUNK):
            counts.update(_count(_as_integers(name, chunk)))
    if ignore_index is not None:
        counts.pop(ignore_index, None)
    _check_numbers(name, sorted(counts), num_classes)
    classes = max(max(counts, default=-1) + 1, num_classes or 0)
    return tuple(counts[number] for number in range(classes))


def _as_integers(name: str, labels: Tensor) -> Tensor:
    if labels.is_floating_point():
        wrong = labels[~(labels.isfinite() & (labels == labels.round()))]
        if wrong.numel():
            raise ValueError(
                f"{name} must hold class numbers, which are whole, got {wrong[0].item():g}"
            )
        # Larger ones have no integer of 64 bits.
        labels = labels.double().clamp(max=2.0**53)
    return labels.long()


def _count(labels: Tensor) -> dict[int, int]:
    labels = labels[labels >= 0]
    if labels.numel() and int(labels.max()) < _TABLE:
        table = labels.bincount()
        numbers = table.nonzero()[:, 0]
        counts = table[numbers]
    else:
        numbers, counts = labels.unique(return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def _check_numbers(name: str, numbers: list[int], num_classes: int | None) -> None:
    """Raise unless numbers, in ascending order, can be those of classes."""
    if not numbers:
        return
    largest = numbers[-1]
    known = 0 if num_classes is None else max(2, num_classes)
    if largest < known:
        return
    if largest >= _FEW_NUMBERS and largest + 1 > _MOST_GAPS * len(numbers):
        if numbers == [0, largest] and largest in _WHITE:
            raise ValueError(
                f"{name} must hold class numbers 0 and 1, got 0 and {largest}; divide by {largest}"
            )
        raise ValueError(
            f"{name} must hold class numbers from 0 on, got {len(numbers)} of them up to "
            f"{largest}; number the classes from 0, or give num_classes if there are so many"
        )
    if num_classes is not None:
        raise ValueError(
            f"num_classes must be at least {largest + 1} for these {name}, got {num_classes}"
        )
