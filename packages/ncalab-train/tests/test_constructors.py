"""Every argument of every constructor is refused at construction if it is of another type."""

from collections.abc import Callable
from numbers import Real
from typing import Any

import pytest
from train_models import EchoModel, loader, make_tiny
from wrong_types import assert_refused, public_classes, wrong_arguments

import ncalab.train
from ncalab.train import (
    BasicNCATrainer,
    BatchResult,
    CrossValidation,
    CrossValidationError,
    EarlyStopping,
    EpochResult,
    KFoldCrossValidationTrainer,
    OptunaObjective,
    ParameterSearch,
    ParameterSet,
    Pool,
    Recipe,
    SplitDefinition,
    Training,
    TrainingHistory,
    TrainValRecord,
)

CLASSES: dict[type, Callable[[], dict[str, Any]]] = {
    BasicNCATrainer: lambda: {"nca": make_tiny(), "model_path": None},
    CrossValidation: lambda: {"histories": []},
    CrossValidationError: lambda: {"failures": {}, "histories": {}},
    EarlyStopping: lambda: {"patience": 3},
    KFoldCrossValidationTrainer: lambda: {
        "trainer": BasicNCATrainer(make_tiny(), None),
        "split": SplitDefinition([TrainValRecord(["a"], ["b"])]),
    },
    OptunaObjective: lambda: {
        "device": "cpu",
        "model_class": EchoModel,
        "suggest": print,
        "dataloader_train": loader(),
    },
    ParameterSearch: lambda: {
        "device": "cpu",
        "model_class": EchoModel,
        "model_params": ParameterSet(),
        "trainer_params": ParameterSet(),
    },
    Pool: dict,
    Recipe: dict,
    SplitDefinition: dict,
    TrainValRecord: lambda: {"train": ["a"], "val": ["b"]},
    TrainingHistory: lambda: {
        "path": None,
        "metrics": {},
        "current_epoch": 0,
        "current_model": make_tiny(),
    },
}

# What is imported for types only; and a best value may be NaN.
ALSO: dict[str, Any] = {"accelerator": None, "suggest": Callable, "best_accuracy": Real}


@pytest.mark.parametrize(("target", "valid", "name", "value"), wrong_arguments(CLASSES, also=ALSO))
def test_an_argument_of_another_type_is_refused(
    target: type, valid: Any, name: str, value: Any
) -> None:
    if target is OptunaObjective:
        pytest.importorskip("optuna", reason="the extra `optuna` is not installed")
    assert_refused(target, valid(), name, value)


def test_no_class_is_left_out() -> None:
    # Results are made by a training, which is the protocol Training.
    made = {BatchResult, EpochResult, Training}
    assert public_classes(ncalab.train) - made == CLASSES.keys()
