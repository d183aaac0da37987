"""Kill a training at random snapshots, and see that its folder is whole and always resumes.

    python benchmarks/kill_and_resume.py
    python benchmarks/kill_and_resume.py --kills 20 --epochs 400

A process trains and saves after every epoch. It is killed (SIGKILL) after a random time, started
again, and so on. After every kill each file of the run folder must be whole; at the end, the run
must equal one that was never killed, to the bit.
"""

import argparse
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ncalab.core import fix_random_seed
from ncalab.tasks import GrowingNCAModel
from ncalab.train import BasicNCATrainer, Pool
from ncalab.train.checkpoint import read_checkpoint

WEIGHTS = ("last_model", "best_model", "average_model")


def train(folder: Path, epochs: int, started: Any) -> None:
    """Train or resume, and save after every epoch."""
    torch.set_num_threads(1)
    fix_random_seed(0)
    nca = GrowingNCAModel(
        torch.device("cpu"), num_hidden_channels=4, hidden_size=16, training_timesteps=(3, 6)
    )
    image = torch.rand(6, 4, 10, 10)
    seeds = nca.make_seed(10, 10).repeat(6, 1, 1, 1)
    data = DataLoader(TensorDataset(seeds, image), batch_size=3, shuffle=True)
    trainer = BasicNCATrainer(
        nca, folder, max_epochs=epochs, pool=Pool(size=12), ema_decay=0.99, progress=False
    )
    started.set()
    trainer.train(data, data, save_every=1, resume=True)


def check_folder(folder: Path) -> int:
    """Read every file of a run folder; return the epoch of its checkpoint."""
    if not (folder / "checkpoint.safetensors").exists():
        leftovers = [path.name for path in folder.glob("*") if not path.name.startswith(".")]
        if leftovers:
            raise AssertionError(f"files without a checkpoint: {leftovers}")
        return 0
    epoch = int(read_checkpoint(folder / "checkpoint.safetensors")["epoch"])
    if (folder / "history.json").exists():
        history = json.loads((folder / "history.json").read_text())
        if not epoch - 1 <= history["current_epoch"] <= epoch:
            raise AssertionError(f"history of {history['current_epoch']}, checkpoint of {epoch}")
        for name in WEIGHTS:
            GrowingNCAModel.from_pretrained(folder / f"{name}.safetensors")
    return epoch


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Iterate over the values of nested data that do not tell the time."""
    if isinstance(value, dict | list | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in pairs:
            if key not in ("seconds", "created", "modified"):
                yield from leaves(item, f"{place}/{key}")
    else:
        yield place, value.tolist() if isinstance(value, Tensor) else value


def main() -> None:
    """Kill, resume and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=3000, help="enough not to end before")
    parser.add_argument("--longest", type=float, default=1.0, help="seconds until a kill")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    processes = multiprocessing.get_context("forkserver")
    # Imported once, not in each of a hundred processes.
    processes.set_forkserver_preload(["ncalab.train", "ncalab.tasks", "torch._dynamo"])

    with tempfile.TemporaryDirectory() as temporary:
        killed, whole = Path(temporary, "killed"), Path(temporary, "whole")
        kills = within_save = 0
        while kills < arguments.kills:
            started = processes.Event()
            process = processes.Process(target=train, args=(killed, arguments.epochs, started))
            process.start()
            started.wait()
            time.sleep(random.uniform(0, arguments.longest))
            process.kill()
            process.join()
            if process.exitcode == 0:
                raise SystemExit(f"training ended after {kills} kills: give it more --epochs")
            kills += 1
            within_save += any(killed.glob(".*.tmp"))
            epoch = check_folder(killed)
        print(f"{kills} kills, {within_save} of them within a save; reached epoch {epoch}")

        last = epoch + 5
        for folder in (killed, whole):
            started = processes.Event()
            process = processes.Process(target=train, args=(folder, last, started))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"training in {folder.name} folder failed")
        paths = [folder / "checkpoint.safetensors" for folder in (killed, whole)]
        states = [dict(leaves(read_checkpoint(path))) for path in paths]
        different = [place for place in states[1] if states[0].get(place) != states[1][place]]
        if different or states[0].keys() != states[1].keys():
            raise SystemExit(f"differs from a run that was never killed: {different[:5]}")
        print(f"equal to the bit to a run of {last} epochs that was never killed")


if __name__ == "__main__":
    main()
