import pytest
import torch
import torch.nn.functional as F

from ncalab.core.resizing import resize_linear, resize_nearest


@pytest.mark.parametrize("size", [(4, 6), (24, 18), (5, 40), (1, 1)])
def test_linear_resizing_is_that_of_torch_without_aliasing(size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, 12, 9)

    got = resize_linear(image, size)

    want = F.interpolate(image, size, mode="bilinear", antialias=True)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


def test_no_value_leaves_the_range_of_the_image() -> None:
    image = torch.full((1, 7, 7), 0.1) * 3

    assert set(resize_linear(image, (5, 11)).unique().tolist()) == {image[0, 0, 0].item()}


def test_what_has_the_size_is_returned_itself() -> None:
    plane = torch.rand(3, 4)

    assert resize_linear(plane, (3, 4)) is plane and resize_nearest(plane, [3, 4]) is plane


def test_values_that_are_not_finite_stay_where_they_are() -> None:
    plane = torch.zeros(4, 4)
    plane[0, 0] = torch.nan

    resized = resize_linear(plane, (8, 8))

    assert resized[0, 0].isnan() and resized[4:, 4:].eq(0).all()


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float32])
def test_the_nearest_value_is_that_of_the_cell_under_the_middle(dtype: torch.dtype) -> None:
    plane = torch.tensor([[0, 1, 0], [1, 0, 1]]).to(dtype)

    assert torch.equal(
        resize_nearest(plane, (4, 6)), plane.repeat_interleave(2, 0).repeat_interleave(2, 1)
    )
    assert torch.equal(resize_nearest(resize_nearest(plane, (10, 9)), (2, 3)), plane)


def test_a_halved_plane_keeps_only_values_that_it_had() -> None:
    labels = torch.randint(0, 9, (5, 13, 17), generator=torch.Generator().manual_seed(0))

    small = resize_nearest(labels, (6, 8))

    assert small.shape == (5, 6, 8) and set(small.unique().tolist()) <= set(range(9))
