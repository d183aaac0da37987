"""The model: perception, rule and head of a neural cellular automaton."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ncalab.core.checks import (
    check_batch,
    check_flag,
    check_function,
    check_samples,
    check_timesteps,
    check_type,
)
from ncalab.core.evaluation import alone_with, evaluating
from ncalab.core.fire import check_seed, draw_seed
from ncalab.core.options import Checkpoint, Engine, OnStep, RolloutOptions, Steps, total_steps
from ncalab.core.padding import FilterPadding
from ncalab.core.perception import AbstractNCAPerception, BasicNCAPerception
from ncalab.core.prediction import PredictingAutomaton, Prediction
from ncalab.core.rollout import rollout, tiled_rollout
from ncalab.core.rollout.standard import reach_of
from ncalab.core.rule import AbstractNCARule, MLPNCARule
from ncalab.core.runner import Runner
from ncalab.core.savable import SavableModel
from ncalab.core.utils import interpret_range_parameter, pad_input

if TYPE_CHECKING:
    # At run time, it would import matplotlib where that is installed.
    from torchmetrics import Metric


def _check_metrics(metrics: Mapping[str, Any]) -> None:
    """Raise a TypeError unless all of them gather and compute, as metrics and collections do."""
    for name, metric in metrics.items():
        if not all(hasattr(metric, method) for method in ("update", "compute", "reset")):
            raise TypeError(
                f"metrics[{name!r}] must be a torchmetrics Metric or MetricCollection, "
                f"got {type(metric).__name__}"
            )


def _named_values(name: str, value: Any) -> dict[str, float]:
    """Name what a metric computed: a number, or the numbers of each class or each of its parts.

    Raises:
        TypeError: If it holds something else.

    >>> _named_values("overlap", {"dice": torch.tensor([0.5, 1.0]), "iou": torch.tensor(0.25)})
    {'overlap_dice_0': 0.5, 'overlap_dice_1': 1.0, 'overlap_iou': 0.25}
    """
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, int | float):
        return {name: float(value)}
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        raise TypeError(f"metrics[{name!r}] must compute numbers, got {type(value).__name__}")
    named: dict[str, float] = {}
    for key, part in value.items():
        named.update(_named_values(f"{name}_{key}", part))
    return named


class RolloutStart(NamedTuple):
    """Start of a rollout.

    Attributes:
        state: First states, shape ``(B, C, W, H)``.
        steps: Number of steps, or the number at each scale of a cascade.
        seed: Seed of the fire masks.
    """

    state: Tensor
    steps: int | list[int]
    seed: int


class AbstractNCAModel(SavableModel, PredictingAutomaton, ABC):
    """Base class of all models: a grid of cells that run one learned rule, step after step.

    The channels of a cell are image | hidden | output. A subclass defines :meth:`loss`, names its
    ``task``, fills ``metrics`` and may set a ``head``.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023.

    Args:
        device: Where parameters are created.
        num_image_channels: Number of image channels, at least 1.
        num_hidden_channels: Number of hidden channels.
        num_output_channels: Number of output channels.
        plot_function: Visual that draws a training batch. None: the one that an installed package
            offers for this ``task``.
        validation_metric: Name of the metric that decides which weights are best.
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
        pad_noise: Whether hidden and output channels start as noise instead of zeros.
        use_temporal_encoding: Whether cells perceive the step t as t/T.
        rule_type: Class of the update rule.
        rule_args: Further keyword arguments of the rule's constructor.
        training_timesteps: Steps of a training rollout, or a range (min, max) without max.
        inference_timesteps: Number of steps of a prediction, or a range.
        dt: Size of a step: what the rule computes is multiplied by it. A trained model may be
            run with another one, as ``nca.dt = 0.5`` and twice the steps.
        spatial_dims: Number of axes of the grid, whose states are ``(B, C, W)``, ``(B, C, W, H)``
            or ``(B, C, W, H, D)``.
        perception_type: Class of the perception.
        perception_args: Further keyword arguments of the perception's constructor.
        goal_size: Length of the vector by which cells perceive the goal of their sample, so that
            one model does several things; 0 for cells without a goal.
        num_goals: Number of goals that are named by an index and learned as vectors; None for
            goals that are given as vectors.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If an argument is out of its range, or does not go with another one.
    """

    def __init__(
        self,
        device: torch.device,
        num_image_channels: int,
        num_hidden_channels: int,
        num_output_channels: int,
        plot_function: Any | None = None,
        validation_metric: str | None = None,
        fire_rate: float = 0.5,
        hidden_size: int = 128,
        use_alive_mask: bool = False,
        immutable_image_channels: bool = True,
        num_learned_filters: int = 0,
        filter_padding: FilterPadding = "reflect",
        use_laplace: bool = False,
        kernel_size: int = 3,
        pad_noise: bool = False,
        use_temporal_encoding: bool = False,
        rule_type: type[AbstractNCARule] = MLPNCARule,
        rule_args: dict[str, Any] | None = None,
        training_timesteps: int | tuple[int, int] = 100,
        inference_timesteps: int | tuple[int, int] = 100,
        *,
        dt: float = 1.0,
        spatial_dims: int = 2,
        perception_type: type[AbstractNCAPerception] = BasicNCAPerception,
        perception_args: dict[str, Any] | None = None,
        goal_size: int = 0,
        num_goals: int | None = None,
    ) -> None:
        super().__init__(
            device,
            num_image_channels,
            num_hidden_channels,
            num_output_channels,
            fire_rate=fire_rate,
            hidden_size=hidden_size,
            use_alive_mask=use_alive_mask,
            immutable_image_channels=immutable_image_channels,
            num_learned_filters=num_learned_filters,
            filter_padding=filter_padding,
            use_laplace=use_laplace,
            kernel_size=kernel_size,
            use_temporal_encoding=use_temporal_encoding,
            rule_type=rule_type,
            rule_args=rule_args,
            dt=dt,
            spatial_dims=spatial_dims,
            perception_type=perception_type,
            perception_args=perception_args,
            goal_size=goal_size,
            num_goals=num_goals,
        )
        self.pad_noise = check_flag("pad_noise", pad_noise)
        if plot_function is not None and not callable(getattr(plot_function, "show", None)):
            raise TypeError(f"plot_function must have a method show, got {plot_function!r:.80}")
        self.plot_function = plot_function
        check_type("validation_metric", validation_metric, str, optional=True)
        self.validation_metric = validation_metric
        self.training_timesteps = check_timesteps("training_timesteps", training_timesteps)
        self.inference_timesteps = check_timesteps("inference_timesteps", inference_timesteps)
        self.head = None
        # A module, so that metric states follow .to().
        self.metrics = nn.ModuleDict()

    @property
    def time_scale(self) -> int:
        """Number of steps T of the temporal encoding: the (largest) number of training steps."""
        steps = self.training_timesteps
        return steps if isinstance(steps, int) else steps[1]

    def extra_repr(self) -> str:
        """Summarise channels, steps and size, for ``repr``."""
        channels = (self.num_image_channels, self.num_hidden_channels, self.num_output_channels)
        named = zip(channels, ("image", "hidden", "output"), strict=True)
        parameters = sum(parameter.numel() for parameter in self.parameters())
        return (
            f"channels: {' | '.join(f'{count} {name}' for count, name in named)}\n"
            f"steps: {self.training_timesteps} in training, {self.inference_timesteps} else; "
            f"fire_rate={self.fire_rate}\n"
            f"{parameters:,} parameters on {self.device}"
        )

    def prepare_input(self, x: Tensor) -> Tensor:
        """Preprocess images before they are padded; the identity unless overridden.

        Args:
            x: Images ``(B, image channels, W, H)`` or states ``(B, C, W, H)``.

        Returns:
            Processed images or states.
        """
        return x

    # Many steps

    @property
    def runner(self) -> Runner | None:
        """Runner of the steps; None for a model that is one automaton on one grid."""
        return None

    @property
    def reach(self) -> int | None:
        """Number of cells that a step reads in every direction; None if that is not known."""
        return reach_of(self)

    def continue_rollout(
        self,
        x: Tensor,
        steps: int,
        *,
        start: int,
        seed: int,
        samples: Sequence[int] | None = None,
        goal: Tensor | None = None,
    ) -> Tensor:
        """Continue a rollout; a cascade continues at its last scale.

        Args:
            x: States that a rollout of ``start`` steps ended with, shape ``(B, C, W, H)``; not
                changed.
            steps: Number of steps to take, at least 1.
            start: Number of steps that were taken before.
            seed: Seed of the fire masks, that of the rollout.
            samples: Index of each sample in the fire masks, ``0 ... B - 1`` if None.
            goal: That of the rollout.

        Returns:
            States after the last step, shape ``(B, C, W, H)``.
        """
        if self.runner is None:
            return rollout(self, x, steps, start=start, seed=seed, samples=samples, goal=goal)
        options = RolloutOptions(
            start=start,
            seed=seed,
            samples=check_samples(samples, len(x)),
            engine="auto",
            on_step=None,
            checkpoint=None,
            goal=goal,
        )
        return self.runner.continue_rollout(x, steps, options)

    def forward(
        self,
        x: Tensor,
        steps: int = 1,
        *,
        seed: int | None = None,
        samples: Sequence[int] | None = None,
        engine: Engine = "auto",
        checkpoint: Checkpoint = None,
        goal: Tensor | None = None,
    ) -> Prediction:
        """Run ``steps`` steps, differentiably.

        Args:
            x: States, shape ``(B, C, W, H)`` (see :func:`pad_input`), floating point, on the
                model's device; not changed.
            steps: Number of steps, at least 1.
            seed: Seed of the fire masks, drawn from torch's default CPU generator if None.
            samples: Index of each sample in the fire masks, ``0 ... B - 1`` if None.
            engine: "auto" or "reference"; see :func:`ncalab.core.rollout.rollout`.
            checkpoint: What the backward pass keeps of the states: None for all, a number of
                steps for every so many, "auto" for a memory that grows with the root of
                ``steps``. The steps between are then taken again.
            goal: Goal of each sample, for a model with ``goal_size``: vectors
                ``(B, goal_size)``, or indices ``(B,)`` with ``num_goals``.

        Returns:
            Prediction after the last step.

        Raises:
            TypeError: If ``x`` is not a floating-point tensor.
            ValueError: If ``x`` has other than C channels or ``steps`` is below 1.
        """
        state = rollout(
            self,
            x,
            steps,
            seed=seed,
            samples=samples,
            engine=engine,
            checkpoint=checkpoint,
            goal=goal,
        )
        return self.read_out(state, steps)

    @abstractmethod
    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        """Compare a prediction with its label.

        Args:
            pred: Prediction.
            label: Ground truth, in a shape that the task documents.

        Returns:
            Scalar loss terms by name. "total", usually a weighted sum of the others, is what
            training minimises.
        """

    def sample_losses(self, pred: Prediction, label: Tensor) -> Tensor:
        """Compute the total loss of each sample on its own, without a gradient.

        Args:
            pred: Prediction of a batch.
            label: Ground truth of the batch, batch first.

        Returns:
            Total losses, shape ``(B,)``.
        """
        with torch.no_grad():
            samples = range(label.shape[0])
            losses = [self.loss(pred[i], label[i : i + 1])["total"] for i in samples]
        return torch.stack(losses).detach()

    def finetune(self, freeze_head: bool = False) -> None:
        """Prepare for fine-tuning: freeze all but the rule's last layer and, as asked, the head.

        Args:
            freeze_head: Whether to freeze the whole head; otherwise it stays trainable.
        """
        self.perception.freeze()
        self.rule.freeze(freeze_last=False)
        if self.goal_embedding is not None:
            self.goal_embedding.requires_grad_(False)
        if freeze_head and self.head is not None:
            self.head.freeze(freeze_last=True)
        self.train()

    def predict(
        self,
        image: Tensor,
        steps: Steps | None = None,
        *,
        seed: int | None = None,
        samples: Sequence[int] | None = None,
        engine: Engine = "auto",
        on_step: OnStep | None = None,
        tile: int | Literal["auto"] | None = None,
        goal: Tensor | None = None,
    ) -> Prediction:
        """Predict from images, without gradients and in evaluation mode.

        Several threads may predict from one model at the same time. While one of them trains it,
        the others should predict from a copy, ``copy.deepcopy(model)``: weights and mode are those
        of the whole object.

        Args:
            image: Images ``(B, image channels, W, H)`` or states ``(B, C, W, H)``, floating
                point, on any device; not changed.
            steps: Number of steps, or a range (min, max) to draw it from;
                ``inference_timesteps`` if None. Of a cascade, a list gives the number at each
                scale.
            seed: Seed of padding noise, number of steps and fire masks. None: all are drawn from
                torch's default CPU generator.
            samples: Index of each sample in the fire masks, ``0 ... B - 1`` if None.
            engine: "auto" or "reference"; see :func:`ncalab.core.rollout.rollout`.
            on_step: Called after every step with (steps taken so far, state); true ends it.
            tile: For images whose rollout does not fit into memory: how many columns (places
                along W) to run at a time, or "auto". Shows a progress bar. See
                :func:`ncalab.core.rollout.tiled_rollout`, also for states in a file.
            goal: As in :meth:`forward`.

        Returns:
            Prediction after the last step taken, on the model's device.

        Raises:
            TypeError: If ``image`` is not a floating-point tensor.
            ValueError: If ``image`` is not 4-D, has a wrong number of channels, or ``steps`` is
                below 1, or ``on_step`` and ``tile`` are both given.
        """
        if tile is not None:
            if on_step is not None:
                raise ValueError("on_step must be None for a tiled prediction, whose steps overlap")
            return self._predict_tiled(image, steps, seed, samples, engine, tile, goal)
        if on_step is not None:
            check_function("on_step", on_step)
        taken = 0

        def watch(step: int, state: Tensor) -> bool:
            nonlocal taken
            taken = step
            return on_step is not None and bool(on_step(step, state))

        with torch.no_grad(), evaluating(self):
            x, count, seed = self.start(image, steps, seed)
            taken = total_steps(count)
            # A rollout that nobody watches need not lay out its states after every step.
            watched = None if on_step is None else watch
            state = rollout(
                self,
                x,
                count,
                seed=seed,
                samples=samples,
                engine=engine,
                on_step=watched,
                goal=goal,
            )
            return self.post_prediction(self.read_out(state, taken))

    def _predict_tiled(
        self,
        image: Tensor,
        steps: Steps | None,
        seed: int | None,
        samples: Sequence[int] | None,
        engine: Engine,
        tile: int | Literal["auto"],
        goal: Tensor | None,
    ) -> Prediction:
        """Predict band by band."""
        with torch.no_grad(), evaluating(self):
            x, count, seed = self.start(image, steps, seed)
            # What was padded is a copy of our own; the caller's states are not.
            own = x.untyped_storage().data_ptr() != image.untyped_storage().data_ptr()
            if self.runner is None:
                state = tiled_rollout(
                    self,
                    x,
                    total_steps(count),
                    seed=seed,
                    samples=samples,
                    engine=engine,
                    tile=None if tile == "auto" else tile,
                    out=x if own else None,
                    goal=goal,
                )
            else:
                options = RolloutOptions(
                    start=0,
                    seed=seed,
                    samples=check_samples(samples, len(x)),
                    engine=engine,
                    on_step=None,
                    checkpoint=None,
                    goal=goal,
                )
                state = self.runner.run(x, count, options, tile)
            return self.post_prediction(self.read_out(state, total_steps(count)))

    def record(
        self,
        image: Tensor,
        steps: Steps | None = None,
        *,
        seed: int | None = None,
        samples: Sequence[int] | None = None,
        engine: Engine = "auto",
        goal: Tensor | None = None,
    ) -> list[Prediction]:
        """Predict, and keep the prediction after every step.

        Args:
            image: As in :meth:`predict`.
            steps: As in :meth:`predict`.
            seed: As in :meth:`predict`.
            samples: As in :meth:`predict`.
            engine: As in :meth:`predict`.
            goal: As in :meth:`predict`.

        Returns:
            As many predictions as steps; the last one equals :meth:`predict` for the same seed.
        """
        record: list[Prediction] = []

        def keep(step: int, state: Tensor) -> bool:
            record.append(self.post_prediction(self.read_out(state, step)))
            return False

        self.predict(
            image, steps, seed=seed, samples=samples, engine=engine, on_step=keep, goal=goal
        )
        return record

    def start(
        self, image: Tensor, steps: Steps | None = None, seed: int | None = None
    ) -> RolloutStart:
        """Return where a prediction starts: with :meth:`rollout` from there, it is repeated.

        Args:
            image: As in :meth:`predict`.
            steps: As in :meth:`predict`.
            seed: Seed of number of steps, padding noise and fire masks; drawn if None.

        Returns:
            First states on the model's device, number of steps, and seed of the fire masks.
        """
        generator = None if seed is None else torch.Generator().manual_seed(check_seed(seed))
        count = self._draw_steps(self.inference_timesteps if steps is None else steps, generator)
        x = self.start_state(image, generator)
        return RolloutStart(x, count, draw_seed() if seed is None else seed)

    def _draw_steps(self, steps: Steps, generator: torch.Generator | None) -> int | list[int]:
        """Return a number of steps, or draw it from a range."""
        if isinstance(steps, list):
            if self.runner is None:
                raise TypeError(f"steps must be an integer or a tuple (min, max), got {steps!r}")
            return steps
        return interpret_range_parameter(steps, generator=generator)

    def start_state(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Bring images to the model, preprocess and pad them.

        Args:
            image: As in :meth:`predict`.
            generator: CPU generator of padding noise, torch's default one if None.

        Returns:
            States to start from, shape ``(B, C, W, H)``, on the model's device.
        """
        check_batch("image", image, self.spatial_dims)
        x = self.prepare_input(image.to(self.device, self.dtype))
        return pad_input(x, self, noise=self.pad_noise, generator=generator)

    def validate(
        self,
        dataloader: DataLoader[Any],
        steps: int | None = None,
        *,
        keep_predictions: bool = True,
        seeds: Iterable[int] | None = None,
    ) -> tuple[dict[str, float], list[Prediction]]:
        """Measure the model on labelled images.

        Args:
            dataloader: Yields (images, labels), and the goals as third for a model that has them.
            steps: Number of steps; ``inference_timesteps`` if None.
            keep_predictions: Whether to return all predictions, whole states on the model's
                device. Without them, memory does not depend on the size of the data set.
            seeds: Seed of each batch's prediction (see :meth:`predict`), as many as batches or
                more. None: drawn from torch's default CPU generator.

        Returns:
            Value of each metric over all images, and the predictions batch by batch. A metric
            with a value for each class k gives ``<name>_<k>``, and a MetricCollection
            ``<name>_<key>`` for each of its metrics.

        Raises:
            TypeError: If one of ``metrics`` is not a metric, or computes anything but numbers.
            ValueError: If the loader is empty, yields no goals for a model that has them, or there
                are fewer seeds than batches.
        """
        metrics = self.named_metrics()
        _check_metrics(metrics)
        # They gather the batches of one validation at a time.
        with alone_with(self.metrics):
            for metric in metrics.values():
                metric.reset()
            predictions = self._measure(dataloader, steps, seeds, keep_predictions=keep_predictions)
            values: dict[str, float] = {}
            for name, metric in metrics.items():
                values.update(_named_values(name, metric.compute()))
                metric.reset()
        return values, predictions

    def _measure(
        self,
        dataloader: DataLoader[Any],
        steps: int | None,
        seeds: Iterable[int] | None,
        *,
        keep_predictions: bool,
    ) -> list[Prediction]:
        """Feed all batches to the metrics; return their predictions, if they are to be kept."""
        predictions: list[Prediction] = []
        batches = 0
        of_each: Iterator[int | None] = itertools.repeat(None) if seeds is None else iter(seeds)
        for image, label, *others in dataloader:
            batches += 1
            try:
                seed = next(of_each)
            except StopIteration:
                raise ValueError(f"seeds must be one for every batch, got {batches - 1}") from None
            if self.goal_size and not others:
                raise ValueError(
                    "dataloader must yield triples (images, labels, goals) for a model whose "
                    "cells perceive a goal, got pairs"
                )
            goal = others[0] if self.goal_size else None
            prediction = self.predict(image, steps, seed=seed, goal=goal)
            self._update_metrics(prediction, label.to(self.device))
            if keep_predictions:
                predictions.append(prediction)
        if not batches:
            raise ValueError("dataloader must yield at least one batch, got none")
        return predictions

    def named_metrics(self) -> "dict[str, Metric]":
        """Return ``metrics`` as what they are, for type checkers."""
        return cast("dict[str, Metric]", dict(self.metrics.items()))

    def _update_metrics(self, prediction: Prediction, label: Tensor) -> None:
        """Feed one batch to every metric: its logits and labels, unless overridden."""
        for metric in self.named_metrics().values():
            # A slice of channels, where metrics want to flatten.
            metric.update(prediction.logits.contiguous(), label)

    def num_trainable_parameters(self) -> int:
        """Count the parameters that training changes."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)
