"""Train a cellular automaton, and write the loss of every batch into a CSV file.

    python examples/log_to_csv/train.py
    python examples/log_to_csv/train.py --output runs/log_to_csv --epochs 400

A callback writes the file. Given the folder of an earlier run, the second command resumes the run
and the file. Prints the first and the last mean loss of ten batches.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from ncalab.core import fix_random_seed
from ncalab.core.saving import check_writable_folder
from ncalab.tasks import GrowingNCADataset, GrowingNCAModel
from ncalab.train import BasicNCATrainer, BatchResult, Callback, EpochResult, Training

PICTURE = Path(__file__).parent.parent / "growing_emoji" / "lizard.png"


class BatchLog(Callback):
    """Append the loss of every batch to a CSV file; of a resumed run, the file is resumed."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, 0
        self.pending: list[tuple[int, Tensor]] = []

    def on_start(self, training: Training) -> None:
        """Begin the file; of a resumed run, drop what was written after its checkpoint."""
        lines = self.path.read_text().splitlines() if self.rows else ["batch,loss"]
        self.path.write_text("\n".join(lines[: self.rows + 1]) + "\n")

    def on_batch_end(self, training: Training, batch: BatchResult) -> None:
        """Keep the loss."""
        self.pending.append((batch.iteration, batch.losses["total"]))

    def on_epoch_end(self, training: Training, epoch: EpochResult) -> None:
        """Write once an epoch."""
        self.write()

    def write(self) -> None:
        """Append what was kept."""
        if self.pending:
            # Read together: each read from a GPU makes the training wait.
            losses = torch.stack([loss for _, loss in self.pending]).tolist()
            with self.path.open("a") as file:
                for (batch, _), loss in zip(self.pending, losses, strict=True):
                    file.write(f"{batch},{loss:.6g}\n")
            self.rows += len(self.pending)
            self.pending = []

    def state_dict(self) -> dict[str, Any]:
        """Return the number of rows, which are in the file."""
        self.write()
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume after as many rows."""
        self.rows = state["rows"]


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=200, help="ten batches each")
parser.add_argument("--output", type=Path, default=Path("runs/log_to_csv"), help="run folder")
parser.add_argument("--seed", type=int, default=1337)
parser.add_argument("--short", action="store_true", help="two epochs: does it run?")
arguments = parser.parse_args()
epochs = 2 if arguments.short else arguments.epochs
try:
    check_writable_folder(arguments.output, name="--output")
except ValueError as error:
    parser.error(str(error))
fix_random_seed(arguments.seed)

picture = np.asarray(Image.open(PICTURE).convert("RGBA").resize((16, 16)))  # (W, H, 4)
nca = GrowingNCAModel(torch.device("cpu"), use_alive_mask=True, training_timesteps=(16, 24))
images = DataLoader(GrowingNCADataset(picture, nca.num_channels, batch_size=40), batch_size=4)
trainer = BasicNCATrainer(
    nca, arguments.output, max_epochs=epochs, batch_repeat=1, gradient_normalization=True
)
log = arguments.output / "batches.csv"
trainer.train(images, resume=True, callbacks=[BatchLog(log)])

losses = np.loadtxt(log, delimiter=",", skiprows=1)[:, 1]
print(f"{len(losses)} batches in {log}")
print(f"mean loss of ten batches: first {losses[:10].mean():.4g}, last {losses[-10:].mean():.4g}")
