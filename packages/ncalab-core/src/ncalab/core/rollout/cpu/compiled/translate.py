"""From what a rule does with tensors to operations on rows of cells."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ncalab.core.rollout.cpu.compiled.prelude import Prelude
from ncalab.core.rollout.cpu.compiled.program import Operation, Program, Ref, constant
from ncalab.core.rollout.cpu.compiled.trace import (
    Call,
    Trace,
    tensors_in,
    tensors_of,
    trace,
)

# More operations than that, for one cat or slice, are one gather.
MOST_COPIES = 8
# From that many numbers side by side, sums are taken of whole slices.
WIDE = 8

# Operations that only place numbers elsewhere.
_PLACING = {
    *("view", "_unsafe_view", "reshape", "permute", "transpose", "t", "unsqueeze", "squeeze"),
    *("expand", "slice", "select", "split", "split_with_sizes", "unbind", "clone", "alias"),
    *("detach", "flip", "index", "index_select", "roll", "repeat"),
}
_FUNCTIONS = {
    *("relu", "tanh", "sigmoid", "silu", "exp", "sqrt", "rsqrt", "reciprocal", "abs", "sin"),
    "cos",
}
# What powers are.
_POWERS = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}


class UnknownOperationError(Exception):
    """An operation that has no place in a program."""


class Cells(NamedTuple):
    """A traced tensor that depends on what cells perceive.

    Attributes:
        ref: The columns that hold it, in the order of its dimensions besides that of the cells.
        shape: Its shape; None for the number of cells.
    """

    ref: Ref
    shape: tuple[int | None, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the dimensions besides that of the cells."""
        return tuple(size for size in self.shape if size is not None)

    @property
    def width(self) -> int:
        """How many numbers a cell has."""
        return math.prod(self.sizes)


def translate(rule: nn.Module, inputs: int, dtype: torch.dtype, dt: float) -> Program | None:
    """Return a rule as a program; None if it consists of other operations.

    Args:
        rule: Maps ``(1, inputs, N, 1)`` to updates ``(1, outputs, N, 1)``, cell by cell.
        inputs: Numbers that it gets for every cell.
        dtype: Floating-point type of its parameters.
        dt: What updates are multiplied by.
    """
    try:
        traced = trace(rule, inputs, dtype)
        return None if traced is None else _Translator(rule, traced, dt).program
    except (UnknownOperationError, RuntimeError, NotImplementedError):
        # The rule is called as it is, then.
        return None


class _Translator:
    def __init__(self, rule: nn.Module, traced: Trace, dt: float) -> None:
        self.cells = traced.cells
        own = tensors_of(rule)
        self.program = Program(Prelude([id(t) for t in own]), [traced.x.shape[1]])
        # Of parameters, and of what is computed from them alone.
        self.fixed: dict[int, Tensor] = {id(t): t for t in own}
        self.known = {id(traced.x): Cells(Ref(0), self._shape(traced.x))}
        self.tensors = [traced.x]
        for call in traced.calls:
            self._take(call)
        updates = self._cells(traced.result)
        if updates.shape != (1, updates.width, None, 1):
            raise UnknownOperationError(updates.shape)
        self.program.finish(updates.ref, updates.width, dt)

    def _shape(self, tensor: Tensor) -> tuple[int | None, ...]:
        """Return a shape with None for the number of cells."""
        shape = tuple(None if size == self.cells else size for size in tensor.shape)
        if shape.count(None) != 1:
            raise UnknownOperationError(shape)
        return shape

    def _cells(self, value: Any) -> Cells:
        found = self.known.get(id(value))
        if found is None:
            raise UnknownOperationError(value)
        return found

    def _take(self, call: Call) -> None:
        inputs = list(tensors_in((call.arguments, call.options)))
        if not any(id(t) in self.known for t in inputs):
            self._take_fixed(call, inputs)
            return
        method = getattr(self, f"_take_{call.name.removesuffix('_')}", None)
        is_in_place = call.name.endswith("_") and not call.name.startswith("_")
        if is_in_place:
            self._check_alone(call.arguments[0])
        if call.name in _PLACING:
            self._place(call)
            return
        if call.name.removesuffix("_") in _FUNCTIONS:
            self._define(call, self._apply(call.name.removesuffix("_"), call.arguments[0]))
            return
        if method is None:
            raise UnknownOperationError(call.name)
        self._define(call, method(*call.arguments, **call.options))

    def _take_fixed(self, call: Call, inputs: Sequence[Tensor]) -> None:
        """Leave an operation on parameters to the prelude."""
        name = call.name
        if not any(t.is_floating_point() for t in tensors_in((inputs, call.result))):
            return  # indices, which are the same for all parameters
        known = all(id(t) in self.fixed for t in inputs)
        if not known or name.endswith("_") or name == "_local_scalar_dense":
            raise UnknownOperationError(name)
        # Which numbers are left depends on the values of parameters; indices are always the same.
        chosen = name == "index" and not any(t.dtype == torch.bool for t in inputs)
        if torch.Tag.dynamic_output_shape in call.function.tags and not chosen:
            raise UnknownOperationError(name)
        results = list(tensors_in(call.result))
        if not results or any(self.cells in t.shape for t in results):
            raise UnknownOperationError(name)
        self.program.prelude.calls.append(call)
        self.fixed |= {id(t): t for t in results}

    def _check_alone(self, changed: Tensor) -> None:
        """Raise for a change of a tensor that others may see."""
        memory = changed.untyped_storage().data_ptr()
        if sum(t.untyped_storage().data_ptr() == memory for t in self.tensors) != 1:
            raise UnknownOperationError("a change in place")

    def _define(self, call: Call, ref: Ref) -> None:
        result = call.result[0] if isinstance(call.result, tuple) else call.result
        if not any(t is result for t in self.tensors):
            self.tensors.append(result)
        self.known[id(result)] = Cells(ref, self._shape(result))

    # Operations that only place numbers elsewhere

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

    # Elementwise operations

    def _apply(self, kind: str, source: Tensor, *, x: float = 0.0, y: float = 0.0) -> Ref:
        cells = self._cells(source)
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

    def _combine(self, kind: str, a: Tensor, b: Tensor, *, x: float = 0.0, y: float = 0.0) -> Ref:
        shape = torch.broadcast_shapes(a.shape, b.shape)
        like = tuple(None if size == self.cells else size for size in shape)
        if like.count(None) != 1:
            raise UnknownOperationError(like)
        width = math.prod(size for size in like if size is not None)
        operands = self._operand(a, like), self._operand(b, like)
        return self.program.do(kind, width, *operands, x=x, y=y)

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
        kind = None if isinstance(exponent, Tensor) else _POWERS.get(float(exponent))
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
        low, high = (-math.inf if low is None else low), (math.inf if high is None else high)
        return self._apply("clamp", a, x=low, y=high)

    def _take__prelu_kernel(self, a: Tensor, slope: Tensor) -> Ref:
        return self._combine("leak", a, slope)

    # Sums over what a cell has

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

    # Layers

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
