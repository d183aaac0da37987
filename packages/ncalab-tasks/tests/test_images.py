from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ncalab.tasks.images import image_to_tensor, read_image, read_labels


def gradient(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def save(array: np.ndarray, path: Path, **options: Any) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_what_was_written_is_read(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    image = read_image(save(gradient(*shape), tmp_path / name))

    assert image.dtype == np.uint8
    assert np.array_equal(image, gradient(*shape).reshape(5, 7, -1))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bits_are_kept(tmp_path: Path, name: str) -> None:
    array = gradient(5, 7, dtype=np.uint16) * 1800

    image = read_image(save(array, tmp_path / name))

    assert image.dtype == np.uint16
    assert np.array_equal(image[..., 0], array)


def test_big_endian_files_are_read_in_native_order(tmp_path: Path) -> None:
    array = gradient(2, 3, dtype=np.uint16) + 256
    Image.frombytes("I;16B", (3, 2), array.astype(">u2").tobytes()).save(tmp_path / "a.tif")

    image = read_image(tmp_path / "a.tif")

    assert image.dtype == np.dtype(np.uint16) and image.dtype.isnative
    assert np.array_equal(image[..., 0], array)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiffs_are_read(tmp_path: Path, compression: str) -> None:
    array = gradient(5, 7, dtype=np.uint16)

    image = read_image(save(array, tmp_path / "a.tif", compression=compression))

    assert np.array_equal(image[..., 0], array)


def test_floating_point_tiffs_are_read_as_they_are(tmp_path: Path) -> None:
    array = gradient(5, 7, dtype=np.float32) / 8 - 1

    assert np.array_equal(read_image(save(array, tmp_path / "a.tif"))[..., 0], array)
    save(np.full((2, 2), np.nan, np.float32), tmp_path / "nan.tif")
    with pytest.raises(ValueError, match="nan.tif must have finite values"):
        read_image(tmp_path / "nan.tif")


def test_palettes_are_colours_as_images_and_indices_as_labels(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 250, 0, 0, 0, 0, 250])
    image.putdata([0, 1, 2, 1])
    image.save(tmp_path / "a.png")

    assert read_image(tmp_path / "a.png")[0].tolist() == [[0, 0, 0], [250, 0, 0]]
    assert read_labels(tmp_path / "a.png")[0].tolist() == [[0, 1], [2, 1]]


def test_black_and_white_is_grey_as_image_and_0_and_1_as_labels(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "a.png")

    assert read_image(tmp_path / "a.png").tolist() == [[[0], [255]]]
    assert read_labels(tmp_path / "a.png")[0].tolist() == [[0, 1]]


def test_opacity_is_kept(tmp_path: Path) -> None:
    image = Image.fromarray(gradient(4, 4, 4)).convert("LA")
    image.save(tmp_path / "a.png")

    assert read_image(tmp_path / "a.png").shape == (4, 4, 4)


def test_grey_labels_may_be_stored_as_colours(tmp_path: Path) -> None:
    labels = gradient(5, 7)
    save(np.stack([labels] * 3, axis=-1), tmp_path / "a.png")

    read, lossy = read_labels(tmp_path / "a.png")

    assert np.array_equal(read, labels) and not lossy
    assert read_labels(save(labels, tmp_path / "a.jpg"))[1]


def test_coloured_and_fractional_labels_are_refused(tmp_path: Path) -> None:
    save(gradient(5, 7, 3), tmp_path / "colour.png")
    save(np.full((2, 2), 0.5, np.float32), tmp_path / "half.tif")

    with pytest.raises(ValueError, match="colour.png must have one channel of labels"):
        read_labels(tmp_path / "colour.png")
    with pytest.raises(ValueError, match="half.tif must hold whole numbers"):
        read_labels(tmp_path / "half.tif")


def test_several_pages_are_refused(tmp_path: Path) -> None:
    page = Image.fromarray(gradient(5, 7))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page, page])

    with pytest.raises(ValueError, match="a.tif must hold one image, got 3 pages"):
        read_image(tmp_path / "a.tif")


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    whole = save(gradient(50, 70), tmp_path / "a.png").read_bytes()
    (tmp_path / "short.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()

    with pytest.raises(FileNotFoundError, match="none.png is missing"):
        read_image(tmp_path / "none.png")
    for name in ("short.png", "text.png", "empty.png"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as an image"):
            read_image(tmp_path / name)


def test_integers_beyond_16_bits_are_refused(tmp_path: Path) -> None:
    save(np.full((2, 2), 70_000, np.int32), tmp_path / "a.tif")

    with pytest.raises(ValueError, match="a.tif must have values of 16 bits"):
        read_image(tmp_path / "a.tif")
    assert read_labels(tmp_path / "a.tif")[0].max() == 70_000


@pytest.mark.parametrize(
    ("image", "want"),
    [
        (np.array([[[0], [255]]], np.uint8), [0, 1]),
        (np.array([[0, 65535]], np.uint16), [0, 1]),
        (np.array([[False, True]]), [0, 1]),
        (np.array([[-2.0, 7.0]]), [-2, 7]),
        (torch.tensor([[[0, 255]]], dtype=torch.uint8), [0, 1]),
        (torch.tensor([[[-2.0, 7.0]]]), [-2, 7]),
    ],
)
def test_integers_are_scaled_and_floating_point_values_are_not(image: Any, want: list[int]) -> None:
    tensor = image_to_tensor(image)

    assert tensor.dtype == torch.float32
    assert tensor.tolist() == [[want]]


def test_axis_0_of_the_array_is_the_first_spatial_axis() -> None:
    image = gradient(4, 6, 3)

    tensor = image_to_tensor(image)

    assert tensor.shape == (3, 4, 6)
    assert tensor[2, 1, 5].item() == pytest.approx(image[1, 5, 2] / 255)
    assert torch.equal(image_to_tensor(torch.from_numpy(image).permute(2, 0, 1)), tensor)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        ([[0]], TypeError, "image must be an array"),
        (np.zeros((2, 2), np.int64), TypeError, "got int64"),
        (np.zeros(3, np.uint8), ValueError, r"got \(3,\)"),
        (torch.zeros(1, 2, 3, 3), ValueError, r"got \(1, 2, 3, 3\)"),
    ],
)
def test_what_is_no_image_is_named(image: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        image_to_tensor(image)
