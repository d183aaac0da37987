"""Description of a standard model for a fast engine, in the layout that it computes in."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ncalab.core.automaton import Automaton
from ncalab.core.fire import FireClock
from ncalab.core.perception import FilterPadding
from ncalab.core.rule import MLPNCARule


@dataclass(frozen=True)
class RolloutSpec:
    """Arguments of a rollout besides tensors."""

    clock: FireClock
    times: list[float] | None
    padding: FilterPadding
    radius: int
    first_mutable: int
    use_alive_mask: bool
    activation: nn.Module

    @classmethod
    def from_model(cls, model: Automaton, clock: FireClock) -> "RolloutSpec":
        """Collect what there is to know about a rollout of a standard model."""
        perception = model.perception
        steps = range(clock.start, clock.start + clock.steps)
        times = [perception.time(step) for step in steps] if model.use_temporal_encoding else None
        return cls(
            clock=clock,
            times=times,
            padding=model.filter_padding,
            radius=perception.radius,
            first_mutable=model.num_fixed_channels,
            use_alive_mask=model.use_alive_mask,
            activation=perceptron_of(model).activation,
        )

    def part(self, samples: slice) -> "RolloutSpec":
        """Return the same rollout of some of the samples."""
        return replace(self, clock=replace(self.clock, samples=self.clock.samples[samples]))

    @property
    def steps(self) -> range:
        """The steps to take."""
        return range(self.clock.start, self.clock.start + self.clock.steps)


def perceptron_of(model: Automaton) -> MLPNCARule:
    """Return the rule of a standard model.

    Raises:
        TypeError: If it is another one.
    """
    if not isinstance(model.rule, MLPNCARule):
        raise TypeError(f"rule must be an MLPNCARule, got {type(model.rule).__name__}")
    return model.rule


def parameters_of(model: Automaton) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return filters, first layer's weight and bias, and last layer's weight times ``dt``."""
    filters: Any = model.perception.filters
    return filters, *rule_parameters_of(model)


def rule_parameters_of(model: Automaton) -> tuple[Tensor, Tensor, Tensor]:
    """Return first layer's weight and bias, and last layer's weight times ``dt``."""
    rule = perceptron_of(model)
    # Not get_parameter: torch.func.functional_call puts tensors in the place of parameters.
    found: Any = (rule.first_layer.weight, rule.first_layer.bias, rule.last_layer.weight)
    weight, bias, out = found
    return weight, bias, out if model.dt == 1 else model.dt * out


@dataclass(frozen=True)
class Weights:
    """Parameters in the layout of the matrix products.

    Attributes:
        filters: n depthwise filters, each ``(C, 1, k, k)``, channels-last.
        into: Perception (without time) to hidden neurons, shape ``((1 + n) C, hidden)``.
        bias: Bias of the hidden neurons, shape ``(hidden,)``.
        time: What t/T adds to the bias, shape ``(hidden,)``.
        out: Hidden neurons to mutable channels, shape ``(hidden, mutable)``.
    """

    filters: list[Tensor]
    into: Tensor
    bias: Tensor
    time: Tensor
    out: Tensor

    @classmethod
    def from_parameters(
        cls, spec: RolloutSpec, filters: Tensor, first: Tensor, bias: Tensor, last: Tensor
    ) -> "Weights":
        """Rearrange the parameters of perception and rule."""
        n, channels = filters.shape[:2]
        into = first.flatten(1).t()
        kernels = filters[:, :, None].unbind()
        return cls(
            [kernel.contiguous(memory_format=torch.channels_last) for kernel in kernels],
            into[: (1 + n) * channels].contiguous(),
            bias,
            into[-1],
            last.flatten(1)[spec.first_mutable :].t().contiguous(),
        )

    def bias_at(self, spec: RolloutSpec, step: int) -> Tensor:
        """Return the bias of a step: with temporal encoding, t/T acts through it."""
        if spec.times is None:
            return self.bias
        return self.bias + spec.times[step - spec.clock.start] * self.time
