"""Masks mean what a viewer shows on black, or are refused; masks of classes mean their values."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odd_files import encoded, palette, picture, png
from PIL import Image

from ncalab.tasks import SegmentationNCADataset, read_labels, read_mask

MASK = (np.random.default_rng(3).random((5, 7)) > 0.5).astype(np.uint8)
BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (250, 0, 0)


def la(grey: np.ndarray, opacity: np.ndarray) -> Image.Image:
    return Image.merge("LA", [picture(grey), picture(opacity)])


def constant(value: int) -> np.ndarray:
    return np.full(MASK.shape, value, np.uint8)


def antialiased() -> Image.Image:
    """Return a mask whose dark and bright parts are not exactly black and white."""
    noise = np.random.default_rng(0).integers(0, 9, MASK.shape, np.uint8)
    return picture(np.where(MASK, 255 - noise, noise).astype(np.uint8))


SHOWN = {
    "zero_and_one.png": encoded(picture(MASK), "PNG"),
    "black_and_white.png": encoded(picture(MASK * 255), "PNG"),
    "sixteen_bits.png": encoded(picture(MASK.astype(np.uint16) * 65535), "PNG"),
    "one_bit.png": encoded(picture(MASK * 255, "1"), "PNG"),
    "colour.png": encoded(picture(MASK * 255, "RGB"), "PNG"),
    "floats.tif": encoded(picture(MASK.astype(np.float32)), "TIFF"),
    "jpeg.jpg": encoded(picture(np.kron(MASK, np.ones((8, 8), np.uint8)) * 255), "JPEG"),
    "palette_black_first.png": encoded(palette(MASK, [BLACK, WHITE]), "PNG"),
    "palette_white_first.png": encoded(palette(1 - MASK, [WHITE, BLACK]), "PNG"),
    "palette_white_first.gif": encoded(palette(1 - MASK, [WHITE, BLACK]), "GIF"),
    "palette_any_indices.png": encoded(
        palette(np.where(MASK, 3, 5).astype(np.uint8), [RED, RED, RED, WHITE, RED, BLACK]), "PNG"
    ),
    "palette_of_labels.png": encoded(palette(MASK, [BLACK, RED]), "PNG"),
    "palette_of_dark_labels.png": encoded(palette(MASK, [BLACK, (0, 40, 0)]), "PNG"),
    "palette_of_greys.png": encoded(palette(MASK, [(n, n, n) for n in range(256)]), "PNG"),
    "palette_transparent_black.png": encoded(
        palette(1 - MASK, [WHITE, RED]), "PNG", transparency=1
    ),
    "two_colours.png": encoded(antialiased().quantize(2), "PNG"),
    "two_colours.gif": encoded(antialiased().convert("RGB").quantize(2), "GIF"),
    "white_on_transparent.png": encoded(la(constant(255), MASK * 255), "PNG"),
    "white_on_transparent_colour.png": encoded(
        picture(np.dstack([constant(255)] * 3 + [MASK * 255])), "PNG"
    ),
    "red_where_transparent.png": encoded(
        picture(np.where(MASK[..., None], 255, np.array([250, 0, 0, 0])).astype(np.uint8)), "PNG"
    ),
    "black_and_white_opaque.png": encoded(la(MASK * 255, constant(255)), "PNG"),
    "labels_opaque.png": encoded(la(MASK, constant(255)), "PNG"),
    "sixteen_bits_transparent.png": png(
        0, np.where(MASK, 65535, 9)[..., None], (b"tRNS", struct.pack(">H", 9))
    ),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_mask_means_what_a_viewer_shows_on_black(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(SHOWN[name])

    mask = read_mask(tmp_path / name)

    assert mask.dtype == np.uint8
    assert np.array_equal(mask[::8, ::8] if name.endswith(".jpg") else mask, MASK)


@pytest.mark.parametrize("value", [0, 1])
def test_a_mask_of_one_value_means_it_too(tmp_path: Path, value: int) -> None:
    plane = constant(value)
    masks = {
        "grey.png": encoded(picture(plane * 255), "PNG"),
        "palette.png": encoded(palette(1 - plane, [WHITE, BLACK]), "PNG"),
        "opacity.png": encoded(la(constant(255), plane * 255), "PNG"),
    }
    for name, content in masks.items():
        (tmp_path / name).write_bytes(content)
        assert np.array_equal(read_mask(tmp_path / name), plane), name


REFUSED: dict[str, tuple[bytes, str]] = {
    "black_on_transparent.png": (encoded(la(constant(0), MASK * 255), "PNG"), "black on black"),
    "black_on_transparent_palette.png": (
        encoded(palette(MASK, [BLACK, BLACK]), "PNG", transparency=0),
        r"must show black and white .* got 0 as \(0, 0, 0\), 1 as \(0, 0, 0\)",
    ),
    "half_transparent.png": (encoded(la(constant(255), MASK * 128), "PNG"), "got 0, 128"),
    "greys.png": (encoded(picture(MASK * 200), "PNG"), "got 0, 200"),
    "colours.png": (
        encoded(picture(np.dstack([MASK * 255, MASK, MASK])), "PNG"),
        r"must have one channel of labels, got colours \(RGB\)",
    ),
    "red_first.png": (
        encoded(palette(1 - MASK, [RED, BLACK]), "PNG"),
        r"must show black and white .* got 0 as \(250, 0, 0\), 1 as \(0, 0, 0\)",
    ),
    "fractions.tif": (
        encoded(picture(MASK.astype(np.float32) / 2), "TIFF"),
        "must hold whole numbers",
    ),
    "dark.jpg": (encoded(picture(MASK * 90), "JPEG"), "JPEG mask must be black and white"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mask_that_shows_something_else_is_refused(tmp_path: Path, name: str) -> None:
    content, reason = REFUSED[name]
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ValueError, match=f"{name}:? .*{reason}"):
        read_mask(tmp_path / name)


@pytest.mark.parametrize("name", ["palette_white_first.png", "white_on_transparent.png"])
def test_a_data_set_reads_masks_so(tmp_path: Path, name: str) -> None:
    write_pair(tmp_path, SHOWN[name])

    assert np.array_equal(SegmentationNCADataset(tmp_path)[0][1].numpy(), MASK)


def write_pair(folder: Path, mask: bytes) -> None:
    for name, content in (("images", encoded(picture(MASK * 99), "PNG")), ("masks", mask)):
        (folder / name).mkdir()
        (folder / name / "a.png").write_bytes(content)


LABELS = np.random.default_rng(4).integers(0, 3, MASK.shape, np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        picture(LABELS),
        picture(LABELS.astype(np.uint16)),
        picture(LABELS, "RGB"),
        palette(LABELS, [BLACK, RED, WHITE]),
        palette(LABELS, [WHITE, RED, BLACK]),
        la(LABELS, np.where(LABELS, 255, 0).astype(np.uint8)),
    ],
    ids=lambda image: str(image.mode),
)
def test_labels_of_classes_are_the_stored_values(tmp_path: Path, image: Any) -> None:
    write_pair(tmp_path, encoded(image, "PNG"))

    labels, lossy = read_labels(tmp_path / "masks" / "a.png")

    assert np.array_equal(labels, LABELS) and not lossy
    dataset = SegmentationNCADataset(tmp_path, num_classes=3)
    assert np.array_equal(dataset[0][1].numpy(), LABELS)


def test_indices_are_labels_also_if_one_of_them_is_transparent(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(
        encoded(palette(LABELS, [BLACK, RED, WHITE]), "PNG", transparency=2)
    )

    assert np.array_equal(read_labels(tmp_path / "a.png")[0], LABELS)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (la(LABELS, constant(0)), "must have no labels where it is transparent"),
        (la(constant(0), MASK * 255), "black on transparent"),
        (palette(1 - MASK, [WHITE, BLACK]), "a palette that shows 0 as white and 1 as black"),
    ],
)
def test_labels_that_a_viewer_does_not_show_are_refused(
    tmp_path: Path, image: Any, reason: str
) -> None:
    (tmp_path / "a.png").write_bytes(encoded(image, "PNG"))

    with pytest.raises(ValueError, match=f"a.png:? .*{reason}"):
        read_labels(tmp_path / "a.png")


def test_a_mask_with_pages_has_that_of_its_image_and_one_without_is_taken_as_it_is(
    tmp_path: Path,
) -> None:
    pages = [picture(MASK * 255), picture((1 - MASK) * 255)]
    (tmp_path / "several.tif").write_bytes(
        encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    )
    pages[0].save(tmp_path / "one.png")

    assert np.array_equal(read_mask(tmp_path / "several.tif", page=1), 1 - MASK)
    assert np.array_equal(read_labels(tmp_path / "several.tif", page=0)[0], MASK * 255)
    assert np.array_equal(read_mask(tmp_path / "one.png", page=1), MASK)
    with pytest.raises(ValueError, match="several.tif must hold one image, got 2 pages"):
        read_mask(tmp_path / "several.tif")


def test_a_mask_is_turned_as_its_image_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 8
    picture(MASK * 255).save(tmp_path / "a.png", exif=exif)

    assert np.array_equal(read_mask(tmp_path / "a.png"), MASK.T[::-1])
