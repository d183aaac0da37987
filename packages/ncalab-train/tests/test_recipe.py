"""Recipes: options of a trainer under a name."""

import inspect
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import StepLR
from train_models import EchoModel, loader, make_tiny

from ncalab.core.task import TaskSpec, register_task, registry
from ncalab.train import RECOMMENDED, BasicNCATrainer, ParameterSearch, ParameterSet, Recipe
from ncalab.train.muon import MuonWithAdam


def trainer(**arguments: Any) -> BasicNCATrainer:
    return BasicNCATrainer(make_tiny(), None, **{"progress": False, **arguments})


def test_the_documented_recipe_is_the_defaults_of_the_signature() -> None:
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(BasicNCATrainer).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    made = BasicNCATrainer(make_tiny(), None).settings()

    assert defaults["recipe"] == "documented"
    assert made.pop("lr") == 16e-4
    assert made == {name: value for name, value in defaults.items() if name != "lr"}


def test_a_recipe_sets_what_is_not_passed() -> None:
    recipe = Recipe(lr=0.5, ema_decay=0.25, decay="linear", batch_repeat=3)

    made = trainer(recipe=recipe, batch_repeat=7)

    assert (made.lr, made.ema_decay, made.decay, made.batch_repeat) == (0.5, 0.25, "linear", 7)
    assert type(made._make_optimizers()[0]) is MuonWithAdam


def test_a_documented_default_that_is_passed_counts() -> None:
    made = trainer(recipe="recommended", ema_decay=None, gradient_clipping=False)

    assert made.ema_decay is None
    assert made.gradient_clipping is False


def test_the_recommended_recipe_is_that_of_the_models_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Echoing(EchoModel):
        task = "echoing"

    monkeypatch.setattr(registry, "_registered", {})
    register_task(TaskSpec("echoing", Echoing, recipe={"lr": 0.375}))

    made = BasicNCATrainer(Echoing(), None, recipe="recommended")

    assert made.lr == RECOMMENDED["echoing"].lr == 0.375
    assert "echoing" in RECOMMENDED and len(RECOMMENDED) == len(list(RECOMMENDED))
    assert trainer(recipe="recommended").optimizer_method == Recipe().optimizer_method


def test_rates_of_a_recipe_are_those_of_its_optimiser() -> None:
    made = trainer(recipe=Recipe(lr=0.5), optimizer_method="adam")

    assert (made.optimizer_method, made.lr, made.adam_betas) == ("adam", 16e-4, (0.9, 0.95))
    assert made.decay == Recipe().decay


@pytest.mark.parametrize("method", ["muon", "Muon"])
def test_the_recipes_own_optimiser_keeps_its_rates_where_it_is_passed(method: str) -> None:
    recipe = Recipe(lr=0.5, adam_lr=0.25, adam_betas=(0.5, 0.75))

    made = trainer(recipe=recipe, optimizer_method=method)

    assert (made.optimizer_method, made.lr, made.adam_lr) == ("muon", 0.5, 0.25)
    assert made.adam_betas == (0.5, 0.75)


def test_a_rate_of_none_is_that_of_the_recipe() -> None:
    made = BasicNCATrainer(make_tiny(), None, False, None, recipe=Recipe(lr=0.5, adam_lr=0.25))

    assert (made.lr, made.adam_lr, made.gradient_clipping) == (0.5, 0.25, False)


def test_a_schedule_of_none_is_that_of_the_recipe() -> None:
    made = trainer(recipe=Recipe(warmup_steps=3), lr_scheduler=None)

    assert (made.decay, made.final_lr, made.warmup_steps) == ("cosine", 0.05, 3)


def test_the_rate_of_all_else_keeps_its_ratio_to_that_of_the_matrices() -> None:
    recipe = Recipe(lr=0.5, adam_lr=0.25)

    assert trainer(recipe=recipe, lr=0.1).adam_lr == pytest.approx(0.05)
    assert trainer(recipe=recipe, lr=0.1, adam_lr=0.3).adam_lr == 0.3


def test_a_scheduler_takes_the_place_of_a_recipes_decay() -> None:
    made = trainer(recipe="recommended", lr_scheduler=lambda o: StepLR(o, 2))

    assert made.decay == "gamma" and made.warmup_steps == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr must be above 0"),
        ({"ema_decay": 1.0}, r"ema_decay must be in \[0, 1\), got 1.0"),
        ({"optimizer_method": "lion"}, "optimizer_method must be one of adam"),
        ({"decay": "fast"}, "decay must be one of gamma, cosine, linear"),
        ({"first_steps": 0.0}, r"first_steps must be in \(0, 1\]"),
        ({"adam_betas": (0.9, 1.0)}, r"adam_betas must be in \[0, 1\), got 1.0"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**options)


def test_the_model_may_be_passed_by_name() -> None:
    made = BasicNCATrainer(nca=make_tiny(), model_path=None, recipe="recommended")

    assert made.optimizer_method == "muon"


def test_a_missing_model_is_named() -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'nca'"):
        BasicNCATrainer(model_path=None)  # type: ignore[call-arg]  # the fault under test


def test_a_clone_has_the_options_of_the_recipe() -> None:
    made = trainer(recipe=Recipe(ema_decay=0.5), lr=0.125)

    clone = made.clone_for(EchoModel(), None)

    assert clone.settings() == made.settings()
    assert (clone.lr, clone.ema_decay) == (0.125, 0.5)


def test_a_search_may_compare_recipes() -> None:
    models = ParameterSet(hidden_size=4, validation_metric="mse")
    trainers = ParameterSet(recipe=["documented", "recommended"], max_epochs=1)

    table = ParameterSearch(torch.device("cpu"), EchoModel, models, trainers).search(
        loader(), loader(), progress=False
    )

    assert sorted(table["recipe"]) == ["documented", "recommended"]
    assert list(table["error"]) == ["", ""]


def test_a_task_that_is_not_installed_has_no_recommended_recipe() -> None:
    with pytest.raises(KeyError, match="painting"):
        RECOMMENDED["painting"]


@pytest.mark.parametrize(
    ("recipe", "error", "message"),
    [
        ("best", ValueError, "recipe must be one of documented, recommended, got 'best'"),
        (None, TypeError, "recipe must be a name or a Recipe, got None"),
    ],
)
def test_bad_recipes_are_named(recipe: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trainer(recipe=recipe)
