"""Animations of a rollout."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.animation import FFMpegWriter, FuncAnimation
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

from ncalab.core import AbstractNCAModel, pad_input
from ncalab.core.checks import check_batch, check_choice, check_int
from ncalab.viz.images import Color, blend, mosaic, to_bytes, to_rgb_image
from ncalab.viz.style import AnimatorStyle, animator_styles

Array = np.ndarray

_DPI = 100
# Longer side of a panel in pixels, before it is rounded to whole pixels per cell.
_PANEL_PIXELS = 256
_CAPTION_PIXELS = 28


class _Animation(FuncAnimation):
    """An animation that may be dropped without having been shown."""

    def __del__(self) -> None:
        """Skip matplotlib's warning about it: saving here draws the frames itself."""


class Animator:
    """Render a rollout as an animation.

    The rollout is run once, here. Only what is shown of each state is kept, in 8 bits.

    Args:
        nca: Model.
        seed: Image ``(B, image channels, W, H)`` or state ``(B, C, W, H)`` to start from.
        steps: Number of steps, ``inference_timesteps`` of the model if None.
        interval: Time of each frame in milliseconds.
        repeat: Whether to loop.
        repeat_delay: Time of the last frame before the animation starts again, in milliseconds.
        overlay: Whether to tint the cells whose output channels predict a class (a logit above
            zero; with several channels, the largest one if it is not the first).
        show_timestep: Whether to write the step above the cells.
        hidden: Whether to show the hidden channels beside the image, as tiles in false colours.
        show_input: Whether to show the start beside the image.
        style: Name of a style, "dark" or "light", or a style.
        every: Number of steps between frames; the start and the last step are always shown.
        sample: Which sample of the batch to show.
        rollout_seed: Decides which cells fire; drawn if None.

    Attributes:
        animation_fig: The animation, as matplotlib's ``FuncAnimation``.
        frames: What it shows, 8-bit images ``(w, h, 3)`` in cells, first the start.
        steps: Number of steps taken before each frame.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If one is out of its range.
    """

    def __init__(
        self,
        nca: AbstractNCAModel,
        seed: Tensor,
        steps: int | None = None,
        interval: int = 100,
        repeat: bool = True,
        repeat_delay: int = 10000,
        overlay: bool = False,
        show_timestep: bool = True,
        hidden: bool = False,
        show_input: bool = False,
        style: str | AnimatorStyle = "dark",
        *,
        every: int = 1,
        sample: int = 0,
        rollout_seed: int | None = None,
    ) -> None:
        check_batch("seed", seed)
        if not 0 <= sample < len(seed):
            raise ValueError(f"sample must be in [0, {len(seed)}) for this seed, got {sample}")
        self.interval = check_int("interval", interval, minimum=1)
        self.repeat = repeat
        self.repeat_delay = check_int("repeat_delay", repeat_delay, minimum=0)
        self.overlay = overlay and nca.num_output_channels > 0
        self.show_timestep = show_timestep
        self.hidden = hidden and nca.num_hidden_channels > 0
        self.show_input = show_input
        if not isinstance(style, AnimatorStyle):
            check_choice("style", style, animator_styles)
            style = animator_styles[style]
        self.style = style
        check_int("every", every, minimum=1)
        self.nca = nca
        self.steps: list[int] = []
        self.frames: list[Array] = []
        self._run(seed[sample : sample + 1], steps, every, rollout_seed)
        self._figure, self._draw_frame = self._make_figure()
        self.animation_fig = _Animation(
            self._figure,
            self._draw_frame,
            frames=len(self.frames),
            interval=interval,
            repeat=repeat,
            repeat_delay=repeat_delay,
        )

    def _run(self, seed: Tensor, steps: int | None, every: int, rollout_seed: int | None) -> None:
        """Roll out once and keep what is shown of every frame's state."""
        nca = self.nca
        generator = None if rollout_seed is None else torch.Generator().manual_seed(rollout_seed)
        start = pad_input(seed, nca, noise=nca.pad_noise, generator=generator)
        self._input = _to_array(start)[: nca.num_image_channels]
        self._keep(0, start)
        last: list[tuple[int, Tensor]] = []

        def keep(step: int, state: Tensor) -> bool:
            last[:] = [(step, state)]
            if step % every == 0:
                self._keep(step, state)
            return False

        nca.predict(start, steps, seed=rollout_seed, on_step=keep)
        if last[0][0] != self.steps[-1]:
            self._keep(*last[0])

    def _keep(self, step: int, state: Tensor) -> None:
        self.steps.append(step)
        self.frames.append(to_bytes(self._panels(_to_array(state))))

    def _panels(self, state: Array) -> Array:
        """Draw a state, shape ``(C, W, H)``, as panels side by side."""
        first = self.nca.num_image_channels
        last = first + self.nca.num_hidden_channels
        image = to_rgb_image(state[:first], self.style.background)
        if self.overlay:
            image = blend(image, predicted_mask(state[last:]), self.style.overlay)
        panels = [image]
        if self.show_input:
            panels.insert(0, to_rgb_image(self._input, self.style.background))
        if self.hidden:
            tiles = mosaic(state[first:last])
            # As high as the mosaic, in whole pixels per cell.
            panels = [enlarged(panel, len(tiles) // len(panel)) for panel in panels] + [tiles]
        return beside(panels, self.style.background)

    def _make_figure(self) -> tuple[Figure, Callable[[int], list[Artist]]]:
        """Lay out caption, cells and progress bar; return the figure and what draws a frame."""
        style, (width, height) = self.style, self.frames[0].shape[:2]
        scale = max(1, round(_PANEL_PIXELS / self.frames[0].shape[0]))
        caption = _CAPTION_PIXELS if self.show_timestep else 0
        wide, high = height * scale, width * scale + caption + style.progress_h
        # Even sizes, which video encoders ask for.
        wide, high = wide + wide % 2, high + high % 2
        figure = Figure(figsize=(wide / _DPI, high / _DPI), dpi=_DPI)
        FigureCanvasAgg(figure)
        bottom = style.progress_h / high
        axes = figure.add_axes((0.0, bottom, 1.0, 1.0 - bottom - caption / high))
        picture = axes.imshow(self.frames[0], interpolation="nearest", aspect="auto")
        style.apply(figure, axes)
        text = figure.text(
            0.5,
            1 - caption / 2 / high,
            "",
            ha="center",
            va="center",
            color=style.color_title,
            family="DejaVu Sans",
            size=9,
        )
        bar = Rectangle((0, 0), 0, bottom, transform=figure.transFigure, color=style.color_progress)
        figure.add_artist(bar)

        def draw(place: int) -> list[Artist]:
            picture.set_data(self.frames[place])
            bar.set_width(self.steps[place] / self.steps[-1])
            if self.show_timestep:
                text.set_text(f"Step {self.steps[place]}/{self.steps[-1]}")
            return [picture, bar, text]

        return figure, draw

    def images(self) -> Iterator[Image.Image]:
        """Draw the frames, one at a time.

        Yields:
            RGB images, all of one size.
        """
        canvas = FigureCanvasAgg(self._figure)
        for place in range(len(self.frames)):
            self._draw_frame(place)
            canvas.draw()
            yield Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")

    def save(self, path: str | Path) -> None:
        """Write the animation; a file that was there is replaced when the new one is complete.

        Args:
            path: File that ends in ".gif", or in ".mp4" where ffmpeg is installed.

        Raises:
            ValueError: If the name ends in anything else.
            RuntimeError: If ffmpeg is needed and missing.
        """
        path = Path(path)
        writers = {".gif": self._write_gif, ".mp4": self._write_mp4}
        if path.suffix.lower() not in writers:
            raise ValueError(f"path must end in .gif or .mp4, got {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".animation-") as folder:
            temporary = Path(folder) / path.name
            writers[path.suffix.lower()](temporary)
            temporary.replace(path)

    def _write_gif(self, path: Path) -> None:
        # Median cut has a smaller mean error, but turns rare colours, such as the caption's.
        palette = (image.quantize(256, Image.Quantize.FASTOCTREE) for image in self.images())
        durations = [self.interval] * len(self.frames)
        durations[-1] += self.repeat_delay if self.repeat else 0
        # Without "loop", a GIF is played once; 0 means for ever.
        options: dict[str, Any] = {"loop": 0} if self.repeat else {}
        next(palette).save(
            path, save_all=True, append_images=palette, duration=durations, **options
        )

    def _write_mp4(self, path: Path) -> None:
        if shutil.which("ffmpeg") is None:
            raise RuntimeError("an .mp4 needs the program ffmpeg; install it, or save a .gif")
        writer = FFMpegWriter(fps=1000 / self.interval)  # type: ignore[arg-type]  # ffmpeg takes fractions
        self.animation_fig.save(path, writer=writer, dpi=_DPI)


def _to_array(state: Tensor) -> Array:
    return np.asarray(state[0].float().cpu())


def predicted_mask(logits: Array) -> Array:
    """Return which cells are predicted to be no background.

    Args:
        logits: Output channels, shape ``(C, W, H)``: one logit of the foreground, or one of each
            class, background first.

    Returns:
        Mask, shape ``(W, H)``, bool.

    >>> predicted_mask(np.array([[[-1.0, 2.0]]])).tolist()
    [[False, True]]
    """
    mask = logits[0] > 0 if len(logits) == 1 else logits.argmax(axis=0) > 0
    return np.asarray(mask)


def enlarged(image: Array, factor: int) -> Array:
    """Repeat every pixel ``factor`` times along both axes."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def beside(panels: Sequence[Array], background: Color) -> Array:
    """Join panels of one height, with a gap of a thirtieth of that between them."""
    height = len(panels[0])
    gap = np.broadcast_to(np.asarray(background), (height, max(1, height // 30), 3))
    separated = [part for panel in panels for part in (gap, panel)][1:]
    return np.concatenate(separated, axis=1)
