"""Named tensors and text in one safetensors file, sealed by a checksum.

Safetensors notices a file that is cut off, but not bits that have flipped. The checksum covers
names, types, shapes and values of all tensors, and the text beside them. Files without one, which
versions before this one wrote, are read as they are.
"""

import hashlib
from collections.abc import Mapping

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from ncalab.core.files import PathLike

CHECKSUM_KEY = "ncalab_sha256"

# What torch and safetensors raise for tensors that are sparse, quantised or not initialised yet.
_NOT_STORABLE = (RuntimeError, ValueError, TypeError, LookupError, SafetensorError)


def encode_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the content of a safetensors file, checksum included.

    Args:
        tensors: Dense tensors by name, on any device. Those that share memory are stored one by
            one.
        metadata: Text by name.

    Raises:
        ValueError: If a tensor is none that the format can hold; the message names it.

    >>> CHECKSUM_KEY.encode() in encode_tensors({"bias": torch.zeros(3)}, {"made by": "hand"})
    True
    """
    stored = {name: _as_stored(name, value) for name, value in tensors.items()}
    try:
        return _encode(stored, {"format": "pt", **metadata})
    except _NOT_STORABLE:
        for name, value in stored.items():
            _check_storable(name, value)
        raise


def _encode(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> bytes:
    sealed = {**metadata, CHECKSUM_KEY: _checksum(tensors, metadata)}
    content: bytes = to_safetensors(dict(tensors), sealed)
    return content


def _as_stored(name: str, value: Tensor) -> Tensor:
    """Return a copy on the CPU with memory of its own, if there is one."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a tensor to be saved, got {type(value).__name__}")
    try:
        return value.detach().cpu().clone(memory_format=torch.contiguous_format)
    except _NOT_STORABLE as error:
        raise _not_storable(name, value, error) from error


def _check_storable(name: str, value: Tensor) -> None:
    try:
        _encode({name: value}, {})
    except _NOT_STORABLE as error:
        raise _not_storable(name, value, error) from error


def _not_storable(name: str, value: Tensor, error: Exception) -> ValueError:
    return ValueError(
        f"{name} must be a dense, initialised tensor of a common dtype to be saved, "
        f"got {type(value).__name__} ({str(error) or repr(error):.200})"
    )


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for key in sorted(metadata.keys() - {CHECKSUM_KEY}):
        digest.update(repr((key, metadata[key])).encode("utf-8", "surrogatepass"))
    for name, value in sorted(tensors.items()):
        digest.update(repr((name, str(value.dtype), tuple(value.shape))).encode())
        if value.numel():
            digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_tensors(path: PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata of a safetensors file.

    Raises:
        ValueError: If it is not a whole safetensors file, or its checksum does not match.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    wanted = metadata.get(CHECKSUM_KEY)
    if wanted is not None and wanted != _checksum(tensors, metadata):
        raise ValueError(f"{path} is damaged: its content does not match its checksum")
    return tensors, metadata
