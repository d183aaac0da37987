"""Operations that treat numbers one by one, or pair by pair."""

import math
from typing import Any

import torch
from torch import Tensor

from ncalab.core.rollout.cpu.compiled.program import Ref, constant
from ncalab.core.rollout.cpu.compiled.translation.cells import UnknownOperationError
from ncalab.core.rollout.cpu.compiled.translation.placing import Placing

FUNCTIONS = {
    *("relu", "tanh", "sigmoid", "silu", "exp", "sqrt", "rsqrt", "reciprocal", "abs", "sin"),
    "cos",
}
# What powers are.
POWERS = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}


class Elementwise(Placing):
    """Translates operations that treat numbers one by one, or pair by pair."""

    def _apply(self, kind: str, source: Tensor, *, x: Any = 0.0, y: Any = 0.0) -> Ref:
        cells = self._cells(source)
        x, y = _number(x), _number(y)
        return self.program.do(kind, cells.width, self._narrow(cells), x=x, y=y)

    def _operand(self, value: Tensor, like: tuple[int | None, ...]) -> Ref:
        """Return an operand, repeated to the shape of the result."""
        sizes = [self.cells if size is None else size for size in like]
        cells = self.known.get(id(value))
        if cells is not None:
            columns, shape = self._columns(self._numbered(cells).expand(sizes))
            if shape != like:
                raise UnknownOperationError(shape)
            return self._gathered(cells, columns)
        if id(value) not in self.fixed:
            raise UnknownOperationError(value)
        axis = like.index(None) - len(like)
        if value.ndim >= -axis and value.shape[axis] != 1:
            raise UnknownOperationError(value.shape)
        one = [1 if size is None else size for size in like]
        return constant(self.program, value, lambda t: t.expand(one).reshape(-1))

    def _combine(self, kind: str, a: Tensor, b: Tensor, *, x: Any = 0.0, y: Any = 0.0) -> Ref:
        shape = torch.broadcast_shapes(a.shape, b.shape)
        like = tuple(None if size == self.cells else size for size in shape)
        if like.count(None) != 1:
            raise UnknownOperationError(like)
        width = math.prod(size for size in like if size is not None)
        operands = self._operand(a, like), self._operand(b, like)
        return self.program.do(kind, width, *operands, x=_number(x), y=_number(y))

    def _take_add(self, a: Any, b: Any, alpha: float = 1) -> Ref:
        if not isinstance(b, Tensor):
            return self._apply("scale", a, x=1, y=alpha * b)
        return self._combine("sum", a, b, x=1, y=alpha)

    def _take_sub(self, a: Any, b: Any, alpha: float = 1) -> Ref:
        return self._take_add(a, b, -alpha)

    def _take_rsub(self, a: Any, b: Any, alpha: float = 1) -> Ref:
        if not isinstance(b, Tensor):
            return self._apply("scale", a, x=-alpha, y=b)
        return self._combine("sum", a, b, x=-alpha, y=1)

    def _take_mul(self, a: Any, b: Any) -> Ref:
        if not isinstance(b, Tensor):
            return self._apply("scale", a, x=b)
        return self._combine("product", a, b)

    def _take_div(self, a: Any, b: Any) -> Ref:
        if not isinstance(b, Tensor):
            return self._apply("scale", a, x=1 / b)
        return self._combine("quotient", a, b)

    def _take_neg(self, a: Tensor) -> Ref:
        return self._apply("scale", a, x=-1)

    def _take_pow(self, a: Any, exponent: Any) -> Ref:
        kind = None if isinstance(exponent, Tensor) else POWERS.get(float(exponent))
        if kind is None:
            raise UnknownOperationError(exponent)
        return self._apply(kind, a)

    def _take_leaky_relu(self, a: Tensor, slope: float = 0.01) -> Ref:
        if slope < 0:
            raise UnknownOperationError(slope)
        return self._apply("leaky_relu", a, x=slope)

    def _take_elu(self, a: Tensor, alpha: float = 1, scale: float = 1, of_input: float = 1) -> Ref:
        if alpha < 0 or (scale, of_input) != (1, 1):
            raise UnknownOperationError(alpha)
        return self._apply("elu", a, x=alpha)

    def _take_softplus(self, a: Tensor, beta: float = 1, threshold: float = 20) -> Ref:
        if (beta, threshold) != (1, 20):
            raise UnknownOperationError(beta)
        return self._apply("softplus", a)

    def _take_gelu(self, a: Tensor, *, approximate: str = "none") -> Ref:
        if approximate != "none":
            raise UnknownOperationError(approximate)
        return self._apply("gelu", a)

    def _take_clamp(self, a: Tensor, low: Any = None, high: Any = None) -> Ref:
        low = -math.inf if low is None else _number(low)
        high = math.inf if high is None else _number(high)
        if not low <= high:
            raise UnknownOperationError((low, high))
        return self._apply("clamp", a, x=low, y=high)

    def _take__prelu_kernel(self, a: Tensor, slope: Tensor) -> Ref:
        return self._combine("leak", a, slope)


def _number(value: Any) -> float:
    """Return a number; raise for a tensor, whose value may change and which has a gradient."""
    if not isinstance(value, (int, float)):
        raise UnknownOperationError(value)
    return float(value)
