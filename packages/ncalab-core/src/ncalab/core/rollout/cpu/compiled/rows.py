"""Cells with any rule that treats each cell by itself: the rule is called on rows of perceptions.

What a cell sees, which cells fire and live, and what a step leaves for the backward pass is
compiled; the rule is not, as it has operations that no program has (see
:mod:`ncalab.core.rollout.cpu.compiled.translate`). It gets the perceptions of the cells that fire
only, some thousand at a time, and is taken back by autograd, block by block.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_void_p
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ncalab.core.rollout.cpu.compiled.batch import Cells, Sums
from ncalab.core.rollout.cpu.compiled.division import Division, divide_evenly
from ncalab.core.rollout.cpu.compiled.group import Group
from ncalab.core.rollout.cpu.compiled.library import Library
from ncalab.core.rollout.cpu.compiled.parameters import Parameters, pack
from ncalab.core.rollout.cpu.compiled.replay import replay
from ncalab.core.rollout.cpu.compiled.row_rule import (
    call_on_rows,
    copy_for_rows,
)
from ncalab.core.rollout.cpu.compiled.spec import TapSpec
from ncalab.core.rollout.cpu.compiled.structures import reference
from ncalab.core.rollout.cpu.compiled.tape import Stretch
from ncalab.core.rollout.cpu.compiled.trace import tensors_of
from ncalab.core.rollout.cpu.threads import note_operations, rollout_threads

# Rows that a rule is called on at once: what it computes of them stays in the cache.
BLOCK_ROWS = 1024


class RowCells(Cells):
    """Cells with a pointwise rule.

    Parameters are the factors of the taps (see :class:`Parameters`); what cells perceive besides,
    shape ``(T or 1, B or 1, E)``; and parameters and buffers of the rule.

    Args:
        spec: The rollout.
        rule: Rule and views as :func:`function_of_cells` returns them.
        dt: What its updates are multiplied by.
    """

    def __init__(self, spec: TapSpec, rule: nn.Module, dt: float) -> None:
        super().__init__(spec)
        self.rule, self.dt = rule, dt
        self.names = [name for name, _ in (*rule.named_parameters(), *rule.named_buffers())]

    def divide(self, x: Tensor) -> Division:
        """Give every thread one group: calls of the rule take time, however few their rows."""
        division = divide_evenly(self.spec, x, self.cells_at_work(x))
        if division.threads < rollout_threads():
            note_operations()
        return division

    def groups(
        self, library: Library, x: Tensor, parameters: Sequence[Tensor], division: Division
    ) -> tuple[list[Group], list[Group]]:
        """Return groups."""
        return [RowGroup(self, library, x, parameters, samples) for samples in division.groups], []

    def sums(self, library: Library, parameters: Sequence[Tensor], tasks: int) -> Sums:
        """Return new sums of gradients."""
        del library
        return _Sums(parameters, tasks)

    def replay(self, segment: int | None, x: Tensor, *parameters: Tensor) -> Tensor:
        """Run the rollout as operations that autograd records."""
        factors, context, *own = parameters
        named = dict(zip(self.names, own, strict=True))

        def rule(seen: Tensor, step: int) -> Tensor:
            here = context[step if len(context) > 1 else 0]
            besides = here.view(*here.shape, *[1] * (x.ndim - 2))
            besides = besides.expand(len(x), -1, *x.shape[2:])
            perceived = torch.cat([seen, besides], dim=1).flatten(2)[..., None]
            updates: Tensor = functional_call(self.rule, named, (perceived,))
            return self.dt * updates.view(len(x), -1, *x.shape[2:])

        return replay(self.spec, segment, x, factors, rule)


class _Sums:
    def __init__(self, parameters: Sequence[Tensor], tasks: int) -> None:
        self._sums = [[torch.zeros_like(p) for p in parameters] for _ in range(tasks)]

    def of_task(self, task: int) -> list[Tensor]:
        return self._sums[task]

    def total(self) -> list[Tensor]:
        return [sum(parts[1:], parts[0]) for parts in zip(*self._sums, strict=True)]


class RowGroup(Group):
    """Some samples whose rule is called on rows.

    Args:
        cells: What all cells do.
        library: The compiled functions.
        x: States of the whole batch, contiguous.
        parameters: As :class:`RowCells` has them.
        samples: Which samples.
    """

    def __init__(
        self,
        cells: RowCells,
        library: Library,
        x: Tensor,
        parameters: Sequence[Tensor],
        samples: slice,
    ) -> None:
        own = iter(parameters)
        factors, self.context = islice(own, 2)
        self.rule_tensors = list(own)
        channels = x.shape[1]
        # A rule of no neurons takes part in the compiled steps.
        none = x.new_zeros(1, 1, 0)
        seen = channels * (1 + cells.spec.views.count)
        empty = Parameters(factors, x.new_zeros(0, seen), none, x.new_zeros(channels, 0))
        packed = pack(empty, cells.spec.first_mutable, library.lanes)
        super().__init__(library, cells.spec, packed, x, samples)
        self.rule, self.dt = copy_for_rows(cells.rule, self.rule_tensors), cells.dt
        self.seen = seen
        self.bounds = torch.zeros(self.count + 1, dtype=torch.int64)

    @contextmanager
    def _opened(self) -> Iterator[c_void_p]:
        opened = c_void_p(self.library.call("open_rows", reference(self.rollout)))
        if not opened:
            raise MemoryError("no memory for the rows of a rollout")
        try:
            yield opened
        finally:
            self.library.call("close_rows", opened)

    def _call(self, name: str, *arguments: Any) -> int:
        pointers = (a.data_ptr() if isinstance(a, Tensor) else a for a in arguments)
        return self.library.call(name, reference(self.rollout), *pointers)

    def _forward(self, first: int, steps: int, tape: Any) -> int:
        tape = None if tape is None else reference(tape)
        with self._opened() as rows, torch.no_grad():
            for n in range(steps):
                step = first + n
                listed = self._call("list_rows", rows, step, self.grid, self.living, self.bounds)
                if tape is not None and not self._call("room_for_rows", rows, tape):
                    return n
                updates = self._updates(rows, step, listed)
                self._call(
                    "finish_rows", rows, self.grid, self.living, updates, self.width, tape, n
                )
        return steps

    def _updates(self, rows: c_void_p, step: int, listed: int) -> Tensor:
        """Call the rule on the listed cells; return the updates of their mutable channels."""
        updates = self._like.new_empty(listed, self.width)
        for start in range(0, listed, BLOCK_ROWS):
            seen = self._see(rows, step, start, min(BLOCK_ROWS, listed - start))
            own = call_on_rows(self.rule, seen, self.dt)
            updates[start : start + len(seen)] = own[:, self.spec.first_mutable :]
        return updates

    def _see(self, rows: c_void_p, step: int, start: int, count: int) -> Tensor:
        """Return what some of the listed cells perceive, shape ``(count, P)``."""
        extra = self.context.shape[2]
        seen = self._like.new_empty(count, self.seen + extra)
        self._call("see_rows", rows, self.grid, start, count, seen, self.seen + extra)
        if extra:
            seen[:, self.seen :] = self._context_at(step)[self._samples_of(start, count)]
        return seen

    def _context_at(self, step: int) -> Tensor:
        """Return what the samples of the group perceive besides, shape ``(samples or 1, E)``."""
        here = self.context[step if len(self.context) > 1 else 0]
        return here[self.samples] if len(here) > 1 else here

    def _samples_of(self, start: int, count: int) -> Tensor:
        """Return, for some of the listed cells, the row of their context."""
        if self.context.shape[1] == 1:
            return torch.zeros(count, dtype=torch.int64)
        places = torch.arange(start, start + count)
        return torch.searchsorted(self.bounds[1:], places, right=True)

    def begin_gradient(self, gradient: Tensor) -> None:
        """Start from the gradient of the last states, with a rule that no other thread has."""
        super().begin_gradient(gradient)
        leaves = [nn.Parameter(t.detach(), requires_grad=False) for t in self.rule_tensors]
        self.rule = copy_for_rows(self.rule, leaves)

    def undo(self, stretch: Stretch, sums: list[list[Tensor]], *, wanted: Sequence[bool]) -> None:
        """Take the gradient back over some steps, whose last states the grid holds."""
        (tape_tensors,), (own,) = stretch.tapes, sums
        tape = reference(tape_tensors.structure(self.width))
        for tensor, wants in zip(tensors_of(self.rule), wanted[2:], strict=True):
            tensor.requires_grad_(wants)
        with self._opened() as rows:
            for n in reversed(range(stretch.steps)):
                step = stretch.first + n
                listed = self._call("undo_rows", rows, step, self.grid, tape, n, self.bounds)
                d_updates = self._like.new_zeros(listed, self.channels)
                mutable = d_updates[:, self.spec.first_mutable :]
                self._call(
                    "begin_rows_back",
                    rows,
                    self.gradient,
                    self.reached,
                    tape,
                    n,
                    mutable,
                    self.channels,
                )
                for start in range(0, listed, BLOCK_ROWS):
                    some = d_updates[start : start + BLOCK_ROWS]
                    self._block_back(rows, step, start, some, own, wanted)
                self._call("end_rows_back", self.gradient)

    def _block_back(
        self,
        rows: c_void_p,
        step: int,
        start: int,
        d_updates: Tensor,
        sums: list[Tensor],
        wanted: Sequence[bool],
    ) -> None:
        """Take the gradient of some updates back to states, context and parameters."""
        count = len(d_updates)
        with torch.enable_grad():
            seen = self._see(rows, step, start, count).requires_grad_()
            updates = call_on_rows(self.rule, seen, self.dt)
        if not updates.requires_grad:
            return
        own = tensors_of(self.rule)
        leaves = [seen, *(p for p in own if p.requires_grad)]
        d_seen, *slopes = torch.autograd.grad(updates, leaves, d_updates, materialize_grads=True)
        places = [n for n, wants in enumerate(wanted[2:], start=2) if wants]
        for place, slope in zip(places, slopes, strict=True):
            sums[place] += slope
        if wanted[1]:
            target = sums[1][step if len(self.context) > 1 else 0]
            target = target[self.samples] if len(target) > 1 else target
            target.index_add_(0, self._samples_of(start, count), d_seen[:, self.seen :])
        d_seen = d_seen.contiguous()
        d_factors = torch.zeros_like(self.packed.factors) if wanted[0] else None
        self._call(
            "see_rows_back",
            rows,
            self.grid,
            start,
            count,
            d_seen,
            d_seen.shape[1],
            d_factors,
            self.gradient,
        )
        if d_factors is not None:
            sums[0] += d_factors[:, : self.channels]
