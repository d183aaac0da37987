"""The adjoint of the CUDA engine's steps."""

from typing import Any

import torch
from torch import Tensor

from ncalab.core.rollout.cuda.launch import power_of_two
from ncalab.core.rollout.cuda.step import Stepper
from ncalab.core.rollout.cuda.triton_reverse import filter_kernel, gather_kernel, reverse_kernel


class Reverse:
    """The gradient of one rollout, taken back step by step.

    Args:
        stepper: The rollout.
        gradient: Gradient of the last states, shape ``(B, C, W, H)``.
        wanted: Whether filters, first layer's weight and bias, and last layer's weight want a
            gradient.
    """

    def __init__(self, stepper: Stepper, gradient: Tensor, *, wanted: tuple[bool, ...]) -> None:
        self.stepper, self.plan = stepper, stepper.plan
        self.wants_filters, wants_weight, wants_bias, self.wants_last = wanted
        self.wants_first = wants_weight or wants_bias
        plan, dtype = self.plan, self.plan.sum_dtype
        as_rows = gradient.permute(0, 2, 3, 1)
        self.grid = torch.empty(as_rows.shape, dtype=dtype, device=gradient.device).copy_(as_rows)
        self._d_own = torch.empty_like(self.grid)
        self._d_seen = self.grid.new_empty(plan.cells, plan.filters[0] * plan.shape[1])
        self._programs = plan.sums_of(gradient.device, plan.reverse_tile["M"])
        self._sums = self._new_sums()
        k = plan.filters[2]
        taps = (power_of_two(k * k), plan.seen_padded)
        self._d_taps = self.grid.new_zeros(self._programs, *taps) if self.wants_filters else None

    def _new_sums(self) -> list[Tensor]:
        """Return sums of every program: into own, into seen, bias, time, out; zero."""
        plan = self.plan
        rows = (plan.channels_padded, plan.seen_padded, 1, 1, plan.channels_padded)
        wanted = (*[self.wants_first] * 4, self.wants_last)
        shapes = [
            (self._programs, n, plan.hidden_padded) if is_wanted else (0, n, plan.hidden_padded)
            for n, is_wanted in zip(rows, wanted, strict=True)
        ]
        return [self.grid.new_zeros(shape) for shape in shapes]

    def step(self, step: int, states: Tensor, alive: Tensor) -> None:
        """Take the gradient back over one step.

        Args:
            step: The step, counted from the start of the rollout.
            states: States before it, shape ``(B, W, H, C)``.
            alive: Which cells live, int8; empty without an alive mask.
        """
        plan, packed, tables = self.plan, self.stepper.packed, self.stepper.tables
        reverse_kernel[(self._programs,)](
            states,
            self.grid,
            alive,
            self._d_own,
            self._d_seen,
            self.stepper.keys,
            self.stepper.times,
            packed.taps,
            tables.columns,
            tables.lines,
            packed.into_own,
            packed.into_seen,
            packed.bias,
            packed.out,
            *self._sums,
            step,
            *plan.geometry,
            **plan.rule,
            INTO=self.wants_first,
            OUT=self.wants_last,
            **plan.reverse_tile,
        )
        self._back_through_filters(states)

    def _back_through_filters(self, states: Tensor) -> None:
        plan, tables, tile = self.plan, self.stepper.tables, self.plan.plain_tile
        sizes: dict[str, Any] = plan.sizes
        if self._d_taps is not None:
            filter_kernel[(self._programs,)](
                states,
                self._d_seen,
                self._d_taps,
                tables.columns,
                tables.lines,
                *plan.geometry,
                **sizes,
                KP=self._d_taps.shape[1],
                ACC=plan.rule["ACC"],
                **plan.filter_tile,
            )
        gather_kernel[(-(-plan.cells // tile["M"]),)](
            self._d_own,
            self._d_seen,
            self.grid,
            self.stepper.packed.taps,
            tables.of_columns,
            tables.of_lines,
            *plan.geometry,
            **sizes,
            MW=tables.of_columns.shape[1],
            MH=tables.of_lines.shape[1],
            CP=plan.channels_padded,
            **tile,
        )

    def gradients(self) -> tuple[Tensor, ...]:
        """Return the gradients of states, filters, first layer, bias and last layer."""
        plan = self.plan
        channels, (n, _, k, _) = plan.shape[1], plan.filters
        own, seen, bias, time, out = (s.sum(0)[:, : plan.hidden] for s in self._sums)
        d_first = [own[:channels], seen[: n * channels]]
        if plan.spec.times is not None:
            d_first.append(time)
        d_last = out[:channels].clone()
        d_last[: plan.spec.first_mutable] = 0
        d_filters = self.grid.new_zeros(n, channels, k, k)
        if self._d_taps is not None:
            d_taps = self._d_taps.sum(0)[: k * k, : n * channels]
            d_filters = d_taps.view(k, k, n, channels).permute(2, 3, 0, 1)
        gradients = (
            self.stepper.state(self.grid),
            d_filters.contiguous(),
            torch.cat(d_first).t()[..., None, None].contiguous(),
            bias[0],
            d_last[..., None, None],
        )
        return tuple(g.to(plan.dtype) for g in gradients)
