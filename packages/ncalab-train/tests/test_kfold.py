import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from image_files import ImageFiles, OutOfReach, file_images, invert
from torch import Tensor
from torch.optim.lr_scheduler import StepLR
from train_models import EchoModel, UndefinedModel, equal, loader, make_tiny, weights

from ncalab.core import Prediction
from ncalab.train import (
    BasicNCATrainer,
    CrossValidationError,
    EarlyStopping,
    KFoldCrossValidationTrainer,
    Pool,
    SplitDefinition,
    TrainingHistory,
)

Trained = list[BasicNCATrainer]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    file_images(folder)
    return folder


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Return the trainers of all folds, with their model's first weights as ``first``."""
    seen: Trained = []
    train = BasicNCATrainer.train

    def spy(self: BasicNCATrainer, *arguments: Any, **rest: Any) -> TrainingHistory:
        seen.append(self)
        self.first = weights(self.nca)  # type: ignore[attr-defined]  # for the test
        self.loaders = arguments  # type: ignore[attr-defined]  # for the test
        return train(self, *arguments, **rest)

    monkeypatch.setattr(BasicNCATrainer, "train", spy)
    return seen


def kfold(path: Path | None, nca: EchoModel | None = None, **arguments: Any) -> Any:
    nca = make_tiny(validation_metric="mse") if nca is None else nca
    settings = {"max_epochs": 2, "lr": 0.05, "progress": False, **arguments}
    split = SplitDefinition.kfold([f"image_{index}.pt" for index in range(9)], 3, seed=1)
    return KFoldCrossValidationTrainer(BasicNCATrainer(nca, path, **settings), split)


def run(cross: KFoldCrossValidationTrainer, data: Path, **options: Any) -> Any:
    transform = options.pop("transform", None)
    return cross.train(ImageFiles, data, transform, progress=False, **options)


def test_folds_start_with_equal_weights_and_end_with_different_ones(
    data: Path, trained: Trained
) -> None:
    cross = kfold(None)
    start = weights(cross.trainer.nca)

    histories = run(cross, data)

    ends = [weights(history.current_model) for history in histories]
    assert all(equal(trainer.first, start) for trainer in trained)  # type: ignore[attr-defined]  # the fixture's attribute
    assert not any(equal(end, start) for end in ends)
    assert not equal(ends[0], ends[1]) and not equal(ends[1], ends[2])
    assert equal(weights(cross.trainer.nca), start)


def test_the_weights_at_the_start_are_those_of_when_the_object_was_made(
    data: Path, trained: Trained
) -> None:
    cross = kfold(None)
    start = weights(cross.model_prototype)
    with torch.no_grad():
        for parameter in cross.trainer.nca.parameters():
            parameter.add_(1)

    run(cross, data)

    assert all(equal(trainer.first, start) for trainer in trained)  # type: ignore[attr-defined]  # the fixture's attribute


def test_every_validation_file_is_scored_exactly_once_and_untransformed(
    data: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[Tensor] = []
    validate = EchoModel.validate

    def spy(self: EchoModel, dataloader: Any, *arguments: Any, **rest: Any) -> Any:
        scored.extend(image for images, _ in dataloader for image in images)
        return validate(self, dataloader, *arguments, **rest)

    monkeypatch.setattr(EchoModel, "validate", spy)
    cross = kfold(None, max_epochs=1)

    run(cross, data, transform=invert, batch_sizes={"train": 4, "val": 2})

    originals = ImageFiles(data, [file for fold in cross.split for file in fold.val])
    assert len(scored) == len(originals) == 9
    assert all(torch.equal(scored[i], originals[i][0]) for i in range(9))
    for trainer in trained:
        images, labels = next(iter(trainer.loaders[0]))  # type: ignore[attr-defined]  # the fixture's attribute
        assert torch.equal(images, 1 - labels)


def test_mean_and_deviation_are_those_of_the_best_epochs(data: Path) -> None:
    histories = run(kfold(None), data)

    values = [h.metric_curves["mse"][h.best_epoch - 1] for h in histories]
    assert histories.mean["mse"] == pytest.approx(statistics.mean(values), rel=1e-12)
    assert histories.std["mse"] == pytest.approx(statistics.stdev(values), rel=1e-9)
    assert list(histories.table()["mse"]) == values
    assert set(histories.mean) == {"mse", "negative", "loss"}
    assert f"| mse | {histories.mean['mse']:.4f} ± {histories.std['mse']:.4f} |" in histories.info()
    assert isinstance(histories, list) and len(histories) == 3


def test_a_metric_without_a_value_is_undefined_in_all_folds(tmp_path: Path, data: Path) -> None:
    cross = kfold(tmp_path / "run", UndefinedModel())

    # Once trained, once read from the folder.
    for _ in range(2):
        result = run(cross, data)
        assert [history.best_epoch for history in result] == [0, 0, 0]
        assert all(history.best_model is None for history in result)
        assert all(math.isnan(value) for value in [*result.mean.values(), *result.std.values()])
        assert "| undefined | undefined ± undefined |" in result.info()
        assert result.table()[["undefined", "loss"]].isna().all(axis=None)


def test_folders_keep_the_whole_name_of_the_run(tmp_path: Path, data: Path) -> None:
    cross = kfold(tmp_path / "v1.5_run")

    run(cross, data)

    folders = sorted(path.name for path in (tmp_path / "v1.5_run").iterdir())
    assert folders == ["fold_00", "fold_01", "fold_02", "initial_model.safetensors"]
    assert cross.model_name == "v1.5_run"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "v1.5_run"]
    parameters = json.loads((tmp_path / "v1.5_run" / "fold_01" / "parameters.json").read_text())
    assert parameters["files"]["val"] == cross.split[1].val
    assert parameters["trainer"]["lr"] == 0.05


def test_without_a_folder_nothing_is_written(tmp_path: Path, data: Path) -> None:
    cross = kfold(None)

    run(cross, data)

    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert cross.model_name == "EchoModel"


def test_the_same_seed_gives_the_same_folds_whatever_was_drawn_before(data: Path) -> None:
    first = run(kfold(None), data)
    torch.rand(5)
    second = run(kfold(None), data)
    other = run(kfold(None), data, seed=5)

    for a, b in zip(first, second, strict=True):
        assert equal(weights(a.current_model), weights(b.current_model))
    assert first.values == second.values
    assert not equal(weights(first[0].current_model), weights(other[0].current_model))


def test_finished_folds_are_read_and_not_trained(
    tmp_path: Path, data: Path, trained: Trained
) -> None:
    first = run(kfold(tmp_path / "run"), data)
    count = len(trained)

    second = run(kfold(tmp_path / "run"), data)

    assert len(trained) == count == 3
    assert first.values == second.values
    for a, b in zip(first, second, strict=True):
        assert equal(weights(a.best_model), weights(b.best_model))
        assert equal(weights(a.current_model), weights(b.current_model))
        assert (a.loss, a.lr, a.metric_curves) == (b.loss, b.lr, b.metric_curves)
        assert a.to_dict() == b.to_dict()


@pytest.mark.parametrize(
    ("name", "data_of_file", "message"),
    [
        ("history.json", b"{}", "history.json: created must be a string, got nothing"),
        ("history.json", b'{"curves": 3}', "history.json: created must be a string, got nothing"),
        (
            "result.json",
            b'{"metric": "mse"}',
            "result.json: higher_is_better must be true or false, got nothing",
        ),
        ("parameters.json", b"[" * 100_000, "parameters.json must be JSON"),
        ("best_model.safetensors", b"", "best_model.safetensors is not a whole safetensors file"),
    ],
)
def test_a_finished_fold_with_a_broken_file_is_refused_by_name(
    tmp_path: Path, data: Path, name: str, data_of_file: bytes, message: str
) -> None:
    run(kfold(tmp_path / "run", max_epochs=1), data)
    (tmp_path / "run" / "fold_01" / name).write_bytes(data_of_file)

    with pytest.raises(ValueError, match=message):
        run(kfold(tmp_path / "run", max_epochs=1), data)

    assert (tmp_path / "run" / "fold_01" / name).read_bytes() == data_of_file


def interrupt_at(fold: int, monkeypatch: pytest.MonkeyPatch, trained: Trained) -> None:
    loss = EchoModel.loss

    def interrupted(self: EchoModel, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        if len(trained) == fold + 1:
            raise KeyboardInterrupt
        return loss(self, pred, label)

    monkeypatch.setattr(EchoModel, "loss", interrupted)


def test_an_interrupted_cross_validation_goes_on_to_the_same_bits(
    tmp_path: Path, data: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(kfold(tmp_path / "whole"), data)
    trained.clear()
    with monkeypatch.context() as patch:
        interrupt_at(1, patch, trained)
        with pytest.raises(KeyboardInterrupt):
            run(kfold(tmp_path / "run"), data)
    assert len(trained) == 2
    trained.clear()

    resumed = run(kfold(tmp_path / "run"), data)

    assert len(trained) == 2
    assert resumed.values == whole.values
    for a, b in zip(resumed, whole, strict=True):
        assert equal(weights(a.current_model), weights(b.current_model))


def test_folds_that_are_resumed_start_from_the_weights_of_those_before(
    tmp_path: Path,
    data: Path,
    trained: Trained,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(1, patch, trained)
        with pytest.raises(KeyboardInterrupt):
            run(kfold(tmp_path / "run"), data)
    other = make_tiny(validation_metric="mse")
    with torch.no_grad():
        next(other.parameters()).add_(1)

    run(kfold(tmp_path / "run", other), data)

    assert all(equal(trained[0].first, each.first) for each in trained)  # type: ignore[attr-defined]  # the fixture's attribute
    assert "the model has other weights than" in caplog.text


def test_a_folder_of_other_folds_is_refused_with_the_differences(
    tmp_path: Path, data: Path
) -> None:
    run(kfold(tmp_path / "run", lr=0.05), data)
    before = (tmp_path / "run" / "fold_00" / "result.json").read_bytes()

    with pytest.raises(ValueError, match=r"fold_00 trainer.lr was 0.05, is 0.1; choose another"):
        run(kfold(tmp_path / "run", lr=0.1), data)
    with pytest.raises(ValueError, match="earlystopping"):
        run(kfold(tmp_path / "run", lr=0.05), data, earlystopping=EarlyStopping(3))
    other = make_tiny(validation_metric="mse", fire_rate=0.25)
    with pytest.raises(ValueError, match="fold_00 model.fire_rate was 0.5, is 0.25"):
        run(kfold(tmp_path / "run", other, lr=0.05), data)

    assert (tmp_path / "run" / "fold_00" / "result.json").read_bytes() == before


def test_a_foreign_run_in_a_folds_folder_is_refused(tmp_path: Path, data: Path) -> None:
    foreign = tmp_path / "run" / "fold_02"
    BasicNCATrainer(make_tiny(), foreign, max_epochs=1, progress=False).train(loader())
    before = (foreign / "history.json").read_bytes()

    with pytest.raises(ValueError, match="model_path must not hold another run, got one in .*d_02"):
        run(kfold(tmp_path / "run"), data)

    assert (foreign / "history.json").read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["fold_02"]


def test_overwrite_trains_all_folds_afresh(tmp_path: Path, data: Path, trained: Trained) -> None:
    run(kfold(tmp_path / "run", lr=0.05), data)

    histories = run(kfold(tmp_path / "run", lr=0.1), data, overwrite=True)

    assert len(trained) == 6
    assert [history.lr[0] for history in histories] == [0.1, 0.1, 0.1]
    assert run(kfold(tmp_path / "run", lr=0.1), data).values == histories.values


def test_an_interrupted_overwrite_goes_on_without_the_results_before(
    tmp_path: Path, data: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(kfold(tmp_path / "run", lr=0.05), data)
    trained.clear()
    with monkeypatch.context() as patch:
        interrupt_at(0, patch, trained)
        with pytest.raises(KeyboardInterrupt):
            run(kfold(tmp_path / "run", lr=0.1), data, overwrite=True)
    trained.clear()

    histories = run(kfold(tmp_path / "run", lr=0.1), data)

    assert len(trained) == 3
    assert [history.lr[0] for history in histories] == [0.1, 0.1, 0.1]


def test_each_fold_has_an_early_stopping_of_its_own(data: Path) -> None:
    stopping = EarlyStopping(patience=2, min_delta=1e9)

    histories = run(kfold(None, max_epochs=9), data, earlystopping=stopping)

    assert [len(history.loss) for history in histories] == [3, 3, 3]
    assert stopping.counter == 0


def test_test_data_are_measured_with_the_best_weights_of_each_fold(data: Path) -> None:
    cross = kfold(None, make_tiny(validation_metric="mse", fire_rate=1.0))  # nothing is drawn
    cross.split.dataloader_test = loader()

    histories = run(cross, data)

    measured = [h.best_model.validate(loader())[0]["mse"] for h in histories]
    assert [h.test_metrics["mse"] for h in histories] == pytest.approx(measured, rel=1e-5)
    assert histories.mean["test_mse"] == statistics.mean(h.test_metrics["mse"] for h in histories)


def test_a_pool_is_not_shared_between_folds(data: Path, trained: Trained) -> None:
    pool = Pool(size=16, generator=torch.Generator().manual_seed(3))
    alone = run(kfold(None, pool=pool), data)
    again = run(kfold(None, pool=pool), data)

    assert alone.values == again.values
    assert len({id(trainer.pool) for trainer in trained} | {id(pool)}) == 7
    assert all(t.pool is not None and t.pool.size == 16 for t in trained)


def test_frozen_parameters_stay_frozen_in_every_fold(data: Path) -> None:
    nca = make_tiny(validation_metric="mse")
    nca.finetune()
    frozen = [name for name, p in nca.named_parameters() if not p.requires_grad]
    before = {name: p.clone() for name, p in nca.named_parameters()}

    for history in run(kfold(None, nca), data):
        after = dict(history.current_model.named_parameters())
        assert frozen and all(torch.equal(after[name], before[name]) for name in frozen)


def test_a_fold_that_fails_does_not_lose_the_others(
    tmp_path: Path, data: Path, trained: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    cross = kfold(tmp_path / "run")
    broken = next(i for i, fold in enumerate(cross.split) if "image_0.pt" in fold.val)
    others = {0, 1, 2} - {broken}

    with pytest.raises(CrossValidationError, match="1 of 3 folds failed .* disk is gone") as info:
        cross.train(OutOfReach, data, None, progress=False)

    assert set(info.value.histories) == others and set(info.value.failures) == {broken}
    assert f"fold {broken} failed" in caplog.text and "the disk is gone" in caplog.text
    finished = {int(path.parent.name[-2:]) for path in tmp_path.glob("run/*/result.json")}
    assert finished == others


def test_a_schedule_is_made_for_each_fold(data: Path) -> None:
    def every_epoch(optimizer: torch.optim.Optimizer) -> StepLR:
        return StepLR(optimizer, 1, 0.5)

    histories = run(kfold(None, lr_scheduler=every_epoch), data)

    assert [history.lr for history in histories] == [[0.05, 0.025]] * 3


def test_a_schedule_of_one_optimiser_is_refused_at_once() -> None:
    nca = make_tiny()
    scheduler = StepLR(torch.optim.SGD(nca.parameters(), lr=0.1), 1)

    with pytest.raises(ValueError, match="lr_scheduler must be a function .* got a StepLR"):
        kfold(None, nca, lr_scheduler=scheduler)


def test_each_fold_can_write_a_tensorboard_log(tmp_path: Path, data: Path) -> None:
    run(kfold(tmp_path / "run", max_epochs=1), data, tensorboard=True)

    logs = tmp_path.glob("run/*/tensorboard/events*")
    assert {log.parent.parent.name for log in logs} == {"fold_00", "fold_01", "fold_02"}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: KFoldCrossValidationTrainer(make_tiny(), SplitDefinition()),  # type: ignore[arg-type]  # of a wrong type
            TypeError,
            "trainer must be a BasicNCATrainer, got EchoModel",
        ),
        (
            lambda: KFoldCrossValidationTrainer(BasicNCATrainer(make_tiny(), None), []),  # type: ignore[arg-type]  # of a wrong type
            TypeError,
            "split must be a SplitDefinition, got list",
        ),
        (
            lambda: KFoldCrossValidationTrainer(
                BasicNCATrainer(make_tiny(), None), SplitDefinition()
            ),
            ValueError,
            "split must have at least one fold",
        ),
        (
            lambda: run(kfold(None), Path(), tensorboard=True),
            ValueError,
            "tensorboard must be False without a model_path",
        ),
        (
            lambda: run(kfold(None), Path(), overwrite="no"),
            TypeError,
            "overwrite must be True or False, got 'no'",
        ),
        (
            lambda: run(kfold(None), Path(), tensorboard="no"),
            TypeError,
            "tensorboard must be True or False, got 'no'",
        ),
        (
            lambda: run(kfold(None), Path(), threads=0),
            ValueError,
            "threads must be at least 1, got 0",
        ),
    ],
)
def test_bad_arguments_are_named(
    make: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()
