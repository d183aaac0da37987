import math
import pickle
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from train_models import EchoModel, equal, loader, make_tiny, same, weights

from ncalab.core import AbstractNCAModel
from ncalab.train import BasicNCATrainer, EarlyStopping, Pool
from ncalab.train.checkpoint import read_checkpoint, write_checkpoint
from ncalab.train.random_state import (
    LocalRandomness,
    capture_random_state,
    find_generators,
    restore_random_state,
)


def test_nested_data_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {
        "tensors": [torch.arange(3), None, torch.ones(2, 2, dtype=torch.bfloat16)],
        "numbers by number": {0: (1, 2.5), 7: math.inf},
        "text": {"a/b": "ü", "$tensor": "no tensor"},
        "flags": (True, None, [], {}),
        "precise": 0.1 + 0.2,
    }

    write_checkpoint(tmp_path / "c", state)

    same(read_checkpoint(tmp_path / "c"), state)


def test_nan_is_kept(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "c", {"best": math.nan})

    assert math.isnan(read_checkpoint(tmp_path / "c")["best"])


def test_views_of_one_tensor_are_stored_apart(tmp_path: Path) -> None:
    whole = torch.arange(6.0).view(2, 3)

    write_checkpoint(tmp_path / "c", {"rows": [whole[0], whole[1], whole.t()]})

    rows = read_checkpoint(tmp_path / "c")["rows"]
    assert rows[1].tolist() == [3, 4, 5] and rows[2].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_what_is_no_data_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(
        TypeError, match="scheduler/0/fn must be data .* got <built-in function len"
    ):
        write_checkpoint(tmp_path / "c", {"scheduler": [{"fn": len}]})

    assert not (tmp_path / "c").exists()


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("exploded"),))


def damaged(path: Path, how: str) -> None:
    """Replace a whole file by something else of its name."""
    whole = path.read_bytes()
    if how == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    elif how == "torch pickle":
        torch.save({"payload": Bomb()}, path)
    elif how == "1 GB header":
        with path.open("wb") as file:
            file.write(struct.pack("<Q", 2**30))
            file.write(b"{")
            file.truncate(2**30 + 100)  # sparse: takes no room
    elif how == "longer than itself":
        path.write_bytes(struct.pack("<Q", 2**62) + whole[8:])
    elif how == "foreign tensors":
        save_file({"a": torch.ones(3)}, path)


DAMAGES = [
    "truncated",
    "empty",
    "pickle",
    "torch pickle",
    "1 GB header",
    "longer than itself",
    "foreign tensors",
]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_checkpoint_is_refused_and_nothing_happens(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    BasicNCATrainer(make_tiny(), folder, max_epochs=1, progress=False).train(loader())
    damaged(folder / "checkpoint.safetensors", how)
    sizes = {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir()}
    nca = make_tiny()
    before = weights(nca)

    with pytest.raises(ValueError, match="checkpoint.safetensors (is not|must be the checkp)"):
        BasicNCATrainer(nca, folder, max_epochs=2, progress=False).train(loader(), resume=True)

    assert equal(weights(nca), before)
    assert not (tmp_path / "exploded").exists()
    assert sizes == {
        path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir()
    }


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_weights_are_refused(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "last_model.safetensors"
    make_tiny().save(path)
    damaged(path, how)
    nca = make_tiny()
    before = weights(nca)

    reasons = "is not a whole|does not fit|must be a safetensors file|is damaged"
    with pytest.raises(ValueError, match=f"last_model.safetensors ({reasons})"):
        AbstractNCAModel.load(nca, path)

    assert equal(weights(nca), before)
    assert not (tmp_path / "exploded").exists()


def change(folder: Path, key: str, value: Any) -> None:
    path = folder / "checkpoint.safetensors"
    write_checkpoint(path, {**read_checkpoint(path), key: value})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model", {}, "does not fit EchoModel"),
        ("optimizers", [{"state": {}, "param_groups": []}], "different number of parameter groups"),
        ("optimizers", [3], "is a damaged checkpoint"),
        ("history", {"curves": {}}, "is a damaged checkpoint: KeyError"),
        ("random", {"torch": torch.zeros(3)}, "is a damaged checkpoint"),
        ("settings", [1], "is a damaged checkpoint: AttributeError"),
        ("model", 5, "is a damaged checkpoint: AttributeError"),
    ],
)
def test_a_checkpoint_with_wrong_contents_is_refused(
    tmp_path: Path, key: str, value: Any, message: str
) -> None:
    BasicNCATrainer(make_tiny(), tmp_path, max_epochs=1, progress=False).train(loader())
    change(tmp_path, key, value)
    nca = make_tiny()
    before = weights(nca)

    with pytest.raises(ValueError, match=message):
        BasicNCATrainer(nca, tmp_path, max_epochs=2, progress=False).train(loader(), resume=True)

    assert equal(weights(nca), before)


@pytest.mark.parametrize("key", ["model", "best"])
def test_a_checkpoint_with_nan_weights_is_refused(tmp_path: Path, key: str) -> None:
    BasicNCATrainer(make_tiny(), tmp_path, max_epochs=1, progress=False).train(loader())
    state = read_checkpoint(tmp_path / "checkpoint.safetensors")[key]
    state["rule.network.0.bias"][2] = math.nan
    change(tmp_path, key, state)

    with pytest.raises(ValueError, match="finite weights, but rule.network.0.bias has NaN"):
        BasicNCATrainer(make_tiny(), tmp_path, progress=False).train(loader(), resume=True)


def test_a_checkpoint_with_nan_in_the_average_is_refused(tmp_path: Path) -> None:
    trainer = BasicNCATrainer(make_tiny(), tmp_path, max_epochs=1, ema_decay=0.9, progress=False)
    trainer.train(loader())
    state = read_checkpoint(tmp_path / "checkpoint.safetensors")["average"]
    state["module.rule.network.0.bias"][2] = math.nan
    change(tmp_path, "average", state)

    with pytest.raises(ValueError, match="finite weights, but module.rule.network.0.bias has NaN"):
        trainer.train(loader(), resume=True)


def test_a_checkpoint_without_all_its_parts_is_refused(tmp_path: Path) -> None:
    BasicNCATrainer(make_tiny(), tmp_path, max_epochs=1, progress=False).train(loader())
    path = tmp_path / "checkpoint.safetensors"
    state = read_checkpoint(path)
    del state["pool"], state["random"]
    write_checkpoint(path, state)

    with pytest.raises(ValueError, match="is a damaged checkpoint: it lacks pool, random"):
        BasicNCATrainer(make_tiny(), tmp_path, progress=False).train(loader(), resume=True)


def test_a_checkpoint_has_the_keys_that_earlier_runs_have_written(tmp_path: Path) -> None:
    trainer = BasicNCATrainer(
        make_tiny(), tmp_path, max_epochs=1, pool=Pool(size=2), ema_decay=0.9, progress=False
    )
    trainer.train(loader(), earlystopping=EarlyStopping(3))

    state = read_checkpoint(tmp_path / "checkpoint.safetensors")

    assert " ".join(state) == (
        "settings model best average optimizers scheduler pool early_stopping history epoch steps "
        "lr seconds batches iterations epoch_start random sums counts"
    )
    assert [*state["random"]] == ["torch", "numpy", "python", "generators", "cuda"]
    assert [*state["early_stopping"]] == ["best_accuracy", "counter"]
    assert {name.split(".")[0] for name in state["settings"]} == {
        "data",
        "head_optimizer",
        "lr_scheduler",
        "model",
        "optimizer",
        "trainer",
    }
    assert state["settings"]["trainer.pool"].startswith("Pool(n_seed=1")
    assert {"trainer.lr", "trainer.accumulate", "model.parameters"} <= state["settings"].keys()
    assert not {"trainer.progress", "trainer.recipe", "trainer.nca"} & state["settings"].keys()


def rewrite(path: Path, text: str) -> None:
    save_file(load_file(path), path, {"ncalab_checkpoint": text})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version": 3, "sta', "is a damaged checkpoint: JSONDecodeError"),
        ('{"version": 99, "state": {}}', "must be a checkpoint of version 3, got 99"),
        ('{"version": 3, "state": 3}', "its state is not an object"),
        (
            '{"version": 3, "state": {"a": {"$tensor": "gone"}}}',
            "is a damaged checkpoint: KeyError",
        ),
        ("[" * 100_000, "is a damaged checkpoint: RecursionError"),
        ("null", "is a damaged checkpoint"),
    ],
)
def test_broken_text_in_a_checkpoint_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c"
    write_checkpoint(path, {"a": torch.ones(1)})
    rewrite(path, text)

    with pytest.raises(ValueError, match=message):
        read_checkpoint(path)


def test_all_random_states_are_restored() -> None:
    own = torch.Generator().manual_seed(3)
    state = capture_random_state([own])

    def draw() -> list[float]:
        drawn = [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn()]
        return [*drawn, torch.rand(1).item(), torch.rand(1, generator=own).item()]

    first = draw()
    assert draw() != first
    restore_random_state(state, [own])
    assert draw() == first


def test_another_number_of_generators_is_refused() -> None:
    with pytest.raises(ValueError, match="must have 1 generators .* got 0"):
        restore_random_state(capture_random_state([torch.Generator()]), [])


def test_generators_of_samplers_are_found_once() -> None:
    own, other = torch.Generator(), torch.Generator()
    data = loader(shuffle=True, generator=own)
    sampled = loader(sampler=torch.utils.data.RandomSampler(range(4), generator=other))

    assert find_generators(data, data, None) == [own]
    assert find_generators(data, sampled) == [own, other]


def test_processes_have_streams_of_their_own_and_leave_the_shared_one_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    drawn = []
    for rank in (0, 1, 0):
        local = LocalRandomness(rank)
        with local.drawing():
            first = torch.rand(1).item()
        with local.drawing():
            drawn.append((first, torch.rand(1).item(), np.random.rand(), random.random()))

    assert torch.equal(torch.get_rng_state(), before)
    assert drawn[0] == drawn[2] and drawn[0] != drawn[1]
    assert drawn[0][0] != drawn[0][1]


def test_the_weights_of_a_run_are_those_of_its_model(tmp_path: Path) -> None:
    nca = make_tiny()
    BasicNCATrainer(nca, tmp_path, max_epochs=1, progress=False).train(loader())

    twin = EchoModel.from_pretrained(tmp_path / "last_model.safetensors")

    assert equal(weights(twin), weights(nca))
