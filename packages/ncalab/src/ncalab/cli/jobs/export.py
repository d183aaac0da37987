"""Write models for other programs."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from ncalab.cli.jobs.animate import start_of
from ncalab.cli.jobs.files import check_new, check_output_file
from ncalab.cli.jobs.given import say_preparation
from ncalab.cli.jobs.goals import goal_of
from ncalab.cli.jobs.weights import load_model
from ncalab.core import AbstractNCAModel, Preparation
from ncalab.core.preparation import PREPARATION_KEY
from ncalab.core.saving import atomic_write

# Among the extra files of a program of torch.export.
_IN_PROGRAM = "ncalab.preparation"

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "html": ".html"}


@dataclass(frozen=True)
class ExportSettings:
    """Options of ``ncalab export``, as their help describes them."""

    steps: int | None
    fire_rate: float | None
    unroll: bool
    image: Path | None
    page: int | None
    max_pixels: int | None
    size: tuple[int, int] | None
    goal: str | None
    title: str | None
    seed: int


def export_model(
    weights: Path, output: Path, kind: str | None, settings: ExportSettings, *, force: bool
) -> None:
    """Write a model in another format.

    Args:
        weights: As in :func:`ncalab.cli.jobs.weights.find_weights`.
        output: File to write.
        kind: "onnx", "torch" or "html"; None: as the file's name ends.
        settings: Options.
        force: Whether to replace the file.
    """
    kind = kind or next(
        (kind for kind, suffix in SUFFIXES.items() if suffix == output.suffix.lower()), None
    )
    if kind is None:
        endings = ", ".join(SUFFIXES.values())
        raise ValueError(f"--format must be given for a file that ends in none of {endings}")
    check_output_file(output, [SUFFIXES[kind]], force=force)
    _check_options(kind, settings)
    model = load_model(weights)
    beside = _beside(model, output) if kind != "html" else None
    if beside is not None:
        check_new([beside], force=force)
    writers: dict[str, Callable[[AbstractNCAModel, Path, Path, ExportSettings], None]] = {
        "onnx": _write_onnx,
        "torch": _write_program,
        "html": _write_html,
    }
    writers[kind](model, weights, output, settings)
    click.echo(f"{output}: {output.stat().st_size / 1024:.1f} KiB")
    if beside is not None and model.preparation is not None:
        _write_preparation(model.preparation, beside)
        click.echo(f"{beside}: what has to be done to images before, which the program does not do")
    elif kind != "html" and model.immutable_image_channels:
        say_preparation(model, weights)


def _beside(model: AbstractNCAModel, output: Path) -> Path | None:
    """Return the file that says how to prepare images for a program; None if nothing is known."""
    if model.preparation is None or not model.immutable_image_channels:
        return None
    return output.with_name(f"{output.stem}.preparation.json")


def _write_preparation(preparation: Preparation, path: Path) -> None:
    data = {"description": preparation.describe(), PREPARATION_KEY: preparation.to_dict()}
    atomic_write(path, (json.dumps(data, indent=2) + "\n").encode())


def _check_options(kind: str, settings: ExportSettings) -> None:
    """Raise for options that say nothing about this format."""
    of_pages = {
        "image": settings.image,
        "page": settings.page,
        "max-pixels": settings.max_pixels,
        "size": settings.size,
        "goal": settings.goal,
        "title": settings.title,
    }
    of_programs = {
        "steps": settings.steps,
        "fire-rate": settings.fire_rate,
        "unroll": settings.unroll or None,
    }
    for name, value in (of_programs if kind == "html" else of_pages).items():
        if value is not None:
            raise ValueError(f"--{name} must be left out for the format {kind}, got {value}")
    if settings.unroll and settings.steps is None:
        raise ValueError("--steps must be given with --unroll, got none")


def _write_onnx(
    model: AbstractNCAModel, _weights: Path, output: Path, settings: ExportSettings
) -> None:
    from ncalab.core.export import export_onnx

    export_onnx(
        model,
        output,
        steps=settings.steps,
        fire_rate=settings.fire_rate,
        unroll=settings.unroll,
    )


def _write_program(
    model: AbstractNCAModel, _weights: Path, output: Path, settings: ExportSettings
) -> None:
    import torch

    from ncalab.core.export import export_program

    program = export_program(
        model, steps=settings.steps, fire_rate=settings.fire_rate, unroll=settings.unroll
    )
    data = io.BytesIO()
    known = model.preparation
    texts = {} if known is None else {_IN_PROGRAM: json.dumps(known.to_dict())}
    torch.export.save(program, data, extra_files=texts)
    atomic_write(output, data.getvalue())


def _write_html(
    model: AbstractNCAModel, weights: Path, output: Path, settings: ExportSettings
) -> None:
    from ncalab.viz import export_html

    goal = goal_of(model, settings.goal)
    start = start_of(
        model,
        weights,
        settings.image,
        settings.size,
        page=settings.page,
        max_pixels=settings.max_pixels,
    )
    export_html(
        model, output, start.image[None], seed=settings.seed, title=settings.title, goal=goal
    )
