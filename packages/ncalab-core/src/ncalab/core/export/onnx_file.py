"""Models as ONNX files."""

import json
from typing import Any

import torch

from ncalab.core.__about__ import __version__
from ncalab.core.checks import check_int
from ncalab.core.export.onnx_graph import name_axes, set_defaults, tidy
from ncalab.core.export.program import Start, as_rollout, choose_start, example_inputs
from ncalab.core.export.rollout import ExportedRollout
from ncalab.core.export.steps import quietly
from ncalab.core.export.translations import translation_table
from ncalab.core.extras import require
from ncalab.core.model import AbstractNCAModel
from ncalab.core.saving import PathLike, atomic_write

OPSET = 18


def export_onnx(
    model: AbstractNCAModel,
    path: PathLike,
    *,
    steps: int | None = None,
    start: Start | None = None,
    fire_rate: float | None = None,
    unroll: bool = False,
    opset: int = OPSET,
) -> None:
    """Write a model to an ONNX file that computes what :meth:`predict` does.

    The file holds weights, the loop over the steps and the fire masks; it takes grids of any
    width and height and batches of any length. It takes prepared images: what is done to images
    before is in its metadata, as ``ncalab.preparation``. Needs the extra ``onnx``.

    Args:
        model: Model; not changed.
        path: File to write or replace, in whole or not at all.
        steps: Number of steps. None: an input ``steps`` of the file, shape ``()``, int64, that
            may be left out if the model's ``inference_timesteps`` is a number.
        start: What the input ``image`` holds: "image" for ``(B, image channels, W, H)``, "state"
            for all channels of the cells, ``(B, C, W, H)``. None: "state" for a model that draws
            into its image channels, such as a growing one, or starts from noise.
        fire_rate: Probability that a cell fires in place of the model's own, in [0, 1]. If it is
            neither 0 nor 1, the file has an input ``seed``, shape ``()``, int64, 0 if left out,
            and computes the fire masks that ``predict(..., seed=seed)`` has, to the bit.
        unroll: Whether to write each of the ``steps`` on its own, for runtimes that have no
            loops, and for rules that ask for the number of the step by Python's ``if``.
        opset: Version of ONNX's operators, at least 18.

    Raises:
        ImportError: If the extra is not installed.
        TypeError: If ``model`` is not a model of this library or a number is not an integer.
        ValueError: If an argument is out of its range, the model starts from noise and ``start``
            is "image", or its operations depend on values or sizes in a way that cannot be
            recorded.
        OSError: If the file cannot be written.
    """
    onnx_ir = _requirements()
    check_int("opset", opset, minimum=OPSET)
    rollout = as_rollout(
        model,
        steps=steps,
        start=start,
        fire_rate=fire_rate,
        unroll=unroll,
        device=torch.device("cpu"),
    )
    metadata = _metadata(model, rollout)
    inputs = example_inputs(rollout, choose_start(model, start))
    exported = _translate(rollout, inputs, opset)
    tidy(exported)
    name_axes(exported.graph)
    set_defaults(exported.graph, _defaults(model, rollout))
    exported.metadata_props.update(metadata)
    exported.producer_name, exported.producer_version = "ncalab", __version__
    atomic_write(path, onnx_ir.to_proto(exported).SerializeToString())


def _requirements() -> Any:
    """Import what an export needs, before it begins; return the library that edits models."""
    require("onnxscript", "onnx")
    return require("onnx_ir", "onnx")


def _metadata(model: AbstractNCAModel, rollout: ExportedRollout) -> dict[str, str]:
    """Say in strings what the file holds.

    Raises:
        TypeError: If an argument of the model cannot be written as JSON.
    """
    config = model.to_dict()
    channels = {
        "image": model.num_image_channels,
        "hidden": model.num_hidden_channels,
        "output": model.num_output_channels,
    }
    names = [f"{kind}_{i}" for kind, count in channels.items() for i in range(count)]
    about = {"version": __version__, "class": config["class"], "task": model.task}
    data = {"config": config, "channels": names, "steps": _default_steps(model, rollout)}
    if (classes := getattr(model, "class_names", None)) is not None:
        data["class_names"] = classes
    if model.preparation is not None:
        data["preparation"] = model.preparation.to_dict()
    described = {**about, **{key: json.dumps(value) for key, value in data.items()}}
    return {f"ncalab.{key}": value for key, value in described.items()}


def _default_steps(model: AbstractNCAModel, rollout: ExportedRollout) -> int | None:
    """Return the number of steps that are taken if nothing is said; None if it must be said."""
    if rollout.counts is not None:
        return sum(rollout.counts)
    steps = model.inference_timesteps
    return steps if isinstance(steps, int) else None


def _defaults(model: AbstractNCAModel, rollout: ExportedRollout) -> dict[str, int]:
    """Return the values of the inputs that may be left out."""
    defaults = {"seed": 0} if rollout.is_random else {}
    steps = _default_steps(model, rollout)
    if rollout.counts is None and steps is not None:
        defaults["steps"] = steps
    return defaults


def _translate(rollout: ExportedRollout, inputs: dict[str, torch.Tensor], opset: int) -> Any:
    """Record a rollout and return it as a model of onnx_ir."""
    program = rollout.record(inputs)
    # What the program returns is a dictionary.
    names: list[str] = program.call_spec.out_spec.context
    try:
        with torch.no_grad(), quietly():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                output_names=names,
                opset_version=opset,
                custom_translation_table=translation_table(),
            )
    except torch.onnx.OnnxExporterError as error:
        while isinstance(error.__cause__, torch.onnx.OnnxExporterError):
            error = error.__cause__
        reason = str(error).split("See the stack trace")[0].strip()
        raise ValueError(f"model must be made of operations that ONNX has: {reason}") from error
    if exported is None:
        raise RuntimeError("torch.onnx.export must return a model, got None")
    return exported.model
