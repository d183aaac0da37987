from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from ncalab.tasks import DepthDataset
from ncalab.tasks.depth.files import read_depth, read_image

Write = Callable[[Path, np.ndarray], None]


def save_picture(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def save_array(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def picture(width: int = 4, height: int = 7, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (width, height, 3), dtype=np.uint8)


def counts(width: int = 4, height: int = 7) -> np.ndarray:
    """Return depth in millimetres that differs along both axes."""
    return (1000 * np.arange(width)[:, None] + np.arange(height)[None]).astype(np.uint16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of three pairs, with a depth map of each kind."""
    for number, name in enumerate("abc"):
        save_picture(tmp_path / "images" / f"{name}.png", picture(seed=number))
    save_picture(tmp_path / "depths" / "a.png", counts())
    save_array(tmp_path / "depths" / "b.npy", counts() / 1000)
    np.savez(tmp_path / "depths" / "c.npz", depth=counts() / 1000, confidence=np.ones((4, 7)))
    return tmp_path


def test_pairs_are_read_with_w_downwards_and_integers_scaled(folder: Path) -> None:
    dataset = DepthDataset(folder, scale=0.001)

    for number in range(3):
        image, depth = dataset[number]
        want = torch.from_numpy(picture(seed=number)).permute(2, 0, 1) / 255
        torch.testing.assert_close(image, want)
        torch.testing.assert_close(depth, torch.from_numpy(counts() / 1000).float())
        assert image.dtype == depth.dtype == torch.float32
    assert len(list(dataset)) == len(dataset) == 3  # type: ignore[call-overload]  # by __getitem__


def test_a_loader_makes_batches_in_the_shapes_of_the_model(folder: Path) -> None:
    image, depth = next(iter(DataLoader(DepthDataset(folder), batch_size=3)))

    assert image.shape == (3, 3, 4, 7)
    assert depth.shape == (3, 4, 7)


@pytest.mark.parametrize(
    "files", [["c.png", "a.png"], ["c", "a"], ["images/c.png", "x/a"], [Path("c.png"), Path("a")]]
)
def test_files_choose_and_order_the_pairs(folder: Path, files: list[str | Path]) -> None:
    dataset = DepthDataset(folder, files, None)

    assert [image.name for image, _ in dataset.pairs] == ["c.png", "a.png"]


def test_a_name_with_dots_is_found_without_its_suffix(folder: Path) -> None:
    save_picture(folder / "images" / "v1.5_run.jpg", picture())
    save_picture(folder / "depths" / "v1.5_run.png", counts())

    dataset = DepthDataset(folder, ["v1.5_run"])

    assert dataset.pairs[0][1].name == "v1.5_run.png"


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_images_have_the_channels_that_the_model_wants(
    folder: Path, channels: int, mode: str
) -> None:
    image, _ = DepthDataset(folder, ["a"], num_image_channels=channels)[0]

    want = np.asarray(Image.fromarray(picture()).convert(mode)).reshape(4, 7, channels)
    torch.testing.assert_close(image, torch.from_numpy(want.copy()).permute(2, 0, 1) / 255)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_images_of_16_bits_keep_them(tmp_path: Path, channels: int) -> None:
    grey = np.array([[0, 1, 65535]], np.uint16)
    save_picture(tmp_path / "a.png", grey)

    image = read_image(tmp_path / "a.png", channels)

    assert image.dtype == np.float32
    np.testing.assert_allclose(image[..., 0], grey / 65535, rtol=1e-6)
    assert image.shape == (1, 3, channels)
    assert channels != 4 or image[..., 3].min() == 1


def test_images_of_more_than_16_bits_are_refused_and_floating_point_is_kept(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.tif", np.full((2, 2), 70000, np.int32))
    save_picture(tmp_path / "b.tif", np.full((2, 2), 0.3, np.float32))

    with pytest.raises(ValueError, match="a.tif must have values of 16 bits"):
        read_image(tmp_path / "a.tif")
    assert np.array_equal(read_image(tmp_path / "b.tif"), np.full((2, 2, 3), 0.3, np.float32))


# Transforms


def flipped(image: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    return {"image": image[:, ::-1], "mask": mask[:, ::-1]}


def test_a_transform_changes_image_and_depth_alike(folder: Path) -> None:
    plain, changed = DepthDataset(folder), DepthDataset(folder, None, flipped)

    for number in range(3):
        image, depth = plain[number]
        assert torch.equal(changed[number][0], image.flip(-1))
        assert torch.equal(changed[number][1], depth.flip(-1))


def test_a_transform_sees_bytes_and_depth_and_may_return_tensors(folder: Path) -> None:
    seen = []

    def to_tensor(image: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        seen.append((str(image.dtype), image.shape, str(mask.dtype), mask.shape))
        tensor = torch.from_numpy(image).permute(2, 0, 1)
        return {"image": tensor, "mask": torch.from_numpy(mask)[None]}

    image, depth = DepthDataset(folder, ["a"], to_tensor, scale=0.001)[0]

    want_image, want_depth = DepthDataset(folder, ["a"], scale=0.001)[0]
    assert seen == [("uint8", (4, 7, 3), "float32", (4, 7))]
    assert torch.equal(image, want_image) and torch.equal(depth, want_depth)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "must return a dictionary of image and mask, got None"),
        ({"image": picture()}, "must return a dictionary of image and mask"),
        ({"image": picture(), "mask": np.ones((7, 4))}, r"got \(3, 4, 7\) and \(7, 4\)"),
        ({"image": picture()[..., 0], "mask": np.ones((4, 7))}, "must return 3 image channels"),
    ],
)
def test_what_a_transform_returns_is_checked(folder: Path, result: Any, message: str) -> None:
    dataset = DepthDataset(folder, None, lambda image, mask: result)

    with pytest.raises(ValueError, match=message):
        dataset[0]


# What is wrong with a folder is said when the data set is made.


def drop_depth(folder: Path) -> None:
    (folder / "depths" / "b.npy").unlink()


def add_second_depth(folder: Path) -> None:
    save_picture(folder / "depths" / "b.png", counts())


def shrink_depth(folder: Path) -> None:
    save_picture(folder / "depths" / "a.png", counts(7, 4))


def colour_depth(folder: Path) -> None:
    save_picture(folder / "depths" / "a.png", picture())


def truncate_picture(folder: Path) -> None:
    image = folder / "images" / "a.png"
    image.write_bytes(image.read_bytes()[:60])


def truncate_archive(folder: Path) -> None:
    archive = folder / "depths" / "c.npz"
    archive.write_bytes(archive.read_bytes()[:200])


def empty_array(folder: Path) -> None:
    (folder / "depths" / "b.npy").write_bytes(b"")


def pickle_depth(folder: Path) -> None:
    np.save(folder / "depths" / "b.npy", np.array([{"depth": 1}]), allow_pickle=True)


def add_arrays(folder: Path) -> None:
    np.savez(folder / "depths" / "c.npz", near=np.ones((4, 7)), far=np.ones((4, 7)))


def deepen_depth(folder: Path) -> None:
    save_array(folder / "depths" / "b.npy", np.ones((2, 4, 7)))


def write_text(folder: Path) -> None:
    (folder / "images" / "a.png").write_text("not a picture")


def write_booleans(folder: Path) -> None:
    save_array(folder / "depths" / "b.npy", np.ones((4, 7), bool))


@pytest.mark.parametrize(
    ("damage", "error", "file", "reason"),
    [
        (drop_depth, FileNotFoundError, "b.png", r"must have a depth map of the name b\.\*"),
        (add_second_depth, ValueError, "b.png", r"one depth map, got \['b.npy', 'b.png'\]"),
        (shrink_depth, ValueError, "a.png", r"size of its image \(4, 7\), got \(7, 4\)"),
        (colour_depth, ValueError, "a.png", "must have one channel, got RGB"),
        (truncate_picture, ValueError, "a.png", "a.png cannot be read as an image"),
        (write_text, ValueError, "a.png", "a.png cannot be read as an image"),
        (truncate_archive, ValueError, "c.npz", "must be a map that can be read"),
        (empty_array, ValueError, "b.npy", "must be a map that can be read"),
        (pickle_depth, ValueError, "b.npy", "must be a map that can be read"),
        (add_arrays, ValueError, "c.npz", "one array or one called 'depth'"),
        (deepen_depth, ValueError, "b.npy", r"must have shape \(W, H\), got \(2, 4, 7\)"),
        (write_booleans, ValueError, "b.npy", "must be numbers, got bool"),
    ],
)
def test_a_damaged_folder_names_the_file_and_the_reason(
    folder: Path,
    damage: Callable[[Path], None],
    error: type[Exception],
    file: str,
    reason: str,
) -> None:
    damage(folder)

    with pytest.raises(error, match=reason) as caught:
        DepthDataset(folder)

    assert file in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"files": ["d"]}, FileNotFoundError, "none is called 'd'"),
        ({"files": "a.png"}, TypeError, "files must be a sequence of names, got 'a.png'"),
        ({"files": []}, ValueError, "files must name at least one image"),
        ({"scale": 0}, ValueError, "scale must be above 0 and finite, got 0"),
        ({"num_image_channels": 2}, ValueError, "num_image_channels must be 1, 3 or 4, got 2"),
        ({"transform": 5}, TypeError, "transform must be callable or None, got 5"),
        ({"depth_folder": "maps"}, FileNotFoundError, "must hold the folder maps"),
    ],
)
def test_bad_arguments_are_named(
    folder: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        DepthDataset(folder, **arguments)


def test_two_images_of_one_name_are_told_apart_by_their_suffix(folder: Path) -> None:
    save_picture(folder / "images" / "a.jpg", picture())

    with pytest.raises(ValueError, match=r"unambiguous, got 'a': \['a.jpg', 'a.png'\]"):
        DepthDataset(folder, ["a"])
    assert DepthDataset(folder, ["a.jpg"]).pairs[0][0].name == "a.jpg"


def test_an_index_beyond_the_last_pair_is_an_error(folder: Path) -> None:
    with pytest.raises(IndexError, match="got 3"):
        DepthDataset(folder)[3]


@pytest.mark.parametrize("shape", [(4, 7), (1, 4, 7), (4, 7, 1)])
@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.uint8])
def test_depth_arrays_may_have_a_channel_axis_and_any_type(
    tmp_path: Path, shape: tuple[int, ...], dtype: Any
) -> None:
    depth = np.arange(28).reshape(4, 7)
    save_array(tmp_path / "d.npy", depth.reshape(shape).astype(dtype))

    read = read_depth(tmp_path / "d.npy", 0.5)

    scaled = depth * 0.5 if np.issubdtype(dtype, np.integer) else depth
    assert read.dtype == np.float32
    assert np.array_equal(read, scaled)


def test_a_floating_point_tif_is_depth_as_it_is(tmp_path: Path) -> None:
    depth = np.array([[1.5, np.nan, 0.25]], np.float32)
    save_picture(tmp_path / "d.tif", depth)

    assert np.array_equal(read_depth(tmp_path / "d.tif", 0.001), depth, equal_nan=True)
