"""Image files of every kind that people have, with the values that they hold."""

import gzip
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Array = np.ndarray
ROWS, COLUMNS = 5, 7

_RANDOM = np.random.default_rng(7)
GREY = _RANDOM.integers(0, 256, (ROWS, COLUMNS), np.uint8)
COLOR = _RANDOM.integers(0, 256, (ROWS, COLUMNS, 3), np.uint8)
DEEP = _RANDOM.integers(0, 65536, (ROWS, COLUMNS), np.uint16)
FLOATS = _RANDOM.random((ROWS, COLUMNS), np.float32)
OPACITY = _RANDOM.choice(np.array([0, 255], np.uint8), (ROWS, COLUMNS))


@dataclass(frozen=True)
class Odd:
    """A file that can be read.

    Args:
        name: Its name.
        content: Its bytes.
        want: What it holds, shape ``(W, H, C)``, in [0, 1] by its own depth.
        page: Page to ask for.
    """

    name: str
    content: bytes
    want: Array
    page: int | None = None

    def write(self, folder: Path, stem: str = "a") -> Path:
        """Write it, and return the file."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{stem}{Path(self.name).suffix}"
        path.write_bytes(self.content)
        return path

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Bad:
    """A file that cannot be read as it is.

    Args:
        name: Its name.
        content: Its bytes.
        reason: What an error has to say, besides the name.
    """

    name: str
    content: bytes
    reason: str

    def write(self, folder: Path, stem: str = "a") -> Path:
        """Write it, and return the file."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{stem}{self.name[self.name.index('.') :]}"
        path.write_bytes(self.content)
        return path

    def __str__(self) -> str:
        return self.name


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the bytes of an image file."""
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def picture(array: Array, mode: str | None = None) -> Image.Image:
    image = Image.fromarray(array)
    return image if mode is None else image.convert(mode)


def palette(indices: Array, colors: list[tuple[int, int, int]]) -> Image.Image:
    """Return an image of indices into a palette."""
    image = Image.new("P", indices.shape[::-1])
    image.putpalette([value for color in colors for value in color])
    image.putdata(indices.ravel().tolist())
    return image


def png(kind: int, values: Array, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of 16 bits, which Pillow does not write in colour: ``(W, H, samples)``."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    rows, columns = values.shape[:2]
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 16, kind, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in parts)


def rgba(color: Array, opacity: Array) -> Array:
    return np.concatenate([color.reshape(ROWS, COLUMNS, -1), opacity[..., None]], axis=-1)


def in_unit_range(array: Array) -> Array:
    """Return ``(W, H)`` or ``(W, H, C)`` as ``(W, H, C)``, integers over what they can hold."""
    top = np.iinfo(array.dtype).max if np.issubdtype(array.dtype, np.integer) else 1
    return (array / np.float64(top)).reshape(*array.shape[:2], -1)


def three(grey: Array) -> Array:
    """Return grey ``(W, H)`` as colour."""
    return np.stack([grey] * 3, axis=-1)


def turned(array: Array, orientation: int) -> Array:
    """Return what a viewer shows of stored pixels with an orientation of EXIF.

    Source: CIPA DC-008, Exif 2.32, table 6: where row 0 and column 0 are in the picture.
    """
    shown = {
        1: array,
        2: array[:, ::-1],  # row 0 on top, column 0 on the right
        3: array[::-1, ::-1],
        4: array[::-1],
        5: array.swapaxes(0, 1),  # row 0 on the left, column 0 on top
        6: array.swapaxes(0, 1)[:, ::-1],
        7: array.swapaxes(0, 1)[::-1, ::-1],
        8: array.swapaxes(0, 1)[::-1],
    }
    return shown[orientation]


def _oriented(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(picture(COLOR), "PNG", exif=exif)


_INDICES = _RANDOM.integers(0, 3, (ROWS, COLUMNS), np.uint8)
_COLORS = [(250, 10, 0), (0, 0, 0), (7, 99, 255)]
_SHOWN = np.array(_COLORS, np.uint8)[_INDICES]
_TWO_PAGES = [picture(GREY), picture(255 - GREY)]
_VALUE = int(DEEP[0, 0])


def _tiff_of_two_pages() -> bytes:
    return encoded(_TWO_PAGES[0], "TIFF", save_all=True, append_images=_TWO_PAGES[1:])


def _animation(kind: str, **options: Any) -> bytes:
    frames = [frame.convert("RGB") for frame in _TWO_PAGES]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def _odd() -> list[Odd]:
    unit = in_unit_range
    exif = [
        Odd(f"exif{n}.png", _oriented(n), unit(turned(COLOR, n))) for n in (1, 2, 3, 4, 5, 6, 7, 8)
    ]
    plain = [
        Odd("grey.png", encoded(picture(GREY), "PNG"), unit(GREY)),
        Odd("colour.tif", encoded(picture(COLOR), "TIFF"), unit(COLOR)),
        Odd("colour.webp", encoded(picture(COLOR), "WEBP", lossless=True), unit(COLOR)),
        Odd("turned.tif", encoded(picture(GREY), "TIFF", tiffinfo={274: 6}), unit(turned(GREY, 6))),
        Odd("one_bit.png", encoded(picture(OPACITY, "1"), "PNG"), unit(OPACITY)),
        Odd("palette.png", encoded(palette(_INDICES, _COLORS), "PNG"), unit(_SHOWN)),
        Odd("palette.gif", encoded(palette(_INDICES, _COLORS), "GIF"), unit(_SHOWN)),
        Odd(
            "cmyk.tif",
            encoded(picture(three(OPACITY), "CMYK"), "TIFF"),
            unit(three(OPACITY)),
        ),
    ]
    opacity = [
        Odd("rgba.png", encoded(picture(rgba(COLOR, OPACITY)), "PNG"), unit(rgba(COLOR, OPACITY))),
        Odd(
            "la.png",
            encoded(Image.merge("LA", [picture(GREY), picture(OPACITY)]), "PNG"),
            unit(rgba(three(GREY), OPACITY)),
        ),
        Odd(
            "palette_transparent.png",
            encoded(palette(_INDICES, _COLORS), "PNG", transparency=2),
            unit(rgba(_SHOWN, np.where(_INDICES == 2, 0, 255).astype(np.uint8))),
        ),
        Odd(
            "deep_transparent.png",
            png(0, DEEP[..., None], (b"tRNS", struct.pack(">H", _VALUE))),
            unit(rgba(three(DEEP), np.where(DEEP == _VALUE, 0, 65535).astype(np.uint16))),
        ),
    ]
    deep = [
        Odd("deep.png", encoded(picture(DEEP), "PNG"), unit(DEEP)),
        Odd("deep.tif", encoded(picture(DEEP), "TIFF", compression="tiff_lzw"), unit(DEEP)),
        Odd("big_endian.tif", encoded(_big_endian(), "TIFF"), unit(DEEP)),
        Odd("wide.tif", encoded(picture(DEEP.astype(np.int32)), "TIFF"), unit(DEEP)),
        Odd("float.tif", encoded(picture(FLOATS), "TIFF"), unit(FLOATS)),
        Odd("deep_colour.png", png(2, three(DEEP)), unit((three(DEEP) >> 8).astype(np.uint8))),
    ]
    pages = [
        Odd("page0.tif", _tiff_of_two_pages(), unit(GREY), 0),
        Odd("page1.tif", _tiff_of_two_pages(), unit(255 - GREY), 1),
        Odd("frame1.webp", _animation("WEBP", lossless=True), unit(three(255 - GREY)), 1),
        Odd("frame1.png", _animation("PNG"), unit(three(255 - GREY)), 1),
        Odd("frame1.gif", _grey_gif(), unit(three(OPACITY)), 1),
    ]
    return exif + plain + opacity + deep + pages


def _big_endian() -> Image.Image:
    return Image.frombytes("I;16B", (COLUMNS, ROWS), DEEP.astype(">u2").tobytes())


def _grey_gif() -> bytes:
    frames = [picture(255 - OPACITY), picture(OPACITY)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def _large() -> bytes:
    """Return a file of a few bytes that says that it has 179,560,000 pixels."""
    head = encoded(Image.new("1", (8, 8)), "BMP")
    return head[:18] + struct.pack("<ii", 13400, 13400) + head[26:]


def _bad() -> list[Bad]:
    several = "must hold one image, got 2 pages; choose one, from 0 on, by page"
    noise = _RANDOM.integers(0, 256, (50, 70, 3), np.uint8)
    cut = [
        Bad(f"cut.{kind.lower()}", whole[: len(whole) // 2], "cannot be read as an image")
        for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")
        for whole in [encoded(picture(noise), kind)]
    ]
    svg = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="7" height="5"/>'
    nifti = struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(100)
    dicom = bytes(128) + b"DICM" + bytes(100)
    return [
        *cut,
        Bad("pages.tif", _tiff_of_two_pages(), several),
        Bad("frames.gif", _grey_gif(), several),
        Bad("frames.png", _animation("PNG"), several),
        Bad("frames.webp", _animation("WEBP"), several),
        Bad("nifti.nii", nifti, "NIfTI is not read; save its slices as PNG or TIFF"),
        Bad("nifti.nii.gz", gzip.compress(nifti), "NIfTI is not read; save its slices"),
        Bad("dicom.dcm", dicom, "DICOM is not read; save its pixels as PNG or TIFF"),
        Bad("dicom.png", dicom, "DICOM is not read; save its pixels as PNG or TIFF"),
        Bad("drawing.svg", svg, "SVG is not read; export it as PNG"),
        Bad("drawing.png", svg, "SVG is not read; export it as PNG"),
        Bad("double.png", b"\0\5\x16\7\0\2\0\0Mac OS X", "AppleDouble is not read; delete it"),
        Bad("text.png", b"not a picture", "damaged, or of a format that Pillow does not know"),
        Bad("large.bmp", _large(), "raise max_pixels"),
        Bad("wide.tif", encoded(picture(DEEP + np.int32(70000)), "TIFF"), "values of 16 bits"),
        Bad(
            "dark.png",
            png(2, three(DEEP // 32)),
            "of its 16 bits only the upper 8 are read",
        ),
        Bad("nan.tif", encoded(picture(FLOATS * np.float32(np.nan)), "TIFF"), "finite values"),
    ]


ODD = _odd()
BAD = _bad()
