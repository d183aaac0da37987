"""Functions that worker processes run in tests: here, where they can import them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from train_models import EchoModel, loader


@dataclass
class Task:
    """A number, and something else to send."""

    number: int
    extra: Any = None


def square(shared: Task, task: Task) -> tuple[int, int]:
    """Return a product and torch's number of threads; fail for 3."""
    if task.number == 3:
        raise ArithmeticError("three is unlucky")
    return shared.number * task.number**2, torch.get_num_threads()


def suggest(trial: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Suggest the parameters of an Optuna trial."""
    return (
        {"hidden_size": trial.suggest_int("hidden_size", 4, 8), "validation_metric": "mse"},
        {"lr": trial.suggest_float("lr", 1e-3, 1e-1, log=True), "max_epochs": 3},
    )


def optimize_shared(path: Path) -> int:
    """Run two trials of the study in a folder; return how many it had then."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    from ncalab.train.optuna_study import OptunaObjective

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path / "log")))
    study = optuna.create_study(storage=storage, study_name="shared", load_if_exists=True)
    objective = OptunaObjective("cpu", EchoModel, suggest, loader(), loader(), model_path=path)
    study.optimize(objective, n_trials=2)
    return len(study.trials)
