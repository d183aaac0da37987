"""Cells whose rule is a perceptron of two layers: all of a step is compiled."""

from collections.abc import Sequence

from torch import Tensor

from ncalab.core.rollout.cpu.compiled.bands import divided_groups
from ncalab.core.rollout.cpu.compiled.batch import Cells, Sums
from ncalab.core.rollout.cpu.compiled.division import Division, divide
from ncalab.core.rollout.cpu.compiled.group import Group
from ncalab.core.rollout.cpu.compiled.library import Library
from ncalab.core.rollout.cpu.compiled.parameters import GradientSums, Parameters, pack
from ncalab.core.rollout.cpu.compiled.replay import replay
from ncalab.core.rollout.cpu.compiled.spec import ACTIVATIONS, SLOPES


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
        return divided_groups(library, self.spec, packed, x, division)

    def sums(self, library: Library, parameters: Sequence[Tensor], tasks: int) -> Sums:
        """Return new sums of gradients."""
        return GradientSums(Parameters(*parameters), self.spec.first_mutable, library.lanes, tasks)

    def replay(self, segment: int | None, x: Tensor, *parameters: Tensor) -> Tensor:
        """Run the rollout as operations that autograd records."""
        factors, into, bias, out = Parameters(*parameters)
        nonlinearity = ACTIVATIONS[self.spec.activation]
        slope = {} if self.spec.slope == 0 else {SLOPES[nonlinearity]: self.spec.slope}
        activation = nonlinearity(**slope)

        def rule(seen: Tensor, step: int) -> Tensor:
            # Channels last, where a layer of a perceptron is a product.
            here = bias[step if len(bias) > 1 else 0].view(-1, *[1] * (x.ndim - 2), len(into))
            hidden = activation(seen.movedim(1, -1) @ into.t() + here)
            update: Tensor = (hidden @ out.t()).movedim(-1, 1)
            return update

        return replay(self.spec, segment, x, factors, rule)
