import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

from ncalab.train import SplitDefinition, TrainValRecord, split_file

FILES = [f"case_{index:02d}" for index in range(12)]
LABELS = ["ill" if index % 3 == 0 else "well" for index in range(12)]
GROUPS = [f"patient {index // 2}" for index in range(12)]

Split = Callable[[], SplitDefinition]


def kfold() -> SplitDefinition:
    return SplitDefinition.kfold(FILES, 3, seed=4)


def stratified() -> SplitDefinition:
    return SplitDefinition.stratified(FILES, LABELS, 4, seed=4)


def grouped() -> SplitDefinition:
    return SplitDefinition.group(FILES, GROUPS, 3)


def as_lists(split: SplitDefinition) -> list[tuple[list[str], list[str]]]:
    return [(fold.train, fold.val) for fold in split]


@pytest.mark.parametrize("make", [kfold, stratified, grouped])
def test_every_file_validates_in_one_fold_and_trains_in_all_others(make: Split) -> None:
    split = make()

    assert sorted(file for fold in split for file in fold.val) == FILES
    assert all(sorted(fold.train + fold.val) == FILES for fold in split)


@pytest.mark.parametrize(
    ("make", "reference"),
    [
        (kfold, KFold(3, shuffle=True, random_state=4).split(FILES)),
        (stratified, StratifiedKFold(4, shuffle=True, random_state=4).split(FILES, LABELS)),
        (grouped, GroupKFold(3).split(FILES, groups=GROUPS)),
    ],
)
def test_splits_are_those_of_scikit_learn(make: Split, reference: Any) -> None:
    names = np.array(FILES)

    assert as_lists(make()) == [(list(names[a]), list(names[b])) for a, b in reference]


def test_stratified_folds_have_each_label_in_proportion() -> None:
    ill = {file for file, label in zip(FILES, LABELS, strict=True) if label == "ill"}

    assert [len(ill & set(fold.val)) for fold in stratified()] == [1, 1, 1, 1]


def test_no_group_is_torn_apart() -> None:
    group = dict(zip(FILES, GROUPS, strict=True))

    for fold in grouped():
        assert not {group[file] for file in fold.train} & {group[file] for file in fold.val}


def test_the_seed_decides_how_files_are_dealt() -> None:
    assert as_lists(kfold()) == as_lists(kfold())
    assert as_lists(kfold()) != as_lists(SplitDefinition.kfold(FILES, 3, seed=5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SplitDefinition.kfold(["a", "b"], 3), "at most 2, the number of files, got 3"),
        (lambda: SplitDefinition.kfold(["a", "b"], 1), "n_splits must be at least 2, got 1"),
        (lambda: SplitDefinition.kfold(["a", "a"], 2), "files must list each file once, got 'a'"),
        (
            lambda: SplitDefinition.stratified(FILES, LABELS, 5),
            "at most 4, the number of files of the rarest label, got 5",
        ),
        (lambda: SplitDefinition.group(FILES, GROUPS, 7), "at most 6, the number of groups, got 7"),
        (
            lambda: SplitDefinition.group(FILES, ["p"]),
            r"groups must be as many as files \(12\), got",
        ),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(make: Split, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    kfold().write(tmp_path / "folder" / "splits_final.json")

    read = SplitDefinition.read(tmp_path / "folder" / "splits_final.json")

    assert as_lists(read) == as_lists(kfold())
    assert (len(read), read[-1].val) == (3, kfold()[2].val)
    assert read.dataloader_test is None


def test_a_file_of_nnunet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    path.write_text('[{"train": ["hippo_001", "hippo_003"], "val": ["hippo_004"]}]')

    assert as_lists(SplitDefinition.read(path)) == [(["hippo_001", "hippo_003"], ["hippo_004"])]


def test_another_split_is_overwritten_only_when_told_to(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    kfold().write(path)
    kfold().write(path)  # the same one

    with pytest.raises(FileExistsError, match="path must not hold another file, got .*split.json"):
        grouped().write(path)
    assert as_lists(SplitDefinition.read(path)) == as_lists(kfold())

    grouped().write(path, overwrite=True)
    assert as_lists(SplitDefinition.read(path)) == as_lists(grouped())


def test_a_split_without_folds_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="folds must hold at least one fold"):
        SplitDefinition().write(tmp_path / "split.json")
    assert not list(tmp_path.iterdir())


def test_folds_can_be_added_by_hand() -> None:
    split = SplitDefinition()
    split.folds.append(TrainValRecord(["a"], ["b"]))

    assert len(split) == 1 and split[0].val == ["b"]


def fold(train: Any, val: Any) -> Any:
    return {"train": train, "val": val}


GOOD = fold(["a"], ["b"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD, "must hold a list of folds, got an object"),
        (3, "must hold a list of folds, got a number"),
        (None, "must hold a list of folds, got null"),
        ([], "must hold at least one fold, got an empty list"),
        ([GOOD, ["a"]], "fold 1: must be an object with .*, got a list"),
        ([GOOD, {"train": ["a"]}], r"fold 1: must have the key \"val\", got \['train'\]"),
        ([{"val": ["a"]}], 'fold 0: must have the key "train"'),
        ([fold("a", ["b"])], "fold 0: train must be a list of file names, got a string"),
        ([GOOD, fold(["a"], ["b", 7])], "fold 1: val must hold file names only, got 7"),
        ([fold([None], ["b"])], "fold 0: train must hold file names only, got None"),
        ([fold(["a"], [["b"]])], r"fold 0: val must hold file names only, got \['b'\]"),
        ([fold([""], ["b"])], "fold 0: train must hold file names only, got ''"),
        ([GOOD, fold([], ["b"])], "fold 1: train must hold at least one file, got none"),
        ([fold(["a"], [])], "fold 0: val must hold at least one file, got none"),
        ([fold(["a", "b"], ["b"])], "fold 0: train and val must have no file in common, got 'b'"),
        ([GOOD, fold(["a"], ["b", "b"])], "fold 1: val must list each file once, got 'b'"),
    ],
)
def test_a_malformed_split_is_refused_with_file_fold_and_reason(
    tmp_path: Path, content: Any, message: str
) -> None:
    path = tmp_path / "split.json"
    path.write_text(json.dumps(content))

    with pytest.raises(ValueError, match=f"split.json.* {message}"):
        SplitDefinition.read(path)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("exploded"),)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (json.dumps([GOOD]).encode()[:-5], "must be whole JSON"),
        (b"", "must be whole JSON"),
        (json.dumps([fold(["ä"], ["b"])], ensure_ascii=False).encode("latin-1"), "JSON in UTF-8"),
        (pickle.dumps([GOOD, Bomb()]), "JSON in UTF-8"),
        (pickle.dumps([GOOD, Bomb()], protocol=0), "must be whole JSON"),
        (b"[" * 200_000, "must be a list of folds"),
        (b"[" + b"9" * 10_000 + b"]", "must be a list of folds"),
        (b'[{"train": ["a"], "train": ["c"], "val": ["b"]}]', "has the key 'train' more than once"),
    ],
    ids=[
        "truncated",
        "empty",
        "latin-1",
        "pickle",
        "pickle 0",
        "deep",
        "long number",
        "two trains",
    ],
)
def test_bytes_that_are_no_split_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "split.json"
    path.write_bytes(data)

    with pytest.raises(ValueError, match=f"split.json must be .*{message}|split.json {message}"):
        SplitDefinition.read(path)
    assert path.read_bytes() == data and not (tmp_path / "exploded").exists()


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "split.json"
    with path.open("wb") as file:
        file.truncate(split_file.MAX_BYTES + 1)  # takes no room on the disk

    def read_text(*arguments: Any, **rest: Any) -> str:
        raise AssertionError("it was read")

    monkeypatch.setattr(Path, "read_text", read_text)
    with pytest.raises(
        ValueError, match="split.json must be at most 67108864 bytes long, got 67108"
    ):
        SplitDefinition.read(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="path must be a JSON file of a split, got .*none"):
        SplitDefinition.read(tmp_path / "none.json")
    with pytest.raises(ValueError, match="path must be a JSON file of a split, .* not a file"):
        SplitDefinition.read(tmp_path)


def test_a_byte_order_mark_is_no_reason_to_refuse_a_file(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_bytes(json.dumps([GOOD]).encode("utf-8-sig"))

    assert as_lists(SplitDefinition.read(path)) == [(["a"], ["b"])]


def test_a_key_without_a_meaning_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "split.json"
    path.write_text(json.dumps([{**GOOD, "test": ["c"]}]))

    SplitDefinition.read(path)

    assert "fold 0: keys without a meaning here are left out: ['test']" in caplog.text
