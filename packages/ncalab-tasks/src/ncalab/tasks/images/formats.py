"""Formats of image files, and advice about those that are not read."""

from pathlib import Path

from PIL import Image

# Format, suffixes, and the bytes at a place of the file by which it is known without a suffix.
_FOREIGN: tuple[tuple[str, tuple[str, ...], int, tuple[bytes, ...]], ...] = (
    ("NIfTI", (".nii", ".nii.gz"), 344, (b"n+1\0", b"ni1\0")),
    ("DICOM", (".dcm", ".dicom"), 128, (b"DICM",)),
    ("SVG", (".svg", ".svgz"), 0, (b"<svg",)),
    ("HEIC", (".heic", ".heif"), 4, (b"ftypheic", b"ftypheix", b"ftypmif1")),
    ("AppleDouble", (), 0, (b"\0\5\x16\7",)),
    ("MetaImage", (".mha", ".mhd"), 0, (b"ObjectType = Image",)),
    ("NRRD", (".nrrd", ".nhdr"), 0, (b"NRRD000",)),
    ("CZI", (".czi",), 0, (b"ZISRAWFILE",)),
    ("HDF5", (".h5", ".hdf5", ".ims"), 0, (b"\x89HDF\r\n\x1a\n",)),
    ("PDF", (".pdf",), 0, (b"%PDF-",)),
    ("video", (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"), 4, (b"ftypmp4", b"ftypisom")),
)
_SLICES = "save its slices as PNG or TIFF of 16 bits, or one as a .npy array to predict from"
_REMEDY = {
    "NIfTI": _SLICES,
    "DICOM": "save its pixels as PNG or TIFF of 16 bits, or as a .npy array to predict from",
    "SVG": "export it as PNG from a program that draws it, with the size that is wanted",
    "HEIC": "save it as PNG or JPEG",
    "AppleDouble": "delete it: macOS keeps properties of another file in it, and no image",
    "MetaImage": _SLICES,
    "NRRD": _SLICES,
    "CZI": _SLICES,
    "HDF5": _SLICES,
    "PDF": "export its pages as PNG",
    "video": "save its frames as PNG",
}
_HEAD = 512
# What operating systems leave in folders besides names that begin with a dot.
_CLUTTER = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


def image_suffixes() -> frozenset[str]:
    """Return the suffixes of files that can be read, lower case, with their dot.

    >>> {".png", ".jpg", ".tif"} <= image_suffixes()
    True
    """
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, name in known.items() if name in Image.OPEN)


def is_hidden(path: Path) -> bool:
    """Return whether a file or folder is one that users do not see, such as ``._0.png``.

    >>> [is_hidden(Path(name)) for name in ("._0.png", ".DS_Store", "Thumbs.db", "0.png")]
    [True, True, True, False]
    """
    return path.name.startswith(".") or path.name.lower() in _CLUTTER


def foreign_format(path: Path) -> str | None:
    """Name the format of a file that is known, but not read; None for all others.

    >>> foreign_format(Path("brain.nii.gz")), foreign_format(Path("cell.png"))
    ('NIfTI', None)
    """
    name = path.name.lower()
    for kind, suffixes, _, _ in _FOREIGN:
        if name.endswith(suffixes):
            return kind
    head = _head(path)
    for kind, _, start, marks in _FOREIGN:
        if head.startswith(marks, start):
            return kind
    # After a declaration and comments, if it has any.
    return "SVG" if head.lstrip().startswith(b"<") and b"<svg" in head else None


def _head(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(_HEAD)


def how_to_convert(path: Path) -> str:
    """Say why a file of another format is not read, and what to do; "" if its format is unknown.

    >>> how_to_convert(Path("logo.svg"))
    'SVG is not read; export it as PNG from a program that draws it, with the size that is wanted'
    """
    kind = foreign_format(path)
    return "" if kind is None else f"{kind} is not read; {_REMEDY[kind]}"
