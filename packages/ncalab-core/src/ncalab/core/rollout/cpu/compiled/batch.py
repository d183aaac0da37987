"""A batch of states, divided into groups of samples that threads step."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from ncalab.core.options import OnStep
from ncalab.core.rollout.cpu.compiled.division import Division
from ncalab.core.rollout.cpu.compiled.group import Group, occupied_boxes
from ncalab.core.rollout.cpu.compiled.library import Library, library
from ncalab.core.rollout.cpu.compiled.spec import TapSpec
from ncalab.core.rollout.cpu.compiled.tape import Stretch, TapeTensors
from ncalab.core.rollout.cpu.threads import run_shares

Result = TypeVar("Result")


class Sums(Protocol):
    """Buffers in which the tasks of a backward pass add up the gradients of the parameters.

    Each task has sums of its own, which are added in the order of the tasks: the result does not
    depend on which thread was the faster.
    """

    def of_task(self, task: int) -> list[Tensor]:
        """Return the sums of a task, to be added to in place."""

    def total(self) -> list[Tensor]:
        """Return the gradients of the parameters, in their order."""


class Cells(ABC):
    """Steps of all cells of a rollout, whatever they are trained on.

    Args:
        spec: The rollout.
    """

    def __init__(self, spec: TapSpec) -> None:
        self.spec = spec

    @abstractmethod
    def divide(self, x: Tensor) -> Division:
        """Divide a batch of states ``(B, C, *grid)`` between threads."""

    @abstractmethod
    def groups(
        self, library: Library, x: Tensor, parameters: Sequence[Tensor], division: Division
    ) -> tuple[list[Group], list[Group]]:
        """Return the groups that one thread steps each, and those that all threads step.

        Args:
            library: The compiled functions.
            x: States of the whole batch, contiguous.
            parameters: What the rollout is differentiated with respect to, besides the states.
            division: How to divide the batch.
        """

    @abstractmethod
    def sums(self, library: Library, parameters: Sequence[Tensor], tasks: int) -> Sums:
        """Return new sums of gradients."""

    @abstractmethod
    def replay(self, segment: int | None, x: Tensor, *parameters: Tensor) -> Tensor:
        """Run the rollout as operations that autograd records, for derivatives of derivatives."""

    def cells_at_work(self, x: Tensor) -> int:
        """Return how many cells of a sample need work at a step, at most."""
        cells = x[0, 0].numel()
        if not self.spec.use_alive_mask:
            return cells
        low, high = occupied_boxes(x).view(-1, 2, 3)[..., 2 - x.ndim :].unbind(1)
        # Life spreads by a cell a step.
        spread = (high - low + 2 * self.spec.steps).double().prod(1).max()
        return min(cells, int(spread))


class Batch:
    """A batch of states, divided into groups of samples.

    Args:
        cells: What all cells do.
        parameters: Its parameters.
        x: States, shape ``(B, C, *grid)``.
        division: How to divide the batch; chosen here if None.
    """

    def __init__(
        self,
        cells: Cells,
        parameters: Sequence[Tensor],
        x: Tensor,
        division: Division | None = None,
    ) -> None:
        self.cells, self.spec, self.parameters = cells, cells.spec, parameters
        self.x = x.contiguous()
        self.division = division or cells.divide(x)
        found = library(x.dtype)
        if isinstance(found, str):
            raise TypeError(found)
        self.library = found
        self.groups, self.shared = cells.groups(found, self.x, parameters, self.division)

    @property
    def all_groups(self) -> list[Group]:
        """All groups, those that all threads step last."""
        return [*self.groups, *self.shared]

    def each(self, function: Callable[[Group], Result]) -> list[Result]:
        """Call a function for every group, in its thread unless all threads step the group."""
        done = run_shares(function, self.groups, self.division.threads)
        return [*done, *(function(group) for group in self.shared)]

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
        wanted: Sequence[bool],
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the gradients of the first states and of the parameters."""
        out = torch.empty_like(self.x)
        gradient = gradient.contiguous()
        counts = [group.tasks for group in self.all_groups]
        sums = self.cells.sums(self.library, self.parameters, sum(counts))
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
                group.undo(stretch, own, wanted=wanted)
            for n, grid in reversed(list(enumerate(record.grids))):
                group.resume(grid)
                first = n * (segment or 0)
                again = group.record(first, min(segment or 0, self.spec.steps - first))
                for stretch in reversed(again):
                    group.undo(stretch, own, wanted=wanted)
            group.end_gradient(out)

        self.each(take)
        return out, sums.total()


class Recorded(NamedTuple):
    """Values of a group that the backward pass needs.

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
