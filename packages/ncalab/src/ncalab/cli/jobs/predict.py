"""Predict from many images of any size, and let one broken file stop nothing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
import torch
from torch import Tensor

from ncalab.cli.jobs.files import check_new, short_name
from ncalab.cli.jobs.given import Given, read_given, say_preparation
from ncalab.cli.jobs.goals import goal_of
from ncalab.cli.jobs.images import find_images
from ncalab.cli.jobs.results import Results, results_of
from ncalab.cli.jobs.weights import grid_of, load_model
from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.saving import check_writable_folder
from ncalab.core.task import ValueFormat
from ncalab.tasks.images import MAX_PIXELS

SEED_NAME = "seed"


@dataclass(frozen=True)
class PredictSettings:
    """Options of ``ncalab predict``, as their help describes them."""

    steps: int | None
    batch_size: int
    tile: int | Literal["auto"] | None
    page: int | None
    max_pixels: int | None
    overlay: bool
    depth_format: str
    depth_unit: float
    size: tuple[int, int] | None
    goal: str | None
    save_state: bool
    device: str
    seed: int
    force: bool

    @property
    def pixel_limit(self) -> int | None:
        """Pixels that an image may have; any number in bands, which are for large images."""
        if self.max_pixels is not None:
            return self.max_pixels
        return MAX_PIXELS if self.tile is None else None


@dataclass(frozen=True)
class _Input:
    """An input of a prediction, and its name."""

    path: Path
    name: str
    given: Given

    @property
    def image(self) -> Tensor:
        """Input of the model, shape ``(C, W, H)``."""
        return self.given.image


class _Failures:
    """Failures so far, each named as it happens."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, path: Path, error: Exception) -> None:
        """Name a file and what is wrong with it."""
        self.count += 1
        text = " ".join(str(error).split())
        click.echo(f"Error: {text if str(path) in text else f'{path}: {text}'}", err=True)


def predict_images(
    weights: Path, images: Sequence[Path], output: Path, settings: PredictSettings
) -> int:
    """Predict from images, prepared as in training, and write what the model's task is about.

    Results have the size of the image before it was prepared.

    Args:
        weights: As in :func:`ncalab.cli.jobs.weights.find_weights`.
        images: Pictures, arrays and folders of them; none for a growing model's seed.
        output: Folder, created if missing.
        settings: Options.

    Returns:
        Number of images that could not be done.
    """
    model = load_model(weights, settings.device)
    goal = goal_of(model, settings.goal)
    results = results_of(
        model,
        output,
        overlay=settings.overlay,
        values=ValueFormat(settings.depth_format == "png", settings.depth_unit),
        save_state=settings.save_state,
    )
    paths = find_images(images)
    named = _named(paths, results.longest_ending) if paths else {SEED_NAME: weights}
    if not paths and not hasattr(model, "make_seed"):
        raise ValueError(f"IMAGES must be given for a model of {model.task or 'its kind'}")
    if paths and settings.size is not None:
        raise ValueError("--size must be left out with images, which have their own")
    check_new(results.files(named), force=settings.force)
    check_writable_folder(output, name="--output")
    if paths:
        say_preparation(model, weights)
    failures = _Failures()
    inputs = (
        _read(model, named, settings, failures)
        if paths
        else _seed(model, grid_of(weights, settings.size))
    )
    try:
        for batch in _batches(inputs, settings.batch_size if _alike(model) else 1):
            _run(model, batch, settings, results, failures, goal)
    finally:
        # What is done is kept, also when Ctrl-C or a full disk ends it.
        results.close()
    return failures.count


def _named(paths: Iterable[Path], longest_ending: int) -> dict[str, Path]:
    """Name each image after its file, short enough for the endings of its results.

    Raises:
        ValueError: If two would be written to one name.
    """
    named: dict[str, Path] = {}
    for path in paths:
        name = short_name(path.stem, longest_ending)
        if name in named:
            raise ValueError(
                f"IMAGES must have names of their own, got {named[name]} and {path}; "
                "predict from them in two calls, with two --output folders"
            )
        if name != path.stem:
            click.echo(f"{path}: its name is too long for results, which are {name}*", err=True)
        named[name] = path
    return named


def _alike(model: AbstractNCAModel) -> bool:
    """Return whether images of a batch start as they would alone.

    Padding noise and a random number of steps are drawn once a batch.
    """
    return not model.pad_noise and isinstance(model.inference_timesteps, int)


def _read(
    model: AbstractNCAModel,
    named: dict[str, Path],
    settings: PredictSettings,
    failures: _Failures,
) -> Iterator[_Input]:
    limit = settings.pixel_limit
    for name, path in named.items():
        try:
            given = read_given(model, path, page=settings.page, max_pixels=limit)
            yield _Input(path, name, given)
        except (ValueError, TypeError, OSError) as error:
            failures.add(path, error)


def _seed(model: AbstractNCAModel, grid: tuple[int, int]) -> Iterator[_Input]:
    seed: Tensor = model.make_seed(*grid)  # type: ignore[operator]  # of a growing model
    yield _Input(Path(SEED_NAME), SEED_NAME, Given(seed[0]))


def _batches(inputs: Iterable[_Input], size: int) -> Iterator[list[_Input]]:
    """Collect neighbours of one shape; nothing is held but the batch."""
    batch: list[_Input] = []
    for each in inputs:
        if batch and (len(batch) == size or batch[0].image.shape != each.image.shape):
            yield batch
            batch = []
        batch.append(each)
    if batch:
        yield batch


def _run(
    model: AbstractNCAModel,
    batch: list[_Input],
    settings: PredictSettings,
    results: Results,
    failures: _Failures,
    goal: Tensor | None,
) -> None:
    """Predict a batch and write its results; if that fails, each image on its own."""
    try:
        prediction = predict_batch(model, [each.image for each in batch], settings, goal)
    except (ValueError, RuntimeError) as error:
        if len(batch) == 1:
            failures.add(batch[0].path, error)
            return
        for each in batch:
            _run(model, [each], settings, results, failures, goal)
        return
    for number, each in enumerate(batch):
        try:
            click.echo(results.write(each.name, each.path, each.given, prediction[number]))
        except ValueError as error:
            failures.add(each.path, error)


def predict_batch(
    model: AbstractNCAModel,
    images: Sequence[Tensor],
    settings: PredictSettings,
    goal: Tensor | None = None,
) -> Prediction:
    """Predict from images of one size, each as if it were alone.

    Args:
        model: The model.
        images: Images or states, shape ``(C, W, H)``.
        settings: Options.
        goal: Goal of them all, a batch of one; None for a model without.
    """
    stack = torch.stack(list(images))
    # The same cells fire in every image, so that none depends on its place in the batch.
    same = [0] * len(images)
    return model.predict(
        stack,
        settings.steps,
        seed=settings.seed,
        samples=same,
        tile=settings.tile,
        goal=None if goal is None else goal.repeat_interleave(len(images), dim=0),
    )
