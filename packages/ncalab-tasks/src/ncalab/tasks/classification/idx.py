"""The IDX format of MNIST and its relatives."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from ncalab.core.saving import PathLike

# Third byte of a file to big-endian dtype.
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: PathLike) -> np.ndarray:
    """Read an array from an IDX file, plain or compressed by gzip.

    Source: LeCun, Cortes and Burges, The MNIST Database of Handwritten Digits, section "File
    formats": two zero bytes, dtype, number of axes, their lengths, values, all big-endian.

    Args:
        path: File; whether it is compressed is seen from its content.

    Returns:
        Array of the file's shape and dtype, in the byte order of the machine.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not an IDX file, or has other than the promised number of values.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"path must be an IDX file, got {path}")
    data = _decompressed(path, Path(path).read_bytes())
    axes = data[3] if len(data) >= 4 else 0
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _DTYPES or axes == 0:
        raise ValueError(f"{path} is not an IDX file: it starts with {data[:4]!r}")
    start = 4 + 4 * axes
    if len(data) < start:
        raise ValueError(f"{path} is truncated: it ends within its header")
    shape = tuple(int(length) for length in np.frombuffer(data, ">u4", axes, 4))
    dtype = np.dtype(_DTYPES[data[2]])
    promised, found = math.prod(shape) * dtype.itemsize, len(data) - start
    if found != promised:
        state = "truncated" if found < promised else "not an IDX file of this shape"
        raise ValueError(
            f"{path} is {state}: it must have {promised} bytes of values for shape {shape}, "
            f"got {found}"
        )
    values = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def _decompressed(path: PathLike, data: bytes) -> bytes:
    if not data.startswith(_GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}") from error
