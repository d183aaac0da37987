"""Which files of a folder are images, and which one a name means."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ncalab.tasks import DepthDataset, SegmentationNCADataset, read_image
from ncalab.tasks.images import FileNames, image_size, list_images

Make = Callable[..., SegmentationNCADataset | DepthDataset]
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Zellüé") for form in ("NFC", "NFD"))


def write(path: Path, rows: int = 4, columns: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((rows, columns), np.uint8)).save(path)
    return path


@pytest.fixture(params=[(SegmentationNCADataset, "masks"), (DepthDataset, "depths")])
def kind(request: pytest.FixtureRequest) -> tuple[Make, str]:
    """A data set of pairs of files, and its folder of labels."""
    parameter: tuple[Make, str] = request.param
    return parameter


def test_accents_of_two_systems_are_the_same(tmp_path: Path, kind: tuple[Make, str]) -> None:
    make, labels = kind
    assert COMPOSED != DECOMPOSED
    for image, label in ((COMPOSED, DECOMPOSED), (f"{DECOMPOSED}2", f"{COMPOSED}2")):
        write(tmp_path / "images" / f"{image}.png")
        write(tmp_path / labels / f"{label}.png")

    assert len(make(tmp_path)) == 2
    for names in ([COMPOSED, f"{COMPOSED}2.png"], [f"{DECOMPOSED}.png", f"{DECOMPOSED}2"]):
        assert len(make(tmp_path, names)) == 2


@pytest.mark.parametrize("name", [r"images\a.png", r"C:\data\images\a.png", r"..\images\a", "x/a"])
def test_only_the_last_part_of_a_name_counts_on_any_system(
    tmp_path: Path, kind: tuple[Make, str], name: str
) -> None:
    make, labels = kind
    write(tmp_path / "images" / "a.png")
    write(tmp_path / labels / "a.png")

    assert [image.name for image, _ in make(tmp_path, [name]).pairs] == ["a.png"]


def test_a_backslash_may_be_a_part_of_a_name(tmp_path: Path) -> None:
    files = [write(tmp_path / name) for name in (r"x\a.png", "a.png")]

    assert FileNames(files).find(r"x\a.png") == [files[0]]
    assert FileNames(files).find(r"y\a.png") == [files[1]]


@pytest.mark.parametrize(
    "hidden", ["._a.png", ".DS_Store", ".a.png", "Thumbs.db", "desktop.ini", "__MACOSX/._a.png"]
)
def test_what_systems_hide_in_folders_is_no_image(
    tmp_path: Path, kind: tuple[Make, str], hidden: str
) -> None:
    make, labels = kind
    for folder in ("images", labels):
        write(tmp_path / folder / "a.png")
        (tmp_path / folder / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / folder / hidden).write_bytes(b"\0\5\x16\7")

    assert len(make(tmp_path)) == 1
    assert list_images(tmp_path / "images") == [tmp_path / "images" / "a.png"]


def test_a_folder_called_like_an_image_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()

    assert list_images(tmp_path) == []


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.dcm", "a.svg"])
def test_a_folder_of_another_format_says_what_to_do(
    tmp_path: Path, kind: tuple[Make, str], name: str
) -> None:
    make, labels = kind
    write(tmp_path / labels / "a.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / name).touch()

    with pytest.raises(ValueError, match=rf"at least one image.* of {name}: \w+ is not read; \w+"):
        make(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"of {name}: \w+ is not read; \w+"):
        make(tmp_path, ["a"])


def test_files_of_another_format_beside_images_are_told(
    tmp_path: Path, kind: tuple[Make, str], caplog: pytest.LogCaptureFixture
) -> None:
    make, labels = kind
    for folder in ("images", labels):
        write(tmp_path / folder / "a.png")
    (tmp_path / "images" / "b").write_bytes(bytes(128) + b"DICM")

    assert len(make(tmp_path)) == 1
    assert "1 files are left out, such as b: DICOM is not read" in caplog.text


def test_a_label_of_another_format_is_named(tmp_path: Path, kind: tuple[Make, str]) -> None:
    make, labels = kind
    write(tmp_path / "images" / "a.png")
    (tmp_path / labels).mkdir()
    (tmp_path / labels / "a.nii.gz").touch()

    with pytest.raises(FileNotFoundError, match="of a.nii.gz: NIfTI is not read"):
        make(tmp_path)


def test_the_size_of_a_page_is_its_own(tmp_path: Path) -> None:
    second = Image.new("L", (5, 3))
    Image.new("L", (6, 4)).save(tmp_path / "a.tif", save_all=True, append_images=[second])

    assert [image_size(tmp_path / "a.tif", page=page) for page in (0, 1)] == [(4, 6), (3, 5)]


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_size_of_an_image_is_that_of_its_pixels(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.new("L", (6, 4)).save(tmp_path / f"a.{suffix}", exif=exif)

    assert image_size(tmp_path / f"a.{suffix}") == ((6, 4) if orientation == 6 else (4, 6))


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("scan.mha", b"", "MetaImage"),
        ("scan", b"NRRD0004\n", "NRRD"),
        ("cells.czi", b"ZISRAWFILE\0", "CZI"),
        ("cells.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
        ("page.png", b"%PDF-1.7\n", "PDF"),
        ("clip.MOV", b"", "video"),
        ("clip", b"\0\0\0\x20ftypisom", "video"),
    ],
)
def test_other_files_of_measurements_are_named_with_what_to_do(
    tmp_path: Path, name: str, head: bytes, kind: str
) -> None:
    (tmp_path / name).write_bytes(head)

    with pytest.raises(ValueError, match=f"{name} cannot be read as an image: {kind} is not read"):
        read_image(tmp_path / name)
