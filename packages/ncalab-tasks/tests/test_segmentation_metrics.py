from collections.abc import Callable

import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score
from torch import Tensor

from ncalab.tasks.segmentation.metrics import Average, Overlap, OverlapKind, class_overlap


def measured(
    kind: OverlapKind,
    average: Average,
    mask: Tensor,
    label: Tensor,
    count: int,
    ignore_index: int | None = None,
) -> Tensor:
    metric = Overlap(count, kind, average, ignore_index=ignore_index)
    metric.update(mask, label)
    return metric.compute()


def two_discs() -> tuple[Tensor, Tensor]:
    """Two discs (1, W, H) of radius 2: rows of 1, 3, 5, 3 and 1 cells; the other is 2 further."""
    along_w, along_h = torch.arange(7)[:, None], torch.arange(9)[None, :]
    first = (along_w - 3) ** 2 + (along_h - 2) ** 2 <= 4
    second = (along_w - 3) ** 2 + (along_h - 4) ** 2 <= 4
    return first[None].long(), second[None].long()


def maps(count: int, seed: int) -> Tensor:
    return torch.randint(0, count, (3, 9, 7), generator=torch.Generator().manual_seed(seed))


def test_two_discs_have_the_overlap_that_is_counted_by_hand() -> None:
    first, second = two_discs()

    dice = measured("dice", "foreground", first, second, 2)
    iou = measured("iou", "foreground", first, second, 2)

    # 13 cells each, of which rows of 1, 3 and 1 are shared.
    assert dice.item() == pytest.approx(10 / 26, abs=1e-12)
    assert iou.item() == pytest.approx(5 / 21, abs=1e-12)


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2)])
def test_mirrored_discs_have_equal_overlap(axes: tuple[int, ...]) -> None:
    first, second = two_discs()

    for kind in ("dice", "iou"):
        upright = measured(kind, "foreground", first, second, 2)
        mirrored = measured(kind, "foreground", first.flip(axes), second.flip(axes), 2)
        turned = measured(kind, "foreground", first.transpose(1, 2), second.transpose(1, 2), 2)
        assert torch.equal(upright, mirrored)
        assert torch.equal(upright, turned)


@pytest.mark.parametrize(("kind", "reference"), [("dice", f1_score), ("iou", jaccard_score)])
@pytest.mark.parametrize("count", [2, 3, 12])
def test_overlaps_are_those_of_sklearn(
    kind: OverlapKind, reference: Callable[..., float], count: int
) -> None:
    mask, label = maps(count, 1), maps(count, 2)
    flat = label.flatten().numpy(), mask.flatten().numpy()

    each = measured(kind, "none", mask, label, count)
    mean = measured(kind, "mean", mask, label, count)

    want = torch.as_tensor(reference(*flat, average=None))
    torch.testing.assert_close(each, want.double(), atol=1e-6, rtol=0)
    assert mean.item() == pytest.approx(reference(*flat, average="macro"), abs=1e-6)
    if count == 2:
        foreground = measured(kind, "foreground", mask, label, count)
        assert foreground.item() == pytest.approx(reference(*flat), abs=1e-6)


def test_batches_are_pooled() -> None:
    mask, label = maps(3, 1), maps(3, 2)
    metric = Overlap(3, "dice", "none")

    for i in range(3):
        metric.update(mask[i : i + 1], label[i : i + 1])

    assert torch.equal(metric.compute(), measured("dice", "none", mask, label, 3))


@pytest.mark.parametrize("kind", ["dice", "iou"])
def test_nothing_predicted_of_nothing_labelled_is_perfect(kind: OverlapKind) -> None:
    nothing = torch.zeros(1, 4, 4, dtype=torch.int64)

    assert measured(kind, "foreground", nothing, nothing, 2).item() == 1
    assert measured(kind, "foreground", nothing + 1, nothing, 2).item() == 0


def test_a_class_that_is_nowhere_is_no_part_of_the_mean() -> None:
    mask, label = torch.tensor([[[0, 0, 1, 1]]]), torch.tensor([[[0, 1, 1, 1]]])

    each = measured("dice", "none", mask, label, 4)

    torch.testing.assert_close(each, torch.tensor([2 / 3, 0.8, 1, 1], dtype=torch.float64))
    mean = measured("dice", "mean", mask, label, 4)
    want = f1_score(label.flatten().numpy(), mask.flatten().numpy(), average="macro")
    assert mean.item() == pytest.approx(want, abs=1e-6)


def test_ignored_cells_do_not_count() -> None:
    mask, label = maps(3, 1), maps(3, 2)
    ignoring = label.clone()
    ignoring[:, 5:] = 255

    want = measured("iou", "none", mask[:, :5], label[:, :5], 3)

    assert torch.equal(measured("iou", "none", mask, ignoring, 3, ignore_index=255), want)
    ignoring[:] = 255
    assert measured("iou", "mean", mask, ignoring, 3, ignore_index=255).item() == 1


def test_large_counts_keep_their_digits() -> None:
    # Single precision has 24 bits: it cannot tell these two apart.
    confusion = torch.tensor([[0, 0], [1, 2**26]])

    dice = class_overlap(confusion, "dice")[1].item()

    assert dice == pytest.approx(2**27 / (2**27 + 1), abs=1e-15)
