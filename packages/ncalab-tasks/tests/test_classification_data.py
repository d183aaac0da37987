import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ncalab.tasks import ClassificationDataset, IDXDataset, MedMNISTDataset, read_idx
from ncalab.tasks.classification.data import stratified_choice


def idx_bytes(array: np.ndarray, code: int = 0x08) -> bytes:
    header = struct.pack(">BBBB", 0, 0, code, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def pictures(count: int = 6, *shape: int) -> np.ndarray:
    shape = (count, *(shape or (4, 3)))
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def labels(count: int = 6) -> np.ndarray:
    return np.arange(count, dtype=np.uint8) % 3


def write_idx_folder(folder: Path, *, compress: bool = False, mark: str = "-") -> None:
    end, pack = (".gz", gzip.compress) if compress else ("", bytes)
    for prefix, count in (("train", 6), ("t10k", 3)):
        images = folder / f"{prefix}-images{mark}idx3-ubyte{end}"
        images.write_bytes(pack(idx_bytes(pictures(count))))
        (folder / f"{prefix}-labels{mark}idx1-ubyte{end}").write_bytes(
            pack(idx_bytes(labels(count)))
        )


# Arrays


def test_the_first_axis_of_an_image_is_w_and_values_are_scaled() -> None:
    image, label = ClassificationDataset(pictures(), labels())[4]

    assert image.shape == (1, 4, 3) and image.dtype == torch.float32
    assert label.shape == () and label.dtype == torch.int64 and label.item() == 1
    np.testing.assert_allclose(image[0].numpy(), pictures()[4] / 255, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_channels_come_first_in_items(channels: int) -> None:
    image, _ = ClassificationDataset(pictures(2, 4, 3, channels), labels(2))[1]

    assert image.shape == (channels, 4, 3)
    want = pictures(2, 4, 3, channels)[1].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(image.numpy(), want, atol=1e-6)


def test_floating_point_and_8_bit_images_are_the_same() -> None:
    first = ClassificationDataset(pictures(), labels())[2][0]
    second = ClassificationDataset(pictures() / 255, labels()[:, None])[2][0]

    torch.testing.assert_close(first, second)


def test_iteration_ends_and_counts_from_the_end() -> None:
    dataset = ClassificationDataset(pictures(), labels())

    assert len(list(dataset)) == len(dataset) == 6  # type: ignore[call-overload]  # by __getitem__
    assert torch.equal(dataset[-1][0], dataset[5][0])
    with pytest.raises(IndexError, match=r"idx must be in \[0, 6\), got 6"):
        dataset[6]


def test_a_transform_gets_a_copy_with_channels_by_keyword() -> None:
    def invert(*, image: np.ndarray) -> dict[str, Any]:
        assert image.shape == (4, 3, 1)
        np.subtract(255, image, out=image)
        return {"image": image[..., 0], "other": None}

    dataset = ClassificationDataset(pictures(), labels(), invert)

    np.testing.assert_allclose(dataset[1][0][0], 1 - pictures()[1] / 255, atol=1e-6)
    assert np.array_equal(dataset.images[1, ..., 0], pictures()[1])


def test_no_split_takes_over_the_transform_of_another() -> None:
    def blacken(*, image: np.ndarray) -> dict[str, Any]:
        return {"image": image * 0}

    dataset = ClassificationDataset(pictures(60), labels(60), blacken)

    rest, part = dataset.split_off(6, seed=0)
    train, _ = dataset.split_off(6, seed=0, transform=blacken)

    assert rest.transform is part.transform is dataset.subset([0]).transform is None
    assert train.transform is blacken
    assert part[0][0].any() and not train[0][0].any()


def test_a_split_keeps_the_share_of_each_class_and_every_sample_once() -> None:
    images = np.arange(60, dtype=np.uint8).reshape(60, 1, 1)
    dataset = ClassificationDataset(images, np.arange(60) // 20)

    rest, part = dataset.split_off(12, seed=3)
    again, _ = dataset.split_off(12, seed=3)
    other, _ = dataset.split_off(12, seed=4)

    assert np.bincount(part.labels).tolist() == [4, 4, 4]
    assert sorted([*rest.images.ravel(), *part.images.ravel()]) == list(range(60))
    assert np.array_equal(rest.images, again.images)
    assert not np.array_equal(rest.images, other.images)


def test_a_choice_of_all_is_all() -> None:
    assert stratified_choice(labels(9), 9, seed=0).tolist() == list(range(9))


@pytest.mark.parametrize("count", [0, 6, -1])
def test_a_split_needs_two_parts(count: int) -> None:
    with pytest.raises(ValueError, match=rf"count must be in \[1, 6\), got {count}"):
        ClassificationDataset(pictures(), labels()).split_off(count, seed=0)


@pytest.mark.parametrize(
    ("images", "targets", "error", "message"),
    [
        ([[1]], labels(), TypeError, "images must be a numpy array, got list"),
        (pictures()[0], labels(), ValueError, r"images must have shape .* got \(4, 3\)"),
        (pictures(0), labels(0), ValueError, r"images must have shape .* got \(0, 4, 3\)"),
        (pictures().astype(int), labels(), TypeError, "images must be uint8, uint16 or floating"),
        (pictures() * 1.0, labels(), ValueError, r"images must be in \[0, 1\]"),
        (np.full((6, 4, 3), np.nan), labels(), ValueError, r"images must be in \[0, 1\]"),
        (pictures(), labels(5), ValueError, r"\(6,\) or \(6, 1\) for 6 images, got \(5,\)"),
        (pictures(), np.eye(6, dtype=int), ValueError, r"got \(6, 6\)"),
        (pictures(), labels() * 1.0, TypeError, "labels must be integers, got float64"),
        (pictures(), labels().astype(int) - 1, ValueError, "labels must be at least 0, got -1"),
    ],
)
def test_bad_arrays_are_named(
    images: Any, targets: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ClassificationDataset(images, targets)


def test_a_transform_that_returns_no_image_is_named() -> None:
    dataset = ClassificationDataset(pictures(), labels(), lambda image: image)

    with pytest.raises(TypeError, match='transform must return a mapping with "image"'):
        dataset[0]
    with pytest.raises(TypeError, match="transform must be callable, got 'flip'"):
        ClassificationDataset(pictures(), labels(), "flip")  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "files must name at least one sample"),
        (["a.png"], "files must be indices of samples, got .*a.png"),
        ([6], r"files must be indices in \[0, 6\), got 6"),
        ([-1], r"files must be indices in \[0, 6\), got -1"),
    ],
)
def test_samples_that_do_not_exist_are_named(files: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassificationDataset(pictures(), labels()).subset(files)


# IDX


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("code", "dtype"),
    [(0x08, ">u1"), (0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")],
)
def test_every_idx_dtype_is_read(tmp_path: Path, code: int, dtype: str, *, compress: bool) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    data = idx_bytes(array, code)
    (tmp_path / "a").write_bytes(gzip.compress(data) if compress else data)

    got = read_idx(tmp_path / "a")

    assert got.dtype == np.dtype(dtype[1:]) and got.dtype.isnative
    assert np.array_equal(got, array)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not an IDX file"),
        (b"\x89PNG\r\n\x1a\n", "is not an IDX file: it starts with b'.x89PNG'"),
        (b"\0\0\x07\x01\0\0\0\0", "is not an IDX file"),
        (b"\0\0\x08\0", "is not an IDX file"),
        (b"\0\0\x08\x03\0\0\0\x01", "is truncated: it ends within its header"),
        (idx_bytes(pictures())[:-1], r"is truncated: .* 72 bytes .* \(6, 4, 3\), got 71"),
        (idx_bytes(pictures()) + b"?", "is not an IDX file of this shape: .* got 73"),
        (gzip.compress(idx_bytes(pictures()), mtime=0)[:-9], "is not a whole gzip file"),
        (b"\x1f\x8bnonsense", "is not a whole gzip file"),
        (b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff1", "is truncated: it must have 18446744"),
    ],
)
def test_broken_idx_files_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "broken").write_bytes(data)

    with pytest.raises(ValueError, match=f"broken {message}"):
        read_idx(tmp_path / "broken")


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("mark", ["-", "."])
def test_a_folder_in_the_layout_of_mnist_is_read(
    tmp_path: Path, mark: str, *, compress: bool
) -> None:
    write_idx_folder(tmp_path, compress=compress, mark=mark)

    train, test = IDXDataset(tmp_path), IDXDataset(tmp_path, split="test")

    assert (len(train), len(test)) == (6, 3)
    assert np.array_equal(train.images[..., 0], pictures(6))
    assert test.labels.tolist() == [0, 1, 2]


def test_a_fold_names_samples_by_text(tmp_path: Path) -> None:
    write_idx_folder(tmp_path)

    fold = IDXDataset(tmp_path, ["4", "0"], None)

    assert np.array_equal(fold.images[..., 0], pictures(6)[[4, 0]])
    assert fold.labels.tolist() == [1, 0]


def test_a_folder_without_its_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="t10k-images-idx3-ubyte.gz.* got .*"):
        IDXDataset(tmp_path, split="test")
    with pytest.raises(ValueError, match="split must be one of train, test, got 'val'"):
        IDXDataset(tmp_path, split="val")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(FileNotFoundError, match="path must be an IDX file"):
        read_idx(tmp_path)


def test_images_and_labels_that_do_not_go_together_are_named(tmp_path: Path) -> None:
    write_idx_folder(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels(5)))

    with pytest.raises(ValueError, match=r"as many labels as images, got .*\(6, 4, 3\) and \(5,\)"):
        IDXDataset(tmp_path)


# MedMNIST


def write_npz(path: Path, **others: np.ndarray) -> Path:
    arrays = {}
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        arrays[f"{split}_images"] = pictures(count, 4, 3, 3)
        arrays[f"{split}_labels"] = labels(count)[:, None]
    np.savez_compressed(path, **{**arrays, **others})  # type: ignore[arg-type]  # names of arrays
    return path


def test_each_split_of_medmnist_is_read(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "med.npz")

    val = MedMNISTDataset(path, split="val")
    chosen = MedMNISTDataset(path, ["5", "1"])

    assert (len(MedMNISTDataset(path)), len(val)) == (6, 2)
    assert np.array_equal(val.images, pictures(2, 4, 3, 3))
    assert val[1][0].shape == (3, 4, 3) and val[1][1].item() == 1
    assert np.array_equal(chosen.images, pictures(6, 4, 3, 3)[[5, 1]])


def test_grey_medmnist_images_have_one_channel(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "grey.npz", train_images=pictures(6))

    assert MedMNISTDataset(path)[0][0].shape == (1, 4, 3)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"train_labels": np.zeros((6, 14), int)}, r"labels must have shape .* got \(6, 14\)"),
        ({"train_images": pictures(6, 4, 4, 4)}, r"must hold images .* got \(6, 4, 4, 4\)"),
        ({"train_labels": labels(5)}, "must hold as many labels as images"),
        ({"train_labels": np.array([{}] * 6)}, "is not a whole .npz file of plain arrays"),
    ],
)
def test_what_is_no_image_classification_is_named(
    tmp_path: Path, others: dict[str, np.ndarray], message: str
) -> None:
    path = write_npz(tmp_path / "other.npz", **others)

    with pytest.raises(ValueError, match=message):
        MedMNISTDataset(path)


def test_a_file_without_the_split_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "half.npz", train_images=pictures())

    with pytest.raises(ValueError, match="must hold train_labels, got train_images"):
        MedMNISTDataset(tmp_path / "half.npz")


@pytest.mark.parametrize("damage", ["foreign", "truncated", "array"])
def test_broken_npz_files_are_named(tmp_path: Path, damage: str) -> None:
    path = write_npz(tmp_path / "broken.npz")
    data = path.read_bytes()
    if damage == "array":
        with path.open("wb") as file:
            np.save(file, pictures())
    else:
        path.write_bytes(b"no archive" if damage == "foreign" else data[: len(data) // 2])

    with pytest.raises(ValueError, match=r"broken.npz is not a whole .npz file of plain arrays"):
        MedMNISTDataset(path)


def test_a_missing_npz_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"path must be an .npz file, got .*nowhere"):
        MedMNISTDataset(tmp_path / "nowhere.npz")
