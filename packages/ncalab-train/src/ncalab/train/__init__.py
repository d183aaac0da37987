"""Training of neural cellular automata: loop, sample pool, cross-validation and search."""

from ncalab.train.__about__ import __version__
from ncalab.train.callbacks import BatchResult, Callback, EpochResult, Training
from ncalab.train.cross_validation import CrossValidation, CrossValidationError
from ncalab.train.early_stopping import EarlyStopping
from ncalab.train.fold import TrainValRecord
from ncalab.train.history import TrainingHistory
from ncalab.train.kfold import KFoldCrossValidationTrainer
from ncalab.train.optuna_study import OptunaObjective
from ncalab.train.parameters import ParameterSet
from ncalab.train.pool import Pool
from ncalab.train.recipe import RECOMMENDED, Recipe
from ncalab.train.search import ParameterSearch
from ncalab.train.split import SplitDefinition
from ncalab.train.trainer import BasicNCATrainer

__all__ = [
    "RECOMMENDED",
    "BasicNCATrainer",
    "BatchResult",
    "Callback",
    "CrossValidation",
    "CrossValidationError",
    "EarlyStopping",
    "EpochResult",
    "KFoldCrossValidationTrainer",
    "OptunaObjective",
    "ParameterSearch",
    "ParameterSet",
    "Pool",
    "Recipe",
    "SplitDefinition",
    "TrainValRecord",
    "Training",
    "TrainingHistory",
    "__version__",
]
