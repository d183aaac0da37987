"""Settings under which pictures are grown, kept and healed: one recipe in three qualities."""

import time
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ncalab.core.checks import check_choice, check_int
from ncalab.core.perception import LearnedView, ViewsNCAPerception
from ncalab.tasks.growing.model import GrowingNCAModel

Quality = Literal["draft", "good", "best"]

# Optimiser steps, and pictures in a batch: a seed, and one or two that have grown. Of a batch of
# two, the steps are quicker, and more; of one of three, pictures heal better.
_EPOCHS = {"draft": 1000, "good": 3000, "best": 15000}
# Sides up to which all of the best are taken, and how the time of a step rises with the side. On
# larger grids they are fewer, for half an hour on two cores up to 104 cells.
_BEST_SIDE, _TIME_POWER = 58, 2.4
_FEWEST_OF_BEST = 3600
_BATCH = {"draft": 2, "good": 3, "best": 3}
FEWEST_CELLS = 3
"""Width and height of a grid, at least."""
_SIDE = 48
_INFERENCE_STEPS = 64
# Of the side of the grid: life spreads by about half a cell a step, from the middle.
_INFERENCE_SHARE = 4 / 3
_WARM_UP_ROLLOUTS = 2
# Near, further and far.
_VIEWS = (LearnedView, (LearnedView, {"dilation": 3}), (LearnedView, {"dilation": 9}))

RECIPE: dict[str, Any] = {
    "lr": 0.02,
    "adam_lr": 16e-4,
    "adam_betas": (0.9, 0.999),
    "final_lr": 0.1,
    # At the full rate from the first step on, states explode, and then all cells die.
    "warmup_steps": 100,
    "ema_decay": None,
    "gradient_clipping": False,
    "gradient_normalization": True,
}
"""Options of ``ncalab.train.Recipe`` that suit pictures; the presets train with the same."""


@dataclass(frozen=True)
class GrowingPreset:
    """Arguments of a growing training, to be passed on.

    Attributes:
        quality: "draft", "good" or "best".
        epochs: Number of optimiser steps.
        batch_size: Number of pictures in a batch.
        model: Arguments of :class:`ncalab.tasks.GrowingNCAModel`.
        pool: Arguments of ``ncalab.train.Pool``.
        trainer: Arguments of ``ncalab.train.BasicNCATrainer``.
    """

    quality: Quality
    epochs: int
    batch_size: int
    model: dict[str, Any]
    pool: dict[str, Any]
    trainer: dict[str, Any]


def growing_preset(
    quality: Quality = "good", side: int = _SIDE, *, epochs: int | None = None
) -> GrowingPreset:
    """Return settings under which a picture is trained to last and to heal.

    Cells perceive by learned filters, near, further and far. Muon trains the matrices of the rule.
    A batch is two pictures (of a draft: one) from a small pool, in which holes are cut, and one
    that starts from the seed. Short rollouts give more optimiser steps in the same time, and the
    pool makes their chains long.

    Source of the perception: NCAtorch, arXiv:2604.24990.

    Args:
        quality: How long to train. "draft": to see whether it works; "good": for a picture that is
            to hold and heal; "best": for longer, five times on grids of up to 58 cells, and less on
            larger ones, where all takes longer.
        side: Width and height of the grid in cells, at least 3. It sets the steps of a rollout: as
            life spreads by about half a cell a step, a rollout takes half as many steps as the
            grid has cells on a side, to as many; on grids of more than 48, 24 to 48 steps, or a
            quarter to half of the side if that is more. The learning rate falls as the side rises
            above 48.
        epochs: Number of optimiser steps; that of the quality if None.

    Raises:
        ValueError: If the quality is not known, or a number is too small.

    >>> preset = growing_preset("draft", side=96)
    >>> preset.model["training_timesteps"], preset.batch_size
    ((24, 49), 2)
    """
    check_choice("quality", quality, get_args(Quality))
    check_int("side", side, minimum=FEWEST_CELLS)
    epochs = (
        _usual_epochs(quality, side) if epochs is None else check_int("epochs", epochs, minimum=1)
    )
    # Longer ones are left to the pool. Life gets to every cell within half the side.
    longest = min(side, max(_SIDE, side // 2))
    return GrowingPreset(
        quality=quality,
        epochs=epochs,
        batch_size=_BATCH[quality],
        model={
            "num_hidden_channels": 12,
            "perception_type": ViewsNCAPerception,
            "perception_args": {"views": list(_VIEWS)},
            "use_alive_mask": True,
            "lambda_seed": 1.0,
            "filter_padding": "zero",
            "training_timesteps": (longest // 2, longest + 1),
            "inference_timesteps": max(_INFERENCE_STEPS, round(_INFERENCE_SHARE * side)),
        },
        pool={
            "n_seed": 1,
            "damage": True,
            "p_damage": 1.0,
            "num_damaged": _BATCH[quality] - 1,
            "size": 32,
            # A picture of 40 cells on a grid of 48: a cut anywhere in it is to heal.
            "damage_spread": 0.85,
        },
        trainer={
            "optimizer_method": "muon",
            # At the full rate, states of large grids explode as they do without a warm-up.
            "lr": RECIPE["lr"] * min(1.0, _SIDE / side),
            "lr_gamma": RECIPE["final_lr"] ** (1 / epochs),
            "warmup_steps": min(RECIPE["warmup_steps"], epochs // 10),
            "adam_betas": RECIPE["adam_betas"],
            "batch_repeat": 1,
            "max_epochs": epochs,
            "gradient_normalization": RECIPE["gradient_normalization"],
        },
    )


def _usual_epochs(quality: Quality, side: int) -> int:
    if quality != "best":
        return _EPOCHS[quality]
    share: float = min(1.0, _BEST_SIDE / side) ** _TIME_POWER
    return max(_FEWEST_OF_BEST, round(_EPOCHS["best"] * share))


def seconds_per_epoch(model: GrowingNCAModel, target: Tensor, batch_size: int) -> float:
    """Measure how long an optimiser step takes here, by the gradients of a few rollouts.

    The weights stay as they are, and so do torch's generators.

    Args:
        model: Model to train.
        target: Premultiplied target, shape ``(image channels, W, H)``.
        batch_size: Number of pictures in a batch.

    Returns:
        Seconds.
    """
    steps = model.training_timesteps
    usual = steps if isinstance(steps, int) else (steps[0] + steps[1] - 1) // 2
    label = target.to(model.device, model.dtype).expand(batch_size, *target.shape)
    # A grown picture: cells that are empty cost nothing.
    state = model.make_seed(*target.shape[1:]).repeat(batch_size, 1, 1, 1)
    state[:, : len(target)] = label
    times = []
    # Where samples die, the loss draws which cells of a seed fire.
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        for number in range(_WARM_UP_ROLLOUTS + 2):
            start = time.perf_counter()
            loss = model.loss(model(state, usual, seed=number), label)["total"]
            torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])
            times.append(time.perf_counter() - start)
    return min(times)
