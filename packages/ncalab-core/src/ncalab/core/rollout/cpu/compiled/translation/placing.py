"""Operations that only place numbers elsewhere: views, slices, indices, joined tensors."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ncalab.core.rollout.cpu.compiled.program import Operation, Ref
from ncalab.core.rollout.cpu.compiled.trace import Call, tensors_in
from ncalab.core.rollout.cpu.compiled.translation.cells import (
    Cells,
    CellTensors,
    UnknownOperationError,
)

# More operations than that, for one cat or slice, are one gather.
MOST_COPIES = 8
PLACING = {
    *("view", "_unsafe_view", "reshape", "permute", "transpose", "t", "unsqueeze", "squeeze"),
    *("expand", "slice", "select", "split", "split_with_sizes", "unbind", "clone", "alias"),
    *("flip", "index", "index_select", "roll", "repeat"),
}


class Placing(CellTensors):
    """Translates operations whose result consists of the numbers that they are given."""

    def _numbered(self, cells: Cells, first: int = 0) -> Tensor:
        """Return a tensor of the shape of a traced one that holds the number of its column."""
        axis = cells.shape.index(None)
        columns = torch.arange(first, first + cells.width).view(cells.sizes).unsqueeze(axis)
        sizes = [self.cells if size is None else size for size in cells.shape]
        return columns.expand(sizes).contiguous()

    def _columns(self, numbered: Tensor) -> tuple[list[int], tuple[int | None, ...]]:
        """Return the columns that a tensor consists of, and its shape."""
        shape = self._shape(numbered)
        axis = shape.index(None)
        one = numbered.narrow(axis, 0, 1)
        if not torch.equal(one.expand_as(numbered), numbered):
            raise UnknownOperationError("cells that see each other")
        return one.flatten().tolist(), shape

    def _place(self, call: Call) -> None:
        source, *rest = call.arguments
        cells = self._cells(source)
        if any(id(t) in self.known for t in tensors_in((rest, call.options))):
            raise UnknownOperationError(call.name)
        # Indices are the same for all parameters only if they do not depend on any.
        if any(t.is_floating_point() or id(t) in self.fixed for t in tensors_in(rest)):
            raise UnknownOperationError(call.name)
        moved = call.function(self._numbered(cells), *rest, **call.options)
        for result, numbered in zip(tensors_in(call.result), tensors_in(moved), strict=True):
            columns, shape = self._columns(numbered)
            self.known[id(result)] = Cells(self._gathered(cells, columns), shape)
            self.tensors.append(result)

    def _gathered(self, cells: Cells, columns: Sequence[int]) -> Ref:
        """Return some columns of a tensor in any order."""
        ref = cells.ref
        if ref.wide or not columns:
            return ref
        first = columns[0]
        if list(columns) == list(range(first, first + len(columns))):
            return ref._replace(first=ref.first + first)
        if all(column == first for column in columns):
            return ref._replace(first=ref.first + first, wide=True)
        return self.program.do("gather", len(columns), ref, table=tuple(columns))

    def _narrow(self, cells: Cells) -> Ref:
        """Return the columns of a tensor one by one, for what does not take wide ones."""
        if not cells.ref.wide:
            return cells.ref
        return self.program.do("copy", cells.width, cells.ref)

    def _take_cat(self, parts: Sequence[Tensor], dim: int = 0) -> Ref:
        return self._joined(parts, lambda numbered: torch.cat(numbered, dim))

    def _take_stack(self, parts: Sequence[Tensor], dim: int = 0) -> Ref:
        return self._joined(parts, lambda numbered: torch.stack(numbered, dim))

    def _joined(self, parts: Sequence[Tensor], join: Callable[[list[Tensor]], Tensor]) -> Ref:
        starts, numbered = [0], []
        for part in parts:
            cells = self._cells(part)
            numbered.append(self._numbered(cells, starts[-1]))
            starts.append(starts[-1] + cells.width)
        columns, _ = self._columns(join(numbered))
        out = self.program.new_slot(len(columns))
        for place, first, count in _runs(columns, starts):
            n = max(n for n, start in enumerate(starts[:-1]) if start <= first)
            ref = self._cells(parts[n]).ref
            own = ref if ref.wide else ref._replace(first=ref.first + first - starts[n])
            copied = Operation("copy", count, out._replace(first=place), own)
            self.program.operations.append(copied)
        return out


def _runs(columns: Sequence[int], starts: Sequence[int]) -> list[tuple[int, int, int]]:
    """Divide columns into runs of consecutive ones of one part.

    Args:
        columns: The columns, in the order of the result.
        starts: Where parts begin.

    Returns:
        Of each run, its place in the result, its first column, and how many there are.
    """
    runs: list[tuple[int, int, int]] = []
    for place, column in enumerate(columns):
        if runs and column not in starts and column == runs[-1][1] + runs[-1][2]:
            runs[-1] = (*runs[-1][:2], runs[-1][2] + 1)
        else:
            runs.append((place, column, 1))
    if len(runs) > MOST_COPIES * (len(starts) - 1):
        raise UnknownOperationError("columns in a strange order")
    return runs
