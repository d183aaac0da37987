"""Files that the monolithic ncalab wrote: safetensors, or a state dict of torch."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ncalab.core.saving import PathLike, is_ours, read_tensors

# A safetensors file begins with 8 bytes for the length of a header, which is a JSON object.
_HEADER_START = 8


def read_monolith(path: PathLike) -> dict[str, Tensor]:
    """Read the named tensors of a file; its content, not its suffix, says what it is.

    Args:
        path: A safetensors file, or a state dict that torch saved. The latter is read through
            ``torch.load(weights_only=True)``, which builds tensors and nothing else.

    Returns:
        Tensors by the monolith's names, on the CPU, under all names of each.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is broken, holds more than tensors, or was saved by this library.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path must be a weights file, got {path}")
    with path.open("rb") as file:
        start = file.read(_HEADER_START + 1)
    tensors = _read_safetensors(path) if start.endswith(b"{") else _read_state_dict(path)
    if not tensors:
        raise ValueError(f"{path} must hold weights, got none")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    tensors, metadata = read_tensors(path)
    if is_ours(metadata):
        raise ValueError(
            f"{path} must be a file of the monolithic ncalab, got one of this library; "
            "read it with from_pretrained or load"
        )
    # A shared tensor is stored once; the metadata maps its other names to the one that is kept.
    aliases = {name: tensors[kept] for name, kept in metadata.items() if kept in tensors}
    return tensors | aliases


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    advice = (
        "where it was saved, write torch.save(model.state_dict(), path) instead of the whole model"
    )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # Broken files fail in many ways, depending on where they are cut.
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} must be a safetensors file or a state dict that torch.load reads with "
            f"weights_only=True ({reason}); {advice}"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} must hold a state dict, got {type(content).__name__}; {advice}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise ValueError(f"{path} must hold tensors by name only, got {name!r}: {kind}")
    return dict(content)
