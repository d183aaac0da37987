import csv
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor
from train_models import EchoModel, UndefinedModel, equal, loader, weights

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.train import (
    BasicNCATrainer,
    EarlyStopping,
    ParameterSearch,
    ParameterSet,
    Pool,
    TrainingHistory,
)

Trained = list[BasicNCATrainer]
CPU = torch.device("cpu")


class Brittle(EchoModel):
    """Fails in training when it has four hidden neurons."""

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        """Return the mean squared error, or none."""
        if self.hidden_size == 4:
            raise ArithmeticError("four is unlucky")
        return super().loss(pred, label)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    seen: Trained = []
    train = BasicNCATrainer.train

    def spy(self: BasicNCATrainer, *arguments: Any, **rest: Any) -> TrainingHistory:
        seen.append(self)
        return train(self, *arguments, **rest)

    monkeypatch.setattr(BasicNCATrainer, "train", spy)
    return seen


def grid(
    path: Path | None = None, model_class: type[AbstractNCAModel] = EchoModel, **rest: Any
) -> Any:
    """Return a search over 2 x 3 combinations."""
    metric = rest.pop("metric", "mse")
    model = ParameterSet(hidden_size=[4, 8], training_timesteps=(2, 4), validation_metric=metric)
    trainer = ParameterSet(lr=[0.05, 0.01, 0.002], max_epochs=2, model_path=path)
    return ParameterSearch(CPU, model_class, model, trainer, **rest)


def search(which: ParameterSearch, **options: Any) -> pd.DataFrame:
    return which.search(loader(), loader(), progress=False, **options)


def test_a_metric_without_a_value_is_undefined_in_the_table(tmp_path: Path) -> None:
    table = search(grid(tmp_path, UndefinedModel, metric="undefined"))

    assert len(table) == 6 and table["undefined"].isna().all()
    assert (table["best_epoch"] == 0).all() and (table["error"] == "").all()
    again = search(grid(tmp_path, UndefinedModel, metric="undefined"))
    assert again.equals(table)


def test_every_combination_is_trained_once(trained: Trained) -> None:
    table = search(grid())

    assert [(t.nca.hidden_size, t.lr) for t in trained] == [
        (size, lr) for size in (4, 8) for lr in (0.05, 0.01, 0.002)
    ]
    assert all(t.nca.training_timesteps == (2, 4) for t in trained)
    assert list(table.columns) == [
        *("trial", "hidden_size", "lr", "mse", "negative", "loss"),
        *("best_epoch", "epochs", "error"),
    ]
    assert sorted(table["trial"]) == list(range(6))


@pytest.mark.parametrize(("metric", "best"), [("mse", min), ("negative", max)])
def test_the_table_is_sorted_in_the_direction_of_the_metric(metric: str, best: Any) -> None:
    table = search(grid(metric=metric))

    values = list(table[metric])
    assert values[0] == best(values) and values == sorted(values, reverse=best is max)


def test_without_validation_trials_are_compared_by_their_loss() -> None:
    table = grid().search(loader(), progress=False)

    assert list(table["loss"]) == sorted(table["loss"]) and "mse" not in table


def test_a_grid_of_six_is_trained_once_and_then_not_again(tmp_path: Path, trained: Trained) -> None:
    first = search(grid(tmp_path / "v1.5"))
    again = search(grid(tmp_path / "v1.5"))

    assert len(trained) == 6
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    folders = sorted(path.name for path in (tmp_path / "v1.5").iterdir() if path.is_dir())
    assert folders == [f"trial_000{index}" for index in range(6)]
    with (tmp_path / "v1.5" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["mse"]) for row in rows] == list(first["mse"])
    assert [int(row["trial"]) for row in rows] == list(first["trial"])


def test_each_trial_keeps_its_parameters_beside_its_weights(tmp_path: Path) -> None:
    which = grid(tmp_path)
    table = search(which)

    best = table.iloc[0]
    folder = which.trial_folder(int(best["trial"]))
    parameters = json.loads((folder / "parameters.json").read_text())
    model = EchoModel.from_pretrained(folder / "best_model.safetensors")
    assert parameters["model_params"]["hidden_size"] == best["hidden_size"] == model.hidden_size
    assert parameters["trainer_params"] == {"lr": best["lr"], "max_epochs": 2}


def test_a_search_that_is_interrupted_after_four_trials_trains_two_more(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(grid(tmp_path / "whole"))
    trained.clear()
    with monkeypatch.context() as patch:
        loss = EchoModel.loss

        def interrupted(self: EchoModel, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
            if len(trained) == 5:
                raise KeyboardInterrupt
            return loss(self, pred, label)

        patch.setattr(EchoModel, "loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search(grid(tmp_path / "cut"))
    assert len(list((tmp_path / "cut").glob("*/result.json"))) == 4
    trained.clear()

    table = search(grid(tmp_path / "cut"))

    assert len(trained) == 2
    pd.testing.assert_frame_equal(table, whole, check_exact=True)


def test_a_trial_is_the_same_to_the_bit_alone_and_among_others(trained: Trained) -> None:
    search(grid())
    among = weights(trained[4].nca)
    torch.rand(3)
    which = grid()
    alone = ParameterSearch(CPU, EchoModel, which.model_params, which.trainer_params)
    alone.trials = lambda: [4]  # type: ignore[method-assign]  # only this one
    search(alone)

    assert equal(weights(trained[6].nca), among)


def test_a_loader_with_a_generator_gives_every_trial_the_same_batches() -> None:
    def shuffled() -> Any:
        return loader(shuffle=True, generator=torch.Generator().manual_seed(3))

    data = shuffled()
    first = grid().search(data, loader(), progress=False)
    second = grid().search(data, loader(), progress=False)

    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert torch.equal(next(iter(data))[0], next(iter(shuffled()))[0])


def test_some_combinations_are_drawn_and_more_of_them_later(
    tmp_path: Path, trained: Trained
) -> None:
    few = grid(tmp_path, num_trials=2, seed=3)
    search(few)
    more = grid(tmp_path, num_trials=4, seed=3)
    table = search(more)

    assert len(few.trials()) == 2 and set(few.trials()) < set(more.trials())
    assert len(trained) == 4 and sorted(table["trial"]) == more.trials()
    assert grid(num_trials=100).trials() == list(range(6))
    assert grid(num_trials=2, seed=3).trials() == few.trials()
    assert len({tuple(grid(num_trials=2, seed=seed).trials()) for seed in range(9)}) > 3


def test_a_few_trials_of_a_grid_too_large_to_list_are_drawn_at_once() -> None:
    axes = {name: [i / 100 for i in range(1, 100)] for name in ("lr", "lr_gamma")}
    timesteps = list(range(1, 10**5))
    model = ParameterSet(training_timesteps=timesteps, inference_timesteps=timesteps)

    which = ParameterSearch(CPU, EchoModel, model, ParameterSet(**axes), num_trials=5)

    assert len(which.trials()) == 5
    assert max(which.trials()) > 10**10


def test_a_trial_that_fails_is_in_the_table_and_loses_no_other(
    tmp_path: Path, trained: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    table = search(grid(tmp_path, Brittle))

    assert list(table["hidden_size"]) == [8, 8, 8, 4, 4, 4]
    assert list(table["error"]) == ["", "", "", *["ArithmeticError: four is unlucky"] * 3]
    assert all(math.isnan(value) for value in table["mse"][3:])
    assert "trial 1 {'hidden_size': 4, 'lr': 0.01} failed: Traceback" in caplog.text
    assert len(trained) == 6

    search(grid(tmp_path, Brittle))
    assert len(trained) == 9  # those that failed are tried again


def test_an_error_in_all_trials_is_raised() -> None:
    model = ParameterSet(hidden_size=4, validation_metric="mse")
    which = ParameterSearch(CPU, Brittle, model, ParameterSet(lr=[0.1, 0.2], max_epochs=1))

    with pytest.raises(RuntimeError, match=r"all 2 trials failed; trial 0 .*0.1.* four is unlucky"):
        search(which)


def test_early_stopping_and_pools_are_not_shared_between_trials(trained: Trained) -> None:
    stopping = EarlyStopping(patience=1, min_delta=1e9)
    pool = Pool(size=8)
    trainer = ParameterSet(pool=pool, lr=[0.1, 0.1], max_epochs=5)
    model = ParameterSet(validation_metric="mse")

    table = search(ParameterSearch(CPU, EchoModel, model, trainer), earlystopping=stopping)

    assert list(table["epochs"]) == [2, 2] and stopping.counter == 0
    assert len({id(pool), *(id(t.pool) for t in trained)}) == 3


def test_a_search_of_other_parameters_is_refused_with_the_differences(tmp_path: Path) -> None:
    search(grid(tmp_path))
    other = grid(tmp_path)
    other.trainer_params = ParameterSet(lr=[0.05, 0.02, 0.002], max_epochs=2)

    with pytest.raises(ValueError, match="trial_0001 trainer_params.lr was 0.01, is 0.02; choose"):
        search(other)
    with pytest.raises(ValueError, match="trial_0000 seed was"):
        search(grid(tmp_path, seed=1))
    with pytest.raises(ValueError, match="trial_0000 data.train.samples was 4, is 6"):
        grid(tmp_path).search(loader(count=6), loader(), progress=False)


def test_overwrite_trains_all_trials_afresh(tmp_path: Path, trained: Trained) -> None:
    search(grid(tmp_path))
    other = grid(tmp_path, seed=1)

    table = search(other, overwrite=True)

    assert len(trained) == 12
    pd.testing.assert_frame_equal(search(other), table, check_exact=True)


def test_values_that_are_tuples_classes_and_objects_stay_what_they_are() -> None:
    model = ParameterSet(
        rule_args=[{"nonlinearity": torch.nn.Tanh}, {"nonlinearity": torch.nn.ReLU}],
        training_timesteps=[(2, 3), (2, 4)],
        validation_metric="mse",
    )

    table = search(ParameterSearch(CPU, EchoModel, model, ParameterSet(max_epochs=1)))

    assert len(table) == 4
    assert set(table["training_timesteps"]) == {(2, 3), (2, 4)}
    assert {row["nonlinearity"] for row in table["rule_args"]} == {torch.nn.Tanh, torch.nn.ReLU}


def test_a_call_runs_the_search(trained: Trained) -> None:
    table = grid(num_trials=1)(loader(), dataloader_val=loader(), progress=False)

    assert len(table) == len(trained) == 1


def test_info_reports_the_trials_to_run() -> None:
    text = grid(num_trials=4).info()

    assert "EchoModel on cpu" in text and "4 of 6 combinations" in text
    assert "| lr | searched | 0.05, 0.01, 0.002 |" in text
    assert "| training_timesteps | fixed | (2, 4) |" in text


def make(model: dict[str, Any], trainer: dict[str, Any], **rest: Any) -> ParameterSearch:
    return ParameterSearch(CPU, EchoModel, ParameterSet(**model), ParameterSet(**trainer), **rest)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"hiden_size": 8}, {}), r"model_params must be arguments of EchoModel, got .*hiden_size"),
        (
            ({}, {"learning_rate": [1]}),
            "trainer_params must be arguments of BasicNCAT.*learning",
        ),
        (({"device": "cpu"}, {}), "model_params must be arguments of EchoModel"),
        (({"lr": 1}, {"lr": 2}), r"must share no name, got \['lr'\]"),
        (({}, {"model_path": ["a", "b"]}), "model_path must be one folder for all trials, got a"),
        (({"validation_metric": ["a", "b"]}, {}), "validation_metric must be fixed"),
    ],
)
def test_parameters_that_nothing_takes_are_refused_before_any_work(
    arguments: tuple[dict[str, Any], dict[str, Any]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(*arguments)


def test_bad_numbers_of_trials_and_sets_are_named() -> None:
    with pytest.raises(ValueError, match="num_trials must be at least 1, got 0"):
        make({}, {}, num_trials=0)
    with pytest.raises(TypeError, match="overwrite must be True or False, got 'no'"):
        make({}, {}).search(loader(), loader(), overwrite="no")  # type: ignore[arg-type]  # the fault
    with pytest.raises(TypeError, match="model_params must be a ParameterSet, got dict"):
        ParameterSearch(CPU, EchoModel, {}, ParameterSet())  # type: ignore[arg-type]  # the fault
