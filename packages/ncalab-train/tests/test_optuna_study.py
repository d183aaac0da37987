import json
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pytest
import torch
from train_models import EchoModel, UndefinedModel, loader, make_tiny
from worker_tasks import optimize_shared, suggest

from ncalab.train import EarlyStopping
from ncalab.train.optuna_study import OptunaObjective, metric_direction

optuna = pytest.importorskip("optuna", reason="needs the extra optuna")


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def make_study(**arguments: Any) -> Any:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), **arguments)


def objective(path: Path | None = None, **options: Any) -> OptunaObjective:
    return OptunaObjective(
        "cpu", EchoModel, suggest, loader(shuffle=True), loader(), model_path=path, **options
    )


def test_a_study_finds_the_best_value_and_repeats_to_the_bit(tmp_path: Path) -> None:
    studies = [make_study(direction="minimize") for _ in range(2)]
    for study, path in zip(studies, (tmp_path, None), strict=True):
        study.optimize(objective(path), n_trials=3)

    assert [t.value for t in studies[0].trials] == [t.value for t in studies[1].trials]
    best = studies[0].best_trial
    folder = tmp_path / f"trial_{best.number:04d}"
    assert json.loads((folder / "result.json").read_text())["value"] == best.value
    assert best.user_attrs["metrics"]["mse"] == best.value
    model = EchoModel.from_pretrained(folder / "best_model.safetensors")
    assert model.hidden_size == best.params["hidden_size"]


def test_a_trial_without_a_value_fails_and_the_study_goes_on() -> None:
    def undefined(trial: Any) -> Any:
        model, trainer = suggest(trial)
        return {**model, "validation_metric": "undefined"}, trainer

    study = make_study(direction="maximize")

    objective = OptunaObjective("cpu", UndefinedModel, undefined, loader(), loader())
    study.optimize(objective, n_trials=2)

    assert [trial.state for trial in study.trials] == [optuna.trial.TrialState.FAIL] * 2


def test_every_epoch_is_reported() -> None:
    study = make_study(direction="minimize")
    study.optimize(objective(), n_trials=1)

    reported = study.trials[0].intermediate_values
    assert list(reported) == [1, 2, 3] and min(reported.values()) == study.best_value


def test_a_pruned_trial_ends_early_with_its_weights_saved(tmp_path: Path) -> None:
    never = optuna.pruners.ThresholdPruner(upper=1e-9, n_warmup_steps=1)
    study = make_study(direction="minimize", pruner=never)
    study.optimize(objective(tmp_path), n_trials=1)

    (trial,) = study.trials
    assert trial.state == optuna.trial.TrialState.PRUNED
    assert list(trial.intermediate_values) == [1]
    assert (tmp_path / "trial_0000" / "last_model.safetensors").exists()


def test_early_stopping_ends_a_trial_without_pruning_it() -> None:
    study = make_study(direction="minimize")
    study.optimize(objective(earlystopping=EarlyStopping(1, min_delta=1e9)), n_trials=2)

    assert [len(trial.intermediate_values) for trial in study.trials] == [2, 2]
    assert all(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.trials)


def test_a_study_in_the_wrong_direction_is_refused_before_it_trains(tmp_path: Path) -> None:
    study = make_study(direction="maximize")

    with pytest.raises(ValueError, match="deciding metric, minimize, got maximize"):
        study.optimize(objective(tmp_path), n_trials=1)
    assert not list(tmp_path.glob("trial_0000/*.safetensors"))


def test_early_stopping_in_the_wrong_direction_is_refused_before_it_trains(tmp_path: Path) -> None:
    stopping = EarlyStopping(1, higher_is_better=True)

    with pytest.raises(ValueError, match="earlystopping must have higher_is_better=False"):
        make_study(direction="minimize").optimize(
            objective(tmp_path, earlystopping=stopping), n_trials=1
        )
    assert not list(tmp_path.glob("trial_0000/*.safetensors"))


@pytest.mark.parametrize(
    ("metric", "validated", "expected"),
    [("mse", True, "minimize"), ("negative", True, "maximize"), ("negative", False, "minimize")],
)
def test_the_metric_knows_the_direction(metric: str, validated: bool, expected: str) -> None:
    assert metric_direction(make_tiny(validation_metric=metric), validated=validated) == expected


def test_trials_of_another_study_are_not_overwritten(tmp_path: Path) -> None:
    make_study(direction="minimize").optimize(objective(tmp_path), n_trials=1)

    with pytest.raises(ValueError, match="model_path must not hold a trial of another study"):
        make_study(direction="minimize").optimize(objective(tmp_path), n_trials=1)


def test_the_callers_generator_is_left_alone() -> None:
    torch.manual_seed(4)
    expected = torch.rand(2)
    torch.manual_seed(4)

    first = torch.rand(1)
    make_study(direction="minimize").optimize(objective(), n_trials=1)

    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)


def test_two_processes_share_a_study_through_its_storage(
    tmp_path: Path, processes: Executor
) -> None:
    list(processes.map(optimize_shared, [tmp_path, tmp_path]))

    finished = sorted(path.parent.name for path in tmp_path.glob("*/result.json"))
    assert finished == [f"trial_000{index}" for index in range(4)]
