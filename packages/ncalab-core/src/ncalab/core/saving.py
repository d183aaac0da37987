"""Weights as safetensors, configuration as JSON: nothing that is read is ever executed."""

import json
import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ncalab.core.described import DescribedModel
from ncalab.core.files import PathLike, atomic_write, check_writable_folder, free_folder
from ncalab.core.json_file import parse_json, read_json
from ncalab.core.preparation import Preparation, read_preparation
from ncalab.core.recomputed import find_recomputed, from_stored, to_stored
from ncalab.core.tensor_file import encode_tensors, read_tensors
from ncalab.core.unsaved import why_not_made_anew

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
# Where a weights file keeps the configuration of its model.
_CONFIG_KEY = "ncalab"

_IF_OLD = (
    "if ncalab 0.5 or before wrote it, use ncalab.core.monolith.load_monolith_weights(model, path)"
)

logger = logging.getLogger(__name__)

__all__ = [
    "CONFIG_NAME",
    "WEIGHTS_NAME",
    "PathLike",
    "atomic_write",
    "check_savable",
    "check_weights",
    "check_writable_folder",
    "free_folder",
    "is_ours",
    "load_weights",
    "read_config",
    "read_saved_config",
    "read_tensors",
    "save_pretrained",
    "save_weights",
]


def save_weights(
    model: DescribedModel, path: PathLike, *, weights: Mapping[str, Tensor] | None = None
) -> None:
    """Write parameters and configuration of a model to one safetensors file.

    Weights that are computed from others, as where a layer is pruned or normalised, are stored as
    they are, beside what they are computed from. Tied weights are stored one by one. Filters that a
    model built from the file would not have are named in the log.

    Args:
        model: Model to save.
        path: File to write or replace, in whole or not at all.
        weights: Other weights of the same model to write instead of its current ones, named as in
            its state dict.

    Raises:
        TypeError: If the configuration is not data.
        ValueError: If a tensor is none that a file can hold; the message names it.
    """
    atomic_write(path, _encode_weights(model, weights))
    # What is to be kept of a training is, even so.
    if (fault := why_not_made_anew(model)) is not None:
        logger.warning("%s: a model that is loaded from it will differ: %s", path, fault)


def _encode_weights(model: DescribedModel, weights: Mapping[str, Tensor] | None = None) -> bytes:
    config = json.dumps(model.to_dict())
    return encode_tensors(to_stored(model, weights), {_CONFIG_KEY: config})


def check_savable(model: DescribedModel) -> None:
    """Raise unless a model can be saved, and loaded from what was saved; nothing is written.

    Args:
        model: Model, for example one before its training.

    Raises:
        TypeError: If the configuration is not data; the message names the argument.
        ValueError: If a tensor is none that a file can hold, has values that are not finite, or
            would be another one in the model that is loaded; the message names it.
    """
    _encode_weights(model)
    if (fault := why_not_made_anew(model)) is not None:
        raise ValueError(fault)
    check_weights(model, from_stored(model, to_stored(model)), type(model).__name__)


def load_weights(model: DescribedModel, path: PathLike) -> None:
    """Copy the parameters in a safetensors file into a model; all of them or none.

    If the file records how images were prepared for these weights, so does the model afterwards.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a whole safetensors file, or holds the weights of another model.
    """
    stored, config = _read(path)
    name = type(model).__name__
    if config is not None and config.get("class") != name:
        raise ValueError(f"{path} must hold weights of {name}, got {config.get('class')!r}")
    tensors = from_stored(model, stored)
    try:
        check_weights(model, tensors, path)
    except ValueError as error:
        if config is None:
            raise ValueError(f"{error}; {_IF_OLD}") from error
        raise
    if config is None:
        logger.warning("%s says nothing about the model; %s", path, _IF_OLD)
    preparation = _read_preparation(config or {}, path)
    model.load_state_dict(tensors)
    if preparation is not None:
        model.preparation = preparation


def _read_preparation(config: Mapping[str, Any], path: PathLike) -> Preparation | None:
    try:
        return read_preparation(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def check_weights(model: nn.Module, tensors: Mapping[str, Tensor], path: PathLike) -> None:
    """Raise a ValueError unless the tensors read from ``path`` are finite weights of the model."""
    wanted, name = dict(model.state_dict()), type(model).__name__
    if wanted.keys() != tensors.keys():
        missing, extra = sorted(wanted.keys() - tensors), sorted(tensors.keys() - wanted)
        raise ValueError(
            f"{path} does not fit {name}: it lacks {missing}, and has extra {extra}"
            f"{_reparametrised(model, missing)}"
        )
    for key, value in tensors.items():
        _check_tensor(path, key, value, wanted[key])
    _check_tied(path, tensors, wanted)


def _reparametrised(model: nn.Module, missing: Collection[str]) -> str:
    """Explain what is missing where a model computes a weight and a file has it as it is."""
    sources = {
        each.path + name: each.name for each in find_recomputed(model) for name in each.sources
    }
    if not (computed := sorted({sources[name] for name in missing if name in sources})):
        return ""
    return (
        f"; the model computes {computed} from other tensors, so remove pruning, weight "
        "normalisation and parametrizations before such a file is loaded"
    )


def _check_tensor(path: PathLike, key: str, value: Tensor, wanted: Tensor) -> None:
    if value.shape != wanted.shape:
        shapes = f"shape {tuple(wanted.shape)}, got {tuple(value.shape)}"
        raise ValueError(f"{path} does not fit: {key} must have {shapes}")
    if value.is_floating_point() and not value.isfinite().all():
        raise ValueError(f"{path} must hold finite weights, but {key} has NaN or infinite values")


def _check_tied(
    path: PathLike, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> None:
    """Raise for weights that are one tensor in the model, and differ in the file."""
    first: dict[tuple[object, ...], str] = {}
    for key, own in wanted.items():
        if own.is_meta or not own.numel():
            continue  # they have no memory to share
        other = first.setdefault((own.data_ptr(), own.shape, own.stride(), own.dtype), key)
        if other != key and not torch.equal(tensors[other], tensors[key]):
            raise ValueError(f"{path} must hold equal {other} and {key}, which the model ties")


def _read(path: PathLike) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Read all tensors and, if the file has one, the configuration."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"path must be a weights file, got {path}{_found_near(Path(path))}")
    try:
        tensors, metadata = read_tensors(path)
    except ValueError as error:
        if _is_of_torch(path):
            raise ValueError(
                f"{path} must be a safetensors file, got one of torch.save; {_IF_OLD}"
            ) from error
        raise
    text = metadata.get(_CONFIG_KEY)
    return tensors, None if text is None else parse_json(path, text)


def _found_near(path: Path) -> str:
    """Return how an error ends that names the models that a path may have meant."""
    named = Path(f"{path}.safetensors")
    # Not Path.is_file, which raises for a name that is too long.
    found = [named] if os.path.isfile(named) else sorted(path.glob("*_model.safetensors"))  # noqa: PTH113
    return f"; there is {' and '.join(map(str, found))}" if found else ""


def _is_of_torch(path: PathLike) -> bool:
    """Return whether a file begins as ``torch.save`` writes it: as an archive or a pickle."""
    with Path(path).open("rb") as file:
        return file.read(4).startswith((b"PK\x03\x04", b"\x80\x02"))


def is_ours(metadata: Mapping[str, str]) -> bool:
    """Say whether the metadata of a safetensors file are from :func:`save_weights`."""
    return _CONFIG_KEY in metadata


def save_pretrained(model: DescribedModel, folder: PathLike) -> None:
    """Write ``model.safetensors`` and ``config.json`` into a folder, created if missing."""
    save_weights(model, Path(folder) / WEIGHTS_NAME)
    text = json.dumps(model.to_dict(), indent=2) + "\n"
    atomic_write(Path(folder) / CONFIG_NAME, text.encode())


def read_config(path: PathLike) -> tuple[dict[str, Any], Path]:
    """Find configuration and weights of a saved model.

    Args:
        path: Folder of :func:`save_pretrained`, or one weights file (as in a training run).

    Returns:
        Configuration, and the path of the weights file.

    Raises:
        FileNotFoundError: If there is nothing of that name, or the folder lacks a file.
        ValueError: If the configuration is broken or missing.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / CONFIG_NAME).is_file():
            found = _found_near(path)
            raise FileNotFoundError(f"folder must hold {CONFIG_NAME}, got {path}{found}")
        return read_json(path / CONFIG_NAME), path / WEIGHTS_NAME
    _, config = _read(path)
    if config is None:
        raise ValueError(
            f"{path} has weights without a configuration: make the model and call its load; "
            f"{_IF_OLD}"
        )
    return config, path


def read_saved_config(weights: PathLike) -> dict[str, Any] | None:
    """Return the configuration that a weights file has beside the weights; None if it has none.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is broken.
    """
    return _read(weights)[1]
