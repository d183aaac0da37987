import gzip
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_models import Run, noise
from label_sizes import seen_sizes
from PIL import Image
from torch.utils.data import DataLoader

from ncalab.cli.config.build import build_model, build_recommended, build_trainer
from ncalab.cli.config.data import read_parts
from ncalab.cli.config.sections import check_config
from ncalab.cli.config.transforms import Mirrored
from ncalab.core import AbstractNCAModel
from ncalab.tasks import (
    CascadeNCA,
    ClassificationNCAModel,
    RandomAffine,
    SegmentationNCAModel,
)
from ncalab.train.checkpoint import read_checkpoint

Config = dict[str, Any]

CPU = torch.device("cpu")
FAST = {"max_epochs": 2, "batch_repeat": 1, "progress": False}


def segmentation_folder(count: int = 6, rows: int = 8, channels: int = 3) -> None:
    shape = (rows, 6) if channels == 1 else (rows, 6, channels)
    for n in range(count):
        noise(Path(f"data/images/{n}.png"), *shape, seed=n)
        mask = np.zeros((rows, 6), np.uint8)
        mask[: n + 1] = 255
        Path("data/masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(f"data/masks/{n}.png")


def segmentation(**sections: Any) -> Config:
    model = {"num_hidden_channels": 2, "hidden_size": 4, "training_timesteps": [2, 4]}
    return {
        "device": "cpu",
        "output": "run",
        "model": {"class": "SegmentationNCAModel", "inference_timesteps": 3, **model},
        "data": {"class": "SegmentationNCADataset", "path": "data", **sections.pop("data", {})},
        "split": {"validation": 0.3, "test": 0.2},
        "loader": {"batch_size": 2},
        "trainer": FAST,
        **sections,
    }


def write(config: Config, name: str = "config.json") -> str:
    Path(name).write_text(json.dumps(config))
    return name


def curves() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(Path("run/history.json").read_text())
    return data


def parts_of(config: Config) -> Any:
    checked = check_config(config)
    return read_parts(checked, build_model(checked, CPU))


def test_a_segmentation_is_trained_validated_and_tested(run: Run, workplace: Path) -> None:
    segmentation_folder()

    result = run("train", write(segmentation()))

    assert result.exit_code == 0, result.output
    history = curves()
    assert history["current_epoch"] == 2 and len(history["curves"]["metrics"]["dice"]) == 2
    assert "3 to train, 2 to validate, 1 to test" in result.output
    best = SegmentationNCAModel.from_pretrained("run/pretrained")
    assert best.num_hidden_channels == 2
    assert f"test_dice={history['test_metrics']['dice']:.6g}" in result.output
    want = f"best_dice={history['best_accuracy']:.6g} epoch={history['best_epoch']}"
    assert result.output.splitlines()[-1] == want
    assert Path("run/history.png").read_bytes().startswith(b"\x89PNG")
    predicted = run("predict", "run", "data/images/0.png")
    assert predicted.exit_code == 0, predicted.output


def test_a_pool_keeps_each_image_with_its_mask(run: Run, workplace: Path) -> None:
    rng = np.random.default_rng(0)
    for n in range(8):
        mask = (rng.random((8, 6)) > 0.5).astype(np.uint8) * 255
        image = np.repeat(mask[..., None], 3, axis=2)
        for folder, array in (("images", image), ("masks", mask)):
            Path(f"data/{folder}").mkdir(exist_ok=True, parents=True)
            Image.fromarray(array).save(f"data/{folder}/{n}.png")
    pool = {"size": 5, "damage": True, "p_damage": 1.0}

    result = run("train", write(segmentation(pool=pool, trainer={**FAST, "max_epochs": 4})))

    assert result.exit_code == 0, result.output
    records = read_checkpoint("run/checkpoint.safetensors")["pool"]["records"]
    assert len(records) == 5
    for record in records:
        red = record["state"][0]
        assert torch.equal(record["label"], (red > red.mean()).long())


def test_settings_that_cannot_train_leave_no_folder(run: Run, workplace: Path) -> None:
    segmentation_folder(count=1)

    result = run("train", write(segmentation(output="runs/a")))

    assert result.exit_code == 2, result.output
    assert not Path("runs").exists()


def test_a_figure_that_fails_ends_no_training(
    run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no fonts")

    monkeypatch.setattr("ncalab.cli.jobs.ending.plot_history", broken)
    segmentation_folder()

    result = run("train", write(segmentation()))

    assert result.exit_code == 0, result.output
    assert "history: run/history.json\n" in result.output
    assert "history.png failed; the trained model is saved (RuntimeError: no fonts" in caplog.text
    assert Path("run/pretrained/model.safetensors").exists()


def test_overrides_win_over_the_file(run: Run, workplace: Path) -> None:
    segmentation_folder()

    result = run(
        *("train", write(segmentation()), "--set", "trainer.max_epochs=1"),
        *("--set", "model.hidden_size=5", "--output", "run"),
    )

    assert result.exit_code == 0, result.output
    assert curves()["current_epoch"] == 1 and curves()["model"]["hidden_size"] == 5
    assert json.loads(Path("run/train.json").read_text())["trainer"]["max_epochs"] == 1


def test_a_run_can_be_repeated_from_its_folder(run: Run, workplace: Path) -> None:
    segmentation_folder()
    run("train", write(segmentation()))
    first = curves()["curves"]["losses"]

    result = run("train", "run/train.json", "--force")

    assert result.exit_code == 0, result.output
    assert curves()["curves"]["losses"] == first


def test_resuming_goes_on_and_a_finished_run_is_not_overwritten(run: Run, workplace: Path) -> None:
    segmentation_folder()
    config = write(segmentation())
    run("train", config)
    before = curves()["curves"]["losses"]["total"]

    refused = run("train", config)
    assert refused.exit_code == 2
    assert "--output must not hold a run yet, got run" in refused.stderr

    result = run("train", config, "--resume", "--set", "trainer.max_epochs=3")
    assert result.exit_code == 0, result.output
    after = curves()["curves"]["losses"]["total"]
    assert len(after) == 3 and after[:2] == before


def test_resuming_with_other_settings_is_refused_and_changes_nothing(
    run: Run, workplace: Path
) -> None:
    segmentation_folder()
    config = write(segmentation())
    run("train", config)
    kept = Path("run/train.json").read_bytes()

    result = run("train", config, "--resume", "--set", "trainer.lr=0.5")

    assert result.exit_code == 2 and "trainer.lr was 0.0016, is 0.5" in result.stderr
    assert Path("run/train.json").read_bytes() == kept


def test_short_tries_everything_and_keeps_nothing(run: Run, workplace: Path) -> None:
    segmentation_folder()

    result = run("train", write(segmentation()), "--short")

    assert result.exit_code == 0, result.output
    assert "it runs: loss=" in result.output and not Path("run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.fire_rate": 2.0}, "model.fire_rate must be in [0, 1], got 2.0"),
        ({"model.kernel_size": 4}, "model.kernel_size must be odd, got 4"),
        ({"model.num_image_channels": 1}, "model.num_image_channels must be 3, as the data have"),
        ({"model.rule_type": "Butterfly"}, "'Butterfly' is not a registered rule"),
        ({"trainer.lr": -1.0}, "trainer.lr must be above 0 and finite, got -1.0"),
        ({"trainer.optimizer_method": "lion"}, "trainer.optimizer_method must be one of adam"),
        ({"pool.size": 0}, "pool.size must be at least 1, got 0"),
        ({"cascade.scales": [2, 1], "cascade.steps": [1]}, "cascade.steps must hold one number"),
        ({"early_stopping.patience": 0}, "early_stopping.patience must be at least 1, got 0"),
        (
            {"scheduler.class": "CosineAnnealingWarmRestarts", "scheduler.T_0": -1},
            "scheduler: Expected positive integer T_0",
        ),
        ({"data.path": "nowhere"}, "path must hold the folder images, got nowhere"),
        ({"split.file": "folds.json", "split.validation": 0.0, "split.test": 0.0}, "folds.json"),
        ({"device": "abacus"}, "device must be cpu, cuda"),
        ({"model.validation_metric": "luck"}, "validation_metric must be a metric of the model"),
    ],
)
def test_everything_is_checked_before_anything_is_trained(
    run: Run, workplace: Path, change: Config, message: str
) -> None:
    segmentation_folder()
    changes = [("--set", f"{name}={json.dumps(value)}") for name, value in change.items()]

    result = run("train", write(segmentation()), *(part for pair in changes for part in pair))

    assert result.exit_code == 2 and message in result.stderr, result.output
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error")]) == 1
    assert not Path("run/history.json").exists()


def test_images_of_several_sizes_need_resize(run: Run, workplace: Path) -> None:
    segmentation_folder(4)
    noise(Path("data/images/z.png"), 5, 5, 3)
    Image.new("L", (5, 5)).save("data/masks/z.png")
    config = write(segmentation())

    refused = run("train", config)
    assert refused.exit_code == 2 and "data.resize must be given" in refused.stderr

    assert run("train", config, "--set", "data.resize=[6, 4]").exit_code == 0
    assert run("train", config, "--set", "loader.batch_size=1", "--output", "b").exit_code == 0


def test_parts_share_no_image_and_only_training_images_are_mirrored(workplace: Path) -> None:
    segmentation_folder(10)

    parts = parts_of(segmentation(data={"flip": True, "resize": [4, 4]}))

    names = [
        [image.name for image, _ in part.pairs] for part in (parts.train, parts.val, parts.test)
    ]
    assert [len(part) for part in names] == [5, 3, 2]
    assert sorted(name for part in names for name in part) == [f"{n}.png" for n in range(10)]
    assert isinstance(parts.train.transform, Mirrored) and parts.val.transform is None
    assert parts.train[0][0].shape == (3, 4, 4) and parts.val[0][1].shape == (4, 4)


def test_folds_come_from_a_file_like_those_of_nnunet(workplace: Path) -> None:
    segmentation_folder(4)
    folds = [{"train": ["0", "1"], "val": ["2"]}, {"train": ["3.png"], "val": ["0", "1"]}]
    Path("folds.json").write_text(json.dumps(folds))

    parts = parts_of(segmentation(split={"file": "folds.json", "fold": 1}))

    assert [image.name for image, _ in parts.train.pairs] == ["3.png"]
    assert [image.name for image, _ in parts.val.pairs] == ["0.png", "1.png"]
    assert parts.test is None


def test_a_fold_that_names_what_is_not_there_is_an_error(workplace: Path) -> None:
    segmentation_folder(4)
    Path("folds.json").write_text('[{"train": ["0"], "val": ["owl"]}]')

    with pytest.raises(ValueError, match="must name samples of the data, got 'owl', which is none"):
        parts_of(segmentation(split={"file": "folds.json"}))


def test_images_and_masks_are_mirrored_together() -> None:
    image = np.zeros((4, 4, 1), np.uint8)
    image[:2, :1] = 255
    mask = np.where(image[..., 0] > 0, 3, 1).astype(np.uint8)
    torch.manual_seed(0)

    seen = set()
    for _ in range(20):
        both = Mirrored()(image=image, mask=mask)
        assert np.array_equal(both["image"][..., 0] > 0, both["mask"] == 3)
        seen.add(tuple(np.argwhere(both["mask"] == 3)[0].tolist()))

    # All four corners.
    assert seen == {(0, 0), (0, 3), (2, 0), (2, 3)}


def classification(**sections: Any) -> Config:
    model = {"num_image_channels": 1, "num_hidden_channels": 3, "num_classes": 2}
    return {
        "device": "cpu",
        "output": "run",
        "model": {
            "class": "ClassificationNCAModel",
            "hidden_size": 4,
            "avg_pool_size": 2,
            "training_timesteps": 2,
            "inference_timesteps": 2,
            **model,
            **sections.pop("model", {}),
        },
        "loader": {"batch_size": 3},
        "trainer": FAST,
        **sections,
    }


def class_folders() -> Config:
    for name in ("dog", "cat"):
        for n in range(5):
            noise(Path(f"data/{name}/{n}.png"), 6, 6 + n, seed=n)
    return {"class": "ClassificationDataset", "path": "data", "resize": [6, 5]}


def test_folders_are_classes_and_name_them(run: Run, workplace: Path) -> None:
    config = classification(data=class_folders(), split={"validation": 0.2, "test": 0.2})

    result = run("train", write(config))

    assert result.exit_code == 0, result.output
    assert "6 to train, 2 to validate, 2 to test" in result.output
    assert curves()["model"]["class_names"] == ["cat", "dog"]
    assert run("predict", "run", "data/cat").exit_code == 0
    assert "p_cat,p_dog" in Path("predictions/classes.csv").read_text()


def test_images_to_train_on_are_distorted_and_the_model_knows_their_preparation(
    run: Run, workplace: Path
) -> None:
    data = class_folders() | {"distort": {"degrees": 20, "padding_mode": "zeros"}}
    config = classification(data=data, split={"validation": 0.2, "test": 0.2})
    checked = check_config(config)

    parts: Any = read_parts(checked, build_model(checked, CPU)).distorted(checked)
    result = run("train", write(config))

    assert isinstance(parts.train, RandomAffine) and parts.train.padding_mode == "zeros"
    assert not torch.equal(parts.train[0][0], parts.train.dataset[0][0])
    assert not isinstance(parts.val, RandomAffine) and not isinstance(parts.test, RandomAffine)
    assert result.exit_code == 0, result.output
    saved = ClassificationNCAModel.from_pretrained("run/pretrained")
    assert saved.preparation == parts.val.preparation


def test_every_part_has_each_class_by_its_share(workplace: Path) -> None:
    data = class_folders()

    parts = parts_of(classification(data=data, split={"validation": 0.2, "test": 0.4}))

    assert [part.labels.tolist() for part in (parts.train, parts.val, parts.test)] == [
        [0, 0, 1, 1],
        [0, 1],
        [0, 0, 1, 1],
    ]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"num_classes": 3}, "model.num_classes must be 2, one for each folder of the data, got 3"),
        ({"class_names": ["dog", "cat"]}, "model.class_names must be the folders in their order"),
    ],
)
def test_classes_that_are_not_the_folders_are_an_error(
    workplace: Path, model: Config, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        parts_of(classification(data=class_folders(), model=model))


def test_medmnist_brings_its_own_parts(run: Run, workplace: Path) -> None:
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        arrays[f"{split}_images"] = generator.integers(0, 256, (count, 6, 6), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2)[:, None]
    np.savez("tiny.npz", **arrays)
    data = {"class": "MedMNISTDataset", "path": "tiny.npz"}

    result = run("train", write(classification(data=data)))

    assert result.exit_code == 0, result.output
    assert "6 to train, 3 to validate, 2 to test" in result.output
    refused = run("train", write(classification(data=data, split={}, output="b")))
    assert refused.exit_code == 2 and "split must be left out" in refused.stderr


def test_idx_files_are_tested_on_their_own_part(workplace: Path) -> None:
    Path("mnist").mkdir()
    for prefix, count in (("train", 8), ("t10k", 3)):
        images = b"\0\0\x08\x03" + struct.pack(">III", count, 5, 5) + bytes(count * 25)
        labels = b"\0\0\x08\x01" + struct.pack(">I", count) + bytes(n % 2 for n in range(count))
        Path(f"mnist/{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        Path(f"mnist/{prefix}-labels-idx1-ubyte").write_bytes(labels)
    data = {"class": "IDXDataset", "path": "mnist"}

    parts = parts_of(classification(data=data, split={"validation": 0.25}))

    assert [len(part) for part in (parts.train, parts.val, parts.test)] == [6, 2, 3]
    with pytest.raises(ValueError, match=r"model.num_classes must be at least 2"):
        config = classification(data=data, model={"class_names": None})
        checked = check_config(config)
        model = build_model(checked, CPU)
        model._num_classes = 1  # type: ignore[assignment]  # less than the labels
        read_parts(checked, model)


def test_depth_is_read_in_its_unit_and_trained(run: Run, workplace: Path) -> None:
    for n in range(4):
        noise(Path(f"data/images/{n}.png"), 6, 8, 3, seed=n)
        Path("data/depths").mkdir(exist_ok=True)
        Image.fromarray(np.full((6, 8), 2500, np.uint16)).save(f"data/depths/{n}.png")
    config = {
        "device": "cpu",
        "output": "run",
        "model": {
            "class": "DepthNCAModel",
            "num_hidden_channels": 2,
            "hidden_size": 4,
            "training_timesteps": 2,
            "inference_timesteps": 2,
        },
        "data": {"class": "DepthDataset", "path": "data", "scale": 0.001, "resize": [6, 6]},
        "split": {"validation": 0.25},
        "loader": {"batch_size": 2},
        "trainer": FAST,
    }
    assert parts_of(dict(config)).train[0][1].unique().tolist() == [2.5]

    result = run("train", write(config))

    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].startswith("best_ssim=")
    for file in Path("data/depths").iterdir():
        Image.fromarray(np.zeros((6, 8), np.uint16)).save(file)
    refused = run("train", write(config), "--force")
    assert refused.exit_code == 2
    assert "data must hold depth maps with depths that are finite and above 0" in refused.stderr


def test_the_printed_growing_file_trains(run: Run, picture: Path) -> None:
    printed = run("train", "--print-config", "growing")
    assert printed.exit_code == 0
    Path("growing.toml").write_text(printed.output)

    result = run(
        *("train", "growing.toml", "--device", "cpu", "--set", f"data.image={picture}"),
        *("--set", "data.size=8", "--set", "trainer.max_epochs=2", "--output", "run"),
        *("--set", "model.training_timesteps=[3, 5]"),
    )

    assert result.exit_code == 0, result.output
    assert len(curves()["curves"]["losses"]["mse"]) == 2


def test_a_cascade_is_trained_around_the_model(workplace: Path) -> None:
    config = segmentation(cascade={"scales": [2, 1], "steps": [2, 1], "single_model": False})

    model = build_model(check_config(config), CPU)

    assert isinstance(model, CascadeNCA) and model.scales == [2, 1]
    assert model.num_trainable_parameters() == 2 * model.wrapped.num_trainable_parameters()


@pytest.mark.parametrize(
    ("scheduler", "interval", "want"),
    [
        ({"class": "CosineAnnealingLR"}, "epoch", {"T_max": 20}),
        ({"class": "CosineAnnealingLR"}, "batch", {"T_max": 60}),
        ({"class": "CosineAnnealingLR", "T_max": 7}, "batch", {"T_max": 7}),
        ({"class": "OneCycleLR", "pct_start": 0.5}, "batch", {"total_steps": 60}),
        ({"class": "StepLR", "step_size": 4}, "epoch", {"step_size": 4}),
    ],
)
def test_a_schedule_is_as_long_as_the_training(
    scheduler: Config, interval: str, want: Config
) -> None:
    config = segmentation(
        scheduler=scheduler,
        trainer={"max_epochs": 20, "scheduler_interval": interval, "lr": 0.25},
    )
    checked = check_config(config)
    model: AbstractNCAModel = build_model(checked, CPU)

    trainer = build_trainer(checked, model, None, batches=3)

    _, _, made = trainer._make_optimizers()
    assert type(made).__name__ == scheduler["class"]
    assert {name: getattr(made, name) for name in want} == want


def test_only_batches_to_train_on_are_shuffled(workplace: Path) -> None:
    segmentation_folder(10)
    parts = parts_of(segmentation())

    train, val, test = parts.loaders(check_config(segmentation()).loader)

    assert isinstance(val, DataLoader) and isinstance(test, DataLoader)
    samplers = [type(loader.sampler).__name__ for loader in (train, val, test)]
    assert samplers == ["RandomSampler", "SequentialSampler", "SequentialSampler"]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_printed_settings_run_in_short(run: Run, workplace: Path, channels: int) -> None:
    segmentation_folder(channels=channels)
    Path("nuclei.toml").write_text(run("train", "--print-config", "segmentation").stdout)
    small = ["--set", "data.resize=[8,6]", "--set", "model.training_timesteps=[2,4]"]

    result = run("train", "nuclei.toml", *small, "--short")
    wrong = run("train", "nuclei.toml", *small, "--short", "--set", "model.num_image_channels=2")

    assert result.exit_code == 0, result.output
    assert f"num_image_channels must be {channels}, as the data have, got 2" in wrong.stderr


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ({"class": "OneCycleLR", "max_lr": -1.0}, "learning rates must be at least 0 and finite"),
        (
            {"class": "OneCycleLR", "total_steps": 10, "pct_start": 0.1},
            "one of its phases has no step; raise total_steps",
        ),
    ],
)
def test_a_schedule_that_cannot_run_is_refused(
    run: Run, workplace: Path, scheduler: dict[str, Any], message: str
) -> None:
    segmentation_folder()

    result = run("train", write(segmentation(scheduler=scheduler)))

    assert result.exit_code == 2 and f"scheduler: {message}" in result.stderr


@pytest.mark.parametrize(("name", "value", "least"), [("size", 0, 1), ("padding", -3, 0)])
def test_a_picture_without_room_is_refused(
    run: Run, workplace: Path, picture: Path, name: str, value: int, least: int
) -> None:
    Path("grow.toml").write_text(run("train", "--print-config", "growing").stdout)

    result = run("train", "grow.toml", "--set", f"data.{name}={value}")

    assert result.exit_code == 2
    assert f"data.{name} must be at least {least}, got {value}" in result.stderr


def recommended(**sections: Any) -> Config:
    config = segmentation(recommend=True, trainer={"max_epochs": 1, "progress": False}, **sections)
    config["model"] = {"class": "SegmentationNCAModel", "hidden_size": 4}
    return config


def test_the_data_decide_what_settings_leave_open(run: Run, workplace: Path) -> None:
    for n in range(4):
        noise(Path(f"data/images/{n}.png"), 30, 26, 3, seed=n)
        Path("data/masks").mkdir(exist_ok=True)
        mask = (np.arange(30 * 26).reshape(30, 26) % 7 == 0).astype(np.uint8) * 255
        Image.fromarray(mask).save(f"data/masks/{n}.png")

    result = run("train", write(recommended()))

    assert result.exit_code == 0, result.output
    assert "chosen from the data: cells of 2, 1 pixels in turn" in result.output
    assert "chosen from the data: trained by the recommended recipe" in result.output
    model = AbstractNCAModel.from_pretrained("run/pretrained")
    assert isinstance(model, CascadeNCA)
    assert (model.scales, model.hidden_size) == ([2, 1], 4)
    again = run("train", write(recommended()), "--resume", "--set", "trainer.max_epochs=2")
    assert again.exit_code == 0, again.output
    assert curves()["current_epoch"] == 2


def test_large_images_are_trained_on_in_patches_unless_settings_say_so(
    run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmentation_folder(count=4)
    sizes = seen_sizes(monkeypatch)
    data = {"resize": [200, 192], "flip": True}
    config = recommended(data=data, cascade={"scales": [16, 8], "steps": [1, 1]})

    chosen = run("train", write(config), "--short")
    config["data"]["patch_size"] = 0
    whole = run("train", write(config), "--short")

    assert chosen.exit_code == whole.exit_code == 0, chosen.output
    assert "chosen from the data: patches of 96 x 96 pixels" in chosen.output
    assert "patches" not in whole.output
    assert sizes == {(96, 96), (200, 192)}


def test_patches_take_over_the_preparation_of_their_images(
    run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmentation_folder()
    sizes = seen_sizes(monkeypatch)

    result = run("train", write(segmentation(data={"resize": [10, 9], "patch_size": 5})))

    assert result.exit_code == 0, result.output
    model = AbstractNCAModel.from_pretrained("run/pretrained")
    assert model.preparation is not None and model.preparation.resize == (10, 9)
    assert sizes == {(5, 5)}
    resumed = run("train", "run/train.json", "--resume", "--set", "trainer.max_epochs=3")
    assert resumed.exit_code == 0, resumed.output


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"patch_size": -1}, "data.patch_size must be at least 0, got -1"),
        ({"patch_size": "large"}, "data.patch_size must be a whole number, got 'large'"),
    ],
)
def test_wrong_sizes_of_patches_are_named(
    run: Run, workplace: Path, config: Config, message: str
) -> None:
    segmentation_folder()

    result = run("train", write(segmentation(data=config)))

    assert result.exit_code == 2 and message in result.stderr


def test_what_settings_say_is_left_alone(run: Run, workplace: Path) -> None:
    segmentation_folder(rows=30)
    config = recommended(cascade={"scales": [3, 1], "steps": [2, 1]})
    config["trainer"]["recipe"] = "documented"

    result = run("train", write(config))

    assert result.exit_code == 0, result.output
    assert "pixels in turn" not in result.output and "recipe" not in result.output
    model = AbstractNCAModel.from_pretrained("run/pretrained")
    assert isinstance(model, CascadeNCA) and model.scales == [3, 1]


def test_steps_that_settings_ask_for_are_those_of_the_cascade(run: Run, workplace: Path) -> None:
    segmentation_folder(rows=30)
    shape = "data.resize=[30, 26]"
    config = write(recommended())

    for name in ("training_timesteps", "inference_timesteps"):
        result = run("train", config, "--force", "--set", shape, "--set", f"model.{name}=3")

        assert result.exit_code == 0, result.output
        wanted = "cells of 2, 1 pixels in turn, 2, 1 steps: 3 steps in all were asked for"
        assert f"chosen from the data: {wanted}" in result.output
        model = AbstractNCAModel.from_pretrained("run/pretrained")
        assert isinstance(model, CascadeNCA) and getattr(model, name) == 3


def test_steps_of_a_model_that_its_cascade_does_not_take_are_named(
    run: Run, workplace: Path
) -> None:
    segmentation_folder()
    config = segmentation(cascade={"scales": [2, 1], "steps": [2, 1], "training_timesteps": 4})

    result = run("train", write(config))

    assert result.exit_code == 0, result.output
    assert "model.inference_timesteps is not used: the cascade takes its steps" in result.stderr
    assert "model.training_timesteps" not in result.stderr


@pytest.mark.parametrize(
    ("trainer", "said", "unsaid"),
    [
        ({}, "trained by the recommended recipe: optimizer_method='muon', lr=0.05, ", "as set"),
        ({"lr": 0.25}, "recipe, but for lr as set: optimizer_method='muon', lr=0.25, ", " lr=0.05"),
        (
            {"optimizer_method": "adam"},
            "recipe, but for optimizer_method as set: optimizer_method='adam', lr=0.0016, ",
            "muon",
        ),
        ({"lr_gamma": 0.9}, "but for lr_gamma as set: optimizer_method='muon', ", "final_lr"),
        ({"first_steps": 1.0}, "but for first_steps as set: ", "warmup_steps"),
    ],
)
def test_the_recipe_that_is_printed_is_the_one_that_trains(
    run: Run, workplace: Path, trainer: Config, said: str, unsaid: str
) -> None:
    segmentation_folder()
    config = recommended()
    config["trainer"] |= trainer

    result = run("train", write(config))

    assert result.exit_code == 0, result.output
    printed = next(line for line in result.output.splitlines() if "recommended recipe" in line)
    assert said in printed and unsaid not in printed
    used = read_checkpoint("run/checkpoint.safetensors")["settings"]
    for option in ("lr", "ema_decay", "decay", "lr_gamma", "first_steps"):
        if f" {option}=" in printed:
            assert f" {option}={used[f'trainer.{option}']!r}" in printed


def test_a_schedule_takes_the_place_of_the_recipes_decay(run: Run, workplace: Path) -> None:
    segmentation_folder()
    config = recommended(scheduler={"class": "StepLR", "step_size": 1, "gamma": 0.5})
    config["trainer"]["max_epochs"] = 3

    result = run("train", write(config))

    assert result.exit_code == 0, result.output
    assert curves()["curves"]["lr"] == pytest.approx([0.05, 0.025, 0.0125])
    assert "recipe, but for scheduler as set: " in result.output
    assert "decay='" not in result.output


def test_a_schedule_does_not_go_with_a_decay(run: Run, workplace: Path) -> None:
    segmentation_folder()
    scheduler = {"class": "StepLR", "step_size": 1}

    result = run("train", write(segmentation(trainer={"decay": "cosine"}, scheduler=scheduler)))

    assert result.exit_code == 2
    assert "trainer.decay must be 'gamma' with an lr_scheduler, got 'cosine'" in result.stderr


def test_masks_without_foreground_are_refused(run: Run, workplace: Path) -> None:
    segmentation_folder()
    for file in Path("data/masks").iterdir():
        Image.new("L", (6, 8)).save(file)

    result = run("train", write(segmentation()))

    assert result.exit_code == 2 and not Path("run").exists()
    assert "data must hold masks of at least 2 classes, got class 0 alone" in result.stderr


def test_uneven_folders_of_classes_are_weighted(workplace: Path) -> None:
    for name, count in (("cat", 20), ("dog", 2)):
        for number in range(count):
            noise(Path(f"data/{name}/{number}.png"), 6, 7, seed=number)
    config = classification(data={"class": "ClassificationDataset", "path": "data"})
    checked = check_config({**config, "recommend": True})
    model = build_model(checked, CPU)
    parts = read_parts(checked, model)

    built, filled, reasons = build_recommended(checked, model, parts.train, CPU)

    assert isinstance(built, ClassificationNCAModel) and built.class_weights is not None
    assert built.class_weights[1] > 2 * built.class_weights[0]
    assert filled.model["class_weights"] == built.class_weights
    assert any(reason.startswith("class_weights = [") for reason in reasons)


def test_minutes_take_the_place_of_epochs(run: Run, workplace: Path) -> None:
    segmentation_folder()
    trainer = {"max_minutes": 0.002, "decay": "cosine", "progress": False}

    result = run("train", write(segmentation(trainer=trainer)))

    assert result.exit_code == 0, result.output
    assert 1 <= curves()["current_epoch"] < 200
    assert "not used" not in result.output


def test_epochs_beside_minutes_are_said_not_to_count(run: Run, workplace: Path) -> None:
    segmentation_folder()

    result = run("train", write(segmentation(trainer={**FAST, "max_minutes": 0.001})))

    assert result.exit_code == 0, result.output
    assert "trainer.max_epochs is not used: trainer.max_minutes decides" in result.stderr


def test_a_schedule_of_epochs_does_not_go_with_minutes(run: Run, workplace: Path) -> None:
    segmentation_folder()
    config = segmentation(
        trainer={**FAST, "max_minutes": 1}, scheduler={"class": "CosineAnnealingLR"}
    )

    result = run("train", write(config))

    assert result.exit_code == 2
    assert "scheduler.T_max must be given with trainer.max_minutes" in result.stderr


def test_a_recipe_may_be_a_table(workplace: Path) -> None:
    recipe = {"optimizer_method": "adam", "lr": 0.125, "ema_decay": None}
    checked = check_config(segmentation(trainer={**FAST, "recipe": recipe}))

    trainer = build_trainer(checked, build_model(checked, CPU), None, batches=3)

    assert (trainer.lr, trainer.ema_decay, trainer.batch_repeat) == (0.125, None, 1)
