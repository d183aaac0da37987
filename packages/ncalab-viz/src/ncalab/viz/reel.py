"""Arrays of one shape, one after the other, on disk."""

import math
import tempfile
import weakref
from collections.abc import Sequence
from typing import overload

import numpy as np

Array = np.ndarray


class Reel(Sequence[Array]):
    """A sequence that is written at its end and read anywhere, with one array in memory.

    It lies in a temporary file without a name (in the folder ``TMPDIR``), which is gone as soon as
    the reel is, or the process ends.

    Args:
        shape: Shape of each array; float32.

    >>> reel = Reel((2,))
    >>> for number in range(3):
    ...     reel.append(np.array([number, 0.5]))
    >>> len(reel), reel[-1].tolist()
    (3, [2.0, 0.5])
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._bytes = math.prod(shape) * 4
        self._count = 0
        self._file = tempfile.TemporaryFile(prefix="ncalab-")  # noqa: SIM115 - lives as long as we
        weakref.finalize(self, self._file.close)

    def append(self, array: Array) -> None:
        """Write an array at the end."""
        self._file.seek(self._count * self._bytes)
        self._file.write(np.ascontiguousarray(array, dtype=np.float32).reshape(self.shape).data)
        self._count += 1

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Array: ...
    @overload
    def __getitem__(self, place: slice) -> list[Array]: ...
    def __getitem__(self, place: int | slice) -> Array | list[Array]:
        """Read one array, or a list of them."""
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(self._count))]
        if not -self._count <= place < self._count:
            raise IndexError(f"place must be in [-{self._count}, {self._count}), got {place}")
        self._file.seek(place % self._count * self._bytes)
        data = np.frombuffer(self._file.read(self._bytes), dtype=np.float32)
        return data.reshape(self.shape)
