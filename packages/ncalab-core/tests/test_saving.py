import json
import os
import pickle
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from core_models import MakeModel, TinyModel
from safetensors.torch import save_file
from torch import Tensor, nn

from ncalab.core import AbstractNCAModel
from ncalab.core.saving import atomic_write, check_writable_folder, free_folder, save_weights

CONFIGURATIONS: list[dict[str, Any]] = [
    {},
    {"num_learned_filters": 2, "kernel_size": 5, "filter_padding": "circular"},
    {"rule_args": {"nonlinearity": nn.Tanh}, "use_temporal_encoding": True},
    {"training_timesteps": (20, 30), "use_laplace": True, "pad_noise": True},
]


@pytest.mark.parametrize("arguments", CONFIGURATIONS)
def test_a_configuration_survives_json(make_model: MakeModel, arguments: dict[str, Any]) -> None:
    model = make_model(**arguments)

    twin = AbstractNCAModel.from_dict(json.loads(json.dumps(model.to_dict())))

    assert isinstance(twin, TinyModel)
    assert twin.to_dict() == model.to_dict()
    assert {k: v.shape for k, v in twin.state_dict().items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }


def test_a_changed_attribute_is_part_of_the_configuration(make_model: MakeModel) -> None:
    model = make_model()
    model.fire_rate = 0.25

    assert model.to_dict()["fire_rate"] == 0.25


@pytest.mark.parametrize("arguments", CONFIGURATIONS)
def test_a_saved_model_predicts_the_same(
    make_model: MakeModel, image: Tensor, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    model = make_model(**arguments)
    model.save_pretrained(tmp_path / "model")
    model.save(tmp_path / "weights.safetensors")

    want = model.predict(image, 4, seed=1).output_image
    for path in (tmp_path / "model", tmp_path / "weights.safetensors"):
        twin = TinyModel.from_pretrained(path)
        assert torch.equal(twin.predict(image, 4, seed=1).output_image, want)


def test_load_copies_weights_into_a_model(
    make_model: MakeModel, image: Tensor, tmp_path: Path
) -> None:
    model, other = make_model(), make_model(awake=False)
    model.save(tmp_path / "a.safetensors")

    assert AbstractNCAModel.load(other, tmp_path / "a.safetensors") is other
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)
    )


SIZES = {"num_image_channels": 1, "num_hidden_channels": 1, "num_output_channels": 1}


def broken_files(tmp_path: Path, model: TinyModel) -> dict[str, tuple[Path, str]]:
    """Write one file for each way a weights file can be wrong, with the reason to expect."""
    whole = tmp_path / "whole.safetensors"
    model.save(whole)
    tensors = {k: v.clone() for k, v in model.state_dict().items()}
    name = next(iter(tensors))
    contents: dict[str, tuple[bytes | dict[str, Tensor], str]] = {
        "truncated": (whole.read_bytes()[:-9], "not a whole safetensors file"),
        "empty": (b"", "not a whole safetensors file"),
        "huge-header": ((2**40).to_bytes(8, "little") + b"{", "not a whole safetensors file"),
        "pickle": (pickle.dumps({"a": 1}), "not a whole safetensors file"),
        "lacking": ({k: v for k, v in tensors.items() if k != name}, "lacks"),
        "extra": ({**tensors, "more": torch.zeros(2)}, "extra"),
        "shape": ({**tensors, name: torch.zeros(3)}, "must have shape"),
        "nan": ({**tensors, name: tensors[name] * torch.nan}, "NaN"),
    }
    files = {}
    for kind, (content, reason) in contents.items():
        path = tmp_path / f"{kind}.safetensors"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            save_file(content, path)
        files[kind] = (path, reason)
    return files


@pytest.mark.parametrize(
    "kind", ["truncated", "empty", "huge-header", "pickle", "lacking", "extra", "shape", "nan"]
)
def test_a_broken_file_is_named_and_nothing_is_loaded(
    make_model: MakeModel, tmp_path: Path, kind: str
) -> None:
    model = make_model()
    path, reason = broken_files(tmp_path, model)[kind]
    before = {k: v.clone() for k, v in model.state_dict().items()}

    with pytest.raises(ValueError, match=reason) as error:
        AbstractNCAModel.load(model, path)

    assert str(path) in str(error.value)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


class OtherModel(TinyModel):
    """A model with the same parameters under another name."""


def test_weights_of_another_class_are_refused(make_model: MakeModel, tmp_path: Path) -> None:
    OtherModel(torch.device("cpu"), 4, 3, 2, hidden_size=16).save(tmp_path / "a.safetensors")

    with pytest.raises(ValueError, match="weights of TinyModel, got 'OtherModel'"):
        AbstractNCAModel.load(make_model(), tmp_path / "a.safetensors")


def test_missing_files_are_named(make_model: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        AbstractNCAModel.load(make_model(), tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="config.json"):
        TinyModel.from_pretrained(tmp_path)


def test_an_error_names_the_models_of_a_run(make_model: MakeModel, tmp_path: Path) -> None:
    save_weights(make_model(), tmp_path / "best_model.safetensors")

    for given in (tmp_path, tmp_path / "best_model"):
        with pytest.raises(FileNotFoundError, match=r"; there is .*best_model\.safetensors$"):
            TinyModel.from_pretrained(given)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"class": "NoSuchModel"}, "'NoSuchModel' is not known"),
        ({"class": "TinyModel", **SIZES, "num_wings": 2}, "num_wings"),
        ({"class": "TinyModel"}, "num_image_channels"),
        ({"class": "TinyModel", "rule_type": "os.system"}, "'os.system' is not a registered rule"),
    ],
)
def test_a_foreign_configuration_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TinyModel.from_dict(config)


def test_an_abstract_class_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be abstract, got 'AbstractNCAModel'"):
        AbstractNCAModel.from_dict(SIZES)


def test_an_argument_that_is_no_data_is_named(make_model: MakeModel) -> None:
    model = make_model()
    model.rule_args = {"nonlinearity": object}

    with pytest.raises(TypeError, match="must be a registered part or one of torch's activations"):
        model.to_dict()


def test_a_failed_write_keeps_the_file_and_leaves_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"first")

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        atomic_write(path, b"second")

    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits")
def test_written_files_have_the_mode_of_ordinary_ones(tmp_path: Path) -> None:
    (tmp_path / "ordinary").write_bytes(b"")
    atomic_write(tmp_path / "ours", b"")

    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ordinary", "ours")]
    assert modes[0] == modes[1]


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ValueError, match="model_path must be a writable folder, got .*file"):
        check_writable_folder(tmp_path / "file", name="model_path")
    assert check_writable_folder(tmp_path / "new" / "folder").is_dir()


def test_a_disk_without_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(ValueError, match="folder must be a writable folder, .*No space left"):
        check_writable_folder(tmp_path, name="folder", size=100)

    assert not list(tmp_path.iterdir())


def test_other_weights_of_a_model_can_be_saved(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    doubled = {name: 2 * value for name, value in model.state_dict().items()}

    save_weights(model, tmp_path / "w", weights=doubled)

    loaded = TinyModel.from_pretrained(tmp_path / "w").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in doubled.items())


def test_a_header_of_a_gigabyte_is_refused_unread(make_model: MakeModel, tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.write((2**30).to_bytes(8, "little"))
        file.truncate(2**30 + 8)  # sparse

    with pytest.raises(ValueError, match="huge is not a whole safetensors file: .*[lL]arge"):
        AbstractNCAModel.load(make_model(), path)


def test_a_free_folder_is_the_first_name_that_nothing_has(tmp_path: Path) -> None:
    assert free_folder(tmp_path / "v1.5_run") == tmp_path / "v1.5_run"

    (tmp_path / "v1.5_run").mkdir()
    (tmp_path / "v1.5_run-2").write_text("a file is not free either")

    assert free_folder(tmp_path / "v1.5_run") == tmp_path / "v1.5_run-3"
    assert not (tmp_path / "v1.5_run-3").exists()


def test_a_name_as_long_as_names_may_be_is_written(tmp_path: Path) -> None:
    for name in ("n" * 255, "ü" * 127):
        atomic_write(tmp_path / name, b"all")

        assert (tmp_path / name).read_bytes() == b"all"
