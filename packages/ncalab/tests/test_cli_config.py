import json
import re
import tomllib
from pathlib import Path
from typing import Any, Literal

import pytest

from ncalab.cli.config.check import check_value, name_of, settings_of
from ncalab.cli.config.read import override, parse_override, read_config
from ncalab.cli.config.sections import check_config
from ncalab.cli.tasks import read_template, task_names
from ncalab.tasks import DepthNCAModel, SegmentationNCAModel

Config = dict[str, Any]


def smallest() -> Config:
    """Return settings with nothing that could be left out."""
    return {
        "model": {"class": "SegmentationNCAModel"},
        "data": {"class": "SegmentationNCADataset", "path": "data"},
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modle": {}}, "modle is not a setting of ncalab train; did you mean model?"),
        (
            {"model.num_hiden_channels": 3},
            "model.num_hiden_channels is not a setting of SegmentationNCAModel; "
            "did you mean num_hidden_channels?",
        ),
        ({"model.fire_rate": "fast"}, "model.fire_rate must be a number, got 'fast'"),
        ({"model.num_classes": 2.5}, "model.num_classes must be a whole number, got 2.5"),
        ({"model.num_classes": True}, "model.num_classes must be a whole number, got True"),
        (
            {"model.filter_padding": "mirror"},
            "model.filter_padding must be one of 'zero'|'reflect'",
        ),
        (
            {"model.training_timesteps": [1, 2, 3]},
            "model.training_timesteps must be a whole number or a list of 2",
        ),
        ({"model.class": "os.system"}, "model.class must be the name of a known class, got 'os."),
        ({"model.class": "AbstractNCAModel"}, "model.class must be the name of a known class"),
        ({"model.class": "SegmentationModel"}, "did you mean SegmentationNCAModel?"),
        ({"model.class": 3}, "model.class must be the name of a known class, got 3"),
        ({"model.device": "cpu"}, "model.device is not a setting of SegmentationNCAModel"),
        ({"model.num_output_channels": 3}, "model.num_output_channels is not a setting of"),
        ({"model.class": "ClassificationNCAModel"}, "model.num_image_channels must be given"),
        ({"data.class": "DepthDataset"}, "data.class must be one of SegmentationNCADataset for a"),
        ({"data.files": ["a"]}, "data.files is not a setting of SegmentationNCADataset"),
        ({"data.resize": [0, 3]}, "data.resize must be at least 1 each, got [0, 3]"),
        ({"data.flip": 1}, "data.flip must be true or false, got 1"),
        ({"trainer.max_epoch": 3}, "did you mean max_epochs?"),
        ({"trainer.pool": {}}, "trainer.pool is not a setting of BasicNCATrainer"),
        ({"trainer.recipe": {"lr": -1}}, "trainer.recipe.lr must be above 0"),
        ({"trainer.recipe": {"ema_decay": 2.0}}, "trainer.recipe.ema_decay must be in "),
        ({"trainer.recipe": {"lr": "fast"}}, "trainer.recipe.lr must be a number, got 'fast'"),
        ({"trainer.recipe": {"lrr": 1}}, "trainer.recipe.lrr is not a setting of Recipe; did you"),
        (
            {"trainer.recipe": "best"},
            "one of 'documented', 'recommended' or a table of arguments of Recipe, got 'best'",
        ),
        ({"trainer.save_every": 0}, "trainer.save_every must be at least 1, got 0"),
        ({"loader.batch_size": 0}, "loader.batch_size must be at least 1, got 0"),
        ({"loader.persistent_workers": True}, "loader.persistent_workers must be false without"),
        ({"split.validation": 1.0}, "split.validation must be in [0, 1), got 1.0"),
        ({"split.validation": 0.5, "split.test": 0.5}, "must be below 1: nothing would train"),
        ({"split.file": "a.json", "split.test": 0.5}, "split.file must be left out with shares"),
        ({"scheduler.step_size": 3}, "scheduler.class must be given, one of CosineAnnealingLR"),
        ({"scheduler.class": "StepLR"}, "scheduler.step_size must be given for StepLR"),
        ({"scheduler.class": "LambdaLR"}, "scheduler.class must be the name of a known class"),
        ({"pool.n_seeds": 3}, "pool.n_seeds is not a setting of Pool; did you mean n_seed?"),
        ({"early_stopping.min_delta": 0.1}, "early_stopping.patience must be given"),
        ({"cascade.scales": [2, 1]}, "cascade.steps must be given for CascadeNCA"),
        ({"cascade": 3}, "cascade must be a table, got 3"),
        ({"seed": -1}, "seed must be in [0, 2**32), got -1"),
        ({"device": 3}, "device must be text, got 3"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(change: Config, message: str) -> None:
    changes = [(name.split("."), value) for name, value in change.items()]

    with pytest.raises(ValueError) as error:
        check_config(override(smallest(), changes))

    parts = message.split("|")
    assert all(part in str(error.value) for part in parts), error.value


@pytest.mark.parametrize("section", ["model", "data"])
def test_a_section_that_is_needed_is_named(section: str) -> None:
    config = smallest()
    del config[section]

    with pytest.raises(ValueError, match=f"^{section} must be given"):
        check_config(config)


def test_what_is_left_out_stays_the_default_of_its_class() -> None:
    checked = check_config(smallest())

    assert checked.model == {"class": "SegmentationNCAModel"} and checked.trainer == {}
    assert checked.loader.batch_size == 8 and checked.top.seed == 1337
    assert checked.pool is None and checked.scheduler is None


@pytest.mark.parametrize(
    ("distort", "message"),
    [
        (True, "data.distort must be a table, got True"),
        (
            {"degree": 3},
            "data.distort.degree is not a setting of RandomAffine; did you mean degrees?",
        ),
        ({"degrees": "far"}, "data.distort.degrees must be a number, got 'far'"),
        ({"degrees": 200.0}, "data.distort.degrees must be in [0, 180], got 200"),
        ({"padding_mode": "wrap"}, "data.distort.padding_mode must be one of 'zeros'"),
    ],
)
def test_mistakes_in_a_distortion_are_named(distort: Any, message: str) -> None:
    config = {
        "model": {
            "class": "ClassificationNCAModel",
            "num_image_channels": 1,
            "num_hidden_channels": 3,
            "num_classes": 2,
        },
        "data": {"class": "ClassificationDataset", "path": "data", "distort": distort},
    }

    with pytest.raises(ValueError, match=re.escape(message)):
        check_config(config)


def test_images_of_other_tasks_cannot_be_distorted() -> None:
    config = override(smallest(), [(["data", "distort"], {})])

    with pytest.raises(ValueError, match="data.distort is not a setting of SegmentationNCADataset"):
        check_config(config)


def test_lists_become_what_the_classes_take() -> None:
    config = override(
        smallest(),
        [
            (["model", "training_timesteps"], [3, 5]),
            (["trainer", "adam_betas"], [0.9, 1]),
            (["trainer", "checkpoint"], "auto"),
        ],
    )

    checked = check_config(config)

    assert checked.model["training_timesteps"] == (3, 5)
    assert checked.trainer == {"adam_betas": (0.9, 1.0), "checkpoint": "auto"}


def test_settings_of_a_model_are_those_of_its_base_class_too() -> None:
    settings = settings_of(SegmentationNCAModel, without=["device"])

    assert {"num_classes", "use_alive_mask", "training_timesteps"} <= settings.keys()
    assert "kwargs" not in settings and "self" not in settings and "device" not in settings
    assert not any(settings[name].required for name in ("num_classes", "num_hidden_channels"))


def test_a_table_of_data_is_left_as_it_is() -> None:
    assert check_value("model.rule_args", {"nonlinearity": "Tanh"}, dict[str, Any] | None) == {
        "nonlinearity": "Tanh"
    }


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (int | None, "a whole number"),
        (list[float], "a list, each a number"),
        (Literal["a"] | int, "one of 'a' or a whole number"),
        (dict[str, Any], "a table"),
    ],
)
def test_types_have_names_for_those_who_write_settings(annotation: Any, name: str) -> None:
    assert name_of(annotation) == name


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("trainer.max_epochs=3", (["trainer", "max_epochs"], 3)),
        ("model.training_timesteps = [3, 5]", (["model", "training_timesteps"], [3, 5])),
        ('output="a = b"', (["output"], "a = b")),
        ("output=runs/x", (["output"], "runs/x")),
        ("data.flip=true", (["data", "flip"], True)),
    ],
)
def test_overrides_are_read_as_toml_and_else_as_text(text: str, want: object) -> None:
    assert parse_override(text) == want


@pytest.mark.parametrize("text", ["trainer", "=3", "a..b=3"])
def test_an_override_without_key_or_value_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="--set must be KEY=VALUE"):
        parse_override(text)


def test_overriding_changes_no_settings_in_place() -> None:
    config = smallest()

    changed = override(config, [(["model", "fire_rate"], 0.25), (["pool", "n_seed"], 2)])

    assert changed["model"]["fire_rate"] == 0.25 and changed["pool"] == {"n_seed": 2}
    assert config == smallest()


def test_an_override_within_a_value_is_an_error() -> None:
    with pytest.raises(ValueError, match="--set must name a setting of a section, got model.class"):
        override(smallest(), [(["model", "class", "name"], 1)])


def test_toml_and_json_hold_the_same_settings(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('seed = 3\n[model]\nclass = "X"\n')
    (tmp_path / "a.json").write_text('{"seed": 3, "model": {"class": "X"}}')

    assert read_config(tmp_path / "a.toml") == read_config(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", "", "CONFIG must end in .toml or .json"),
        ("a.toml", "seed = = 3", "CONFIG must be TOML, got .*line 1"),
        ("a.json", "{", "CONFIG must be JSON, got"),
        ("a.json", "[]", "CONFIG must hold sections"),
    ],
)
def test_a_broken_file_is_named_with_the_place(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)

    with pytest.raises(ValueError, match=message):
        read_config(tmp_path / name)


@pytest.mark.parametrize("task", task_names())
def test_a_starting_file_passes_every_check_and_is_explained(task: str) -> None:
    text = read_template(task)

    checked = check_config(tomllib.loads(text))

    assert checked.data_source and checked.top.output is not None
    assert text.startswith("# Train a model that ") and text.count("#") > 8


def test_settings_survive_json() -> None:
    text = read_template("depth")
    checked = check_config(tomllib.loads(text))

    again = check_config(json.loads(json.dumps(checked.source)))

    assert again == checked and again.model["class"] == DepthNCAModel.__name__
