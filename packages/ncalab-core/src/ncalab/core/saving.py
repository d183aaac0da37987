"""Weights as safetensors, configuration as JSON: nothing that is read is ever executed."""

import json
import os
import tempfile
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from ncalab.core.preparation import read_preparation
from ncalab.core.rule import AbstractNCARule

if TYPE_CHECKING:
    from ncalab.core.savable import SavableModel

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
# Where a weights file keeps the configuration of its model.
_CONFIG_KEY = "ncalab"
# Characters; all names of a run's files are shorter.
_NAME_IN_TEMPORARY = 40

PathLike = str | os.PathLike[str]


def atomic_write(path: PathLike, data: bytes) -> None:
    """Write a file so that it is there as a whole or not at all.

    The bytes go to a temporary file in the same folder, are flushed to disk, and only then take
    the name. Missing folders are created.

    Args:
        path: File to write or replace.
        data: Its content.

    Raises:
        OSError: If it cannot be written; a file that was there before is unchanged.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Cut: where a name is as long as names may be, that of the temporary file has to fit as well.
    prefix = f".{path.name[:_NAME_IN_TEMPORARY]}."
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; give this one the mode of any other new file.
        Path(temporary).chmod(_new_file_mode())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _new_file_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def check_writable_folder(path: PathLike, *, name: str = "path", size: int = 0) -> Path:
    """Create the folder if it is missing, and raise unless files can be written into it.

    Args:
        path: Folder.
        name: What to call it in the error.
        size: Number of bytes that there must be room for.

    Returns:
        The folder.

    Raises:
        ValueError: If it cannot be created or written to, is a file, or its disk is full.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(size))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ValueError(f"{name} must be a writable folder, got {folder} ({error})") from error
    return folder


def free_folder(path: PathLike) -> Path:
    """Return a name that nothing has yet, so that a new run cannot mix with an older one.

    Args:
        path: Wanted folder. It is not created.

    Returns:
        ``path``, or the first of ``path-2``, ``path-3``... that does not exist.

    >>> free_folder("runs/of/nobody").as_posix()
    'runs/of/nobody'
    """
    wanted = Path(path)
    if not wanted.exists():
        return wanted
    names = (wanted.with_name(f"{wanted.name}-{number}") for number in count(2))
    return next(name for name in names if not name.exists())


def encode_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Replace rule and activation classes in constructor arguments by their names.

    Raises:
        TypeError: If what results cannot be written as JSON.

    >>> encode_config({"rule_args": {"nonlinearity": nn.Tanh}, "training_timesteps": (3, 5)})
    {'rule_args': {'nonlinearity': 'Tanh'}, 'training_timesteps': [3, 5]}
    """
    encoded = {key: _encode(value) for key, value in config.items()}
    for key, value in encoded.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{key} must be data that JSON can hold, got {value!r}") from error
    return encoded


def _encode(value: Any) -> Any:
    if isinstance(value, type):
        if _known_class(value.__name__) is not value:
            raise TypeError(f"{value!r} must be a registered rule or one of torch's activations")
        return value.__name__
    if isinstance(value, Mapping):
        return {str(key): _encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    return value


def decode_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the names that :func:`encode_config` wrote back into classes, from known ones only."""
    decoded = dict(config)
    if isinstance(name := config.get("rule_type"), str):
        decoded["rule_type"] = _require_class(name)
    rule_args = config.get("rule_args") or {}
    if isinstance(name := rule_args.get("nonlinearity"), str):
        decoded["rule_args"] = {**rule_args, "nonlinearity": _require_class(name)}
    return decoded


def _known_class(name: str) -> type | None:
    """Find a class among registered rules and torch's activations."""
    if name in torch.nn.modules.activation.__all__:
        known: type = getattr(nn, name)
        return known
    return AbstractNCARule.registry.get(name)


def _require_class(name: str) -> type:
    if (known := _known_class(name)) is None:
        raise ValueError(
            f"{name!r} is no registered rule and no activation of torch; "
            "import the module that defines it first"
        )
    return known


def save_weights(
    model: "SavableModel", path: PathLike, *, weights: Mapping[str, Tensor] | None = None
) -> None:
    """Write parameters and configuration of a model to one safetensors file.

    Args:
        model: Model to save.
        path: File to write or replace, in whole or not at all.
        weights: Other weights of the same model to write instead of its current ones.
    """
    weights = _tensors(model) if weights is None else weights
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    config = json.dumps(model.to_dict())
    atomic_write(path, to_safetensors(tensors, {"format": "pt", _CONFIG_KEY: config}))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.state_dict())


def load_weights(model: "SavableModel", path: PathLike) -> None:
    """Copy the parameters in a safetensors file into a model; all of them or none.

    If the file tells how images were prepared for these weights, the model takes that over, too.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no whole safetensors file, or holds the weights of another model.
    """
    tensors, config = _read(path)
    name = type(model).__name__
    if config is not None and config.get("class") != name:
        raise ValueError(f"{path} must hold weights of {name}, got {config.get('class')!r}")
    check_weights(model, tensors, path)
    preparation = read_preparation(config or {})
    model.load_state_dict(tensors)
    if preparation is not None:
        model.preparation = preparation


def check_weights(model: nn.Module, tensors: Mapping[str, Tensor], path: PathLike) -> None:
    """Raise a ValueError unless the tensors read from ``path`` are finite weights of the model."""
    wanted, name = _tensors(model), type(model).__name__
    if wanted.keys() != tensors.keys():
        missing, extra = sorted(wanted.keys() - tensors), sorted(tensors.keys() - wanted)
        raise ValueError(f"{path} does not fit {name}: it lacks {missing}, and has extra {extra}")
    for key, value in tensors.items():
        _check_tensor(path, key, value, wanted[key])


def _check_tensor(path: PathLike, key: str, value: Tensor, wanted: Tensor) -> None:
    if value.shape != wanted.shape:
        shapes = f"shape {tuple(wanted.shape)}, got {tuple(value.shape)}"
        raise ValueError(f"{path} does not fit: {key} must have {shapes}")
    if value.is_floating_point() and not value.isfinite().all():
        raise ValueError(f"{path} must hold finite weights, but {key} has NaN or infinite values")


def _read(path: PathLike) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Read all tensors and, if the file has one, the configuration."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"path must be a weights file, got {path}")
    tensors, metadata = read_tensors(path)
    text = metadata.get(_CONFIG_KEY)
    return tensors, None if text is None else _parse_config(path, text)


def is_ours(metadata: Mapping[str, str]) -> bool:
    """Say whether the metadata of a safetensors file are from :func:`save_weights`."""
    return _CONFIG_KEY in metadata


def read_tensors(path: PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata of a safetensors file.

    Raises:
        ValueError: If it is no whole safetensors file.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is no whole safetensors file: {error}") from error
    return tensors, metadata


def _parse_config(path: PathLike, text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} has a broken configuration: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold a JSON object as configuration, got {config!r:.80}")
    return config


def save_pretrained(model: "SavableModel", folder: PathLike) -> None:
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
            raise FileNotFoundError(f"folder must hold {CONFIG_NAME}, got {path}")
        text = (path / CONFIG_NAME).read_text(encoding="utf-8")
        return _parse_config(path / CONFIG_NAME, text), path / WEIGHTS_NAME
    _, config = _read(path)
    if config is None:
        raise ValueError(f"{path} has weights without a configuration; use Model.load instead")
    return config, path
