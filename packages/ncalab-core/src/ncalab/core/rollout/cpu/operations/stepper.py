"""The grid of a rollout on the CPU engine, and one step of it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ncalab.core.alive import ALIVE_THRESHOLD, ALPHA_CHANNEL
from ncalab.core.rollout.cpu.operations.fire_masks import FireMasks, phase_length
from ncalab.core.rollout.cpu.operations.halo import Halo
from ncalab.core.rollout.cpu.operations.kernels import activate, neighbourhood_max, perceive
from ncalab.core.rollout.cpu.operations.layout import Box, Layout, bounding_box, occupied
from ncalab.core.rollout.cpu.threads import shares_of
from ncalab.core.rollout.spec import RolloutSpec, Weights


class Neurons(NamedTuple):
    """Perception and hidden neurons of N cells.

    Attributes:
        perceived: Perception without time, shape ``(N, (1 + n) C)``.
        hidden: Hidden neurons, shape ``(N, hidden)``: after a ReLU, before another nonlinearity.
    """

    perceived: Tensor
    hidden: Tensor

    def rows(self, which: slice | Tensor) -> "Neurons":
        """Return those of some of the cells."""
        return Neurons(self.perceived[which], self.hidden[which])

    @classmethod
    def empty(cls, rows: int, weights: Weights) -> "Neurons":
        """Make room for that many cells."""
        columns, neurons = weights.into.shape
        new = weights.into.new_empty
        return cls(new(rows, columns), new(rows, neurons))


class Tape(NamedTuple):
    """Values that the backward pass of one step starts from.

    Attributes:
        step: The step.
        layout: Where it worked.
        source: States before the step in the box and its frame, ``(B, w + 2r, h + 2r, C)``.
        cells: Indices, in the box, of the cells that fired and live, int64.
        alive: Which cells of the box live, ``(B, w, h)``, bool; empty without an alive mask.
        perceived: See :class:`Neurons`; no rows if they are to be computed again.
        hidden: See :class:`Neurons`; no rows if they are to be computed again.
    """

    step: int
    layout: Layout
    source: Tensor
    cells: Tensor
    alive: Tensor
    perceived: Tensor
    hidden: Tensor


class Phase(NamedTuple):
    """Some steps that work on one box.

    Attributes:
        steps: The steps.
        box: Where they work.
    """

    steps: range
    box: Box


class Stepper:
    """The grid of one rollout and the buffers to step it.

    Args:
        spec: The rollout.
        shape: Shape ``(B, C, W, H)`` of the states.
        weights: Parameters.
    """

    def __init__(self, spec: RolloutSpec, shape: Sequence[int], weights: Weights) -> None:
        batch, channels, self.width, self.height = shape
        self.spec, self.weights = spec, weights
        r = spec.radius
        self.shape = (batch, self.width + 2 * r, self.height + 2 * r, channels)
        self.whole = Box(0, self.width, 0, self.height)
        self.halo = Halo(batch, self.width, self.height, r, spec.padding)
        self.grid = weights.into.new_empty(0)
        # Beyond this box, mutable channels are zero.
        self.living = self.whole
        self.layout = Layout(self.whole, self.shape, r)
        self.phase = Phase(range(0), self.whole)
        self._scratch = self.grid
        self._buffer = Neurons.empty(0, weights)

    @classmethod
    def begin(cls, spec: RolloutSpec, x: Tensor, weights: Weights) -> "Stepper":
        """Start from states, shape ``(B, C, W, H)``."""
        stepper = cls(spec, x.shape, weights)
        stepper.grid = x.new_zeros(stepper.shape)
        stepper.whole.inner(stepper.grid, spec.radius).copy_(x.permute(0, 2, 3, 1))
        stepper.halo.fill(stepper.grid)
        if spec.use_alive_mask:
            stepper.living = occupied(x)
        return stepper

    @classmethod
    def resume(cls, spec: RolloutSpec, grid: Tensor, phase: Phase, weights: Weights) -> "Stepper":
        """Go on from a framed grid, within a phase; the grid is not changed."""
        batch, width, height, channels = grid.shape
        frame = 2 * spec.radius
        stepper = cls(spec, (batch, channels, width - frame, height - frame), weights)
        stepper.grid = grid.clone()
        stepper._enter(phase)
        return stepper

    def state(self) -> Tensor:
        """Return the current states as ``(B, C, W, H)``."""
        inner = self.whole.inner(self.grid, self.spec.radius)
        return inner.permute(0, 3, 1, 2).contiguous()

    def phase_at(self, step: int) -> Phase:
        """Return the phase of the next step, entering a new one where the last has ended."""
        if step not in self.phase.steps:
            self._enter(self._next_phase(step))
        return self.phase

    def _next_phase(self, step: int) -> Phase:
        box = self.whole
        if self.spec.use_alive_mask:
            # A cell that may live has a visible one beside it; what fires beside that one
            # decides whether it lives on.
            box = self.living.grown(2, self.width, self.height)
        count = phase_length(self.shape[0] * box.size[0] * box.size[1])
        if self.spec.use_alive_mask:
            # Life spreads by one cell a step.
            box = box.grown(count - 1, self.width, self.height)
        return Phase(range(step, step + count), box)

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        if phase.box != self.layout.box:
            self.layout = Layout(phase.box, self.shape, self.spec.radius)
        self.fired = FireMasks(self.spec.clock, phase.steps, phase.box, self.height)

    def step(self, step: int) -> None:
        """Take one step in place."""
        self.phase_at(step)
        view = self._framed()
        if self.layout.is_split or not view.is_contiguous():
            if self._scratch.shape != view.shape:
                self._scratch = torch.empty_like(view, memory_format=torch.contiguous_format)
            view = self._scratch.copy_(view)
        self._step(step, view)

    def record(self, step: int, *, keep: bool) -> Tape:
        """Take one step in place; return what the backward pass needs.

        Args:
            step: The step.
            keep: Whether to keep perceptions and hidden neurons, too.
        """
        self.phase_at(step)
        source = self._framed().clone(memory_format=torch.contiguous_format)
        cells, alive, neurons = self._step(step, source, keep=keep)
        if self.spec.use_alive_mask:
            lives = alive.flatten()[cells]
            cells = cells[lives]
            neurons = neurons.rows(lives) if keep else neurons
        return Tape(step, self.layout, source, cells, alive, *neurons)

    def _framed(self) -> Tensor:
        return self.layout.box.framed(self.grid, self.spec.radius)

    def _step(
        self, step: int, source: Tensor, *, keep: bool = False
    ) -> tuple[Tensor, Tensor, Neurons]:
        """Take one step from ``source``, the contiguous box and frame as they are before it.

        Returns:
            Indices of the updated cells; which cells live, ``(B, w, h)``, empty without an alive
            mask; and the neurons of the updated cells, without rows unless they are kept.
        """
        if self.spec.use_alive_mask:
            cells, alive, neurons = self._step_living(step, source, keep=keep)
            if step + 1 not in self.phase.steps:
                self.living = bounding_box(alive, self.phase.box)
        else:
            cells, alive = self.fired.cells(step), source.new_empty(0, dtype=torch.bool)
            neurons = self._update(step, source, cells, keep=keep)
        self.halo.fill(self.grid)
        return cells, alive, neurons

    def _step_living(
        self, step: int, source: Tensor, *, keep: bool
    ) -> tuple[Tensor, Tensor, Neurons]:
        """Update the cells near living ones, then clear those that do not live."""
        near = neighbourhood_max(self._opacity())
        may_live = near > ALIVE_THRESHOLD
        # Of a comparison, not of the opacities: a NaN kills its neighbours, not theirs.
        matters = neighbourhood_max(may_live.to(near.dtype)) > 0
        fires = self.fired.mask(step) & matters
        cells = fires.flatten().nonzero().flatten()
        neurons = self._update(step, source, cells, keep=keep)
        alive = may_live & (neighbourhood_max(self._opacity()) > ALIVE_THRESHOLD)
        dead = self.layout.in_grid.index_select(0, (~alive).flatten().nonzero().flatten())
        states = self.grid.view(-1, self.shape[3])
        states[:, self.spec.first_mutable :].index_fill_(0, dead, 0)
        return cells, alive, neurons

    def _opacity(self) -> Tensor:
        return self.layout.box.inner(self.grid, self.spec.radius)[..., ALPHA_CHANNEL]

    def _update(self, step: int, source: Tensor, cells: Tensor, *, keep: bool) -> Neurons:
        """Add the rule's update to the given cells of the box; return their neurons, if kept."""
        layout, bias = self.layout, self.weights.bias_at(self.spec, step)
        in_grid = layout.in_grid.index_select(0, cells)
        whole = layout.in_source is layout.in_grid
        in_source = in_grid if whole else layout.in_source.index_select(0, cells)
        kept = Neurons.empty(len(cells) if keep else 0, self.weights)
        for block, part in layout.split(cells):
            neurons = kept.rows(part) if keep else self._buffers(part.stop - part.start)
            own = source.view(-1, self.shape[3]).index_select(0, in_source[part])
            framed = block.framed(source, self.spec.radius)
            self._update_rows(own, framed, cells[part] - block.first, bias, neurons)
            self.grid.view(-1, self.shape[3]).index_copy_(0, in_grid[part], own)
        return kept

    def _update_rows(
        self, own: Tensor, framed: Tensor, cells: Tensor, bias: Tensor, neurons: Neurons
    ) -> None:
        """Add the rule's update to the states of some cells of a block, in place."""
        perceive(own, framed, self.weights.filters, cells, out=neurons.perceived)
        hidden = torch.addmm(bias, neurons.perceived, self.weights.into, out=neurons.hidden)
        hidden = activate(self.spec.activation, hidden)
        own[:, self.spec.first_mutable :].addmm_(hidden, self.weights.out)

    def _buffers(self, rows: int) -> Neurons:
        if len(self._buffer.hidden) < rows:
            self._buffer = Neurons.empty(rows, self.weights)
        return self._buffer.rows(slice(rows))


def make_shares(spec: RolloutSpec, x: Tensor) -> list[tuple[RolloutSpec, Tensor]]:
    """Split a rollout into rollouts of some samples each."""
    cells = x.shape[2] * x.shape[3]
    if spec.use_alive_mask:
        width, height = occupied(x).size
        cells = width * height
    shares = shares_of(x.shape[0], cells)
    return [(spec.part(share), x[share]) for share in shares]
