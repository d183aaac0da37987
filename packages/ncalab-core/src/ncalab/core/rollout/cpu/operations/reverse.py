"""The adjoint of the CPU engine's steps."""

import torch
from torch import Tensor, nn

from ncalab.core.rollout.cpu.operations.halo import Halo
from ncalab.core.rollout.cpu.operations.kernels import convolve, filter_gradient, perceive
from ncalab.core.rollout.cpu.operations.layout import Block, Box, Layout
from ncalab.core.rollout.cpu.operations.stepper import Neurons, Tape
from ncalab.core.rollout.spec import RolloutSpec, Weights


class Reverse:
    """The gradient of one rollout, taken back step by step.

    Args:
        spec: The rollout.
        gradient: Gradient of the last states, shape ``(B, C, W, H)``.
        weights: Parameters.
        wanted: Whether filters, first layer's weight and bias, and last layer's weight want a
            gradient.
    """

    def __init__(
        self, spec: RolloutSpec, gradient: Tensor, weights: Weights, *, wanted: tuple[bool, ...]
    ) -> None:
        batch, channels, width, height = gradient.shape
        self.spec, self.weights = spec, weights
        self.wants_filters, self.wants_first, _, self.wants_last = wanted
        self.from_hidden = weights.into.t().contiguous()
        self.from_update = weights.out.t().contiguous()
        self.flipped = [
            kernel.flip(2, 3).contiguous(memory_format=torch.channels_last)
            for kernel in weights.filters
        ]
        r = spec.radius
        self.whole = self.reached = Box(0, width, 0, height)
        self.grid = gradient.new_zeros(batch, width + 2 * r, height + 2 * r, channels)
        self.whole.inner(self.grid, r).copy_(gradient.permute(0, 2, 3, 1))
        self.halo = Halo(batch, width, height, r, spec.padding)
        self.d_filters = [torch.zeros_like(kernel[:, 0]) for kernel in weights.filters]
        self.d_into = torch.zeros_like(weights.into)
        self.d_bias = torch.zeros_like(weights.bias)
        self.d_time = torch.zeros_like(weights.bias)
        self.d_out = torch.zeros_like(weights.out)
        self._buffer = self._d_buffer = Neurons.empty(0, weights)

    def gradients(self) -> tuple[Tensor, ...]:
        """Return the gradients of states, filters, first layer, bias and last layer."""
        d_first = self.d_into
        if self.spec.times is not None:
            d_first = torch.cat([d_first, self.d_time[None]])
        d_last = self.d_out.t()
        if self.spec.first_mutable:
            fixed = d_last.new_zeros(self.spec.first_mutable, d_last.shape[1])
            d_last = torch.cat([fixed, d_last])
        d_x = self.whole.inner(self.grid, self.spec.radius).permute(0, 3, 1, 2).contiguous()
        as_conv = d_first.t()[..., None, None], d_last[..., None, None]
        return d_x, torch.stack(self.d_filters), as_conv[0], self.d_bias, as_conv[1]

    def step(self, tape: Tape) -> None:
        """Take the gradient back over one step."""
        layout, cells = tape.layout, tape.cells
        if self.spec.use_alive_mask:
            self._mask(tape)
        in_grid = layout.in_grid.index_select(0, cells)
        in_source = in_grid
        if layout.in_source is not layout.in_grid:
            in_source = layout.in_source.index_select(0, cells)
        # All at once: blocks of one sample add to each other's cells.
        gradients = self._rows().index_select(0, in_grid)
        states = tape.source.view(-1, tape.source.shape[3])
        bias = self.weights.bias_at(self.spec, tape.step)
        d_bias = torch.zeros_like(self.d_bias)
        kept = Neurons(tape.perceived, tape.hidden)
        for block, part in layout.split(cells):
            here = cells[part] - block.first
            framed = block.framed(tape.source, self.spec.radius)
            if len(kept.hidden):
                neurons = kept.rows(part)
            else:
                own = states.index_select(0, in_source[part])
                neurons = self._recompute(own, framed, here, bias)
            d_perceived = self._back_through_rule(neurons, gradients[part], d_bias)
            self._back_through_filters(layout, block, here, framed, d_perceived)
        self.d_bias += d_bias
        if self.spec.times is not None:
            self.d_time += self.spec.times[tape.step - self.spec.clock.start] * d_bias
        self.halo.fold(self.grid)

    def _rows(self) -> Tensor:
        return self.grid.view(-1, self.grid.shape[3])

    def _mask(self, tape: Tape) -> None:
        """Apply the alive mask: what does not live has no gradient."""
        layout, first, r = tape.layout, self.spec.first_mutable, self.spec.radius
        for side in self.reached.around(layout.box):
            side.inner(self.grid, r)[..., first:].zero_()
        dead = layout.in_grid.index_select(0, (~tape.alive).flatten().nonzero().flatten())
        self._rows()[:, first:].index_fill_(0, dead, 0)
        self.reached = layout.box.grown(r, *self.whole.size)

    def _recompute(self, own: Tensor, framed: Tensor, cells: Tensor, bias: Tensor) -> Neurons:
        """Compute again what some cells of a block perceived, and their hidden neurons."""
        if len(self._buffer.hidden) < len(cells):
            self._buffer = Neurons.empty(len(cells), self.weights)
        neurons = self._buffer.rows(slice(len(cells)))
        perceive(own, framed, self.weights.filters, cells, out=neurons.perceived)
        torch.addmm(bias, neurons.perceived, self.weights.into, out=neurons.hidden)
        if type(self.spec.activation) is nn.ReLU:
            neurons.hidden.relu_()
        return neurons

    def _back_through_rule(self, neurons: Neurons, gradient: Tensor, d_bias: Tensor) -> Tensor:
        """Take the gradient of some cells of a block back to what they perceived.

        Args:
            neurons: Perceptions and hidden neurons of those N cells; not changed.
            gradient: Gradient of their states after the step, shape ``(N, C)``.
            d_bias: Where the gradient of that step's bias is added up.

        Returns:
            Gradient of their perceptions, shape ``(N, (1 + n) C)``, in a buffer.
        """
        rows = len(neurons.hidden)
        if len(self._d_buffer.hidden) < rows:
            self._d_buffer = Neurons.empty(rows, self.weights)
        buffers = self._d_buffer.rows(slice(rows))
        d_update = gradient[:, self.spec.first_mutable :]
        d_hidden = self._back_through_hidden(neurons.hidden, d_update, out=buffers.hidden)
        d_bias += d_hidden.sum(0)
        if self.wants_first:
            self.d_into.addmm_(neurons.perceived.t(), d_hidden)
        return torch.mm(d_hidden, self.from_hidden, out=buffers.perceived)

    def _back_through_hidden(self, hidden: Tensor, d_update: Tensor, out: Tensor) -> Tensor:
        """Return the gradient of the hidden neurons before the nonlinearity.

        Args:
            hidden: Hidden neurons, after a ReLU, before another nonlinearity.
            d_update: Gradient of the update.
            out: A buffer of the shape of ``hidden``.
        """
        d_active = torch.mm(d_update, self.from_update, out=out)
        if type(self.spec.activation) is nn.ReLU:
            if self.wants_last:
                self.d_out.addmm_(hidden.t(), d_update)
            # The derivative of ReLU is 1 where its value is positive.
            torch.ops.aten.threshold_backward.grad_input(d_active, hidden, 0, grad_input=d_active)
            return d_active
        with torch.enable_grad():
            before = hidden.detach().requires_grad_()
            active = self.spec.activation(before)
        if self.wants_last:
            self.d_out.addmm_(active.detach().t(), d_update)
        (d_hidden,) = torch.autograd.grad(active, before, d_active)
        return d_hidden

    def _back_through_filters(
        self, layout: Layout, block: Block, cells: Tensor, framed: Tensor, d_perceived: Tensor
    ) -> None:
        """Add what a block's perceptions pass on to the states, and to learned filters."""
        r, channels = self.spec.radius, self.grid.shape[3]
        target = block.framed(layout.box.framed(self.grid, r), r)
        in_spread, shape = layout.in_spread(block)
        at = in_spread.index_select(0, cells)
        plane = self.grid.new_zeros(shape)
        rows = plane.view(-1, channels)
        own, *views = d_perceived.split(channels, dim=1)
        rows.index_copy_(0, at, own)
        target += plane[:, r : shape[1] - r, r : shape[2] - r]
        for i, (view, kernel) in enumerate(zip(views, self.flipped, strict=True)):
            # The same cells every time: nothing is left of the last view.
            rows.index_copy_(0, at, view)
            target += convolve(plane, kernel)
            if self.wants_filters:
                inner = plane[:, 2 * r : shape[1] - 2 * r, 2 * r : shape[2] - 2 * r]
                self.d_filters[i] += filter_gradient(framed, inner, self.weights.filters[i])
