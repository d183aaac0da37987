"""The rollout of one large sample, by several threads that each work on bands of its grid."""

import ctypes
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ncalab.core.rollout.cpu.compiled.division import Division
from ncalab.core.rollout.cpu.compiled.group import Group
from ncalab.core.rollout.cpu.compiled.library import Library
from ncalab.core.rollout.cpu.compiled.packed_program import PackedProgram
from ncalab.core.rollout.cpu.compiled.parameters import Packed
from ncalab.core.rollout.cpu.compiled.spec import TapSpec
from ncalab.core.rollout.cpu.compiled.structures import Gradients, Tape, Team, reference
from ncalab.core.rollout.cpu.compiled.tape import MOST_BYTES, Stretch, TapeTensors
from ncalab.core.rollout.cpu.threads import run_together


class BandedGroup(Group):
    """One sample of a rollout without an alive mask, whose grid is cut into bands.

    Args:
        arguments: As for :class:`Group`, with one sample.
        bands: Number of bands.
        threads: Number of threads.
    """

    def __init__(self, *arguments: Any, bands: int, threads: int) -> None:
        super().__init__(*arguments)
        self.bands = self.tasks = bands
        self.threads = threads

    def run(self, first: int, steps: int) -> None:
        """Take steps in place, from step ``first`` of the rollout on."""
        self._forward_in_bands(first, steps, None)

    def record(self, first: int, steps: int) -> list[Stretch]:
        """Take steps in place; return what the backward pass needs."""
        stretches, stop = [], first + steps
        # Of the largest band; each has room for all its cells at every step.
        cells = -(-self.geometry.width // self.bands) * (self.cells // self.geometry.width)
        length = max(1, MOST_BYTES // (cells * self.width * self._like.itemsize))
        while first < stop:
            taken = min(length, stop - first)
            tensors = [
                TapeTensors.empty(self._like, taken, cells * taken, self.width, 0)
                for _ in range(self.bands)
            ]
            tapes = (Tape * self.bands)(*(each.structure(self.width) for each in tensors))
            self._forward_in_bands(first, taken, tapes)
            used = [
                each.used(tape, taken, self.width)
                for each, tape in zip(tensors, tapes, strict=True)
            ]
            stretches.append(Stretch(first, taken, used))
            first += taken
        return stretches

    def _forward_in_bands(self, first: int, steps: int, tapes: Any) -> None:
        grid = self.grid.data_ptr()
        with _Opened(self, backward=False) as (bands, team):
            run_together(
                lambda: self.library.call(
                    "forward_in_bands",
                    reference(self.rollout),
                    bands,
                    reference(team),
                    first,
                    steps,
                    grid,
                    tapes,
                ),
                self.threads,
            )

    def undo(self, stretch: Stretch, sums: list[list[Tensor]], *, wanted: Sequence[bool]) -> None:
        """Take the gradient back over some steps; each band has its own sums."""
        tapes = (Tape * self.bands)(*(tape.structure(self.width) for tape in stretch.tapes))
        gradients = (Gradients * self.bands)(*(self.sums(own, wanted) for own in sums))
        pointers = self.grid.data_ptr(), self.gradient.data_ptr()
        with _Opened(self, backward=True) as (bands, team):
            run_together(
                lambda: self.library.call(
                    "backward_in_bands",
                    reference(self.rollout),
                    bands,
                    reference(team),
                    stretch.first,
                    stretch.steps,
                    *pointers,
                    tapes,
                    gradients,
                ),
                self.threads,
            )


class _Opened:
    """The buffers of all bands, for a while."""

    def __init__(self, group: BandedGroup, *, backward: bool) -> None:
        self.group, self.backward = group, backward

    def __enter__(self) -> tuple[ctypes.c_void_p, Team]:
        group = self.group
        self.bands = group.library.call(
            "open_bands", reference(group.rollout), group.bands, int(self.backward)
        )
        if not self.bands:
            raise MemoryError("no memory for the bands of a rollout")
        return ctypes.c_void_p(self.bands), Team(group.bands, 0, 0)

    def __exit__(self, *error: object) -> None:
        self.group.library.call("close_bands", ctypes.c_void_p(self.bands))


def divided_groups(
    library: Library, spec: TapSpec, packed: Packed | PackedProgram, x: Tensor, division: Division
) -> tuple[list[Group], list[Group]]:
    """Return the groups of a batch; those that all threads step are cut into bands.

    Args:
        library: The compiled functions.
        spec: The rollout.
        packed: Its parameters.
        x: States of the whole batch, contiguous.
        division: How to divide the batch.
    """
    arguments = (library, spec, packed, x)
    shared: list[Group] = [
        BandedGroup(*arguments, samples, bands=division.bands, threads=division.threads)
        for samples in division.banded
    ]
    return [Group(*arguments, samples) for samples in division.groups], shared
