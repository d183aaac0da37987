"""Write a model and its viewer into one file."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel
from ncalab.core.checks import check_batch, check_int, check_type
from ncalab.core.evaluation import evaluating
from ncalab.core.fire import check_seed
from ncalab.core.saving import PathLike, atomic_write
from ncalab.core.task import spec_of
from ncalab.viz.web.description import (
    automata_of,
    check_exportable,
    describe_borders,
    describe_model,
    describe_sight,
    describe_state,
    stages_of,
)

# Room for spare seeds beside what models for 40 to 64 cells grow.
_DEFAULT_SIZE = (96, 96)
_USUAL_SPEED = 30
# A rollout that ends is shown in so many seconds: 16 steps are over before one has looked.
_SECONDS = 5
# In the order in which they build on each other.
_SCRIPTS = (
    "fire.js",
    "grids.js",
    "views.js",
    "automaton_javascript.js",
    "automaton_webgl.js",
    "automaton_webgpu.js",
    "simulation.js",
    "choose_webgpu.js",
    "picture.js",
    "gif.js",
    "capture.js",
    "viewer.js",
)


def export_html(
    model: AbstractNCAModel | Mapping[str, AbstractNCAModel],
    path: PathLike,
    image: Tensor | None = None,
    *,
    size: Sequence[int] | None = None,
    seed: int = 0,
    title: str | None = None,
    speed: int | None = None,
    pause_after: int | None = None,
    overlay: bool | None = None,
    description: str | None = None,
    class_names: Sequence[str] | None = None,
    goal: Tensor | Mapping[str, Tensor] | None = None,
) -> None:
    """Write a web page that runs a model, or several: one file, without network and server.

    Whoever opens it can pause, step, choose the speed and the channels shown, erase cells and
    watch them come back and, if the model draws into its image channels, place new seeds. The
    page computes on the GPU (WebGPU or WebGL2) or in plain JavaScript, whichever is faster; it uses
    WebGPU only if its own JavaScript computes the same. After t steps, its states are those of
    ``model.predict(image, t, seed=seed)`` to 1e-3. A cascade shares ``pause_after`` steps out among
    its scales: after t of them, the states are the t-th ones of ``model.record(image, pause_after,
    seed=seed)``; later steps are those of its last scale.

    Args:
        model: Model with the standard step, the rule MLPNCARule, and filters or a list of views
            (all but AttentionView and those with a ``combine`` of your own), without a head, or a
            cascade of such models: those that grow, segment, or classify by the votes of their
            cells are. Or several models by name, to be shown side by side: they start
            alike, the same cells fire in all of them, and what is done to one is done to all.
        path: File that ends in ".html". One that was there is replaced when the new one is
            complete; missing folders are created.
        image: Image ``(1, image channels, W, H)`` or state ``(1, C, W, H)`` to start from,
            floating point; W runs downwards. None: the state of the model's ``make_seed``.
        size: Grid (W, H) if no image is given; (96, 96) if None.
        seed: Decides which cells fire, and the padding noise; in ``[0, 2**63)``.
        title: Heading of the page; the name of the (first) model's class if None.
        speed: Steps a second at the start, at least 1. None: 30, or what it takes to pause after
            5 seconds.
        pause_after: The number of steps after which the page pauses, and pauses again after it
            was resumed; 0 for never. None: ``inference_timesteps`` if the image channels are
            immutable (the model looks at an image and is done at some time), otherwise 0. For a
            cascade that never pauses, ``inference_timesteps`` are shared out.
        overlay: Whether to tint the cells that the output channels give another class than the
            background or, of a classification, all visible cells. None: if the cells of the model's
            task say classes, and it has output channels.
        description: What one sees, in one sentence; a usual one for the model if None.
        class_names: Names of the classes, background included. None: ``class_names`` of the model
            if it has as many, else numbers.
        goal: Goal that all cells perceive, for a model with ``goal_size``: a vector
            ``(1, goal_size)`` or, with ``num_goals``, an index ``(1,)``. Of several models: that
            of all, or a dictionary with that of each, by which one model may be shown with
            several goals.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If the model cannot be exported (the reason is named), has weights that are
            not finite, or an argument is not as described.
        OSError: If the file cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> class Still(AbstractNCAModel):
    ...     def loss(self, pred, label):
    ...         return {"total": pred.logits.mean()}
    >>> model = Still(torch.device("cpu"), 3, 5, 1)
    >>> with TemporaryDirectory() as folder:
    ...     page = Path(folder) / "still.html"
    ...     export_html(model, page, torch.rand(1, 3, 16, 24))
    ...     page.stat().st_size < 130_000
    True
    """
    path = Path(path)
    if path.suffix.lower() != ".html":
        raise ValueError(f"path must end in .html, got {path}")
    models = _named_models(model)
    goals = _named_goals(models, goal)
    several = isinstance(model, Mapping)
    for name, each in models.items():
        check_exportable(each, f"model[{name!r:.80}]" if several else "model", goals[name])
    check_seed(seed)
    check_type("description", description, str, optional=True)
    first = next(iter(models.values()))
    pause = _pause_after(list(models.values()), pause_after)
    if speed is None:
        speed = min(_USUAL_SPEED, max(1, round(pause / _SECONDS))) if pause else _USUAL_SPEED
    settings = {
        "title": type(first).__name__ if title is None else title,
        "description": describe_sight(*models.values()) if description is None else description,
        "seed": str(seed),  # JavaScript's numbers have 53 bits
        "speed": check_int("speed", speed, minimum=1),
        "pauseAfter": pause,
    }
    described = [
        {
            "name": name,
            **_describe(
                each,
                pause or _usual_steps(each),
                _first_state(each, image, size, seed),
                goals[name],
            ),
            "classNames": _class_names(each, class_names),
            "overlay": _overlay(each, overlay),
            # For those who look into the file: the page starts from an image that is prepared.
            "preparation": None if each.preparation is None else each.preparation.to_dict(),
        }
        for name, each in models.items()
    ]
    atomic_write(path, render_page({**settings, "models": described}).encode())


def _describe(
    model: AbstractNCAModel, steps: int, start: Tensor, goal: Tensor | None
) -> dict[str, Any]:
    """Describe a model, its first state, and what lies beyond the border at each scale."""
    stages = stages_of(model, steps)
    borders = describe_borders(stages, start)
    return {**describe_model(model, stages, goal), **describe_state(start), "borders": borders}


def _named_models(model: Any) -> dict[str, AbstractNCAModel]:
    """Return models by name, checked; a single one has an empty name."""
    models = dict(model) if isinstance(model, Mapping) else {"": model}
    if not models:
        raise ValueError("model must hold at least one model, got none")
    for name in models:
        if not isinstance(name, str):
            raise TypeError(f"model must name each model by a string, got {name!r:.80}")
    return models


def _named_goals(
    models: Mapping[str, AbstractNCAModel], goal: Tensor | Mapping[str, Tensor] | None
) -> dict[str, Tensor | None]:
    """Return the goal of each model, None for one without."""
    if not isinstance(goal, Mapping):
        return dict.fromkeys(models, goal)
    if unknown := [name for name in goal if name not in models]:
        raise ValueError(f"goal must name models of the page, got {unknown[0]!r:.80}")
    return {name: goal.get(name) for name in models}


def _usual_steps(model: AbstractNCAModel) -> int:
    usual = model.inference_timesteps
    return usual if isinstance(usual, int) else usual[1] - 1


def _pause_after(models: Sequence[AbstractNCAModel], steps: int | None) -> int:
    if steps is None:
        ends = all(model.immutable_image_channels for model in models)
        return max(map(_usual_steps, models)) if ends else 0
    fewest = max(len(automata_of(model)) for model in models)
    steps = check_int("pause_after", steps, minimum=0)
    if 0 < steps < fewest:
        raise ValueError(
            f"pause_after must be 0 or at least {fewest}, a step for each scale, got {steps}"
        )
    return steps


def _class_names(model: AbstractNCAModel, names: Sequence[str] | None) -> list[str] | None:
    """Return the names, checked: as many as there are classes."""
    count = max(2, model.num_output_channels)
    if names is None:
        own = getattr(model, "class_names", None)
        return list(own) if own is not None and len(own) == count else None
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"class_names must be a list of strings, got {names!r:.80}")
    if len(names) != count:
        raise ValueError(f"class_names must be {count} names, got {len(names)}")
    return list(names)


def _overlay(model: AbstractNCAModel, overlay: bool | None) -> bool:
    if overlay is None:
        classes = spec_of(model).reading in ("classes", "votes")
        overlay = classes and model.num_output_channels > 0
    if overlay and model.num_output_channels == 0:
        raise ValueError("overlay must be False for a model without output channels, got True")
    return overlay


def _first_state(
    model: AbstractNCAModel, image: Tensor | None, size: Sequence[int] | None, seed: int
) -> Tensor:
    """Return the state that ``predict`` would start from, shape ``(C, W, H)``, on the CPU."""
    if image is not None and size is not None:
        raise ValueError(f"size must be None if there is an image, got {size}")
    if image is None:
        make_seed = getattr(model, "make_seed", None)
        if make_seed is None:
            raise ValueError(f"image must be given for {type(model).__name__}, got None")
        lengths = _DEFAULT_SIZE if size is None else tuple(size)
        if len(lengths) != 2:
            raise ValueError(f"size must be a pair (W, H), got {size}")
        image = make_seed(*(check_int("size", length, minimum=1) for length in lengths))
    check_batch("image", image)
    if len(image) != 1:
        raise ValueError(f"image must be a batch of one, got {len(image)} samples")
    with torch.no_grad(), evaluating(model):
        state = model.start_state(image, torch.Generator().manual_seed(seed))[0]
    if not state.isfinite().all():
        raise ValueError("image must hold finite values, got NaN or infinity")
    return state.float().cpu()


def _compact(script: str) -> str:
    r"""Leave out the comments and the indentation of a script.

    >>> _compact("// Why.\nif (a) {\n  b(); // what\n}\n")
    'if (a) {\nb(); // what\n}\n'
    """
    return re.sub(r"^[ \t]*//.*\n|^[ \t]+", "", script, flags=re.MULTILINE)


def render_page(description: dict[str, object]) -> str:
    """Fill the template.

    Args:
        description: Models, their starts and settings, data that JSON can hold; "title" and
            "description" are strings.

    Returns:
        The page.
    """
    folder = files("ncalab.viz.web")
    # Written with an escape, a tag in a title cannot end the script element.
    data = json.dumps(description, allow_nan=False).replace("<", "\\u003c")
    parts = {
        "title": html.escape(str(description["title"])),
        "description": html.escape(str(description["description"])),
        "style": (folder / "viewer.css").read_text(encoding="utf-8"),
        "models": data,
        "script": "\n".join(_compact((folder / name).read_text("utf-8")) for name in _SCRIPTS),
    }
    template = (folder / "viewer.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{ (\w+) \}\}", lambda match: parts[match[1]], template)
