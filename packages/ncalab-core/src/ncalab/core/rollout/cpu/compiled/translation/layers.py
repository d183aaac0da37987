"""Layers: products with matrices, and normalisations."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ncalab.core.rollout.cpu.compiled.program import Ref, constant
from ncalab.core.rollout.cpu.compiled.translation.cells import Cells, UnknownOperationError
from ncalab.core.rollout.cpu.compiled.translation.placing import Placing


class Layers(Placing):
    """Translates products with matrices that do not depend on cells, and normalisations."""

    def _take_native_layer_norm(
        self, a: Tensor, shape: Sequence[int], weight: Any, bias: Any, eps: float
    ) -> Ref:
        ref = self._normalised("centred", a, shape, weight, eps)
        return ref if bias is None else self._shifted(ref, bias)

    def _take__fused_rms_norm(self, a: Tensor, shape: Sequence[int], weight: Any, eps: Any) -> Ref:
        return self._normalised(
            "scaled", a, shape, weight, torch.finfo(a.dtype).eps if eps is None else eps
        )

    def _normalised(
        self, kind: str, a: Tensor, shape: Sequence[int], weight: Any, eps: float
    ) -> Ref:
        cells = self._cells(a)
        if math.prod(shape) != cells.width or cells.shape[-len(shape) :].count(None):
            raise UnknownOperationError(shape)
        ref = self.program.do(kind, cells.width, self._narrow(cells), x=eps)
        if weight is None:
            return ref
        return self.program.do("product", cells.width, ref, self._vector(weight))

    def _shifted(self, ref: Ref, bias: Tensor) -> Ref:
        return self.program.do("sum", bias.numel(), ref, self._vector(bias), x=1, y=1)

    def _vector(self, fixed: Tensor) -> Ref:
        if id(fixed) not in self.fixed:
            raise UnknownOperationError(fixed.shape)
        return constant(self.program, fixed, lambda t: t.reshape(-1))

    def _layer(
        self, cells: Cells, weight: Tensor, read: Callable[[Tensor], Tensor], bias: Tensor | None
    ) -> Ref:
        """Return a product with the matrix that is read of a fixed tensor, (inputs, outputs)."""
        if id(weight) not in self.fixed:
            raise UnknownOperationError(weight.shape)
        inner, width = read(weight).shape
        if cells.width != inner:
            raise UnknownOperationError(inner)
        return self.program.do(
            "layer",
            width,
            self._narrow(cells),
            None if bias is None else self._vector(bias),
            inner=inner,
            matrix=self.program.prelude.ask(weight, read),
        )

    def _take_convolution(
        self, a: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, *rest: Any
    ) -> Ref:
        _dilation, transposed, _, groups = rest
        cells = self._cells(a)
        plain = not any(padding) and set(stride) == {1} and not transposed and groups == 1
        alone = cells.shape[:2] == (1, cells.width)
        if not (plain and alone and weight[0, 0].numel() == 1):
            raise UnknownOperationError("a convolution")
        return self._layer(cells, weight, lambda t: t.flatten(1).t(), bias)

    def _take_addmm(
        self, bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1
    ) -> Ref:
        if (beta, alpha) != (1, 1) or bias.ndim != 1:
            raise UnknownOperationError("a scaled product")
        cells = self._cells(a)
        if cells.shape != (None, cells.width):
            raise UnknownOperationError(cells.shape)
        return self._layer(cells, b, lambda t: t, bias)

    def _take_mm(self, a: Tensor, b: Tensor) -> Ref:
        if id(a) in self.fixed:
            cells = self._cells(b)
            if cells.shape != (cells.width, None):
                raise UnknownOperationError(cells.shape)
            return self._layer(cells, a, lambda t: t.t(), None)
        cells = self._cells(a)
        if cells.shape != (None, cells.width):
            raise UnknownOperationError(cells.shape)
        return self._layer(cells, b, lambda t: t, None)

    def _take_bmm(self, a: Tensor, b: Tensor) -> Ref:
        cells = self._cells(a)
        if cells.shape != (1, None, cells.width) or b.shape[0] != 1:
            raise UnknownOperationError(cells.shape)
        return self._layer(cells, b, lambda t: t[0], None)
