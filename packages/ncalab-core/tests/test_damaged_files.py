"""Whatever is read from a damaged file is what was written, or an error that names the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from core_models import MakeModel, TinyModel
from damaged_files import damage, damage_text, read_or_name, wrong_values
from safetensors.torch import save_file
from torch import Tensor

from ncalab.core import AbstractNCAModel, Preparation
from ncalab.core.config_edits import describe_edits
from ncalab.core.monolith import read_monolith
from ncalab.core.run_record import CHECKPOINT_NAME, HISTORY_NAME, read_run
from ncalab.core.saving import CONFIG_NAME, WEIGHTS_NAME, read_tensors
from ncalab.core.tensor_file import encode_tensors

# In all, 400 files and every key with every wrong value.
MANY = 100


def assert_the_same(model: AbstractNCAModel, other: AbstractNCAModel) -> None:
    assert model.to_dict() == other.to_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_damaged_weights_are_found(make_model: MakeModel, tmp_path: Path) -> None:
    model, path = make_model(), tmp_path / "weights"
    model.save(path)
    whole = path.read_bytes()
    refused = 0

    for seed in range(MANY):
        path.write_bytes(damage(whole, seed))
        found = read_or_name(lambda: TinyModel.from_pretrained(path), path)
        refused += found is None
        if found is not None:
            assert_the_same(found, model)

    assert refused > 0.9 * MANY


def test_flipped_bits_of_weights_are_found(make_model: MakeModel, tmp_path: Path) -> None:
    model, path = make_model(hidden_size=1, num_hidden_channels=0), tmp_path / "weights"
    model.save(path)
    whole = path.read_bytes()

    for place in range(0, 8 * len(whole), 23):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        found = read_or_name(lambda: TinyModel.from_pretrained(path), path)
        if found is not None:
            assert_the_same(found, model)


@pytest.fixture
def folder(make_model: MakeModel, tmp_path: Path) -> Path:
    """Return a folder of a model that has something of everything."""
    make_model(
        rule_args={"nonlinearity": torch.nn.Tanh}, training_timesteps=(3, 5)
    ).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_damaged_configuration_is_named(folder: Path) -> None:
    path = folder / CONFIG_NAME
    whole = path.read_bytes()

    for seed in range(MANY):
        path.write_bytes(damage_text(whole, seed))
        read_or_name(lambda: AbstractNCAModel.from_pretrained(folder), *folder.iterdir())


def test_every_wrong_value_of_a_configuration_is_named_with_its_key(folder: Path) -> None:
    path = folder / CONFIG_NAME
    whole = json.loads(path.read_text())

    for key, content in wrong_values(whole):
        path.write_bytes(content)
        try:
            AbstractNCAModel.from_pretrained(folder)
        except ValueError as error:
            if f"{folder / WEIGHTS_NAME} does not fit" not in str(error):
                assert str(error).startswith(f"{path}: ")
                assert key.rpartition(".")[2] in str(error)


def change(folder: Path, **changes: Any) -> None:
    path = folder / CONFIG_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_number_of_a_configuration_that_has_changed_counts_and_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = AbstractNCAModel.from_pretrained(folder)
    assert not caplog.records
    change(folder, fire_rate=0.25, training_timesteps=[3, 7])

    model = AbstractNCAModel.from_pretrained(folder)

    assert (model.fire_rate, model.training_timesteps) == (0.25, (3, 7))
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert message.startswith(f"{folder / CONFIG_NAME} has fire_rate = 0.25, where the model was ")
    assert f"saved with {before.fire_rate}" in message and "training_timesteps = [3, 7]" in message
    caplog.clear()
    alone = AbstractNCAModel.from_pretrained(folder / WEIGHTS_NAME)
    assert alone.fire_rate == before.fire_rate and not caplog.records


def test_weights_that_do_not_fit_a_changed_configuration_are_not_blamed_alone(folder: Path) -> None:
    change(folder, hidden_size=5)

    with pytest.raises(ValueError, match=r"does not fit.*; .*config.json has hidden_size = 5, whe"):
        AbstractNCAModel.from_pretrained(folder)


def test_a_preparation_that_was_taken_out_of_the_configuration_is_gone(folder: Path) -> None:
    model = AbstractNCAModel.from_pretrained(folder)
    model.preparation = Preparation(resize=(3, 4))
    model.save_pretrained(folder)
    assert AbstractNCAModel.from_pretrained(folder).preparation == model.preparation

    change(folder, preparation=None)

    assert AbstractNCAModel.from_pretrained(folder).preparation is None


@pytest.mark.parametrize(
    ("config", "saved", "want"),
    [
        ({"a": 1, "b": [2.0]}, {"a": 1.0, "b": [2]}, ""),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "c has a.b = 1, where the model was saved with 2"),
        ({"a": True}, {"a": 1}, "c has a = True, where the model was saved with 1"),
        ({}, {"a": 1}, "c has no a, where the model was saved with 1"),
        ({"a": 1}, {}, "c has a = 1, where the model was saved without it"),
    ],
)
def test_what_differs_is_described(config: Any, saved: Any, want: str) -> None:
    assert describe_edits(Path("c"), config, saved) == want


def test_many_differences_are_counted() -> None:
    config = dict.fromkeys("abcde", 1)

    assert describe_edits(Path("c"), config, dict.fromkeys("abcde", 2)).endswith(", and 2 more")


HISTORY = {
    "current_epoch": 3,
    "best_epoch": 2,
    "test_metrics": {"dice": 0.5, "iou": None},
    "curves": {"metrics": {"dice": [0.1, 0.5, None]}, "seconds": [1.0, 1.5, 2.0]},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a training."""
    (tmp_path / HISTORY_NAME).write_text(json.dumps(HISTORY))
    checkpoint = {"version": 1, "state": {"settings": {"lr": 0.1, "model.class": "A"}}}
    content = encode_tensors({"w": torch.rand(9)}, {"ncalab_checkpoint": json.dumps(checkpoint)})
    (tmp_path / CHECKPOINT_NAME).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(("name", "harm"), [(HISTORY_NAME, damage_text), (CHECKPOINT_NAME, damage)])
def test_a_damaged_file_of_a_run_is_named(
    run: Path, name: str, harm: Callable[[bytes, int], bytes]
) -> None:
    whole = (run / name).read_bytes()
    assert read_run(run).settings == {"lr": 0.1}

    for seed in range(MANY // 2):
        (run / name).write_bytes(harm(whole, seed))
        read_or_name(lambda: read_run(run), run / name)


def test_every_wrong_value_of_a_history_is_named_with_its_key(run: Path) -> None:
    path = run / HISTORY_NAME

    for key, content in wrong_values(HISTORY):
        path.write_bytes(content)
        try:
            read_run(run)
        except ValueError as error:
            assert str(path) in str(error)
            assert key.partition(".")[0] in str(error)


def old_weights() -> dict[str, Tensor]:
    shapes = {"0.weight": (8, 18, 1, 1), "0.bias": (8,), "2.weight": (6, 8, 1, 1)}
    state = {f"rule.network.{name}": torch.rand(shape) for name, shape in shapes.items()}
    return {**state, "perception.filters.0.weight": torch.rand(6, 1, 3, 3)}


@pytest.mark.parametrize("save", [save_file, torch.save])
def test_damaged_weights_of_the_monolith_are_named(
    tmp_path: Path, save: Callable[[Any, Any], None]
) -> None:
    path = tmp_path / "old"
    save(old_weights(), path)
    whole = path.read_bytes()

    for seed in range(MANY // 2):
        path.write_bytes(damage(whole, seed))
        read_or_name(lambda: str(read_monolith(path)), path)


def test_files_of_before_there_was_a_checksum_are_read(
    make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model()
    model.save(tmp_path / "new")
    tensors, metadata = read_tensors(tmp_path / "new")
    kept = {key: value for key, value in metadata.items() if key in ("format", "ncalab")}
    save_file(tensors, tmp_path / "old", kept)

    assert kept.keys() != metadata.keys()
    assert_the_same(TinyModel.from_pretrained(tmp_path / "old"), model)
