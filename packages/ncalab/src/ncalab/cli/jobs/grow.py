"""Train a model that grows a picture, with the recipe of ``ncalab.tasks.growing``."""

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from ncalab.cli.jobs.ending import CURVES, SAVED, save_curves, say_how_to_resume, tensorboard_log
from ncalab.cli.jobs.files import GROW_FILE, PRETRAINED, check_run_folder, short_name
from ncalab.core import fix_random_seed, get_compute_device
from ncalab.core.json_file import NUMBER_OR_NULL, OBJECT, TEXT, check_fields, read_json
from ncalab.core.run_record import read_history_file
from ncalab.core.saving import atomic_write, free_folder
from ncalab.tasks import GrowingNCADataset, GrowingNCAModel
from ncalab.tasks.growing import (
    GrowingPreset,
    GrowthReport,
    GrowthWatch,
    Quality,
    describe_error,
    duration,
    growing_preset,
    measure_growth,
    seconds_per_epoch,
)
from ncalab.tasks.growing.picture import load_target
from ncalab.tasks.growing.preset import FEWEST_CELLS
from ncalab.tasks.growing.watching import PREVIEW
from ncalab.tasks.images import MAX_PIXELS
from ncalab.train import BasicNCATrainer, Pool, TrainingHistory
from ncalab.train.guard import Guard
from ncalab.train.history import HISTORY_NAME
from ncalab.train.run_folder import tidied
from ncalab.viz import Animator, export_html

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EVAL_ROLLOUTS = 8
# Of the steps in which a picture is grown: long enough to see whether it lasts.
ANIMATION_LENGTH = 1.5
# Cells along each side of the page, if the picture has fewer: room for spare seeds.
PAGE_SIDE = 96
SAVE_EVERY = 200
GROWTH_FILE = "growth.json"
# A run may be resumed for longer, or elsewhere, than it was started for.
_FREE = frozenset({"epochs", "device"})


@dataclass(frozen=True)
class GrowSettings:
    """Options of ``ncalab grow``, as their help describes them."""

    size: int
    padding: int
    quality: Quality
    epochs: int | None
    batch_size: int | None
    damage: bool
    hidden: int
    lr: float | None
    max_steps: int | None
    device: str
    seed: int

    @property
    def samples(self) -> int:
        """Number of pictures in a batch."""
        return self.batch_size or self.preset.batch_size

    @property
    def preset(self) -> GrowingPreset:
        """The recipe, for a grid of this size and as many epochs."""
        return growing_preset(self.quality, self.size + 2 * self.padding, epochs=self.epochs)


@dataclass(frozen=True)
class _Run:
    """A training that is about to begin."""

    image: Path
    # What its files are called; a run that is resumed keeps the name of its first picture.
    name: str
    folder: Path
    target: np.ndarray
    settings: GrowSettings
    # The schedule begins and ends as the run was first meant to.
    lr_gamma: float
    warmup_steps: int

    @classmethod
    def new(cls, image: Path, folder: Path, target: np.ndarray, asked: GrowSettings) -> "_Run":
        """Return a run with all settings that were left open filled from the recipe."""
        if asked.size + 2 * asked.padding < FEWEST_CELLS:
            raise ValueError(
                f"--size and twice --padding must be {FEWEST_CELLS} cells at least, "
                f"got {asked.size} and {asked.padding}"
            )
        if asked.damage and asked.batch_size == 1:
            raise ValueError(
                "--batch-size must be at least 2, a seed and a grown picture to cut holes into, "
                "got 1; give --no-damage for a picture that need not heal"
            )
        preset = asked.preset
        longest = asked.max_steps or preset.model["training_timesteps"][1] - 1
        _check_reach(target, longest, "--max-steps")
        settings = replace(
            asked,
            epochs=preset.epochs,
            max_steps=longest,
            batch_size=asked.samples,
            lr=asked.lr or preset.trainer["lr"],
        )
        return cls(image, _name_of(image), folder, target, settings, **_schedule(preset))

    def lasting(self, epochs: int, *, done: int) -> "_Run":
        """Return the run with another number of epochs; its schedule too, unless it has begun."""
        settings = replace(self.settings, epochs=epochs)
        schedule = {} if done else _schedule(settings.preset)
        return replace(self, settings=settings, **schedule)

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return self.settings.preset.epochs

    @property
    def animation(self) -> Path:
        """The animation."""
        return self.folder / f"{self.name}.gif"

    @property
    def page(self) -> Path:
        """The web page."""
        return self.folder / f"{self.name}.html"

    def write(self) -> None:
        """Keep in the run folder what it was started with."""
        height, width = self.target.shape[:2]
        data = {
            "image": str(self.image),
            "name": self.name,
            "digest": _digest(self.target),
            "grid": [height, width],
            "lr_gamma": self.lr_gamma,
            "warmup_steps": self.warmup_steps,
            "settings": asdict(self.settings),
        }
        atomic_write(self.folder / GROW_FILE, (json.dumps(data, indent=2) + "\n").encode())


def _schedule(preset: GrowingPreset) -> dict[str, Any]:
    return {name: preset.trainer[name] for name in ("lr_gamma", "warmup_steps")}


def grow_picture(
    image: Path,
    output: Path | None,
    settings: GrowSettings,
    *,
    given: Collection[str],
    resume: bool,
    force: bool,
    tensorboard: bool,
    minutes: float | None = None,
    page: int | None = None,
    max_pixels: int | None = None,
) -> bool:
    """Train, write the run folder and print how good what is grown is.

    Args:
        image: Picture.
        output: Run folder; a new one, called like the picture, if None.
        settings: What was asked for, with defaults.
        given: Names of the settings that were asked for.
        resume: Whether to resume the run in the folder.
        force: Whether to replace that run.
        tensorboard: Whether to write a TensorBoard log.
        minutes: How long to train, in place of a number of epochs.
        page: Page or frame of a picture with several, from 0.
        max_pixels: Pixels that the picture may have at most; None for the reader's own limit.

    Returns:
        Whether it went to its end, and was not stopped by Ctrl-C.
    """
    if minutes is not None and "epochs" in given:
        raise ValueError(f"--minutes must be left out where --epochs is given, got {minutes:g}")
    limit = max_pixels or MAX_PIXELS
    say = partial(click.echo, err=True)
    read = partial(load_target, image, page=page, max_pixels=limit, say=say)
    wanted = Path("runs") / _name_of(image)
    # Never one that is there already, unless told so.
    folder = output or (wanted if resume or force else free_folder(wanted))
    device = get_compute_device(settings.device)
    check = partial(check_run_folder, folder, writes=_written(image), source=image)
    with tidied(folder):
        if resume:
            check(resume=True, force=force)
            run = _continued(image, read, folder, settings, given)
        else:
            target = read(settings.size, settings.padding)
            run = _Run.new(image, folder, target, settings)
            check(resume=False, force=force)
        fix_random_seed(run.settings.seed)
        nca = _make_model(device, run.settings)
        data = GrowingNCADataset(run.target, nca.num_channels, run.settings.samples)
        done = _epochs_done(folder) if resume else 0
        run = _timed(run, nca, data.image, minutes, done)
        with tensorboard_log(folder, enabled=tensorboard) as writer:
            history = _train(nca, run, data, done, resume=resume, force=force, writer=writer)
    if history.interrupted:
        command = ["ncalab", "grow", str(image), "--output", str(folder), "--resume"]
        command += [] if page is None else ["--page", str(page)]
        command += [] if max_pixels is None else ["--max-pixels", str(max_pixels)]
        say_how_to_resume(folder, history.current_epoch, command)
        return False
    click.echo(f"weights: {folder / PRETRAINED}")
    save_curves(history, folder)
    report = _report(nca, data.image, folder)
    _show(nca, run, report)
    click.echo(f"mse_from_seed={mse_from_seed(nca, data.image):.6f}")
    return True


def _written(image: Path) -> tuple[str, ...]:
    """Return the names of what a run writes into its folder, beside the files of any training."""
    name = _name_of(image)
    return GROW_FILE, PRETRAINED, CURVES, PREVIEW, f"{name}.gif", f"{name}.html"


def _train(
    nca: GrowingNCAModel,
    run: _Run,
    data: GrowingNCADataset,
    done: int,
    *,
    resume: bool,
    force: bool,
    writer: "SummaryWriter | None",
) -> TrainingHistory:
    """Train, and save the weights in place of those that were there."""
    trainer = _make_trainer(nca, run)
    old = _results_in(run.folder)
    if not resume:
        run.write()
    loader = DataLoader(data, run.settings.samples)
    with GrowthWatch(nca, data.image, run.folder, epochs=run.epochs, done=done) as watch:
        history = trainer.train(
            loader,
            save_every=SAVE_EVERY,
            summary_writer=writer,
            resume=resume,
            overwrite=force,
            on_epoch=watch,
        )
    # Of a resumed run, only now: it has been found to be that of these settings.
    run.write()
    for path in old:
        path.unlink(missing_ok=True)
    nca.save_pretrained(run.folder / PRETRAINED)
    return history


def _results_in(folder: Path) -> list[Path]:
    """Return what was said and shown of the weights in a folder, if there are any."""
    try:
        name = str(read_json(folder / GROW_FILE)["name"])
    except (OSError, ValueError, KeyError):
        return []
    shown = [folder / f"{Path(name).name}{ending}" for ending in (".gif", ".html")]
    return [folder / PRETRAINED / GROWTH_FILE, *shown]


def _timed(
    run: _Run, nca: GrowingNCAModel, target: Tensor, minutes: float | None, done: int
) -> _Run:
    """Say how long the training takes on this machine, and fit it into the minutes, if given."""
    seconds = seconds_per_epoch(nca, target, run.settings.samples)
    if minutes is not None:
        run = run.lasting(done + max(1, round(60 * minutes / seconds)), done=done)
    height, width = run.target.shape[:2]
    steps = run.epochs - done
    click.echo(
        f"growing {run.image.name} on {height} x {width} cells: {steps:,} optimiser steps, "
        f"about {duration(steps * seconds)} on this machine",
        err=True,
    )
    return run


def _check_reach(target: np.ndarray, steps: int, option: str) -> None:
    """Raise a ValueError if a rollout is too short for life to get to the edge of a picture."""
    rows, columns = np.nonzero(target[..., 3])
    height, width = target.shape[:2]
    reach = max(abs(rows - height // 2).max(), abs(columns - width // 2).max())
    if steps < reach:
        raise ValueError(
            f"{option} must be at least {reach} for this picture, as life spreads by one cell a "
            f"step at most, got {steps}"
        )


def _make_model(device: Any, settings: GrowSettings) -> GrowingNCAModel:
    arguments = settings.preset.model
    longest = settings.max_steps or arguments["training_timesteps"][1] - 1
    steps = {
        "training_timesteps": (max(1, longest // 2), longest + 1),
        "inference_timesteps": max(arguments["inference_timesteps"], longest),
    }
    return GrowingNCAModel(device, **{**arguments, **steps, "num_hidden_channels": settings.hidden})


def _make_trainer(nca: GrowingNCAModel, run: _Run) -> BasicNCATrainer:
    settings, preset = run.settings, run.settings.preset
    seeds = min(preset.pool["n_seed"], settings.samples)
    damaged = settings.samples - seeds if settings.damage else 0
    pool = {"n_seed": seeds, "damage": damaged > 0, "num_damaged": damaged}
    chosen = {"lr": settings.lr, "lr_gamma": run.lr_gamma, "warmup_steps": run.warmup_steps}
    return BasicNCATrainer(
        nca,
        run.folder,
        pool=Pool(**{**preset.pool, **pool}),
        progress=False,
        **{**preset.trainer, **chosen},
    )


def _report(nca: GrowingNCAModel, target: Tensor, folder: Path) -> GrowthReport:
    """Measure what was learned, write it beside the weights, and print it."""
    report = measure_growth(nca, target)
    data = json.dumps(report.to_dict(), indent=2) + "\n"
    atomic_write(folder / PRETRAINED / GROWTH_FILE, data.encode())
    for step, error in report.errors.items():
        words = describe_error(error, report.empty)
        click.echo(f"after {step:,} steps: mean squared error {error:.6f}, {words}")
    count, worst = len(report.cuts), max(report.cuts, key=lambda cut: cut.healed)
    before, after, healed = (
        sum(errors) / count
        for errors in zip(*[(c.before, c.after, c.healed) for c in report.cuts], strict=True)
    )
    click.echo(
        f"{count} cuts: {before:.6f} before, {after:.6f} after, {healed:.6f} when they have healed "
        f"for 150 steps; the worst, at {worst.place[0]}, {worst.place[1]}: {worst.healed:.6f}"
    )
    click.echo(report.verdict())
    return report


def _continued(
    image: Path,
    read: Callable[[int, int], np.ndarray],
    folder: Path,
    asked: GrowSettings,
    given: Collection[str],
) -> _Run:
    """Return the run in a folder with the settings it was started with.

    Raises:
        ValueError: If another picture or another setting is asked for.
    """
    file = folder / GROW_FILE
    if not file.is_file():
        raise ValueError(f"--resume needs a run of ncalab grow, got {folder} without {GROW_FILE}")
    stored = read_json(file)
    rules = {
        "settings": OBJECT,
        "name": TEXT,
        "digest": TEXT,
        "lr_gamma": NUMBER_OR_NULL,
        "warmup_steps": NUMBER_OR_NULL,
    }
    check_fields(file, stored, rules)
    try:
        names = [field.name for field in fields(GrowSettings)]
        settings = GrowSettings(**{name: stored["settings"][name] for name in names})
        digest = stored["digest"]
        lr_gamma, warmup_steps = float(stored["lr_gamma"]), int(stored["warmup_steps"])
        name = str(stored["name"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} must hold the settings of a run, but lacks {error}") from None
    for name in sorted(set(given) - _FREE):
        old, new = getattr(settings, name), getattr(asked, name)
        if old != new:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} must be {old} to resume the run in {folder}, got {new}")
    target = read(settings.size, settings.padding)
    if _digest(target) != digest:
        raise ValueError(f"IMAGE must be the picture of the run in {folder}, got another: {image}")
    free = {name: getattr(asked, name) for name in _FREE & set(given)}
    done = _epochs_done(folder)
    if free.get("epochs", done) < done:
        raise ValueError(
            f"--epochs must be at least the {done} that {folder} has had, got {free['epochs']}"
        )
    settings = replace(settings, **free)
    return _Run(image, name, folder, target, settings, lr_gamma, warmup_steps)


def _epochs_done(folder: Path) -> int:
    history = folder / HISTORY_NAME
    return int(read_history_file(history)["current_epoch"]) if history.is_file() else 0


def _name_of(image: Path) -> str:
    """Return what a run and its files are called, short enough for the number of a folder."""
    return short_name(image.stem, len(".html"))


def _digest(target: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(target).tobytes()).hexdigest()


def _show(nca: GrowingNCAModel, run: _Run, report: GrowthReport) -> None:
    """Write the animation and the page, and say where everything is."""
    grid = run.target.shape[:2]
    steps = round(ANIMATION_LENGTH * report.arrival)
    guard = Guard(SAVED)
    with guard("animation"):
        frames = Animator(nca, nca.make_seed(*grid), steps, interval=50, rollout_seed=0)
        frames.save(run.animation)
        click.echo(f"animation: {run.animation}")
    with guard("web page"):
        title = f"Growing {run.image.stem}: {report.verdict()}"
        room = [max(side, PAGE_SIDE) for side in grid]
        export_html(nca, run.page, size=room, title=title, pause_after=report.pause_after)
        click.echo(f"web page: {run.page}")


def mse_from_seed(nca: GrowingNCAModel, target: Tensor) -> float:
    """Grow 8 images from the seed and return their mean squared error after the usual steps.

    Args:
        nca: Trained model.
        target: Premultiplied target, shape ``(4, W, H)``, range [0, 1].
    """
    seeds = nca.make_seed(*target.shape[1:]).repeat(EVAL_ROLLOUTS, 1, 1, 1)
    grown = nca.predict(seeds, seed=0).image_channels
    return (grown - target.to(grown)).square().mean().item()
