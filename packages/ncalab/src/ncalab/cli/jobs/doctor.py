"""Describe an installation: versions, devices, engines, extras."""

import json
import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel
from ncalab.core.rollout.choice import why_not_fused
from ncalab.core.rollout.cpu.compiled import why_not_compiled
from ncalab.tasks import GrowingNCAModel

PARTS = ("core", "tasks", "train", "uncertainty", "viz")
DISTRIBUTIONS = ("ncalab", *(f"ncalab-{part}" for part in PARTS))
_LIBRARIES = ("torch", "numpy", "matplotlib", "pillow")
_PURPOSES = {
    "onnx": "ncalab export --format onnx",
    "hub": "models on the Hugging Face Hub",
    "triton": "the CUDA engine",
    "distributed": "one training on several GPUs",
    "optuna": "searches of hyper-parameters",
    "video": "animations as .mp4 and .webm",
}
_REQUIREMENT = re.compile(r"""(?P<name>[\w.-]+).*extra\s*==\s*['"](?P<extra>[\w-]+)['"]""")


def collect() -> dict[str, Any]:
    """Return what there is to know, as data.

    Returns:
        "versions" (of distributions, None if not installed), "python", "system", "devices" (each
        with "name", "engine" and "why_no_faster_engine"; or with "why_not" if there is none) and
        "extras" (each with "missing" packages, "purpose" and the command to "install" it).
    """
    return {
        "versions": {name: _version(name) for name in (*DISTRIBUTIONS, *_LIBRARIES)},
        "python": platform.python_version(),
        "system": platform.platform(),
        "devices": {kind: _device(kind) for kind in ("cpu", "cuda", "mps")},
        "extras": _extras(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _device(kind: str) -> dict[str, str | None]:
    """Describe a kind of device, and the engine that runs a usual model on it."""
    reason = _why_not_available(kind)
    if reason is not None:
        return {"why_not": reason}
    device = torch.device(kind)
    model = GrowingNCAModel(device, use_alive_mask=True)
    with torch.no_grad():
        engine, slower = serving_engine(model, model.make_seed(16, 16))
    return {"name": _device_name(kind), "engine": engine, "why_no_faster_engine": slower}


def serving_engine(model: AbstractNCAModel, state: Tensor) -> tuple[str, str | None]:
    """Name the engine that runs a rollout, and say why no faster one of the device does.

    Args:
        model: Model.
        state: States, shape ``(B, C, W, H)``.

    Returns:
        "compiled" or "operations" (of the CPU), "cuda" or "reference"; and a reason, None for the
        fastest of the device.
    """
    reason = why_not_fused(model, state)
    if reason is not None:
        return "reference", reason
    if state.is_cuda:
        return "cuda", None
    reason = why_not_compiled(model, state)
    return "operations" if reason else "compiled", reason


def _why_not_available(kind: str) -> str | None:
    if kind == "cuda" and not torch.cuda.is_available():
        built = torch.backends.cuda.is_built()
        return "no NVIDIA GPU, or no driver for it" if built else "PyTorch is built without CUDA"
    if kind == "mps" and not torch.backends.mps.is_available():
        built = torch.backends.mps.is_built()
        return "macOS offers none" if built else "PyTorch is built without MPS"
    return None


def _device_name(kind: str) -> str:
    if kind == "cuda":
        names = (torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return ", ".join(names)
    if kind == "mps":
        return "GPU of this Mac"
    return f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


def _extras() -> dict[str, dict[str, Any]]:
    """Describe every extra that a distribution declares."""
    found: dict[str, dict[str, Any]] = {}
    for distribution in DISTRIBUTIONS:
        for requirement in requires(distribution) or []:
            match = _REQUIREMENT.match(requirement)
            if match is None:
                continue
            extra = found.setdefault(
                match["extra"],
                {
                    "missing": [],
                    "purpose": _PURPOSES.get(match["extra"], ""),
                    "install": f'pip install "./packages/{distribution}[{match["extra"]}]"',
                },
            )
            if _version(match["name"]) is None:
                extra["missing"].append(match["name"])
    return found


def describe_as_json() -> str:
    """Return what :func:`collect` returns as JSON."""
    return json.dumps(collect(), indent=2)


def describe() -> str:
    """Return what :func:`collect` returns as text."""
    facts = collect()
    versions = facts["versions"]
    shown = ", ".join(f"{name} {versions[name] or 'missing'}" for name in _LIBRARIES)
    parts = ", ".join(f"{part} {versions[f'ncalab-{part}']}" for part in PARTS)
    lines = [
        f"ncalab {versions['ncalab']}: {parts}",
        f"Python {facts['python']} on {facts['system']}",
        shown,
        "",
        "Devices",
        *(_device_line(kind, device) for kind, device in facts["devices"].items()),
        "",
        "Extras (commands for a clone)",
        *(_extra_line(name, extra) for name, extra in facts["extras"].items()),
    ]
    return "\n".join(lines)


def _device_line(kind: str, device: dict[str, str | None]) -> str:
    if "why_not" in device:
        return f"  {kind:5} no: {device['why_not']}"
    slower = device["why_no_faster_engine"]
    why = f" (no faster one: {slower})" if slower else ""
    return f"  {kind:5} {device['name']}; engine: {device['engine']}{why}"


def _extra_line(name: str, extra: dict[str, Any]) -> str:
    purpose = f" ({extra['purpose']})" if extra["purpose"] else ""
    if extra["missing"]:
        return f"  {name:12} no{purpose}: {extra['install']}"
    return f"  {name:12} yes{purpose}"
