"""A training that saves after every epoch, for a process that may be killed."""

from multiprocessing.synchronize import Event
from pathlib import Path

import torch
from train_models import loader, make_tiny

from ncalab.core import fix_random_seed
from ncalab.train import BasicNCATrainer, Pool


def train(folder: Path, epochs: int, started: Event) -> None:
    """Train, or resume, until the last epoch."""
    torch.set_num_threads(1)
    fix_random_seed(0)
    nca = make_tiny(validation_metric="mse")
    trainer = BasicNCATrainer(
        nca, folder, max_epochs=epochs, pool=Pool(size=6), ema_decay=0.9, progress=False
    )
    started.set()
    trainer.train(loader(shuffle=True), loader(), save_every=1, resume=True)
