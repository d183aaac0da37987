import json
import multiprocessing
import random
import time
from pathlib import Path

import killed_training
import pytest
from train_models import EchoModel, same

from ncalab.train.checkpoint import read_checkpoint

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(),
    reason="without a forkserver every process would import torch anew",
)


def read_run(folder: Path) -> int:
    """Read all that is in a run folder; return the epoch of its checkpoint."""
    if not (folder / "checkpoint.safetensors").exists():
        assert not [path for path in folder.glob("*") if path.suffix != ".tmp"]
        return 0
    epoch = int(read_checkpoint(folder / "checkpoint.safetensors")["epoch"])
    if (folder / "history.json").exists():
        history = json.loads((folder / "history.json").read_text())
        assert epoch - 1 <= history["current_epoch"] <= epoch
        for name in ("last_model", "best_model", "average_model"):
            EchoModel.from_pretrained(folder / f"{name}.safetensors")
    return epoch


def test_a_training_that_is_killed_again_and_again_equals_one_that_is_not(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["ncalab.train", "torch._dynamo", "torchmetrics"])
    random.seed(1)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    epoch = 0
    for _ in range(3):
        started = processes.Event()
        process = processes.Process(target=killed_training.train, args=(killed, 5000, started))
        process.start()
        assert started.wait(120)
        time.sleep(random.uniform(0.1, 0.4))
        process.kill()
        process.join()
        assert process.exitcode == -9
        assert read_run(killed) >= epoch  # nothing that was saved is lost
        epoch = read_run(killed)

    for folder in (killed, whole):
        started = processes.Event()
        process = processes.Process(target=killed_training.train, args=(folder, epoch + 3, started))
        process.start()
        process.join(300)
        assert process.exitcode == 0
    first, second = (read_checkpoint(f / "checkpoint.safetensors") for f in (killed, whole))
    assert first["epoch"] == epoch + 3
    same(first, second)
