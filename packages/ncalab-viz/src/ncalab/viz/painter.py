"""From the states of a rollout to pictures of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction, pad_input
from ncalab.core.channels import Channels
from ncalab.core.task import spec_of
from ncalab.core.utils import interpret_range_parameter
from ncalab.viz.arrays import displayed, to_numpy
from ncalab.viz.images import Color, mosaic, to_bytes, to_rgb_image
from ncalab.viz.labels import class_labels
from ncalab.viz.reading import reading_of
from ncalab.viz.style import AnimatorStyle

Array = np.ndarray


def first_state(
    nca: AbstractNCAModel,
    seed: Tensor,
    steps: int | tuple[int, int] | None,
    rollout_seed: int,
) -> Tensor:
    """Return the state that ``nca.predict(seed, steps, seed=rollout_seed)`` starts from.

    Args:
        nca: Model.
        seed: Images or states, shape ``(B, C, W, H)``.
        steps: As for ``predict``.
        rollout_seed: As for ``predict``.

    Returns:
        States with all channels.
    """
    generator = torch.Generator().manual_seed(rollout_seed)
    wanted = nca.inference_timesteps if steps is None else steps
    if isinstance(wanted, tuple):
        # Drawn before the noise is.
        interpret_range_parameter(wanted, generator=generator)
    x = nca.prepare_input(seed.to(nca.device, nca.dtype))
    return pad_input(x, nca, noise=nca.pad_noise, generator=generator)


def check_picture(nca: AbstractNCAModel, picture: Any) -> Array | None:
    """Return the picture that is shown in place of a model's image channels, or None.

    Raises:
        TypeError: If it is not an array of numbers.
        ValueError: If it has another shape, or the model draws into its image channels.
    """
    if picture is None:
        return None
    shown = to_numpy(picture)
    if shown.dtype.kind not in "buif":
        raise TypeError(f"picture must be an array of numbers, got {picture!r:.80}")
    shown = shown.astype(np.float32)
    if not nca.immutable_image_channels:
        raise ValueError("picture must be None for a model that draws into its image channels")
    if shown.ndim != 3 or shown.shape[0] != nca.num_image_channels or 0 in shown.shape:
        raise ValueError(
            f"picture must have shape ({nca.num_image_channels}, W, H), got {shown.shape}"
        )
    return shown


class Painter:
    """Shows one sample's states as panels side by side: input, cells, hidden channels.

    A state is first reduced to the planes that are shown, by :meth:`planes`; :meth:`paint` makes a
    picture of them. Between the two, :meth:`fit` sets what the colours stand for.

    Args:
        nca: Model.
        start: State that the rollout starts from, shape ``(1, C, W, H)``.
        style: Colours.
        overlay: Whether the cells show what they say about the task.
        hidden: Whether to show the hidden channels, as tiles.
        show_input: Whether to show the start.
        picture: What to show of the start's image channels, in which size; those of the start if
            None.
    """

    def __init__(
        self,
        nca: AbstractNCAModel,
        start: Tensor,
        style: AnimatorStyle,
        *,
        overlay: bool,
        hidden: bool,
        show_input: bool,
        picture: Array | None = None,
    ) -> None:
        self.nca, self.style = nca, style
        self.overlay = overlay
        self.reading = reading_of(nca) if overlay else None
        self.hidden = hidden and nca.num_hidden_channels > 0
        self.show_input = show_input
        seen = to_numpy(start[0, nca.channels.image])
        self._input = seen if picture is None else picture
        self._hidden_limit = 1.0
        # Of a state's planes: those of the mutable image, the hidden channels, and the reading.
        self._kept = Channels(
            0 if nca.immutable_image_channels else nca.num_image_channels,
            nca.num_hidden_channels if self.hidden else 0,
            0 if self.reading is None else 1,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a state's planes."""
        return self._kept.total, self._input.shape[1], self._input.shape[2]

    def planes(self, prediction: Prediction) -> Array:
        """Return what is shown of a state: mutable image, hidden channels, reading.

        Args:
            prediction: Prediction of one sample; a smaller or larger grid, as the scales of a
                cascade have it, is resized to the size that is shown by its nearest cells.

        Returns:
            Planes, of :attr:`shape`, float32.
        """
        parts = []
        if not self.nca.immutable_image_channels:
            parts.append(prediction.image_channels_np[0])
        if self.hidden:
            parts.append(prediction.hidden_channels_np[0])
        if self.reading is not None:
            parts.append(self.reading.planes(prediction))
        if not parts:
            return np.zeros(self.shape, np.float32)
        return nearest(np.concatenate(parts), self._input.shape[1:]).astype(np.float32)

    def verdict(self, prediction: Prediction) -> str:
        """Return the class that a head sees, and its probability; empty without one."""
        if not self.overlay or prediction.head_prediction is None:
            return ""
        shares = to_numpy(self.nca.interpret(prediction))[0]
        if spec_of(self.nca).reading != "votes" or shares.ndim != 1:
            return ""
        # One score says how likely the second of two classes is.
        shares = np.array([1 - shares[0], shares[0]]) if len(shares) == 1 else shares
        best = int(shares.argmax())
        names = class_labels(getattr(self.nca, "class_names", None), len(shares), 16)
        return f"{names[best]} {shares[best]:.0%}"

    def fit(self, planes: Array) -> None:
        """Let the colours of depths and hidden channels span the values of a state, the last."""
        _, hidden, plane = self._split(planes)
        if self.reading is not None:
            self.reading.fit(plane)
        if hidden.size:
            largest = float(np.percentile(np.abs(np.nan_to_num(hidden)), 99))
            self._hidden_limit = largest or 1.0

    def _split(self, planes: Array) -> tuple[Array, Array, Array]:
        """Return image, hidden channels and reading (without meaning if there is none)."""
        image = planes[self._kept.image] if self._kept.num_image else self._input
        return image, planes[self._kept.hidden], planes[-1] if len(planes) else planes

    def paint(self, planes: Array) -> Array:
        """Draw a state.

        Args:
            planes: What :meth:`planes` returned.

        Returns:
            Image in cells, uint8; shape ``(w, h, 3)``.
        """
        image, hidden, plane = self._split(planes)
        background = self.style.background
        start = displayed(self._input[None])[0]
        shown = start if self.nca.immutable_image_channels else image
        if self.reading is None:
            panels = [to_rgb_image(shown, background)]
        else:
            panels = [self.reading.paint(np.nan_to_num(shown), plane, self.style)]
        if self.show_input:
            panels.insert(0, to_rgb_image(start, background))
        if self.hidden:
            tiles = mosaic(hidden, self._hidden_limit)
            # As high as the mosaic, in whole pixels per cell.
            panels = [enlarged(panel, len(tiles) // len(panel)) for panel in panels] + [tiles]
        return to_bytes(beside(panels, background))


def nearest(planes: Array, size: Sequence[int]) -> Array:
    """Resize planes, shape ``(P, w, h)``, to ``(P, *size)`` by their nearest cells.

    >>> nearest(np.array([[[1, 2]]]), (2, 4)).tolist()
    [[[1, 1, 2, 2], [1, 1, 2, 2]]]
    """
    rows, columns = (
        np.arange(wanted) * given // wanted
        for wanted, given in zip(size, planes.shape[1:], strict=True)
    )
    return planes[:, rows[:, None], columns[None, :]]


def enlarged(image: Array, factor: int) -> Array:
    """Repeat every pixel ``factor`` times along both axes."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def beside(panels: Sequence[Array], background: Color) -> Array:
    """Join panels of one height, with a gap of a thirtieth of that between them."""
    height = len(panels[0])
    gap = np.broadcast_to(np.asarray(background), (height, max(1, height // 30), 3))
    separated = [part for panel in panels for part in (gap, panel)][1:]
    return np.concatenate(separated, axis=1)
