"""The model that grows an image from a single cell."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.alive import ALIVE_THRESHOLD, ALPHA_CHANNEL
from ncalab.core.checks import check_int, check_non_negative
from ncalab.tasks.hidden import add_hidden_penalty

# In which a seed must live, where samples die.
_STEPS_OF_A_SEED = 8


def seed_state(num_channels: int, num_image_channels: int, *grid: int) -> Tensor:
    """Return a grid that is empty but for one living cell in its middle.

    Args:
        num_channels: Number of channels of a cell.
        num_image_channels: Number of them that are the image's.
        *grid: Size of the grid along each axis.

    Returns:
        State, shape ``(num_channels, *grid)``, float32: opacity (channel 3, if the image has one)
        and hidden channels of the middle cell are 1, all else 0.

    Raises:
        ValueError: If a size is below 1, or there are fewer channels than the image's.

    >>> seed_state(6, 4, 3, 3)[:, 1, 1].tolist()
    [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    """
    for name, size in zip(("width", "height", "depth"), grid, strict=False):
        check_int(name, size, minimum=1)
    check_int("num_channels", num_channels, minimum=num_image_channels)
    state = torch.zeros(num_channels, *grid)
    middle = state[min(3, num_image_channels) :]
    for size in grid:
        middle = middle[:, size // 2]
    middle.fill_(1)
    return state


class GrowingNCAModel(AbstractNCAModel):
    """Grow an image from one cell, keep it, and repair it.

    There are no output channels: the rule draws into the image channels, which are mutable.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023.

    Args:
        device: Where parameters are created.
        num_image_channels: Number of image channels: 4 for RGBA with premultiplied colours.
        num_hidden_channels: Number of hidden channels.
        fire_rate: Probability that a cell is updated at a step, in [0, 1].
        hidden_size: Number of hidden neurons of the rule.
        use_alive_mask: Whether cells without a neighbour of opacity above 0.1 are empty.
        lambda_hidden: Weight of the mean square of the hidden channels in the loss, at least 0.
        lambda_seed: Weight in the loss, at least 0, of how far the largest opacity of a seed falls
            below 0.5 when it fires first, squared; and in the first eight steps, where a sample has
            died. What is dead has no gradient, and is not learned from. For cells with an alive
            mask and without a goal.
        **kwargs: Further arguments of :class:`ncalab.core.AbstractNCAModel`.

    >>> model = GrowingNCAModel(torch.device("cpu"), num_hidden_channels=4)
    >>> model.predict(model.make_seed(5, 7), steps=2).image_channels.sum().item()
    1.0
    """

    task = "growing"
    fixed_arguments = frozenset({"num_output_channels", "immutable_image_channels"})

    def __init__(
        self,
        device: torch.device,
        num_image_channels: int = 4,
        num_hidden_channels: int = 16,
        fire_rate: float = 0.5,
        hidden_size: int = 128,
        use_alive_mask: bool = False,
        lambda_hidden: float = 0.0,
        *,
        lambda_seed: float = 0.0,
        **kwargs: Any,
    ) -> None:
        # Imported here, because torchmetrics imports matplotlib where that is installed.
        from torchmetrics import MeanSquaredError

        check_non_negative("lambda_hidden", lambda_hidden)
        check_non_negative("lambda_seed", lambda_seed)
        kwargs.setdefault("validation_metric", "mse")
        super().__init__(
            device,
            num_image_channels,
            num_hidden_channels,
            num_output_channels=0,
            fire_rate=fire_rate,
            hidden_size=hidden_size,
            use_alive_mask=use_alive_mask,
            immutable_image_channels=False,
            **kwargs,
        )
        if lambda_seed and (self.goal_size or not use_alive_mask):
            raise ValueError(
                "lambda_seed must be 0 for cells with a goal, or without an alive mask, "
                f"got {lambda_seed}"
            )
        self.lambda_hidden, self.lambda_seed = lambda_hidden, lambda_seed
        self.metrics["mse"] = MeanSquaredError().to(self.device)

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        """Compare the image channels with the target.

        Args:
            pred: Prediction.
            label: Target, shape ``(B, image channels, W, H)``, the range of the image channels.

        Returns:
            "mse", "hidden" (mean square of the hidden channels), "seed" (how far a seed is from
            surviving) and "total" = mse + lambda_hidden * hidden + lambda_seed * seed, scalars;
            without what has no weight.

        Raises:
            ValueError: If the target has another shape than the image channels.
        """
        self._check_label(pred, label)
        mse = F.mse_loss(pred.image_channels, label)
        losses = add_hidden_penalty({"total": mse, "mse": mse}, pred, self.lambda_hidden)
        if self.lambda_seed == 0:
            return losses
        penalty = self._seed_penalty(pred)
        total = losses["total"] + self.lambda_seed * penalty
        return {**losses, "total": total, "seed": penalty}

    def _seed_penalty(self, pred: Prediction) -> Tensor:
        """Return how far the largest opacity of a growing seed falls below 0.5, squared.

        Of its first step, in which it fires; summed over eight steps, until it dies, if a sample
        has died.
        """
        opacity = pred.output_image[:, ALPHA_CHANNEL].detach().flatten(1)
        died = (opacity.amax(1) <= ALIVE_THRESHOLD).any()
        # On a GPU, nobody waits for the answer.
        steps = _STEPS_OF_A_SEED if died.is_cuda or died else 1
        side = 2 * (steps + (self.reach or 1)) + 1
        state = self.make_seed(*[side] * self.spatial_dims)
        fires = torch.ones_like(state[:, :1], dtype=torch.bool)
        penalty, lives = state.new_zeros(()), state.new_ones(())
        for step in range(steps):
            state = state + self._update(state, step) * fires
            largest = state[:, ALPHA_CHANNEL].amax()
            penalty = penalty + lives * F.relu(0.5 - largest).square()
            lives = lives * (largest > ALIVE_THRESHOLD)
            fires = torch.rand_like(state[:, :1]) < self.fire_rate
        return penalty

    def _check_label(self, pred: Prediction, label: Tensor) -> None:
        if label.shape != pred.image_channels.shape:
            raise ValueError(
                f"label must have the shape of the image channels "
                f"{tuple(pred.image_channels.shape)}, got {tuple(label.shape)}"
            )

    def _update_metrics(self, prediction: Prediction, label: Tensor) -> None:
        self._check_label(prediction, label)
        for metric in self.named_metrics().values():
            metric.update(prediction.image_channels.contiguous(), label)

    def make_seed(self, width: int, height: int | None = None, *others: int) -> Tensor:
        """Return a state with one living cell in the middle.

        Args:
            width: Grid width W, at least 1.
            height: Grid height H, at least 1; left out for a line of cells (``spatial_dims=1``).
            *others: Depth D of a volume (``spatial_dims=3``), at least 1.

        Returns:
            State, shape ``(1, C, width, height, *others)``, on the model's device.

        Raises:
            TypeError: If a size is not an integer.
            ValueError: If a size is below 1, or the grid has another number of axes.
        """
        grid = (width,) if height is None else (width, height, *others)
        if len(grid) != self.spatial_dims:
            raise ValueError(
                f"make_seed must be given the sizes of {self.spatial_dims} axes, got {grid}"
            )
        state = seed_state(self.num_channels, self.num_image_channels, *grid)
        return state[None].to(self.device, self.dtype)

    def grow(
        self,
        seed: Tensor,
        steps: int = 100,
        *,
        rollout_seed: int | None = None,
        goal: Tensor | None = None,
    ) -> list[np.ndarray]:
        """Run the growth process and return what it looks like after each step.

        Args:
            seed: State ``(1, C, W, H)`` (see :meth:`make_seed`) or image
                ``(1, image channels, W, H)``.
            steps: Number of steps, at least 1.
            rollout_seed: Decides which cells fire; drawn if None.
            goal: What to grow, for a model with ``goal_size``: a batch of one, as in
                :meth:`forward`.

        Returns:
            Images, ``steps`` of them, shape ``(W, H, image channels)``, clipped to [0, 1].

        Raises:
            ValueError: If ``seed`` is not a batch of one or does not fit the model.
        """
        if seed.ndim == 2 + self.spatial_dims and seed.shape[0] != 1:
            raise ValueError(f"seed must be a batch of one, got {seed.shape[0]} samples")
        images: list[np.ndarray] = []

        def keep(_step: int, state: Tensor) -> bool:
            image = state[0, self.channels.image].clamp(0, 1)
            images.append(image.movedim(0, -1).cpu().numpy())
            return False

        self.predict(seed, steps, seed=rollout_seed, on_step=keep, goal=goal)
        return images
