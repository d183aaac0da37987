"""Base of all perceptions: length, reach, and the name under which one is saved."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ncalab.core.checks import check_model
from ncalab.core.fire import current_clock
from ncalab.core.padding import FilterPadding
from ncalab.core.registering import register_class


class PerceivingCells(Protocol):
    """Attributes of an automaton that its perception reads."""

    num_channels: int
    num_learned_filters: int
    kernel_size: int
    filter_padding: FilterPadding
    use_laplace: bool
    use_temporal_encoding: bool
    spatial_dims: int
    goal_size: int

    @property
    def time_scale(self) -> int:
        """Number of steps T of the temporal encoding."""


class FilterBank(NamedTuple):
    """Depthwise filters of one size.

    Attributes:
        filters: n filters of odd size, shape ``(n, C, k, ...)``.
        dilation: Distance between the cells that neighbouring weights act on.
        is_learned: Whether weights that are zero may become something else.
    """

    filters: Tensor
    dilation: int
    is_learned: bool


class AbstractNCAPerception(nn.Module, ABC):
    """Base class of perceptions: states of a grid in, perception vectors out.

    Every subclass is registered under its class name, so that a saved model can name it. What a
    cell perceives begins with its own state and ends with its context: with temporal encoding t/T,
    and the goal if there is one.

    Args:
        nca: Automaton whose cells perceive; its channels, padding and axes are read here.

    Raises:
        TypeError: If it is not an automaton.
    """

    registry: ClassVar[dict[str, type["AbstractNCAPerception"]]] = {}

    nca: PerceivingCells
    filters: Tensor
    """Filters of :class:`BasicNCAPerception`; :meth:`filter_banks` are those of any perception."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        register_class(AbstractNCAPerception.registry, cls, kind="perception")

    def __init__(self, nca: PerceivingCells) -> None:
        super().__init__()
        check_model("nca", nca)
        # Past nn.Module, which would register the model as a part of its own part.
        object.__setattr__(self, "nca", nca)

    @property
    @abstractmethod
    def output_size(self) -> int:
        """Length of the perception vector of a cell."""

    @property
    @abstractmethod
    def radius(self) -> int:
        """Number of cells that a cell sees in every direction."""

    def filter_banks(self) -> list[FilterBank] | None:
        """Return the filters of all views; None if what cells perceive is computed otherwise."""
        return None

    def time(self, step: int) -> float:
        """Return t/T, where T is the (largest) number of training steps."""
        return step / self.nca.time_scale

    @property
    def context_size(self) -> int:
        """Number of values that all cells of a sample perceive alike: t/T, and the goal."""
        return int(self.nca.use_temporal_encoding) + self.nca.goal_size

    def with_context(self, seen: list[Tensor], step: int) -> Tensor:
        """Return what cells perceive, with t/T and the goal if they perceive them.

        Args:
            seen: Parts of the perception vectors, each of shape ``(B, parts, *grid)``.
            step: Current step, 0 for the first.

        Returns:
            Perception vectors, shape ``(B, output_size, *grid)``.

        Raises:
            ValueError: If cells perceive a goal and none runs along with the rollout.
        """
        first = seen[0]
        if self.nca.use_temporal_encoding:
            # A sum, not new_full: an exported model has the step as a tensor.
            empty = first.new_zeros(first.shape[0], 1, *first.shape[2:])
            seen = [*seen, empty + self.time(step)]
        if self.nca.goal_size:
            clock = current_clock()
            if clock is None or clock.goal is None:
                raise ValueError("goal must be given: run steps by rollout(..., goal=...)")
            goal = clock.goal.to(first.dtype).view(first.shape[0], -1, *[1] * (first.ndim - 2))
            seen = [*seen, goal.expand(-1, -1, *first.shape[2:])]
        return torch.cat(seen, dim=1)

    @abstractmethod
    def perceive(self, x: Tensor, step: int) -> Tensor:
        """Compute what every cell perceives.

        Args:
            x: Cell states, shape ``(B, C, *grid)``, floating point.
            step: Current step, 0 for the first; only used by the temporal encoding.

        Returns:
            Perception vectors, shape ``(B, output_size, *grid)``.
        """

    def forward(self, x: Tensor, step: int = 0) -> Tensor:
        """Return :meth:`perceive` of ``x`` at ``step``."""
        return self.perceive(x, step)

    def freeze(self) -> None:
        """Exclude learned parameters from training."""
        self.requires_grad_(False)
