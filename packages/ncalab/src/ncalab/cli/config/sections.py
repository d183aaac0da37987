"""The sections of a settings file, each checked against the class that it is for."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

from torch.optim import lr_scheduler

from ncalab.cli.config.check import (
    Setting,
    check_name,
    check_settings,
    check_value,
    placed,
    settings_of,
)
from ncalab.cli.paths import expand_home
from ncalab.core import DEFAULT_RANDOM_SEED, AbstractNCAModel
from ncalab.core.savable import SavableModel
from ncalab.core.task import DataSource, TaskSpec, all_tasks
from ncalab.tasks import CascadeNCA
from ncalab.train import BasicNCATrainer, EarlyStopping, Pool

Section = dict[str, Any]


@dataclass(frozen=True)
class Changes:
    """Random changes of the images to train on.

    Attributes:
        flip: Whether they are mirrored, and labels that are images with them.
        patch_size: Side of the patches that they are cut into; 0 or None for none.
        distort: Settings of the data source's distortion; None for none.
    """

    flip: bool = False
    patch_size: int | None = None
    distort: Section | None = None

    def __post_init__(self) -> None:
        if self.patch_size is not None and self.patch_size < 0:
            raise ValueError(f"data.patch_size must be at least 0, got {self.patch_size}")


@dataclass(frozen=True)
class Split:
    """Shares that validate and test, or a file of folds like nnU-Net's."""

    validation: float = 0.0
    test: float = 0.0
    seed: int = DEFAULT_RANDOM_SEED
    file: str | None = None
    fold: int = 0

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"split.{name} must be in [0, 1), got {getattr(self, name)}")
        if self.validation + self.test >= 1:
            raise ValueError("split.validation + split.test must be below 1: nothing would train")
        if self.file is not None and (self.validation or self.test):
            raise ValueError("split.file must be left out with shares, or the shares with it")


@dataclass(frozen=True)
class Loader:
    """Options of the loaders; as in torch's DataLoader."""

    batch_size: int = 8
    shuffle: bool = True
    drop_last: bool = False
    num_workers: int = 0
    pin_memory: bool = False
    persistent_workers: bool = False

    def __post_init__(self) -> None:
        for name, smallest in (("batch_size", 1), ("num_workers", 0)):
            if getattr(self, name) < smallest:
                raise ValueError(
                    f"loader.{name} must be at least {smallest}, got {getattr(self, name)}"
                )
        if self.persistent_workers and not self.num_workers:
            raise ValueError("loader.persistent_workers must be false without num_workers")


@dataclass(frozen=True)
class TopLevel:
    """Settings above all sections; ``recommend`` lets the data decide what these leave open."""

    seed: int = DEFAULT_RANDOM_SEED
    device: str = "auto"
    output: str | None = None
    recommend: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in [0, 2**32), got {self.seed}")


SCHEDULERS = (
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "StepLR",
)
# What the length of the training says, if the file does not.
FILLED = {"CosineAnnealingLR": "T_max", "OneCycleLR": "total_steps"}

_NOT_OF_MODELS = ("device", "plot_function")
_NOT_OF_TRAINERS = ("nca", "model_path", "pool", "lr_scheduler", "accelerator")
_NOT_OF_SCHEDULERS = ("optimizer", "last_epoch", "verbose")
_SECTIONS = (
    "model",
    "cascade",
    "data",
    "split",
    "loader",
    "trainer",
    "scheduler",
    "pool",
    "early_stopping",
)


@dataclass(frozen=True)
class Checked:
    """A settings file, checked: each section as the arguments of its class, None if absent."""

    top: TopLevel
    model: Section
    data: Section
    data_source: DataSource
    changes: Changes
    split: Split | None
    loader: Loader
    trainer: Section
    save_every: int | None = None
    cascade: Section | None = None
    scheduler: Section | None = None
    pool: Section | None = None
    early_stopping: Section | None = None
    source: Section = field(default_factory=dict)


def model_classes() -> dict[str, type[SavableModel]]:
    """Return the classes that ``model.class`` can name, of the tasks that are imported."""
    return {
        name: known
        for name, known in SavableModel.registry.items()
        if issubclass(known, AbstractNCAModel)
        and not issubclass(known, CascadeNCA)
        and not inspect.isabstract(known)
    }


def check_config(config: Mapping[str, Any]) -> Checked:
    """Check a settings file, section by section; nothing is read or made.

    Args:
        config: As read from the file.

    Raises:
        ValueError: If a name is unknown, a setting is missing or of another type, or sections do
            not go together.
    """
    top_settings = settings_of(TopLevel)
    known = top_settings | {name: Setting(dict, name in ("model", "data")) for name in _SECTIONS}
    values = check_settings("", config, known, "ncalab train")
    values = _home_filled_in(values, ("output",))
    top = TopLevel(**{name: values[name] for name in top_settings if name in values})
    tasks = all_tasks()
    model, task = _model(values["model"], tasks)
    source, data, changes = _data(values["data"], task, tasks)
    trainer, save_every = _trainer(values.get("trainer", {}))
    loader = Loader(**_section(values.get("loader", {}), "loader", Loader))
    split = values.get("split")
    return Checked(
        top=top,
        model=model,
        data=data,
        data_source=source,
        changes=changes,
        split=None if split is None else Split(**_split(split)),
        loader=loader,
        trainer=trainer,
        save_every=save_every,
        cascade=_optional(values, "cascade", CascadeNCA, ("wrapped",)),
        scheduler=_scheduler(values.get("scheduler")),
        pool=_optional(values, "pool", Pool, ("generator",)),
        early_stopping=_optional(values, "early_stopping", EarlyStopping, ()),
        source=dict(config),
    )


def _section(
    values: Section, place: str, target: type, without: tuple[str, ...] = ()
) -> dict[str, Any]:
    return check_settings(place, values, settings_of(target, without=without), target.__name__)


def _split(values: Section) -> dict[str, Any]:
    return _home_filled_in(_section(values, "split", Split), ("file",))


def _home_filled_in(values: Section, names: Collection[str]) -> Section:
    """Return settings with ``~`` at the beginning of paths replaced by the home folder."""
    paths = {name: values[name] for name in names if isinstance(values.get(name), str)}
    return {**values, **{name: expand_home(path) for name, path in paths.items()}}


def _optional(
    values: Section, place: str, target: type, without: tuple[str, ...]
) -> Section | None:
    return None if place not in values else _section(values[place], place, target, without)


def _class_of(values: Section, place: str, known: Any) -> tuple[str, Section]:
    """Return the class that a section names, and its other settings."""
    if "class" not in values:
        raise ValueError(f"{place}.class must be given, one of {', '.join(known)}, got nothing")
    rest = {name: value for name, value in values.items() if name != "class"}
    return check_name(f"{place}.class", values["class"], known), rest


def _model(values: Section, tasks: Mapping[str, TaskSpec]) -> tuple[Section, str]:
    """Return what the model is rebuilt from, and its task."""
    classes = model_classes()
    name, rest = _class_of(values, "model", classes)
    model = classes[name]
    task = str(getattr(model, "task", ""))
    of_the_task = tasks[task].without if task in tasks else ()
    without = (*_NOT_OF_MODELS, *of_the_task, *model.fixed_arguments)
    checked = check_settings("model", rest, settings_of(model, without=without), name)
    return {"class": name, **checked}, task


def _data(
    values: Section, task: str, tasks: Mapping[str, TaskSpec]
) -> tuple[DataSource, Section, Changes]:
    sources = {source.name: source for spec in tasks.values() for source in spec.data}
    names = [source.name for source in tasks[task].data] if task in tasks else []
    name, rest = _class_of(values, "data", sources)
    if name not in names:
        raise ValueError(
            f"data.class must be one of {', '.join(names) or 'none'} for a model of {task}, "
            f"got {name!r}"
        )
    source = sources[name]
    distort = None
    if source.distortion is not None and "distort" in rest:
        distort = _distortion(rest.pop("distort"), source.distortion)
    own = settings_of(source.settings, without=source.without)
    possible = {"flip": source.flips, "patch_size": source.patches is not None, "distort": False}
    both = own | settings_of(Changes, without=[n for n, can in possible.items() if not can])
    checked = _home_filled_in(check_settings("data", rest, both, name), source.paths)
    given = {key: value for key, value in checked.items() if key not in own}
    changes = Changes(**given, distort=distort)
    arguments = {key: value for key, value in checked.items() if key in own}
    resize = arguments.get("resize")
    if resize is not None and min(resize) < 1:
        raise ValueError(f"data.resize must be at least 1 each, got {list(resize)}")
    if is_dataclass(source.settings):
        source.settings(**arguments)
    return source, arguments, changes


def _distortion(values: Any, distortion: Callable[..., Any]) -> Section:
    """Return the settings of a distortion; the ranges of their values are its own to check."""
    table = check_value("data.distort", values, dict)
    settings = settings_of(distortion, without=("data",))
    checked = check_settings("data.distort", table, settings, distortion.__name__)
    with placed("data.distort"):
        distortion((), **checked)
    return checked


def _trainer(values: Section) -> tuple[Section, int | None]:
    settings = settings_of(BasicNCATrainer, without=_NOT_OF_TRAINERS)
    settings["save_every"] = Setting(int | None, required=False)
    checked = check_settings("trainer", values, settings, "BasicNCATrainer")
    save_every = checked.pop("save_every", None)
    if save_every is not None and save_every < 1:
        raise ValueError(f"trainer.save_every must be at least 1, got {save_every}")
    return checked, save_every


def _scheduler(values: Section | None) -> Section | None:
    """Return the name of a schedule under "class", and its arguments."""
    if values is None:
        return None
    name, rest = _class_of(values, "scheduler", SCHEDULERS)
    settings = settings_of(getattr(lr_scheduler, name), without=_NOT_OF_SCHEDULERS)
    for filled in (FILLED.get(name), "max_lr"):
        if filled in settings:
            settings[filled] = Setting(settings[filled].annotation, required=False)
    return {"class": name, **check_settings("scheduler", rest, settings, name)}
