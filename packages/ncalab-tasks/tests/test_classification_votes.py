import pytest
import torch

from ncalab.tasks import ClassificationNCAHead
from ncalab.tasks.classification.targets import NO_CLASS, check_labels, errors, on_every_cell
from ncalab.tasks.classification.votes import (
    agreement,
    count_votes,
    living_cells,
    mean_over_cells,
)


def test_a_cell_of_a_grey_image_lives_where_it_is_bright() -> None:
    image = torch.tensor([[[[0.0, 0.1, 0.11], [0.5, 1.0, 0.0]]]])

    assert living_cells(image)[0, 0].tolist() == [[False, False, True], [True, True, False]]


def test_a_cell_of_an_rgba_image_lives_where_it_is_opaque() -> None:
    image = torch.ones(1, 4, 1, 2)
    image[0, 3, 0, 0] = 0

    assert living_cells(image)[0, 0].tolist() == [[False, True]]


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_all_cells_of_other_images_live(channels: int) -> None:
    assert living_cells(torch.zeros(2, channels, 3, 4)).all()


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 1, 3, 4)])
def test_a_mask_overrides_the_image(shape: tuple[int, ...]) -> None:
    mask = (torch.arange(24) % 3).reshape(shape)

    assert torch.equal(living_cells(torch.rand(2, 3, 3, 4), mask), mask.reshape(2, 1, 3, 4) > 0)


def test_a_mask_of_another_shape_names_both() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 4\) or \(2, 1, 3, 4\), got \(2, 4, 3\)"):
        living_cells(torch.rand(2, 1, 3, 4), torch.ones(2, 4, 3))


def test_an_empty_image_is_classified_by_all_its_cells() -> None:
    image = torch.stack([torch.zeros(1, 2, 2), torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])])

    assert living_cells(image).sum(dim=(1, 2, 3)).tolist() == [4, 1]


def test_means_are_over_living_cells_of_each_sample_whatever_the_others_hold() -> None:
    values = torch.tensor([[[[1.0, 3.0, torch.nan]]], [[[5.0, torch.inf, -1.0]]]])
    living = torch.tensor([[[[True, True, False]]], [[[True, False, False]]]])

    assert mean_over_cells(values, living).tolist() == [[2.0], [5.0]]


def test_every_living_cell_has_one_vote() -> None:
    torch.manual_seed(0)
    logits, living = torch.randn(3, 5, 6, 7), torch.rand(3, 1, 6, 7) > 0.4

    votes = count_votes(logits, living)

    for sample in range(3):
        cells = logits[sample, :, living[sample, 0]].argmax(dim=0)
        assert torch.equal(votes[sample], cells.bincount(minlength=5))


def test_agreement_is_total_or_none() -> None:
    assert agreement(torch.tensor([[0, 7, 0], [1, 6, 0], [3, 0, 0]])).tolist() == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_labels_come_in_two_shapes(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    label = torch.tensor([2, 0, 1], dtype=dtype).reshape(shape)

    assert torch.equal(check_labels(label, 3, 3), torch.tensor([2, 0, 1]))


@pytest.mark.parametrize("shape", [(), (2,), (1, 3), (3, 2), (3, 1, 1)])
def test_labels_of_another_shape_name_both(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"label must have shape \(3,\) or \(3, 1\), got \("):
        check_labels(torch.zeros(shape, dtype=torch.int64), 3, 10)


@pytest.mark.parametrize("value", [-1, 10, 255])
def test_a_label_out_of_range_is_named(value: int) -> None:
    with pytest.raises(ValueError, match=rf"label must be in \[0, 10\), got {value}"):
        check_labels(torch.tensor([3, value]), 2, 10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_labels_are_integers(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=f"label must hold integers, got {dtype}"):
        check_labels(torch.zeros(2, dtype=dtype), 2, 10)


def test_the_squared_error_is_that_to_the_one_hot_label() -> None:
    logits = torch.tensor([[0.5, 2.0, -1.0]])

    # ((0.5 - 0)^2 + (2 - 1)^2 + (-1 - 0)^2) / 2
    assert errors(logits, torch.tensor([1]), "mse").item() == pytest.approx(1.125)


@pytest.mark.parametrize("loss_type", ["cross_entropy", "mse"])
def test_cells_without_a_class_have_no_error_and_no_gradient(loss_type: str) -> None:
    logits = torch.tensor([[[[1.0, 50.0]], [[0.0, 5.0]]]], requires_grad=True)
    target = on_every_cell(torch.tensor([1]), torch.tensor([[[[True, False]]]]))

    each = errors(logits, target, loss_type)  # type: ignore[arg-type]  # one of a parametrisation
    each.sum().backward()

    assert target.tolist() == [[[1, NO_CLASS]]]
    assert each[0, 0, 0] > 0 and each[0, 0, 1] == 0
    assert logits.grad is not None
    assert logits.grad[0, :, 0, 1].tolist() == [0, 0] and logits.grad[0, :, 0, 0].all()


@pytest.mark.parametrize("grid", [(28, 28), (5, 40), (3, 3), (1, 1)])
def test_a_head_takes_images_of_any_size(grid: tuple[int, int]) -> None:
    head = ClassificationNCAHead(4, 3, torch.device("cpu"), avg_pool_size=4)

    assert head(torch.rand(1, 4, *grid)).shape == (1, 3)


def test_a_head_sees_the_mean_of_each_region() -> None:
    head = ClassificationNCAHead(1, 2, torch.device("cpu"), avg_pool_size=2)
    x = torch.rand(1, 1, 6, 4)
    regions = x.reshape(1, 1, 2, 3, 2, 2).mean(dim=(3, 5)).flatten(1)

    torch.testing.assert_close(head(x), head.classifier[2:](regions))


def test_freezing_a_head_spares_its_last_layer_if_told_so() -> None:
    head = ClassificationNCAHead(2, 3, torch.device("cpu"), 2)

    head.freeze(freeze_last=False)
    assert [p.requires_grad for p in head.parameters()] == [False, False, True, True]

    head.freeze(freeze_last=True)
    assert not any(p.requires_grad for p in head.parameters())


def test_a_head_knows_its_device_after_it_moved() -> None:
    head = ClassificationNCAHead(2, 3, torch.device("cpu"), 2)

    assert head.to("meta").device.type == "meta"
