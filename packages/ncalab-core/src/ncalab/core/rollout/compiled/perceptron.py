"""Cells whose rule is a perceptron of two layers: all of a step is compiled."""

from collections.abc import Sequence

from torch import Tensor

from ncalab.core.rollout.compiled.bands import BandedGroup
from ncalab.core.rollout.compiled.batch import Cells, Sums
from ncalab.core.rollout.compiled.group import Group
from ncalab.core.rollout.compiled.library import Library
from ncalab.core.rollout.compiled.parameters import GradientSums, Parameters, pack
from ncalab.core.rollout.compiled.threads import Division, divide


class PerceptronCells(Cells):
    """Cells of the standard kind; parameters are :class:`Parameters`."""

    def divide(self, x: Tensor) -> Division:
        """Divide a batch into groups, and into bands what is left over."""
        return divide(self.spec, x, self.cells_at_work(x))

    def groups(
        self, library: Library, x: Tensor, parameters: Sequence[Tensor], division: Division
    ) -> tuple[list[Group], list[Group]]:
        """Return groups; those that all threads step are cut into bands."""
        packed = pack(Parameters(*parameters), self.spec.first_mutable, library.lanes)
        arguments = (library, self.spec, packed, x)
        shared: list[Group] = [
            BandedGroup(*arguments, samples, bands=division.bands, threads=division.threads)
            for samples in division.banded
        ]
        return [Group(*arguments, samples) for samples in division.groups], shared

    def sums(self, library: Library, parameters: Sequence[Tensor], tasks: int) -> Sums:
        """Return new sums of gradients."""
        return GradientSums(Parameters(*parameters), self.spec.first_mutable, library.lanes, tasks)
