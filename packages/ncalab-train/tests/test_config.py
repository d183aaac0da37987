"""The settings of a training, as one frozen value."""

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
from train_models import loader, make_tiny

from ncalab.train import BasicNCATrainer, Callback, Recipe, Training
from ncalab.train.config import CONFIG_NAMES, RULES


def test_every_setting_and_every_option_of_a_recipe_has_a_rule() -> None:
    assert set(CONFIG_NAMES) == set(RULES)
    assert {field.name for field in fields(Recipe)} <= set(RULES)


def test_a_config_holds_the_settings_of_its_trainer_and_is_frozen() -> None:
    config = BasicNCATrainer(make_tiny(), None, lr=0.5, optimizer_method="SGD").config()

    assert (config.lr, config.optimizer_method, config.lr_gamma) == (0.5, "sgd", 0.99)
    with pytest.raises(FrozenInstanceError):
        config.lr = 1.0  # type: ignore[misc]  # frozen: that is tested


def test_a_config_checks_its_settings() -> None:
    config = BasicNCATrainer(make_tiny(), None).config()

    with pytest.raises(ValueError, match="muon_iterations must be at most 99, got 100"):
        replace(config, muon_iterations=100)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("accumulate", 0, ValueError, "accumulate must be at least 1, got 0"),
        ("gradient_clipping", 1, TypeError, "gradient_clipping must be True or False, got 1"),
        ("final_lr", 2.0, ValueError, r"final_lr must be in \[0, 1\], got 2.0"),
    ],
)
def test_a_setting_that_was_changed_to_a_wrong_value_is_named_before_training(
    name: str, value: Any, error: type[Exception], message: str
) -> None:
    trainer = BasicNCATrainer(make_tiny(), None, progress=False)
    setattr(trainer, name, value)

    with pytest.raises(error, match=message):
        trainer.train(loader())


def test_a_training_keeps_the_settings_that_it_began_with() -> None:
    trainer = BasicNCATrainer(make_tiny(), None, max_epochs=2, progress=False)

    class Changing(Callback):
        def on_start(self, training: Training) -> None:
            trainer.max_epochs = 9

    history = trainer.train(loader(), callbacks=[Changing()])

    assert history.current_epoch == 2
