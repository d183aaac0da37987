"""The backward pass of the CPU engine: one autograd node for a whole rollout."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ncalab.core.rollout.cpu import (
    CHUNK,
    Job,
    Stepper,
    Tape,
    Weights,
    activate,
    convolve,
    gather,
    places_in,
    see,
)
from ncalab.core.rollout.halo import Box, Halo

_TENSORS_PER_STEP = 3


class Rollout(torch.autograd.Function):
    """A rollout of a standard model, differentiable with respect to states and parameters."""

    @staticmethod
    def forward(
        ctx: Any, job: Job, x: Tensor, filters: Tensor, first: Tensor, bias: Tensor, last: Tensor
    ) -> Tensor:
        """Run the steps and keep the states before each of them."""
        stepper = Stepper(job, x, Weights.of(job, filters, first, bias, last))
        steps = range(job.clock.start, job.clock.start + job.clock.steps)
        tapes = [tape for step in steps if (tape := stepper.step(step, record=True))]
        ctx.job = job
        ctx.places = [(tape.step, tape.box) for tape in tapes]
        # Through save_for_backward, so that torch's checkpointing and saved-tensor hooks see them.
        tensors = [t for tape in tapes for t in (tape.source, tape.cells, tape.alive)]
        ctx.save_for_backward(filters, first, bias, last, *tensors)
        return stepper.state()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Go through the steps in reverse, recomputing what each one perceived."""
        # Asked for once: torch's checkpointing unpacks saved tensors at every access.
        saved = ctx.saved_tensors
        parameters, tensors = saved[:4], saved[4:]
        reverse = Reverse(ctx.job, gradient, *parameters, wanted=ctx.needs_input_grad[2:])
        for place in reversed(range(len(ctx.places))):
            own = tensors[place * _TENSORS_PER_STEP : (place + 1) * _TENSORS_PER_STEP]
            reverse.step(Tape(*ctx.places[place], *own))
        wanted = zip(reverse.gradients(), ctx.needs_input_grad[1:], strict=True)
        return (None, *(value if needed else None for value, needed in wanted))


class Reverse:
    """The gradient of one rollout, taken back step by step.

    Args:
        job: The rollout.
        gradient: Gradient of the last states, shape ``(B, C, W, H)``.
        filters: Perception filters, shape ``(n, C, k, k)``.
        first: Weights of the rule's first layer.
        bias: Bias of the rule's first layer.
        last: Weights of the rule's last layer.
        wanted: Which of these four want a gradient.
    """

    def __init__(
        self,
        job: Job,
        gradient: Tensor,
        filters: Tensor,
        first: Tensor,
        bias: Tensor,
        last: Tensor,
        *,
        wanted: tuple[bool, ...],
    ) -> None:
        batch, channels, width, height = gradient.shape
        self.job, self.wanted = job, wanted
        self.shapes = (filters.shape, first.shape, bias.shape, last.shape)
        self.weights = Weights.of(job, filters, first, bias, last)
        self.from_hidden = self.weights.into.t().contiguous()
        self.from_update = self.weights.out.t().contiguous()
        self.flipped = [
            kernel.flip(2, 3).contiguous(memory_format=torch.channels_last)
            for kernel in self.weights.filters
        ]
        r = job.radius
        self.whole = self.reached = Box(0, width, 0, height)
        self.grid = gradient.new_zeros(batch, width + 2 * r, height + 2 * r, channels)
        self.whole.inner(self.grid, r).copy_(gradient.permute(0, 2, 3, 1))
        self.halo = Halo(width, height, r, job.padding)
        self.d_filters = torch.zeros_like(filters)
        self.d_into = torch.zeros_like(self.weights.into)
        self.d_bias = torch.zeros_like(bias)
        self.d_time = torch.zeros_like(bias)
        self.d_out = torch.zeros_like(self.weights.out)
        rows = min(CHUNK, batch * width * height)
        self.perceived = gradient.new_empty(rows, self.d_into.shape[0])
        self.hidden = gradient.new_empty(rows, self.d_into.shape[1])
        self._layout: tuple[Box, Tensor, Tensor, Tensor, list[Tensor]] | None = None

    def gradients(self) -> tuple[Tensor, ...]:
        """Return the gradients of states, filters, first layer, bias and last layer."""
        d_first = self.d_into
        if self.job.times is not None:
            d_first = torch.cat([d_first, self.d_time[None]])
        d_last = self.d_out.t()
        if self.job.first_mutable:
            fixed = d_last.new_zeros(self.job.first_mutable, d_last.shape[1])
            d_last = torch.cat([fixed, d_last])
        d_x = self.whole.inner(self.grid, self.job.radius).permute(0, 3, 1, 2).contiguous()
        _, first, _, last = self.shapes
        return d_x, self.d_filters, d_first.t().reshape(first), self.d_bias, d_last.reshape(last)

    def step(self, tape: Tape) -> None:
        """Take the gradient back over one step."""
        if self.job.use_alive_mask:
            self._mask(tape)
        in_grid, in_source, in_spread, spread = self._places(tape)
        states = tape.source.view(-1, tape.source.shape[3])
        seen = see(tape.source, self.weights.filters)
        bias = self.weights.bias_at(self.job, tape.step)
        d_bias = torch.zeros_like(self.d_bias)
        for rows in tape.cells.split(CHUNK):
            perceived = gather(states, in_source[rows], seen, rows, out=self.perceived)
            self._back_through_rule(perceived, bias, d_bias, in_grid[rows], in_spread[rows], spread)
        self.d_bias += d_bias
        if self.job.times is not None:
            self.d_time += self.job.times[tape.step - self.job.clock.start] * d_bias
        self._back_through_filters(tape, spread)
        for plane in spread:
            plane.view(-1, plane.shape[3]).index_fill_(0, in_spread[tape.cells], 0)

    def _back_through_rule(
        self,
        perceived: Tensor,
        bias: Tensor,
        d_bias: Tensor,
        in_grid: Tensor,
        in_spread: Tensor,
        spread: list[Tensor],
    ) -> None:
        """Take the gradient of some cells' updates back to what they perceived.

        The gradient of their own states goes into the grid, that of filtered views into
        ``spread``, from where the filters take it on.
        """
        channels = self.grid.shape[3]
        gradients = self.grid.view(-1, channels)
        hidden = torch.addmm(bias, perceived, self.weights.into, out=self.hidden[: len(perceived)])
        gradient = gradients.index_select(0, in_grid)
        d_hidden = self._back_through_hidden(hidden, gradient[:, self.job.first_mutable :])
        d_bias += d_hidden.sum(0)
        if self.wanted[1]:
            self.d_into.addmm_(perceived.t(), d_hidden)
        # Perceptions are done with: their buffer takes the gradient.
        d_perceived = torch.mm(d_hidden, self.from_hidden, out=perceived)
        own, *others = d_perceived.split(channels, dim=1)
        gradients.index_copy_(0, in_grid, gradient.add_(own))
        for plane, d_view in zip(spread, others, strict=True):
            plane.view(-1, channels).index_copy_(0, in_spread, d_view)

    def _mask(self, tape: Tape) -> None:
        """Apply the alive mask: what does not live has no gradient."""
        box, first, r = tape.box, self.job.first_mutable, self.job.radius
        inner = box.inner(self.grid, r)
        masked = inner[..., first:].masked_fill(~tape.alive[..., None], 0)
        self.reached.inner(self.grid, r)[..., first:].zero_()
        inner[..., first:].copy_(masked)
        self.reached = box.grown(r, *self.whole.size) if box != self.whole else self.whole

    def _places(self, tape: Tape) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Return the rows of a box's cells in gradient, source and scattered views, and those."""
        box, r = tape.box, self.job.radius
        if self._layout is None or self._layout[0] != box:
            batch, channels = self.grid.shape[0], self.grid.shape[3]
            width, height = box.size
            local = Box(0, width, 0, height)
            shape = (batch, width + 4 * r, height + 4 * r, channels)
            spread = [self.grid.new_zeros(shape) for _ in self.flipped]
            in_spread = places_in(shape, local, 2 * r)
            in_source = places_in(tape.source.shape, local, r)
            self._layout = (box, places_in(self.grid.shape, box, r), in_source, in_spread, spread)
        return self._layout[1:]

    def _back_through_hidden(self, hidden: Tensor, d_update: Tensor) -> Tensor:
        """Return the gradient of the hidden neurons before the nonlinearity."""
        activation = self.job.activation
        if type(activation) is nn.ReLU:
            active = activate(activation, hidden)
            if self.wanted[3]:
                self.d_out.addmm_(active.t(), d_update)
            # The derivative of ReLU is 1 where its value is positive.
            d_before: Tensor = torch.ops.aten.threshold_backward(
                torch.mm(d_update, self.from_update), active, 0
            )
            return d_before
        with torch.enable_grad():
            before = hidden.detach().requires_grad_()
            active = activation(before)
        if self.wanted[3]:
            self.d_out.addmm_(active.detach().t(), d_update)
        (d_hidden,) = torch.autograd.grad(active, before, torch.mm(d_update, self.from_update))
        return d_hidden

    def _back_through_filters(self, tape: Tape, spread: list[Tensor]) -> None:
        """Add what the filtered views pass on to the states, and to learned filters."""
        r, box = self.job.radius, tape.box
        target = box.framed(self.grid, r)
        for i, (plane, kernel) in enumerate(zip(spread, self.flipped, strict=True)):
            target += convolve(plane, kernel)
            if self.wanted[0]:
                inner = plane[:, 2 * r : plane.shape[1] - 2 * r, 2 * r : plane.shape[2] - 2 * r]
                self.d_filters[i] += filter_gradient(tape.source, inner, self.weights.filters[i])
        self.halo.fold(self.grid)


def filter_gradient(source: Tensor, gradient: Tensor, kernel: Tensor) -> Tensor:
    """Return the gradient of a depthwise filter, shape ``(C, k, k)``.

    Args:
        source: Framed states, shape ``(B, w + 2r, h + 2r, C)``.
        gradient: Gradient of the filtered view, shape ``(B, w, h, C)``.
        kernel: The filter, shape ``(C, 1, k, k)``.
    """
    _, d_kernel, _ = torch.ops.aten.convolution_backward(
        gradient.permute(0, 3, 1, 2),
        source.permute(0, 3, 1, 2),
        kernel,
        None,
        [1, 1],
        [0, 0],
        [1, 1],
        False,
        [0, 0],
        source.shape[3],
        [False, True, False],
    )
    result: Tensor = d_kernel[:, 0]
    return result
