"""Watch a picture being learned: a preview in the run folder, and a line that people can read."""

import math
import sys
import time
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from ncalab.core.progress import bar_rows, progress_bar
from ncalab.core.saving import PathLike, atomic_write
from ncalab.tasks.growing.model import GrowingNCAModel
from ncalab.tasks.growing.report import describe_error

PREVIEW = "preview.png"
"""Picture in a run folder: as it should be, and as it is grown at present."""

_SCALE = 4
# Of the time may go into looking.
_SHARE = 0.03
# Seconds between lines where no bar is shown.
_SECONDS_BETWEEN_LINES = 10.0


def duration(seconds: float) -> str:
    """Say how long something takes.

    >>> duration(20), duration(150), duration(5400)
    ('20 seconds', '2.5 minutes', '90 minutes')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 600 else f"{seconds / 60:.0f} minutes"


class GrowthWatch:
    """Grow the picture now and then during a training, save it, and say how good it is.

    Use it as a context, and hand it to ``ncalab.train.BasicNCATrainer.train`` as ``on_epoch``. It
    changes nothing about the training.

    Args:
        model: Model that is trained.
        target: Premultiplied target, shape ``(4, W, H)``, range [0, 1].
        folder: Run folder, for ``preview.png``: the target on the left, what is grown at present
            on the right. None: no preview is written.
        epochs: Number of epochs of the training.
        done: Number of them that were done before.
    """

    def __init__(
        self,
        model: GrowingNCAModel,
        target: Tensor,
        folder: PathLike | None,
        *,
        epochs: int,
        done: int = 0,
    ) -> None:
        self.model, self.target = model, target
        self.empty = target.square().mean().item()
        self.path = None if folder is None else Path(folder) / PREVIEW
        self.epochs, self.done = epochs, done
        self.error = float("nan")
        # The first epoch has a line: it says that all is well.
        self._last_line = self._next_look = -math.inf
        # The epoch of the first line and its time: the first epochs also set everything up.
        self._first: tuple[int, float] | None = None
        self._bar: Any = None

    def __enter__(self) -> Self:
        if bar_rows():
            self._bar = progress_bar(total=self.epochs, initial=self.done, unit="step")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, epoch: int, _values: Mapping[str, float]) -> None:
        """Take note of an epoch.

        Args:
            epoch: Its number, from 1.
            _values: What the training measured.
        """
        now = time.perf_counter()
        if now >= self._next_look or epoch == self.epochs:
            self._look()
            after = time.perf_counter()
            self._next_look = after + (after - now) / _SHARE
        if self._bar is not None:
            self._bar.set_postfix_str(self._words(), refresh=False)
            self._bar.update(epoch - self._bar.n)
        elif now - self._last_line >= _SECONDS_BETWEEN_LINES or epoch == self.epochs:
            self._last_line = now
            sys.stderr.write(f"{epoch}/{self.epochs} steps: {self._words()}{self._left(epoch)}\n")
            sys.stderr.flush()

    def _left(self, epoch: int) -> str:
        """Say how long the rest takes, once that is known."""
        if self._first is None:
            self._first = (epoch, time.perf_counter())
        passed = epoch - self._first[0]
        if not passed or epoch == self.epochs:
            return ""
        seconds = (time.perf_counter() - self._first[1]) / passed * (self.epochs - epoch)
        return f", about {duration(seconds)} left"

    def _words(self) -> str:
        return f"error {self.error:.5f} ({describe_error(self.error, self.empty)})"

    def _look(self) -> None:
        seed = self.model.make_seed(*self.target.shape[1:])
        grown = self.model.predict(seed, seed=0).image_channels[0]
        target = self.target.to(grown)
        self.error = (grown - target).square().mean().item()
        if self.path is not None:
            pictures = torch.cat([target, grown.clamp(0, 1)], dim=2)
            atomic_write(self.path, _as_png(pictures))


def _as_png(picture: Tensor) -> bytes:
    """Draw a premultiplied picture ``(4, W, H)`` on white, several pixels a cell."""
    on_white = (picture[:3] + 1 - picture[3:]).clamp(0, 1).nan_to_num(0)
    pixels = (on_white * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    image = Image.fromarray(pixels)
    image = image.resize((image.width * _SCALE, image.height * _SCALE), Image.Resampling.NEAREST)
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
