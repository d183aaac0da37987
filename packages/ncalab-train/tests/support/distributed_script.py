"""A training script that knows nothing of processes; run alone or by a launcher.

python distributed_script.py FOLDER SCENARIO...
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset
from train_models import EchoModel

from ncalab.core import fix_random_seed
from ncalab.core.testing import awaken
from ncalab.train import BasicNCATrainer, Pool

SCENARIOS: dict[str, dict[str, Any]] = {
    "plain": {"gradient_normalization": True},
    "pool": {"pool": True, "accumulate": 2, "batch_repeat": 2},
    "noise": {"noise": True, "ema_decay": 0.9, "lr_scheduler": lambda o: StepLR(o, 2, 0.5)},
    "resumed": {"epochs": (2, 5), "gradient_clipping": True, "optimizer_method": "muon"},
}


class Log:
    """Stands in for a TensorBoard writer: appends to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getattr__(self, name: str) -> Any:
        def write(tag: Any, *rest: Any, **_: Any) -> None:
            with self.path.open("a") as file:
                file.write(f"{name} {tag} {rest[-1]}\n" if name == "add_scalar" else f"{name}\n")

        return write


def train(folder: Path, name: str) -> dict[str, Any]:
    """Train as a user would, and return what came out."""
    options = dict(SCENARIOS[name])
    epochs = options.pop("epochs", (5,))
    # Every process begins with weights and random states of its own; those of the first count.
    fix_random_seed(3 + int(os.environ.get("RANK", "0")))
    nca = EchoModel(
        pad_noise=options.pop("noise", False),
        validation_metric="mse",
        num_hidden_channels=4,
        training_timesteps=(3, 6),
    )
    awaken(nca, 0.1)
    images = torch.rand(9, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    # Nine samples in batches of four: the last batch has one, which one process must do without.
    data = DataLoader(TensorDataset(images, images), batch_size=4, shuffle=True)
    checks = DataLoader(TensorDataset(images, images), batch_size=2)
    few = DataLoader(TensorDataset(images[:3], images[:3]), batch_size=3)
    pool = Pool(damage=True, size=12) if options.pop("pool", False) else None
    options = {"batch_repeat": 1, "lr": 1e-2, **options}
    for count in epochs:
        trainer = BasicNCATrainer(nca, folder, max_epochs=count, pool=pool, **options)
        log: Any = Log(folder.parent / f"{name}.log")
        history = trainer.train(data, checks, few, 1, log, resume=True)
    return {
        "loss": history.loss,
        "metrics": history.metric_curves,
        "test": history.test_metrics,
        "weights": [p.flatten().tolist() for p in nca.parameters()],
    }


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(exist_ok=True)
    for scenario in sys.argv[2:]:
        result = train(target / scenario, scenario)
        rank = os.environ.get("RANK", "0")
        (target / f"{scenario}.{rank}.json").write_text(json.dumps(result))
