"""Images are distorted as far as they may be, and labels stay as they are."""

from typing import Any

import numpy as np
import pytest
import torch

from ncalab.tasks import ClassificationDataset, RandomAffine

STILL: dict[str, Any] = {"degrees": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0}


def spot(width: int, height: int, w: int, h: int) -> torch.Tensor:
    """Return an image with one bright square of 5 x 5 pixels around a place."""
    image = torch.zeros(1, width, height)
    image[0, w - 2 : w + 3, h - 2 : h + 3] = 1
    return image


def middle(image: torch.Tensor) -> torch.Tensor:
    """Return the centre of mass along both axes."""
    places = torch.stack(torch.meshgrid(*map(torch.arange, image.shape[1:]), indexing="ij"))
    return (places * image).sum(dim=(1, 2)) / image.sum()


def test_nothing_moves_where_nothing_may() -> None:
    image = torch.rand(3, 20, 31)

    moved, label = RandomAffine([(image, 7)], **STILL)[0]

    torch.testing.assert_close(moved, image, atol=1e-5, rtol=0)
    assert label == 7


def test_a_shift_is_at_most_that_share_of_a_side() -> None:
    torch.manual_seed(0)
    data = RandomAffine([(spot(40, 60, 20, 30), 0)], **{**STILL, "shift": 0.1})

    found = torch.stack([middle(data[0][0]) for _ in range(200)]) - torch.tensor([20.0, 30.0])

    most = found.abs().amax(dim=0)
    assert 3.5 < most[0] <= 4.01 and 5.3 < most[1] <= 6.01
    assert found.mean(dim=0).abs().max() < 0.6


@pytest.mark.parametrize("sides", [(41, 41), (41, 81)])
def test_a_rotation_keeps_distances_in_pixels(sides: tuple[int, int]) -> None:
    torch.manual_seed(0)
    w, h = sides[0] // 2, sides[1] // 2
    data = RandomAffine([(spot(*sides, w, h + 12), 0)], **{**STILL, "degrees": 60.0})

    found = torch.stack([middle(data[0][0]) for _ in range(40)]) - torch.tensor([w, h])

    distances = found.norm(dim=1)
    torch.testing.assert_close(distances, torch.full_like(distances, 12.0), atol=0.3, rtol=0)
    angles = torch.atan2(found[:, 0], found[:, 1]).abs().rad2deg()
    assert 45 < angles.max() <= 60.5


def test_a_scale_changes_areas_by_its_square() -> None:
    torch.manual_seed(0)
    image = torch.zeros(1, 60, 60)
    image[:, 20:40, 20:40] = 1
    data = RandomAffine([(image, 0)], **{**STILL, "scale": 0.2})

    areas = torch.stack([data[0][0].sum() for _ in range(100)]) / 400

    assert 1 / 1.2**2 - 0.02 < areas.min() < 0.75 and 1.4 < areas.max() < 1 / 0.8**2 + 0.02


def test_the_border_is_continued() -> None:
    torch.manual_seed(0)

    moved, _ = RandomAffine([(torch.ones(1, 10, 12), 0)], degrees=90, shift=0.5)[0]

    torch.testing.assert_close(moved, torch.ones(1, 10, 12))


def test_padding_says_what_lies_beyond_the_border() -> None:
    # Distinct columns: mirrored, other ones come in at the border than continued.
    image = torch.arange(1.0, 11.0).expand(1, 10, 10)

    def moved(padding_mode: Any) -> torch.Tensor:
        torch.manual_seed(3)
        data = RandomAffine([(image, 0)], **{**STILL, "shift": 0.5}, padding_mode=padding_mode)
        return data[0][0]

    zeros, border, mirrored = moved("zeros"), moved("border"), moved("reflection")

    assert (zeros == 0).any() and (border >= 1).all() and (mirrored >= 1).all()
    inside = zeros >= 1
    assert inside.any()
    torch.testing.assert_close(border[inside], mirrored[inside])
    assert not torch.allclose(border[~inside], mirrored[~inside])


def test_the_preparation_of_the_images_is_found_through_the_distortion() -> None:
    data = ClassificationDataset(torch.rand(2, 5, 4).numpy(), np.array([0, 1]), normalize="range")

    assert RandomAffine(data).dataset.preparation == data.preparation


def test_a_seed_repeats_and_each_access_differs() -> None:
    data = RandomAffine([(torch.rand(1, 9, 9), 0)])
    torch.manual_seed(5)
    first, second = data[0][0], data[0][0]
    torch.manual_seed(5)

    assert torch.equal(first, data[0][0]) and not torch.equal(first, second)
    assert len(data) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"degrees": 181}, r"degrees must be in \[0, 180\], got 181"),
        ({"scale": 1.0}, r"scale must be in \[0, 0.9\], got 1.0"),
        ({"shear": -0.1}, r"shear must be in \[0, 1\], got -0.1"),
        ({"shift": float("nan")}, "shift must"),
        ({"padding_mode": "wrap"}, "padding_mode must be one of zeros, border, reflection, got"),
    ],
)
def test_values_out_of_range_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomAffine([(torch.rand(1, 4, 4), 0)], **values)


def test_other_types_are_named() -> None:
    with pytest.raises(TypeError, match="data must"):
        RandomAffine(iter([]))
    with pytest.raises(TypeError, match="degrees must"):
        RandomAffine([], degrees="11")  # type: ignore[arg-type]  # of a wrong type
