"""The steps of a rollout on the CUDA engine."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ncalab.core.options import OnStep
from ncalab.core.rollout.cuda import graph
from ncalab.core.rollout.cuda.launch import LaunchPlan
from ncalab.core.rollout.cuda.precision import Precision
from ncalab.core.rollout.cuda.tables import Packed, Tables, tables
from ncalab.core.rollout.cuda.triton_step import clear_kernel, step_kernel
from ncalab.core.rollout.spec import RolloutSpec


class Stepper:
    """All that the steps of one rollout have in common.

    Args:
        plan: The rollout.
        keys: Keys of its fire masks, shape ``(T, B, 2)``, int32.
        times: t/T of all steps, shape ``(T,)``; see :func:`times_of`.
        parameters: Filters, first layer's weight and bias, and last layer's weight.
    """

    def __init__(
        self, plan: LaunchPlan, keys: Tensor, times: Tensor, parameters: Sequence[Tensor]
    ) -> None:
        self.plan, self.keys, self.times = plan, keys, times
        self.tables = tables_of(plan, keys.device)
        self.packed = Packed.of(plan, times, parameters)
        self._opacity = keys.new_empty(plan.cells if plan.clears else 0, dtype=plan.dtype)

    def begin(self, x: Tensor) -> Tensor:
        """Return states ``(B, C, W, H)`` as ``(B, W, H, C)``, contiguous and apart from them."""
        return x.detach().permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)

    def state(self, grid: Tensor) -> Tensor:
        """Return states ``(B, W, H, C)`` as ``(B, C, W, H)``, contiguous and apart from them."""
        return grid.permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format)

    def no_mask(self) -> Tensor:
        """Return room for what :meth:`take` writes: which cells live, int8; none without a mask."""
        cells = self.plan.cells if self.plan.spec.use_alive_mask else 0
        return self.keys.new_empty(cells, dtype=torch.int8)

    def take(self, step: int, source: Tensor, target: Tensor, alive: Tensor) -> None:
        """Take one step.

        Args:
            step: Number of steps taken before, from the start of the rollout.
            source: States before it, shape ``(B, W, H, C)``.
            target: Where the states after it go.
            alive: Where it goes which cells live, if there is an alive mask.
        """
        plan, packed, tile = self.plan, self.packed, self.plan.forward_tile
        step_kernel[(-(-plan.cells // tile["M"]),)](
            source,
            target,
            self._opacity,
            alive,
            self.keys,
            packed.taps,
            self.tables.columns,
            self.tables.lines,
            packed.into_own,
            packed.into_seen,
            packed.bias,
            packed.out,
            step,
            *plan.geometry,
            **plan.rule,
            **tile,
        )
        if plan.clears:
            self._clear(target, alive)

    def _clear(self, target: Tensor, alive: Tensor) -> None:
        plan, tile = self.plan, self.plan.plain_tile
        clear_kernel[(-(-plan.cells // tile["M"]),)](
            target,
            self._opacity,
            alive,
            *plan.geometry,
            FIRST=plan.spec.first_mutable,
            C=plan.shape[1],
            CP=plan.channels_padded,
            **tile,
        )


def tables_of(plan: LaunchPlan, device: torch.device) -> Tables:
    """Return the tables of a rollout's grid."""
    _, _, width, height = plan.shape
    return tables(width, height, plan.spec.radius, plan.spec.padding, device)


def times_of(plan: LaunchPlan, device: torch.device) -> Tensor:
    """Return t/T of all steps, shape ``(T,)``; zeros without temporal encoding."""
    spec = plan.spec
    times = [0.0] * spec.clock.steps if spec.times is None else spec.times
    return torch.tensor(times, dtype=plan.sum_dtype).to(device)


def finish(
    spec: RolloutSpec, precision: Precision, x: Tensor, parameters: Sequence[Tensor]
) -> Tensor:
    """Run all steps, through a CUDA graph where that pays."""
    plan = LaunchPlan.from_tensors(spec, precision, x, parameters)
    tables_of(plan, x.device)  # not while a graph is captured: it copies from the host

    def steps(x: Tensor, keys: Tensor, times: Tensor) -> Tensor:
        stepper = Stepper(plan, keys, times, parameters)
        grid, alive = stepper.begin(x), stepper.no_mask()
        other = torch.empty_like(grid)
        for step in range(spec.clock.steps):
            stepper.take(step, grid, other, alive)
            grid, other = other, grid
        return stepper.state(grid)

    inputs = (x, spec.clock.keys, times_of(plan, x.device))
    return graph.run(plan.key(parameters), steps, inputs, cells=plan.cells)


def watch(
    spec: RolloutSpec,
    precision: Precision,
    x: Tensor,
    parameters: Sequence[Tensor],
    on_step: OnStep,
) -> Tensor:
    """Run step by step, so that every state can be seen."""
    plan = LaunchPlan.from_tensors(spec, precision, x, parameters)
    stepper = Stepper(plan, spec.clock.keys, times_of(plan, x.device), parameters)
    grid, alive = stepper.begin(x), stepper.no_mask()
    other = torch.empty_like(grid)
    for step in spec.steps:
        stepper.take(step - spec.clock.start, grid, other, alive)
        grid, other = other, grid
        state = stepper.state(grid)
        if on_step(step + 1, state):
            break
    return state
