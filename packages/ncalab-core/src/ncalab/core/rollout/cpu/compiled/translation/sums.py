"""Sums over what a cell has."""

import math
from typing import Any

import torch
from torch import Tensor

from ncalab.core.rollout.cpu.compiled.program import Ref
from ncalab.core.rollout.cpu.compiled.translation.cells import UnknownOperationError
from ncalab.core.rollout.cpu.compiled.translation.placing import Placing

# From that many numbers side by side, sums are taken of whole slices.
WIDE = 8


class Sums(Placing):
    """Translates sums, means and shares of what a cell has."""

    # The shape of the result, and with it ``keepdim``, is that of the traced one.
    def _take_sum(self, a: Tensor, dims: Any = None, *_: bool, dtype: Any = None) -> Ref:
        return self._sum(a, dims, dtype)[0]

    def _take_mean(self, a: Tensor, dims: Any = None, *_: bool, dtype: Any = None) -> Ref:
        ref, count, width = self._sum(a, dims, dtype)
        return self.program.do("scale", width, ref, x=1 / count)

    def _sum(self, a: Tensor, dims: Any, dtype: Any) -> tuple[Ref, int, int]:
        """Return a sum over some dimensions, how many numbers it is of, and its width."""
        cells = self._cells(a)
        axis = cells.shape.index(None)
        over = {dim % a.ndim for dim in dims or ()}
        if not over or axis in over or dtype not in (None, a.dtype):
            raise UnknownOperationError("a sum over cells")
        left = [1 if n in over else s for n, s in enumerate(cells.shape) if s is not None]
        width = math.prod(left)
        target = torch.arange(width).view(left).expand(cells.sizes).flatten().tolist()
        count, ref = cells.width // max(width, 1), self._narrow(cells)
        if width >= WIDE and target == list(range(width)) * count:
            total = ref
            for n in range(1, count):
                part = ref._replace(first=ref.first + n * width)
                total = self.program.do("sum", width, total, part, x=1, y=1)
            return total, count, width
        table = None if width == 1 else tuple(target)
        total = self.program.do("collect", width, ref, inner=cells.width, table=table)
        return total, count, width

    def _take__softmax(self, a: Tensor, dim: int, half_to_float: bool) -> Ref:
        cells = self._cells(a)
        if half_to_float or cells.width != cells.shape[dim]:
            raise UnknownOperationError("shares of a part")
        return self.program.do("shares", cells.width, self._narrow(cells))
