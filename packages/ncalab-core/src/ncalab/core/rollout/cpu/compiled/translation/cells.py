"""What is known of the tensors that a traced rule computes."""

import math
from typing import Any, NamedTuple

from torch import Tensor, nn

from ncalab.core.rollout.cpu.compiled.prelude import Prelude
from ncalab.core.rollout.cpu.compiled.program import Program, Ref
from ncalab.core.rollout.cpu.compiled.trace import Call, Trace, tensors_of


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


class CellTensors:
    """The tensors of a trace: those that depend on cells, and those that do not.

    Args:
        rule: The rule.
        traced: A call of it.

    Attributes:
        cells: How many cells it was called with.
        program: The operations on rows so far.
        fixed: Parameters, and what is computed from them alone, by id.
        known: Where what depends on cells is, by id.
        tensors: The tensors of ``known``.
    """

    def __init__(self, rule: nn.Module, traced: Trace) -> None:
        self.cells = traced.cells
        own = tensors_of(rule)
        self.program = Program(Prelude([id(t) for t in own]), [traced.x.shape[1]])
        self.fixed: dict[int, Tensor] = {id(t): t for t in own}
        self.known = {id(traced.x): Cells(Ref(0), self._shape(traced.x))}
        self.tensors = [traced.x]

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

    def _define(self, call: Call, ref: Ref) -> None:
        result = call.result[0] if isinstance(call.result, tuple) else call.result
        if result.dtype != self.tensors[0].dtype:
            raise UnknownOperationError(result.dtype)
        if not any(t is result for t in self.tensors):
            self.tensors.append(result)
        self.known[id(result)] = Cells(ref, self._shape(result))
