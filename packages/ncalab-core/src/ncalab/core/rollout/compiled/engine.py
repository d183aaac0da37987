"""Rollouts by the compiled functions, with and without gradients."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ncalab.core.fire import FireClock
from ncalab.core.rollout.compiled.bands import BandedGroup
from ncalab.core.rollout.compiled.group import Group, Wants, occupied_boxes
from ncalab.core.rollout.compiled.library import Library, library
from ncalab.core.rollout.compiled.parameters import (
    GradientSums,
    Packed,
    Parameters,
    pack,
    read_model,
)
from ncalab.core.rollout.compiled.spec import Spec
from ncalab.core.rollout.compiled.tape import Stretch, TapeTensors
from ncalab.core.rollout.compiled.threads import Division, divide
from ncalab.core.rollout.reference import OnStep
from ncalab.core.rollout.shares import run_shares

if TYPE_CHECKING:
    from ncalab.core.model import AbstractNCAModel

Result = TypeVar("Result")


def run(
    model: "AbstractNCAModel",
    x: Tensor,
    clock: FireClock,
    on_step: OnStep | None = None,
    segment: int | None = None,
) -> Tensor:
    """Run the steps of ``clock`` for a standard model on the CPU.

    Args:
        model: Model that :func:`ncalab.core.rollout.compiled.why_not_compiled` accepts.
        x: States, shape ``(B, C, W, H)``; not changed.
        clock: Which steps to run, and which cells fire in them.
        on_step: Called with (number of steps taken so far, state); true ends the rollout. Only
            without gradients.
        segment: Steps between the states that are kept for the backward pass, which takes the
            steps again from them; None to keep what every step needs.

    Returns:
        States after the last step, shape ``(B, C, W, H)``.
    """
    spec, parameters = read_model(model, clock)
    if torch.is_grad_enabled() and any(p.requires_grad for p in (x, *parameters)):
        result: Tensor = CompiledRollout.apply(spec, segment, x, *parameters)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return result
    with torch.no_grad():
        batch = Batch(spec, parameters, x)
        if on_step is None:
            return batch.run()
        return batch.watch(on_step)


class Batch:
    """A batch of states, divided into groups of samples.

    Args:
        spec: The rollout.
        parameters: Its parameters.
        x: States, shape ``(B, C, *grid)``.
        division: How to divide the batch; chosen here if None.
    """

    def __init__(
        self, spec: Spec, parameters: Parameters, x: Tensor, division: Division | None = None
    ) -> None:
        self.spec, self.x = spec, x.contiguous()
        self.library = _library(x.dtype)
        self.packed: Packed = pack(parameters, spec.first_mutable, self.library.lanes)
        self.division = division or divide(spec, x, _cells_at_work(spec, x))
        arguments = (self.library, spec, self.packed, self.x)
        self.groups = [Group(*arguments, samples) for samples in self.division.groups]
        self.banded = [
            BandedGroup(
                *arguments,
                samples,
                bands=self.division.bands,
                threads=self.division.threads,
            )
            for samples in self.division.banded
        ]

    @property
    def all_groups(self) -> list[Group]:
        """All groups, those in bands last."""
        return [*self.groups, *self.banded]

    def each(self, function: Callable[[Group], Result]) -> list[Result]:
        """Call a function for every group; in its thread, unless the group is cut into bands."""
        done = run_shares(function, self.groups, self.division.threads)
        return [*done, *(function(group) for group in self.banded)]

    def run(self) -> Tensor:
        """Take all steps; return the states."""
        out = torch.empty_like(self.x)

        def take(group: Group) -> None:
            group.begin(self.x)
            group.run(0, self.spec.steps)
            group.end(out)

        self.each(take)
        return out

    def watch(self, on_step: OnStep) -> Tensor:
        """Take the steps one by one, and show the states after each."""
        self.each(lambda group: group.begin(self.x))
        for step in range(self.spec.steps):
            out = torch.empty_like(self.x)

            def take(group: Group, step: int = step, out: Tensor = out) -> None:
                group.run(step, 1)
                group.end(out)

            self.each(take)
            if on_step(self.spec.clock.start + step + 1, out):
                break
        return out

    def record(self, segment: int | None) -> "tuple[Tensor, list[Recorded]]":
        """Take all steps; return the states and what the backward pass needs of each group."""
        out = torch.empty_like(self.x)

        def take(group: Group) -> Recorded:
            group.begin(self.x)
            if segment is None:
                stretches = group.record(0, self.spec.steps)
                group.end(out)
                return Recorded(group.grid, stretches, [])
            grids = []
            for first in range(0, self.spec.steps, segment):
                grids.append(group.grid.clone())
                group.run(first, min(segment, self.spec.steps - first))
            group.end(out)
            return Recorded(self.x.new_empty(0), [], grids)

        return out, self.each(take)

    def take_back(
        self,
        gradient: Tensor,
        recorded: "Sequence[Recorded]",
        segment: int | None,
        wants: Wants,
        parameters: Parameters,
    ) -> tuple[Tensor, Parameters]:
        """Return the gradients of the first states and of the parameters."""
        out = torch.empty_like(self.x)
        gradient = gradient.contiguous()
        counts = [group.bands if isinstance(group, BandedGroup) else 1 for group in self.all_groups]
        sums = GradientSums(self.packed, sum(counts))
        firsts = [sum(counts[:n]) for n in range(len(counts))]
        work = {
            id(group): (record, [sums.of_task(first + n) for n in range(count)])
            for group, record, first, count in zip(
                self.all_groups, recorded, firsts, counts, strict=True
            )
        }

        def take(group: Group) -> None:
            record, own = work[id(group)]
            group.begin_gradient(gradient)
            if record.stretches:
                group.resume(record.grid)
            for stretch in reversed(record.stretches):
                group.undo(stretch, own, wants=wants)
            for n, grid in reversed(list(enumerate(record.grids))):
                group.resume(grid)
                first = n * (segment or 0)
                again = group.record(first, min(segment or 0, self.spec.steps - first))
                for stretch in reversed(again):
                    group.undo(stretch, own, wants=wants)
            group.end_gradient(out)

        self.each(take)
        return out, sums.total(parameters)


class Recorded(NamedTuple):
    """What the backward pass needs of a group.

    Attributes:
        grid: The framed grid after the last step; empty if steps are taken again.
        stretches: What the steps left; none if they are taken again.
        grids: The framed grids before each segment of steps that is taken again.
    """

    grid: Tensor
    stretches: list[Stretch]
    grids: list[Tensor]

    def tensors(self) -> list[Tensor]:
        """Return all tensors in it, in the order of :meth:`filled`."""
        tapes = [tape for stretch in self.stretches for tape in stretch.tapes]
        return [self.grid, *(tensor for tape in tapes for tensor in tape), *self.grids]

    def plain(self) -> "Recorded":
        """Return it without the tensors."""
        nothing = torch.empty(0)
        stretches = [
            stretch._replace(tapes=[TapeTensors(*[nothing] * 4)] * len(stretch.tapes))
            for stretch in self.stretches
        ]
        return Recorded(nothing, stretches, [nothing] * len(self.grids))

    def filled(self, tensors: Iterator[Tensor]) -> "Recorded":
        """Return it with other tensors."""
        grid = next(tensors)
        stretches = [
            stretch._replace(tapes=[TapeTensors(*islice(tensors, 4)) for _ in stretch.tapes])
            for stretch in self.stretches
        ]
        return Recorded(grid, stretches, [next(tensors) for _ in self.grids])


class CompiledRollout(torch.autograd.Function):
    """A rollout of a standard model, differentiable with respect to states and parameters."""

    @staticmethod
    def forward(ctx: Any, spec: Spec, segment: int | None, x: Tensor, *tensors: Tensor) -> Tensor:
        """Run the steps and keep what the backward pass needs of each, or of each segment."""
        batch = Batch(spec, Parameters(*tensors), x)
        out, recorded = batch.record(segment)
        ctx.spec, ctx.segment, ctx.division = spec, segment, batch.division
        ctx.plain = [record.plain() for record in recorded]
        # Through save_for_backward, so that torch's checkpointing and saved-tensor hooks see them.
        kept = [tensor for record in recorded for tensor in record.tensors()]
        ctx.save_for_backward(*tensors, *kept)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Undo the steps one by one, and take the gradient back over each."""
        # Asked for once: torch's checkpointing unpacks saved tensors at every access.
        saved = iter(ctx.saved_tensors)
        parameters = Parameters(*islice(saved, len(Parameters._fields)))
        recorded = [plain.filled(saved) for plain in ctx.plain]
        _, factors, into, _, out = ctx.needs_input_grad[2:]
        # States are not needed again: what is undone starts from the last ones.
        batch = Batch(ctx.spec, parameters, gradient, ctx.division)
        d_x, d_parameters = batch.take_back(
            gradient, recorded, ctx.segment, Wants(factors, into, out), parameters
        )
        needed = zip((d_x, *d_parameters), ctx.needs_input_grad[2:], strict=True)
        return (None, None, *(value if is_needed else None for value, is_needed in needed))


def _library(dtype: torch.dtype) -> Library:
    found = library(dtype)
    if isinstance(found, str):
        raise TypeError(found)
    return found


def _cells_at_work(spec: Spec, x: Tensor) -> int:
    """Return how many cells of a sample need work at a step, at most."""
    cells = x[0, 0].numel()
    if not spec.use_alive_mask:
        return cells
    low, high = occupied_boxes(x).view(-1, 2, 3)[..., 2 - x.ndim :].unbind(1)
    # Life spreads by a cell a step.
    spread = (high - low + 2 * spec.steps).double().prod(1).max()
    return min(cells, int(spread))
