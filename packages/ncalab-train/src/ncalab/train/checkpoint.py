"""The checkpoint of a training: all of its state in one file, from which it is resumed.

It is the commit point of a run folder. It is written first and as a whole or not at all; the
other files (weights, history) repeat parts of it for readers, and are written again when a training
that was killed between two files is resumed.

Tensors are stored as safetensors, all else as JSON in the metadata of the same file: nothing that
is read is ever executed.
"""

import json
from typing import Any

import numpy as np
from torch import Tensor

from ncalab.core.run_record import CHECKPOINT_KEY
from ncalab.core.saving import PathLike, atomic_write, read_tensors
from ncalab.core.tensor_file import encode_tensors

_VERSION = 3
# Values that JSON cannot express: a dict with one of these keys stands for it.
_TENSOR, _TUPLE, _DICT = "$tensor", "$tuple", "$dict"


def encode_state(state: dict[str, Any]) -> tuple[str, dict[str, Tensor]]:
    """Split nested data into JSON text and tensors.

    Args:
        state: Dicts, lists and tuples of tensors, numbers, strings, booleans and None.

    Returns:
        The text, and the tensors that it names, on the CPU.

    Raises:
        TypeError: If there is anything else in it.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps({"version": _VERSION, "state": _encode(state, "", tensors)})
    return text, tensors


def _encode(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        # A copy of its own: two views of one storage are two tensors in the file.
        tensors[place] = value.detach().cpu().clone().contiguous()
        return {_TENSOR: place}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        items = [_encode(item, f"{place}/{i}", tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {_TUPLE: items}
    if isinstance(value, dict):
        pairs = [[key, _encode(item, f"{place}/{key}", tensors)] for key, item in value.items()]
        plain = all(isinstance(key, str) and not key.startswith("$") for key in value)
        return dict(pairs) if plain else {_DICT: pairs}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{place[1:]} must be data that a checkpoint can hold, got {value!r}")


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _TUPLE in value:
        return tuple(_decode(value[_TUPLE], tensors))
    pairs = value[_DICT] if _DICT in value else value.items()
    return {key: _decode(item, tensors) for key, item in pairs}


def write_checkpoint(path: PathLike, state: dict[str, Any]) -> None:
    """Write the state of a training, as a whole or not at all.

    Args:
        path: File to write or replace.
        state: As in :func:`encode_state`.

    Raises:
        OSError: If it cannot be written; a file that was there before is unchanged.
        TypeError: If the state holds something else than data.
    """
    text, tensors = encode_state(state)
    atomic_write(path, encode_tensors(tensors, {CHECKPOINT_KEY: text}))


def read_checkpoint(path: PathLike) -> dict[str, Any]:
    """Read what :func:`write_checkpoint` wrote.

    Args:
        path: File to read.

    Returns:
        The state; its tensors are on the CPU.

    Raises:
        ValueError: If the file is not a whole checkpoint, or that of a later version.
    """
    tensors, metadata = read_tensors(path)
    if CHECKPOINT_KEY not in metadata:
        raise ValueError(f"{path} must be the checkpoint of a training, got another file")
    try:
        stored = json.loads(metadata[CHECKPOINT_KEY])
        version, state = stored["version"], _decode(stored["state"], tensors)
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is a damaged checkpoint: {error!r:.200}") from error
    if version != _VERSION:
        raise ValueError(f"{path} must be a checkpoint of version {_VERSION}, got {version!r:.20}")
    if not isinstance(state, dict):
        raise ValueError(f"{path} is a damaged checkpoint: its state is not an object")
    return state
