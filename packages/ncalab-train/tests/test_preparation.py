from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset
from train_models import EchoModel, loader, make_tiny

from ncalab.core import Preparation
from ncalab.train import BasicNCATrainer, KFoldCrossValidationTrainer, SplitDefinition
from ncalab.train.preparation import find_preparation

KNOWN = Preparation(channels=1, normalize="percentile", resize=(5, 4))


class Prepared(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of one image twice, and how they were prepared."""

    def __init__(self, _path: Any = None, files: Any = None, _transform: Any = None) -> None:
        self.count = 4 if files is None else len(files)
        self.preparation: Any = KNOWN

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, idx: int) -> tuple[Tensor, Tensor]:
        if not 0 <= idx < self.count:
            raise IndexError(idx)
        image = torch.rand(1, 5, 4, generator=torch.Generator().manual_seed(idx))
        return image, image


def other() -> Prepared:
    dataset = Prepared()
    dataset.preparation = replace(KNOWN, resize=None)
    return dataset


@pytest.mark.parametrize(
    ("dataset", "want"),
    [
        (Prepared(), KNOWN),
        (Subset(Prepared(), [0, 2]), KNOWN),
        (Subset(Subset(Prepared(), [0, 2]), [1]), KNOWN),
        (ConcatDataset([Prepared(), Subset(Prepared(), [1])]), KNOWN),
        (ConcatDataset([Prepared(), other()]), None),
        (TensorDataset(torch.rand(2, 1, 5, 4)), None),
    ],
)
def test_the_preparation_of_a_data_set_is_found_within_it(
    dataset: Dataset[Any], want: Preparation | None
) -> None:
    assert find_preparation(dataset) == want


def test_an_attribute_of_that_name_that_is_something_else_is_left_alone() -> None:
    dataset = Prepared()
    dataset.preparation = "resize"

    assert find_preparation(dataset) is None


def train(
    path: Path | None, data: Dataset[Any], model: EchoModel | None = None, **options: Any
) -> EchoModel:
    model = make_tiny(validation_metric="mse") if model is None else model
    epochs = options.pop("epochs", 1)
    trainer = BasicNCATrainer(model, path, max_epochs=epochs, progress=False, batch_repeat=1)
    trainer.train(DataLoader(data, 2), DataLoader(data, 2), **options)
    return model


def test_a_training_saves_the_preparation_of_its_data_with_every_model(tmp_path: Path) -> None:
    model = train(tmp_path, Prepared())

    assert model.preparation == KNOWN
    for name in ("last_model", "best_model"):
        saved = EchoModel.from_pretrained(tmp_path / f"{name}.safetensors")
        assert saved.preparation == KNOWN


def test_what_a_model_knew_holds_where_the_data_do_not_tell() -> None:
    model = make_tiny(validation_metric="mse")
    model.preparation = KNOWN

    assert train(None, loader().dataset, model).preparation == KNOWN
    assert train(None, other(), model).preparation == other().preparation


def test_parts_that_are_prepared_in_different_ways_are_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    both = [Prepared(), other()]
    parts: Dataset[tuple[Tensor, Tensor]] = Subset(ConcatDataset(both), [0, 5])

    assert train(None, parts).preparation is None
    assert [r.message for r in caplog.records if "parts of the training data" in r.message]


@pytest.mark.parametrize("part", [1, 2])
def test_data_to_evaluate_on_that_are_prepared_in_another_way_are_told_of(
    part: int, caplog: pytest.LogCaptureFixture
) -> None:
    train, val, test = (
        DataLoader(other() if place == part else Prepared(), 2) for place in range(3)
    )
    model = make_tiny(validation_metric="mse")
    trainer = BasicNCATrainer(model, None, max_epochs=1, progress=False, batch_repeat=1)

    trainer.train(train, val, test)

    told = [r.message for r in caplog.records if "prepared in another way" in r.message]
    assert len(told) == 1 and told[0].endswith(f"trained on: {KNOWN.describe()}")
    assert model.preparation == KNOWN


def test_transforms_that_differ_are_nothing_to_tell_of(caplog: pytest.LogCaptureFixture) -> None:
    augmented = Prepared()
    augmented.preparation = replace(KNOWN, normalize="auto", transform="mirrored")
    trainer = BasicNCATrainer(
        make_tiny(validation_metric="mse"), None, max_epochs=1, progress=False, batch_repeat=1
    )

    trainer.train(DataLoader(augmented, 2), DataLoader(Prepared(), 2))

    assert "prepared in another way" not in caplog.text


def test_the_preparation_survives_a_resumed_training(tmp_path: Path) -> None:
    train(tmp_path, Prepared())

    model = train(tmp_path, Prepared(), epochs=2, resume=True)

    assert model.preparation == KNOWN
    assert EchoModel.from_pretrained(tmp_path / "last_model.safetensors").preparation == KNOWN


def test_a_run_is_not_resumed_with_images_that_are_prepared_otherwise(tmp_path: Path) -> None:
    train(tmp_path, Prepared())

    with pytest.raises(ValueError, match=r"model.preparation.resize was \[5, 4\], is None"):
        train(tmp_path, other(), epochs=2, resume=True)


def test_every_fold_has_the_preparation_of_its_data(tmp_path: Path) -> None:
    split = SplitDefinition.kfold([f"{n}" for n in range(4)], 2, seed=0)
    model = make_tiny(validation_metric="mse")
    trainer = BasicNCATrainer(model, tmp_path, max_epochs=1, progress=False, batch_repeat=1)
    cross = KFoldCrossValidationTrainer(trainer, split)

    for _ in ("trained", "read"):
        histories = cross.train(Prepared, tmp_path, None, progress=False)
        assert [h.best_model.preparation for h in histories if h.best_model] == [KNOWN, KNOWN]
