"""The automaton: what every cell of a grid perceives, how it changes, and one step of all cells."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ncalab.core.alive import ALPHA_CHANNEL, alive_mask
from ncalab.core.argument_types import check_positive
from ncalab.core.channels import Channels
from ncalab.core.checks import (
    check_choice,
    check_device,
    check_flag,
    check_fraction,
    check_int,
    check_type,
    check_weights_of_layer,
    read_attribute,
)
from ncalab.core.evaluation import evaluating
from ncalab.core.fire import FireClock, current_clock, draw_seed
from ncalab.core.options import RunsSteps
from ncalab.core.padding import FILTER_PADDINGS, FilterPadding
from ncalab.core.perception import AbstractNCAPerception, BasicNCAPerception
from ncalab.core.rule import AbstractNCARule, MLPNCARule
from ncalab.core.step import change
from ncalab.core.tracing import is_tracing


class Automaton(nn.Module):
    """A grid of cells that share one learned rule: one step of it.

    It knows neither a task nor how many steps are taken: :func:`ncalab.core.rollout.rollout` runs
    any number of them, and :class:`ncalab.core.AbstractNCAModel` adds a loss and what is read out.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023.

    Args:
        device: Where parameters are created.
        num_image_channels: Number of image channels, at least 1.
        num_hidden_channels: Number of hidden channels.
        num_output_channels: Number of output channels.
        fire_rate: Probability that a cell is updated at a step, in [0, 1].
        hidden_size: Number of hidden neurons of the rule.
        use_alive_mask: Whether cells without a neighbour whose channel 3 exceeds 0.1 are set to
            zero, before and after the update. Needs at least 4 image channels.
        immutable_image_channels: Whether image channels stay as they are. They are then exempt
            from the alive mask, too.
        num_learned_filters: Number of learned perception filters; 0 for Sobel filters.
        filter_padding: How the grid continues beyond its border for every filter.
        use_laplace: Whether to add a Laplace filter to the Sobel filters; needs
            ``num_learned_filters == 0``.
        kernel_size: Size of learned filters, odd; 3 for the fixed ones.
        use_temporal_encoding: Whether cells perceive the step t as t/T.
        rule_type: Class of the update rule.
        rule_args: Further keyword arguments of the rule's constructor.
        time_scale: Number of steps T of the temporal encoding.
        dt: Size of a step: what the rule computes is multiplied by it.
        spatial_dims: Number of axes of the grid: 1, 2 or 3.
        perception_type: Class of the perception.
        perception_args: Further keyword arguments of the perception's constructor.
        goal_size: Length of the vector by which cells perceive the goal of their sample; 0 for
            cells without a goal.
        num_goals: Number of goals that are named by an index and learned as vectors; None for
            goals that are given as vectors.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If an argument is out of its range, or conflicts with another one.

    >>> automaton = Automaton(torch.device("cpu"), 1, 2, 0)
    >>> automaton.channels.hidden, automaton.time_scale
    (slice(1, 3, None), 100)
    """

    def __init__(
        self,
        device: torch.device,
        num_image_channels: int,
        num_hidden_channels: int,
        num_output_channels: int,
        *,
        fire_rate: float = 0.5,
        hidden_size: int = 128,
        use_alive_mask: bool = False,
        immutable_image_channels: bool = True,
        num_learned_filters: int = 0,
        filter_padding: FilterPadding = "reflect",
        use_laplace: bool = False,
        kernel_size: int = 3,
        use_temporal_encoding: bool = False,
        rule_type: type[AbstractNCARule] = MLPNCARule,
        rule_args: dict[str, Any] | None = None,
        time_scale: int = 100,
        dt: float = 1.0,
        spatial_dims: int = 2,
        perception_type: type[AbstractNCAPerception] = BasicNCAPerception,
        perception_args: dict[str, Any] | None = None,
        goal_size: int = 0,
        num_goals: int | None = None,
    ) -> None:
        super().__init__()
        self.num_image_channels = check_int("num_image_channels", num_image_channels, minimum=1)
        self.num_hidden_channels = check_int("num_hidden_channels", num_hidden_channels, minimum=0)
        self.num_output_channels = check_int("num_output_channels", num_output_channels, minimum=0)
        self.num_channels = self.channels.total
        self.fire_rate = fire_rate
        self.hidden_size = check_int("hidden_size", hidden_size, minimum=1)
        self.use_alive_mask = check_flag("use_alive_mask", use_alive_mask)
        self.immutable_image_channels = check_flag(
            "immutable_image_channels", immutable_image_channels
        )
        self.num_learned_filters = check_int("num_learned_filters", num_learned_filters, minimum=0)
        check_choice("filter_padding", filter_padding, FILTER_PADDINGS)
        self.filter_padding = filter_padding
        self.use_laplace = check_flag("use_laplace", use_laplace)
        self.kernel_size = check_int("kernel_size", kernel_size, minimum=1)
        self.use_temporal_encoding = check_flag("use_temporal_encoding", use_temporal_encoding)
        self.rule_type = rule_type
        check_type("rule_args", rule_args, Mapping, optional=True)
        self.rule_args = rule_args
        self._time_scale = check_int("time_scale", time_scale, minimum=1)
        self.dt = dt
        self.spatial_dims = check_int("spatial_dims", spatial_dims, minimum=1)
        self.goal_size = check_int("goal_size", goal_size, minimum=0)
        self.num_goals = num_goals
        if num_goals is not None:
            check_int("num_goals", num_goals, minimum=1)
            check_int("goal_size", goal_size, minimum=1)
        self.perception_type = perception_type
        check_type("perception_args", perception_args, Mapping, optional=True)
        self.perception_args = perception_args
        self._check_combinations()
        device = check_device("device", device)

        # Follows .to(), also for an automaton that has no parameters.
        self.register_buffer("_anchor", torch.empty(0), persistent=False)
        self.perception = self._define_perception()
        self.input_vector_size = check_int(
            f"output_size of {type(self.perception).__name__}",
            read_attribute(self.perception, "output_size"),
            minimum=1,
        )
        check_weights_of_layer(
            "hidden_size and what cells perceive", self.input_vector_size * self.hidden_size
        )
        self.rule = self._define_rule()
        self._check_axes_of_rule()
        self.goal_embedding: nn.Embedding | None = None
        if num_goals is not None:
            self.goal_embedding = nn.Embedding(num_goals, goal_size)
        self.to(device)

    def _check_combinations(self) -> None:
        """Raise for arguments that do not go together."""
        if self.spatial_dims > 3:
            raise ValueError(f"spatial_dims must be 1, 2 or 3, got {self.spatial_dims}")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size}")
        if self.kernel_size != 3 and self.num_learned_filters == 0:
            raise ValueError(
                "kernel_size must be 3 for the fixed filters (num_learned_filters == 0), "
                f"got {self.kernel_size}"
            )
        if self.use_laplace and self.num_learned_filters > 0:
            raise ValueError(
                "use_laplace must be False with learned filters, "
                f"got True with num_learned_filters = {self.num_learned_filters}"
            )
        if self.use_alive_mask and self.num_image_channels <= ALPHA_CHANNEL:
            raise ValueError(
                "use_alive_mask must be False without an opacity in image channel 3, "
                f"got True with num_image_channels = {self.num_image_channels}"
            )
        perceived = self.num_channels * (1 + max(self.num_learned_filters, 2)) + self.goal_size
        filters = self.num_channels * self.num_learned_filters
        filters *= self.kernel_size**self.spatial_dims
        check_weights_of_layer(
            "hidden_size, channels, filters and goal_size",
            max(perceived * self.hidden_size, filters),
        )
        check_weights_of_layer("goal_size and num_goals", self.goal_size * (self.num_goals or 1))
        if not (isinstance(self.rule_type, type) and issubclass(self.rule_type, AbstractNCARule)):
            raise TypeError(f"rule_type must be a class of rules, got {self.rule_type!r}")
        kind = self.perception_type
        if not (isinstance(kind, type) and issubclass(kind, AbstractNCAPerception)):
            raise TypeError(f"perception_type must be a class of perceptions, got {kind!r}")

    def _define_perception(self) -> AbstractNCAPerception:
        """Create the perception from ``perception_type`` and ``perception_args``."""
        arguments = dict(self.perception_args or {})
        try:
            inspect.signature(self.perception_type).bind(self, **arguments)
        except TypeError as error:
            name = self.perception_type.__name__
            raise TypeError(
                f"perception_args must be further arguments of {name}: {error}"
            ) from error
        build: Any = self.perception_type
        perception: AbstractNCAPerception = build(self, **arguments)
        return perception

    def _define_rule(self) -> AbstractNCARule:
        """Create the update rule from ``rule_type`` and ``rule_args``."""
        sizes = (self.input_vector_size, self.hidden_size, self.num_channels)
        arguments = (self.device, *sizes)
        try:
            inspect.signature(self.rule_type).bind(*arguments, **(self.rule_args or {}))
        except TypeError as error:
            name = self.rule_type.__name__
            raise TypeError(f"rule_args must be further arguments of {name}: {error}") from error
        return self.rule_type(*arguments, **(self.rule_args or {}))

    def _check_axes_of_rule(self) -> None:
        """Raise for a rule whose convolutions are for another grid, by a try on a small one."""
        convolutions = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
        others = tuple(kind for dims, kind in convolutions.items() if dims != self.spatial_dims)
        is_flat = self.rule.pointwise and self.spatial_dims != 2
        if is_flat or not any(isinstance(part, others) for part in self.rule.modules()):
            return
        dtype = next((parameter.dtype for parameter in self.rule.parameters()), None)
        size = (1, self.input_vector_size, *[8] * self.spatial_dims)
        seen = torch.zeros(size, device=self.rule.device, dtype=dtype)
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad(), evaluating(self.rule):
                self.rule(seen)
        except RuntimeError as error:
            raise ValueError(
                f"rule_type must be a rule for a grid of {self.spatial_dims} axes, got "
                f"{type(self.rule).__name__}, whose convolutions are for another one: declare "
                "pointwise = True if it treats each cell by itself, or use "
                f"{convolutions[self.spatial_dims].__name__}"
            ) from error

    @property
    def fire_rate(self) -> float:
        """Probability that a cell is updated at a step, in [0, 1]."""
        return self._fire_rate

    @fire_rate.setter
    def fire_rate(self, value: float) -> None:
        check_fraction("fire_rate", value)
        self._fire_rate = value

    @property
    def dt(self) -> float:
        """Size of a step, above 0: what the rule computes is multiplied by it."""
        return self._dt

    @dt.setter
    def dt(self, value: float) -> None:
        self._dt = check_positive("dt", value)

    @property
    def device(self) -> torch.device:
        """Device that holds the model."""
        return self.get_buffer("_anchor").device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the model."""
        return self.get_buffer("_anchor").dtype

    @property
    def channels(self) -> Channels:
        """Slices of the image, hidden and output channels of a cell."""
        return Channels(self.num_image_channels, self.num_hidden_channels, self.num_output_channels)

    @property
    def runner(self) -> RunsSteps | None:
        """Runner of the steps; None for the steps of this automaton on one grid."""
        return None

    @property
    def num_fixed_channels(self) -> int:
        """Number of channels, the first ones, that no step changes."""
        return self.num_image_channels if self.immutable_image_channels else 0

    @property
    def time_scale(self) -> int:
        """Number of steps T by which the temporal encoding divides a step."""
        return self._time_scale

    def _alive(self, x: Tensor) -> Tensor:
        """Return :func:`alive_mask` of the states, shape ``(B, 1, W, H)``, bool."""
        clock = current_clock()
        if clock is None or len(clock.stretches) < 2:
            return alive_mask(x)
        # A band that goes around the grid: cells on both sides of the border are not neighbours.
        return torch.cat([alive_mask(part) for part in x.split(clock.stretches, dim=2)], dim=2)

    def _update(self, x: Tensor, step: int) -> Tensor:
        """Compute what every cell would add to its state if all cells fired.

        Args:
            x: States, shape ``(B, C, W, H)``.
            step: Current step, 0 for the first.

        Returns:
            Residual updates, shape ``(B, C, W, H)``.
        """
        update = self._apply_rule(self.perception(x, step))
        return update if self.dt == 1 else self.dt * update

    def encode_goal(self, goal: Tensor | None, batch: int) -> Tensor | None:
        """Return what cells perceive of the goals of a batch.

        Args:
            goal: Goals as vectors, shape ``(B, goal_size)``, floating point; or, with
                ``num_goals``, as indices, shape ``(B,)``, integers of any type. None for cells
                without a goal.
            batch: Number of samples B.

        Returns:
            Vectors, shape ``(B, goal_size)``, on the model's device, differentiable with respect
            to vectors and embedding; None for cells without a goal.

        Raises:
            TypeError: If the goal is of another type.
            ValueError: If its shape is another, an index is out of range, or it is missing.
        """
        if self.goal_size == 0:
            if goal is not None:
                raise ValueError("goal must be None for a model whose goal_size is 0")
            return None
        if not isinstance(goal, Tensor):
            raise TypeError(f"goal must be a tensor for this model, got {type(goal).__name__}")
        wanted = (batch,) if self.num_goals else (batch, self.goal_size)
        if not is_tracing() and goal.shape != wanted:
            raise ValueError(f"goal must have shape {wanted}, got {tuple(goal.shape)}")
        if self.goal_embedding is None:
            if not goal.is_floating_point():
                raise TypeError(f"goal must be floating point, got {goal.dtype}")
            return goal.to(self.device, self.dtype)
        if goal.is_floating_point() or goal.is_complex() or goal.dtype == torch.bool:
            raise TypeError(f"goal must be indices, got {goal.dtype}")
        known = self.goal_embedding.num_embeddings
        if not is_tracing() and not all(0 <= index < known for index in goal.tolist()):
            raise ValueError(f"goal must be in [0, {known}), got {goal.tolist()}")
        vectors: Tensor = self.goal_embedding(goal.to(self.device, torch.int64))
        return vectors

    def _apply_rule(self, seen: Tensor) -> Tensor:
        """Compute updates from perception vectors ``(B, input_vector_size, *grid)``."""
        # A pointwise rule need not know how many axes the grid has.
        is_flat = self.spatial_dims != 2 and self.rule.pointwise
        given = seen.flatten(2)[..., None] if is_flat else seen
        update: Tensor = self.rule(given)
        wanted = (given.shape[0], self.num_channels, *given.shape[2:])
        if not is_tracing() and update.shape != wanted:
            raise ValueError(
                f"{type(self.rule).__name__} must return updates of shape {wanted} for perceptions "
                f"of shape {tuple(given.shape)}, got {tuple(update.shape)}"
            )
        return update.reshape(seen.shape[0], -1, *seen.shape[2:]) if is_flat else update

    def _forward_step(self, x: Tensor, step: int) -> Tensor:
        """Take one step: perceive, update the cells that fire, apply the alive mask.

        The fire mask is that of the rollout that runs; outside of one it is drawn afresh.

        Args:
            x: States, shape ``(B, C, W, H)``.
            step: Current step, 0 for the first.

        Returns:
            Next states, shape ``(B, C, W, H)``.
        """
        alive = self._alive if self.use_alive_mask else None
        first = self._split_fixed(x)[0].shape[1]
        return change(x, self._update(x, step), self._fire_mask(x, step), first=first, alive=alive)

    def _split_fixed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Split channels into those that no step may change, and the others."""
        first = self.num_fixed_channels
        return x[:, :first], x[:, first:]

    def _fire_mask(self, x: Tensor, step: int) -> Tensor:
        clock = current_clock()
        if clock is None:
            clock = FireClock(draw_seed(), self.fire_rate, range(x.shape[0]), step, 1, x.device)
        return clock.mask(step, *x.shape[2:])

    def _post_forward_step(self, x: Tensor) -> Tensor:
        """Transform the states after each step; part of the dynamics, the identity by default.

        It is run the same way in forward, predict and record.

        Args:
            x: States, shape ``(B, C, W, H)``.

        Returns:
            States that the next step starts from.
        """
        return x
