"""A program in the layout of the compiled functions."""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from ncalab.core.rollout.cpu.compiled import structures
from ncalab.core.rollout.cpu.compiled.parameters import TILE_ROWS, added, padded, round_up
from ncalab.core.rollout.cpu.compiled.program import (
    FUNCTIONS,
    KINDS,
    NORMS,
    Operation,
    Program,
    Ref,
)
from ncalab.core.rollout.cpu.compiled.structures import Columns, Gradients

_NUMBERS = {kind: number for number, kind in enumerate((*KINDS, *FUNCTIONS))}


class Layout:
    """Where the slots, constants and matrices of a program stand.

    Args:
        program: The rule.
        lanes: Numbers of a vector.
    """

    def __init__(self, program: Program, lanes: int) -> None:
        self.program, self.lanes = program, lanes
        self.shapes = program.prelude.shapes
        used = {0, program.result.slot, *(o.out.slot for o in program.operations)}
        self.rows = [self._row(slot) if slot in used else 0 for slot in range(len(program.slots))]
        self.slots = _starts(self.rows)
        self.constants = _starts([0 if len(s) > 1 else self._up(s[0]) for s in self.shapes])
        self.matrices = _starts(
            [round_up(s[0], TILE_ROWS) * self._up(s[1]) if len(s) > 1 else 0 for s in self.shapes]
        )

    def _up(self, number: int) -> int:
        return round_up(number, self.lanes)

    def _row(self, slot: int) -> int:
        width = self.program.slots[slot]
        if slot == 0:  # ``seen_row`` in native/perceive.h
            return self._up(max(width + self.lanes, round_up(width, TILE_ROWS)))
        norms = any(o.kind in NORMS and o.out.slot == slot for o in self.program.operations)
        return self._up(width) + (self.lanes if norms else 0)

    @property
    def sums(self) -> int:
        """Numbers of the gradients of all results of the prelude."""
        return self.constants[-1] + self.matrices[-1]

    def columns(self, ref: Ref | None, *, is_added: bool = False) -> Columns:
        """Return columns as the compiled functions take them."""
        if ref is None:
            return Columns(-1, 0, 0, 0, 1)
        if ref.constant is not None:
            return Columns(self.constants[ref.constant], 0, 0, 0, 1)
        slot = ref.slot or 0
        return Columns(self.slots[slot], ref.first, self.rows[slot], ref.wide, is_added)

    def slopes(self, sums: Tensor) -> list[Tensor]:
        """Return the gradients of the results of the prelude from their sums."""
        found = []
        for n, shape in enumerate(self.shapes):
            if len(shape) == 1:
                start = self.constants[n]
                found.append(sums[start : start + shape[0]])
                continue
            start = self.constants[-1] + self.matrices[n]
            rows, row = round_up(shape[0], TILE_ROWS), self._up(shape[1])
            matrix = sums[start : start + rows * row].view(rows, row)
            found.append(matrix[: shape[0], : shape[1]])
        return found


class PackedProgram:
    """The parameters of a rollout whose rule is a program.

    Args:
        program: The rule.
        factors: Factors of the taps, shape ``(taps, C)``.
        context: What cells perceive besides, shape ``(T or 1, B or 1, E)``.
        results: What the prelude gives.
        lanes: Numbers of a vector.
        first_mutable: First channel that steps change.
    """

    def __init__(
        self,
        program: Program,
        factors: Tensor,
        context: Tensor,
        results: Sequence[Tensor],
        lanes: int,
        first_mutable: int,
    ) -> None:
        self.layout = layout = Layout(program, lanes)
        self.context = context.shape[2]
        self.factors = padded(factors, len(factors), round_up(factors.shape[1], lanes))
        self.bias = padded(context, *context.shape[:2], round_up(self.context, lanes))
        self._constants = factors.new_zeros(layout.constants[-1] + lanes)
        self._kept: list[Tensor] = []
        for start, value in zip(layout.constants, results, strict=False):
            if value.ndim == 1:
                self._constants[start : start + len(value)] = value
        ways, cleared = program.ways()
        operations = [
            self._operation(o, results, way)
            for o, way in zip(program.operations, ways, strict=True)
        ]
        self._operations = (structures.Operation * len(operations))(*operations)
        self._clear = (Columns * len(cleared))(*(layout.columns(Ref(n)) for n in cleared))
        result = program.result._replace(first=program.result.first + first_mutable)
        self._structure = structures.Program(
            numbers=layout.slots[-1],
            count=len(operations),
            operations=ctypes.addressof(self._operations),
            constants=self._constants.data_ptr(),
            result=layout.columns(result),
            cleared=len(cleared),
            clear=ctypes.addressof(self._clear),
        )

    def _operation(
        self, o: Operation, results: Sequence[Tensor], way: tuple[bool, bool]
    ) -> structures.Operation:
        layout = self.layout
        packed = structures.Operation(
            kind=_NUMBERS[o.kind],
            width=o.width,
            inner=o.columns,
            a=layout.columns(o.a, is_added=way[0]),
            b=layout.columns(o.b, is_added=way[1]),
            out=layout.columns(o.out),
            x=o.x,
            y=o.y,
        )
        if o.matrix is not None:
            matrix = results[o.matrix]
            up = (round_up(size, layout.lanes) for size in matrix.shape)
            inner, width = matrix.shape
            self._kept += [padded(matrix.t(), width, next(up)), padded(matrix, inner, next(up))]
            packed.transposed, packed.matrix = (t.data_ptr() for t in self._kept[-2:])
            packed.sums = layout.constants[-1] + layout.matrices[o.matrix]
        if o.table is not None:
            self._kept.append(torch.tensor(o.table, dtype=torch.int32))
            packed.table = self._kept[-1].data_ptr()
        return packed

    def fields(self) -> dict[str, int]:
        """Return fields of the structure of a rollout."""
        return {"context": self.context, "program": ctypes.addressof(self._structure)}

    def gradients(self, own: list[Tensor], wanted: Sequence[bool], first_bias: int) -> Gradients:
        """Return a task's sums as the compiled functions take them.

        Args:
            own: The sums, see :class:`ProgramSums`.
            wanted: Whether factors, context and each of the rule's tensors want a gradient.
            first_bias: Numbers of the context before that of the task's first sample.
        """
        program, bias, factors = own
        return Gradients(
            bias=bias.data_ptr() + first_bias * bias.itemsize,
            factors=factors.data_ptr() if wanted[0] else None,
            program=program.data_ptr() if any(wanted[2:]) else None,
        )


class ProgramSums:
    """Where the tasks of a backward pass add up the gradients of the parameters.

    Args:
        program: The rule.
        layout: Where its parameters stand.
        tensors: Factors, context, and the tensors of the rule.
        tasks: Number of tasks.
    """

    def __init__(
        self, program: Program, layout: Layout, tensors: Sequence[Tensor], tasks: int
    ) -> None:
        self.program, self.layout, self.tensors = program, layout, tensors
        factors, context = tensors[:2]
        lanes = layout.lanes
        self.shapes = [
            (layout.sums,),
            (*context.shape[:2], round_up(context.shape[2], lanes)),
            (len(factors), round_up(factors.shape[1], lanes)),
        ]
        self._sizes = [torch.Size(shape).numel() for shape in self.shapes]
        self._sums = factors.new_zeros(tasks, sum(self._sizes))

    def of_task(self, task: int) -> list[Tensor]:
        """Return the sums of a task: of the program, the context and the factors."""
        return list(self._sums[task].split(self._sizes))

    def total(self) -> list[Tensor]:
        """Return the gradients of factors, context and the rule's tensors."""
        factors, context, *own = self.tensors
        parts = zip(added(self._sums).split(self._sizes), self.shapes, strict=True)
        d_program, d_context, d_factors = (part.view(shape) for part, shape in parts)
        return [
            d_factors[:, : factors.shape[1]],
            d_context[..., : context.shape[2]],
            *self.program.prelude.take_back(own, self.layout.slopes(d_program)),
        ]


def _starts(sizes: Sequence[int]) -> list[int]:
    """Return where parts begin that follow one another, and where the last one ends."""
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    return starts
