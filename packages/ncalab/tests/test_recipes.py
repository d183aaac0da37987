"""The recipes of the built-in tasks, and the trainer that takes them."""

import tomllib

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from ncalab.cli.config.build import build_model
from ncalab.cli.config.sections import check_config
from ncalab.cli.tasks import read_template
from ncalab.tasks import GrowingNCAModel, SegmentationNCAModel
from ncalab.tasks.growing import growing_preset
from ncalab.train import RECOMMENDED, BasicNCATrainer, Recipe


def test_every_built_in_task_has_a_recipe() -> None:
    assert {"classification", "depth", "growing", "segmentation"} <= set(RECOMMENDED)
    assert RECOMMENDED["segmentation"] == RECOMMENDED["depth"] == Recipe()
    assert RECOMMENDED["classification"] == Recipe(lr=0.02, adam_lr=0.008, ema_decay=0.99)


def test_growing_is_recommended_what_its_presets_train_with() -> None:
    recipe, preset = RECOMMENDED["growing"], growing_preset("draft", epochs=7).trainer
    model = SegmentationNCAModel(torch.device("cpu"), 1, 2)

    trainer = BasicNCATrainer(model, None, **preset)

    for name in ("optimizer_method", "lr", "adam_lr", "adam_betas", "ema_decay"):
        assert getattr(recipe, name) == getattr(trainer, name)
    assert recipe.gradient_clipping == trainer.gradient_clipping
    assert recipe.gradient_normalization == trainer.gradient_normalization
    assert preset["lr_gamma"] ** 7 == pytest.approx(recipe.final_lr)


def test_the_settings_file_of_growing_is_what_a_picture_is_grown_by() -> None:
    preset = growing_preset()

    checked = check_config(tomllib.loads(read_template("growing")))

    model = build_model(checked, torch.device("cpu"))
    assert model.to_dict() == GrowingNCAModel(torch.device("cpu"), **preset.model).to_dict()
    assert checked.pool == preset.pool
    assert checked.loader.batch_size == preset.batch_size
    assert checked.trainer["max_epochs"] == preset.epochs
    assert checked.trainer["recipe"] == "recommended"


@pytest.mark.parametrize("task", ["classification", "depth", "growing", "segmentation"])
def test_every_recommended_recipe_trains(task: str) -> None:
    images = torch.rand(2, 1, 5, 4, generator=torch.Generator().manual_seed(1))
    model = SegmentationNCAModel(torch.device("cpu"), 1, 2, hidden_size=4, training_timesteps=2)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    trainer = BasicNCATrainer(model, None, recipe=RECOMMENDED[task], max_epochs=1, progress=False)

    history = trainer.train(DataLoader(TensorDataset(images, images[:, 0].round().long())))

    assert history.current_epoch == 1
    assert any(
        not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)
    )
