"""Settings under which a picture is grown, kept and healed: one recipe in three qualities."""

import time
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ncalab.core.checks import check_choice, check_int
from ncalab.tasks.growing.model import GrowingNCAModel

Quality = Literal["draft", "good", "best"]

# Optimiser steps.
_EPOCHS: dict[str, int] = {"draft": 700, "good": 3200, "best": 16000}
# The grid that the steps of a rollout are known for; life spreads about as fast on any other.
_SIDE = 48
_LR = 0.06
_FINAL_LR = 0.1
_BATCH = 3


@dataclass(frozen=True)
class GrowingPreset:
    """Arguments of a growing training, ready to be passed on.

    Attributes:
        quality: "draft", "good" or "best".
        epochs: Number of optimiser steps.
        batch_size: Number of pictures of a batch.
        model: Arguments of :class:`GrowingNCAModel`.
        pool: Arguments of ``ncalab.train.Pool``.
        trainer: Arguments of ``ncalab.train.BasicNCATrainer``.
    """

    quality: Quality
    epochs: int
    batch_size: int
    model: dict[str, Any]
    pool: dict[str, Any]
    trainer: dict[str, Any]
