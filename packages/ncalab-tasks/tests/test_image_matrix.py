"""Every reader of a task with every odd file: the right values, or an error that names the file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from odd_files import BAD, COLOR, DEEP, GREY, ODD, Array, Bad, Odd, png, three
from PIL import Image

from ncalab.tasks import (
    ClassificationDataset,
    DepthDataset,
    GrowingNCADataset,
    SegmentationNCADataset,
    read_image,
    read_images,
)
from ncalab.tasks.images import MAX_PIXELS, image_to_tensor, with_channels

Read = Callable[[Path, int | None, int | None], Array]

# 8 bits, after a conversion of channels that rounds.
HALF_A_STEP = 0.5001 / 255


def plain(path: Path, page: int | None, max_pixels: int | None) -> Array:
    tensor = image_to_tensor(read_image(path, page=page, max_pixels=max_pixels))
    return np.moveaxis(tensor.numpy(), 0, -1)


def segmentation(path: Path, page: int | None, max_pixels: int | None) -> Array:
    beside(path, "masks", np.uint8)
    dataset = SegmentationNCADataset(
        path.parent.parent, [path.name], page=page, max_pixels=max_pixels, normalize="none"
    )
    return np.moveaxis(dataset[0][0].numpy(), 0, -1)


def depth(path: Path, page: int | None, max_pixels: int | None) -> Array:
    beside(path, "depths", np.uint16)
    dataset = DepthDataset(
        path.parent.parent, [path.name], page=page, max_pixels=max_pixels, normalize="none"
    )
    return np.moveaxis(dataset[0][0].numpy(), 0, -1)


def growing(path: Path, page: int | None, max_pixels: int | None) -> Array:
    image = read_image(path, page=page, max_pixels=max_pixels)
    target = GrowingNCADataset(image, 8)[0][1].numpy()
    return np.moveaxis(target, 0, -1)


def classification(path: Path, page: int | None, max_pixels: int | None) -> Array:
    images = read_images([path, path], page=page, max_pixels=max_pixels)
    return np.moveaxis(ClassificationDataset(images, np.array([0, 1]))[1][0].numpy(), 0, -1)


def beside(path: Path, folder: str, dtype: type) -> None:
    """Write the label of an image, in the size that a viewer shows the image in."""
    try:
        size = next(odd for odd in ODD if odd.content == path.read_bytes()).want.shape[:2]
    except StopIteration:
        size = (2, 2)
    (path.parent.parent / folder).mkdir(exist_ok=True)
    # The reader takes all but the last suffix for the name.
    Image.fromarray(np.zeros(size, dtype)).save(path.parent.parent / folder / f"{path.stem}.png")


def premultiplied(image: Array) -> Array:
    if image.shape[2] < 4:
        return image
    return np.concatenate([image[..., :3] * image[..., 3:], image[..., 3:]], axis=-1)


def color(image: Array) -> Array:
    """Return what a viewer shows on black, in three channels."""
    shown = premultiplied(image)[..., :3]
    return np.broadcast_to(shown, (*shown.shape[:2], 3))


READERS: list[tuple[Read, Callable[[Array], Array]]] = [
    (plain, lambda want: want),
    (segmentation, lambda want: want),
    (depth, color),
    (growing, premultiplied),
    (classification, lambda want: want),
]


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize(("read", "expected"), READERS, ids=lambda each: each.__name__)
def test_every_reader_gets_the_same_values_from_every_file(
    tmp_path: Path, odd: Odd, read: Read, expected: Callable[[Array], Array]
) -> None:
    got = read(odd.write(tmp_path / "images"), odd.page, MAX_PIXELS)

    want = expected(odd.want)
    assert got.dtype == np.float32 and got.shape == want.shape
    tolerance = HALF_A_STEP if read is depth and odd.want.shape[2] == 4 else 1e-6
    np.testing.assert_allclose(got, want, atol=tolerance)


@pytest.mark.parametrize("bad", BAD, ids=str)
@pytest.mark.parametrize("read", [read for read, _ in READERS], ids=lambda each: each.__name__)
def test_every_reader_names_every_file_that_it_cannot_read_and_why(
    tmp_path: Path, bad: Bad, read: Read
) -> None:
    path = bad.write(tmp_path / "images")

    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        read(path, None, MAX_PIXELS)

    assert path.name in str(caught.value) and bad.reason in str(caught.value)


@pytest.mark.parametrize("read", [read for read, _ in READERS], ids=lambda each: each.__name__)
def test_every_reader_has_a_limit_of_pixels_that_can_be_chosen(tmp_path: Path, read: Read) -> None:
    odd = next(odd for odd in ODD if odd.name == "grey.png")
    path = odd.write(tmp_path / "images")

    with pytest.raises(ValueError, match=r"a.png must have at most 34 pixels, got 5 x 7; raise"):
        read(path, None, 34)
    for enough in (35, None):
        assert read(path, None, enough).shape[:2] == GREY.shape


@pytest.mark.parametrize("limit", [None, 179_560_000])
def test_the_limit_of_pillow_can_be_lifted_and_holds_again_afterwards(
    tmp_path: Path, limit: int | None
) -> None:
    before = Image.MAX_IMAGE_PIXELS
    large = next(bad for bad in BAD if bad.name == "large.bmp")
    path = large.write(tmp_path)

    # It promises more than it has: that is found only if it is decoded.
    with pytest.raises(ValueError, match="large|truncated"):
        read_image(path, max_pixels=limit)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("read", [read for read, _ in READERS], ids=lambda each: each.__name__)
@pytest.mark.parametrize(
    ("page", "error", "message"),
    [
        (2, ValueError, r"page must be in \[0, 2\) for the pages of .*a.tif, got 2"),
        (-1, ValueError, "page must be at least 0, got -1"),
        (0.5, TypeError, "page must be an integer, got 0.5"),
    ],
)
def test_every_reader_refuses_pages_that_are_not_there(
    tmp_path: Path, read: Read, page: int, error: type[Exception], message: str
) -> None:
    path = next(odd for odd in ODD if odd.name == "page1.tif").write(tmp_path / "images")

    with pytest.raises(error, match=message):
        read(path, page, MAX_PIXELS)


def test_a_page_of_a_file_with_one_must_be_the_first(tmp_path: Path) -> None:
    path = next(odd for odd in ODD if odd.name == "grey.png").write(tmp_path)

    assert read_image(path, page=0).shape == (5, 7, 1)
    with pytest.raises(ValueError, match=r"page must be in \[0, 1\)"):
        read_image(path, page=1)


def test_files_of_several_depths_go_together(tmp_path: Path) -> None:
    files = [tmp_path / "eight.png", tmp_path / "sixteen.png", tmp_path / "float.tif"]
    Image.fromarray(GREY).save(files[0])
    Image.fromarray(GREY.astype(np.uint16) * 257).save(files[1])
    Image.fromarray(GREY.astype(np.float32) / 255).save(files[2])

    images = read_images(files)

    assert images.shape == (3, 5, 7, 1) and images.dtype == np.float32
    for image in images:
        np.testing.assert_allclose(image[..., 0], GREY / 255, atol=1e-6)


def test_images_of_several_shapes_are_not_stacked(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    Image.fromarray(COLOR).save(tmp_path / "colour.png")
    files = [tmp_path / "grey.png", tmp_path / "colour.png"]

    with pytest.raises(ValueError, match=r"\(5, 7, 1\) in .*grey.png and \(5, 7, 3\) in .*colour"):
        read_images(files)
    assert read_images(files, channels=3).shape == (2, 5, 7, 3)
    with pytest.raises(ValueError, match="paths must name at least one image"):
        read_images([])


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
@pytest.mark.parametrize("stored", ["L", "RGB"])
def test_channels_are_converted_as_pillow_does(channels: int, mode: str, stored: str) -> None:
    image = Image.fromarray(COLOR).convert(stored)
    pixels = np.asarray(image).reshape(5, 7, -1)

    want = np.asarray(image.convert(mode)).reshape(5, 7, channels)
    assert np.array_equal(with_channels(pixels, channels), want)


def test_more_bits_than_are_read_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.png").write_bytes(png(2, three(DEEP)))

    read_image(tmp_path / "a.png")

    assert "a.png has 16 bits for each colour, of which the upper 8 are read" in caplog.text


@pytest.mark.parametrize("header", [b"MM\0*", b"XX\0*"])
def test_exif_data_that_cannot_be_read_stop_no_picture(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, header: bytes
) -> None:
    exif = Image.Exif()
    exif[274] = 2
    block = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0").replace(b"MM\0*", header)
    Image.fromarray(COLOR).save(tmp_path / "a.png", exif=block)

    image = read_image(tmp_path / "a.png")

    broken = header.startswith(b"X")
    assert np.array_equal(image, COLOR if broken else COLOR[:, ::-1])
    assert ("its EXIF data cannot be read" in caplog.text) == broken


def test_odd_exif_data_of_a_camera_stop_no_turning(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = 3, "maker"
    # Text where the standard has a number: Pillow reads it, and cannot write it.
    block = exif.tobytes().replace(b"\x01\x0f\0\x02", b"\x01\x1a\0\x02")
    assert block != exif.tobytes()
    Image.fromarray(COLOR).save(tmp_path / "a.png", exif=block)

    assert np.array_equal(read_image(tmp_path / "a.png"), COLOR[::-1, ::-1])
