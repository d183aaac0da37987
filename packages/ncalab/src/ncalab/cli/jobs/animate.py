"""Animate a model."""

from dataclasses import dataclass
from pathlib import Path

import click
from torch import Tensor

from ncalab.cli.jobs.files import check_output_file
from ncalab.cli.jobs.given import Given, read_given, say_preparation
from ncalab.cli.jobs.goals import goal_of
from ncalab.cli.jobs.weights import grid_of, load_model
from ncalab.core import AbstractNCAModel
from ncalab.tasks.images import MAX_PIXELS
from ncalab.viz import Animator
from ncalab.viz.video import SUFFIXES as FILMS
from ncalab.viz.video import find_ffmpeg

SUFFIXES = (".gif", *FILMS)


@dataclass(frozen=True)
class AnimateSettings:
    """Options of ``ncalab animate``, as their help describes them."""

    size: tuple[int, int] | None
    goal: str | None
    page: int | None
    max_pixels: int | None
    steps: int | None
    every: int
    interval: int
    hidden: bool
    overlay: bool
    show_input: bool
    style: str
    device: str
    seed: int


def start_of(
    model: AbstractNCAModel,
    weights: Path,
    image: Path | None,
    size: tuple[int, int] | None,
    *,
    page: int | None = None,
    max_pixels: int | None = None,
) -> Given:
    """Return what a rollout starts from: a prepared image, or a seed.

    Args:
        model: The model.
        weights: Where it comes from.
        image: Picture or array to start from; None for the seed of a growing model.
        size: Grid of that seed.
        page: Page of a picture with several, from 0.
        max_pixels: Pixels that a picture may have at most; None for the reader's own limit.

    Raises:
        ValueError: If the model has no seed and no image is given, or if both are given.
    """
    if image is not None:
        if size is not None:
            raise ValueError(f"--size must be left out with an image, got {size[0]} {size[1]}")
        say_preparation(model, weights)
        return read_given(model, image, page=page, max_pixels=max_pixels or MAX_PIXELS)
    make_seed = getattr(model, "make_seed", None)
    if make_seed is None:
        raise ValueError(f"IMAGE must be given for a model of {model.task or 'its kind'}, got none")
    seed: Tensor = make_seed(*grid_of(weights, size))
    return Given(seed[0])


def _check_ffmpeg(output: Path) -> None:
    """Raise unless there is what writes films."""
    try:
        find_ffmpeg()
    except RuntimeError as error:
        raise ValueError(f"--output must be a .gif, got {output}: {error}") from None


def animate_model(
    weights: Path, image: Path | None, output: Path, settings: AnimateSettings, *, force: bool
) -> None:
    """Run a model once, and write what it shows after each step, in the size of the image.

    Args:
        weights: As in :func:`ncalab.cli.jobs.weights.find_weights`.
        image: Picture to start from; None for the seed of a growing model.
        output: File to write.
        settings: Options.
        force: Whether to replace the file.
    """
    check_output_file(output, SUFFIXES, force=force)
    if output.suffix.lower() in FILMS:
        _check_ffmpeg(output)
    model = load_model(weights, settings.device)
    goal = goal_of(model, settings.goal)
    given = start_of(
        model,
        weights,
        image,
        settings.size,
        page=settings.page,
        max_pixels=settings.max_pixels,
    )
    shown = model.immutable_image_channels and given.original is not None
    animation = Animator(
        model,
        given.image[None],
        settings.steps,
        settings.interval,
        overlay=settings.overlay,
        hidden=settings.hidden,
        show_input=settings.show_input,
        style=settings.style,
        every=settings.every,
        rollout_seed=settings.seed,
        goal=goal,
        picture=given.picture(model.num_image_channels) if shown else None,
    )
    animation.save(output)
    click.echo(f"{output}: {len(animation.frames)} frames of {animation.steps[-1]} steps")
