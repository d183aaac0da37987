"""Training of neural cellular automata: loop, sample pool, history and early stopping."""

from ncalab.train.__about__ import __version__
from ncalab.train.early_stopping import EarlyStopping
from ncalab.train.history import TrainingHistory
from ncalab.train.pool import Pool
from ncalab.train.trainer import BasicNCATrainer

__all__ = ["BasicNCATrainer", "EarlyStopping", "Pool", "TrainingHistory", "__version__"]
