"""Animations of a rollout."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.artist import Artist
from PIL import Image
from torch import Tensor

from ncalab.core import AbstractNCAModel
from ncalab.core.checks import check_batch, check_flag, check_int, check_type
from ncalab.core.fire import check_seed, draw_seed
from ncalab.viz.arrays import check_planar
from ncalab.viz.gif import LONGEST_FRAME, frame_time, write_gif
from ncalab.viz.overlay import find_style
from ncalab.viz.painter import Painter, check_picture, first_state
from ncalab.viz.player import player_html
from ncalab.viz.reading import DepthReading
from ncalab.viz.reel import Reel
from ncalab.viz.stage import DPI, Stage
from ncalab.viz.style import AnimatorStyle
from ncalab.viz.video import SUFFIXES, FilmWriter, find_ffmpeg

Array = np.ndarray

# Of so many classes, a legend would be larger than the picture.
_LONGEST_LEGEND = 20
# Of more frames, a page that holds a few animations would be slow to load.
_MOST_IN_NOTEBOOK = 120


class _Animation(FuncAnimation):
    """An animation that may be dropped without having been shown."""

    def __del__(self) -> None:
        """Skip matplotlib's warning about it: saving here draws the frames itself."""


class _Frames(Sequence[Array]):
    """The pictures of a reel of states, each drawn when it is asked for."""

    def __init__(self, painter: Painter, reel: Reel) -> None:
        self._painter, self._reel = painter, reel

    def __len__(self) -> int:
        return len(self._reel)

    @overload
    def __getitem__(self, place: int) -> Array: ...
    @overload
    def __getitem__(self, place: slice) -> list[Array]: ...
    def __getitem__(self, place: int | slice) -> Array | list[Array]:
        """Draw one picture, or a list of them."""
        if isinstance(place, slice):
            return [self._painter.paint(planes) for planes in self._reel[place]]
        return self._painter.paint(self._reel[place])


class Animator:
    """Render a rollout as an animation.

    The rollout is run once, here. What is shown of each state lies in a temporary file, and
    pictures are drawn one at a time: memory does not depend on the number of frames. Cells are
    enlarged to whole pixels as far as the picture stays of a handy size; of a grid with more cells
    than a GIF or a video can have pixels, several share one.

    Args:
        nca: Model.
        seed: Image ``(B, image channels, W, H)`` or state ``(B, C, W, H)`` to start from.
        steps: Number of steps, ``inference_timesteps`` of the model if None.
        interval: Time of each frame in milliseconds; a GIF holds hundredths of a second.
        repeat: Whether to loop.
        repeat_delay: How much longer the last frame is shown before the animation starts again,
            in milliseconds; together with ``interval`` at most 655350, the most a GIF can hold.
        overlay: Whether the cells show what they say about the task: their class as a tint
            (segmentation: an output channel above zero, or the largest one if it is not the
            first), as their colour (living cells of a self-classification), or their depth in
            colours. A classification by a head stands in the caption.
        show_timestep: Whether to write the step above the cells.
        hidden: Whether to show the hidden channels beside the image, as tiles in false colours,
            blue below zero and red above.
        show_input: Whether to show the start beside the image.
        style: Name of a style, "dark" or "light", or a style.
        every: Number of steps between frames; the start and the last step are always shown.
        sample: Which sample of the batch to show.
        rollout_seed: Decides which cells fire; drawn if None.
        picture: Image to show in place of the image channels, which must be immutable; shape
            ``(image channels, W', H')`` of any size, range [0, 1]. Cells are shown in its size. It
            is for images that a model sees resized or normalised.
        goal: Goal of each sample of the batch, for a model with ``goal_size``: vectors
            ``(B, goal_size)``, or indices ``(B,)`` with ``num_goals``.

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
        picture: Array | Tensor | None = None,
        goal: Tensor | None = None,
    ) -> None:
        check_type("nca", nca, AbstractNCAModel)
        check_planar("nca", nca)
        check_batch("seed", seed)
        check_int("sample", sample, minimum=0)
        if not 0 <= sample < len(seed):
            raise ValueError(f"sample must be in [0, {len(seed)}) for this seed, got {sample}")
        self.interval, self.repeat_delay = _check_times(interval, repeat_delay)
        self.repeat = check_flag("repeat", repeat)
        self.overlay = check_flag("overlay", overlay)
        self.show_timestep = check_flag("show_timestep", show_timestep)
        self.hidden = check_flag("hidden", hidden)
        self.show_input = check_flag("show_input", show_input)
        self.style = find_style(style)
        self.nca = nca
        self.steps: list[int] = []
        self._verdicts: list[str] = []
        rollout_seed = draw_seed() if rollout_seed is None else _check_seed(rollout_seed)
        nca.encode_goal(goal, len(seed))
        seed = seed[sample : sample + 1]
        goal = None if goal is None else goal[sample : sample + 1]
        start = first_state(nca, seed, steps, rollout_seed)
        self._painter = Painter(
            nca,
            start,
            self.style,
            overlay=overlay,
            hidden=hidden,
            show_input=show_input,
            picture=check_picture(nca, picture),
        )
        self._reel = Reel(self._painter.shape)
        self.frames: Sequence[Array] = _Frames(self._painter, self._reel)
        self._run(seed, start, steps, check_int("every", every, minimum=1), rollout_seed, goal)
        self._stage = self._make_stage()
        self.animation_fig = _Animation(
            self._stage.figure,
            self._draw_frame,
            frames=len(self.frames),
            interval=interval,
            repeat=repeat,
            repeat_delay=repeat_delay,
            cache_frame_data=False,
        )

    def _run(
        self,
        seed: Tensor,
        start: Tensor,
        steps: int | None,
        every: int,
        rollout_seed: int,
        goal: Tensor | None,
    ) -> None:
        """Roll out once and keep what is shown of every frame's state."""
        self._keep(0, start)
        last: list[tuple[int, Tensor]] = []

        def keep(step: int, state: Tensor) -> bool:
            last[:] = [(step, state)]
            if step % every == 0:
                self._keep(step, state)
            return False

        self.nca.predict(seed, steps, seed=rollout_seed, on_step=keep, goal=goal)
        if last[0][0] != self.steps[-1]:
            self._keep(*last[0])
        self._painter.fit(self._reel[-1])

    def _keep(self, step: int, state: Tensor) -> None:
        prediction = self.nca.post_prediction(self.nca.read_out(state, step))
        self.steps.append(step)
        self._verdicts.append(self._painter.verdict(prediction))
        self._reel.append(self._painter.planes(prediction))

    def _make_stage(self) -> Stage:
        reading = self._painter.reading
        legend = [] if reading is None else reading.legend()
        return Stage(
            self.frames[0],
            self.style,
            caption=self.show_timestep or any(self._verdicts),
            legend=legend if len(legend) <= _LONGEST_LEGEND else [],
            limits=reading.limits if isinstance(reading, DepthReading) else None,
        )

    def _draw_frame(self, place: int) -> list[Artist]:
        step, last = self.steps[place], self.steps[-1]
        parts = [f"Step {step}/{last}"] if self.show_timestep else []
        parts += [self._verdicts[place]] if self._verdicts[place] else []
        return self._stage.draw(self.frames[place], "   ".join(parts), step / last)

    def __repr__(self) -> str:
        """Summarise what is shown in one line."""
        last, count = self.steps[-1], len(self.frames)
        return f"{type(self).__name__}({type(self.nca).__name__}, steps={last}, frames={count})"

    def _repr_html_(self) -> str:
        """Return a player with a slider, for notebooks; of many frames, it holds some."""
        count = len(self.frames)
        places = np.linspace(0, count - 1, min(count, _MOST_IN_NOTEBOOK)).round().astype(int)
        return player_html(
            [self._image(int(place)) for place in places],
            interval=round(self.interval * count / len(places)),
            pause=self.repeat_delay,
            repeat=self.repeat,
            name=repr(self),
        )

    def images(self) -> Iterator[Image.Image]:
        """Draw the frames, one at a time.

        Yields:
            RGB images, all of one size.
        """
        for place in range(len(self.frames)):
            yield self._image(place)

    def _image(self, place: int) -> Image.Image:
        self._draw_frame(place)
        return self._stage.image()

    def save(self, path: str | Path) -> None:
        """Write the animation; a file that was there is replaced when the new one is complete.

        Args:
            path: File that ends in ".gif", ".mp4" or ".webm"; the last two need the program
                ffmpeg, which comes with the extra ``video``.

        Raises:
            ValueError: If the name ends in anything else.
            RuntimeError: If ffmpeg is needed and missing.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in (".gif", *SUFFIXES):
            raise ValueError(f"path must end in .gif, .mp4 or .webm, got {path}")
        write = self._write_gif if suffix == ".gif" else self._write_film
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".animation-") as folder:
            temporary = Path(folder) / path.name
            write(temporary)
            temporary.replace(path)

    def _write_gif(self, path: Path) -> None:
        times = [frame_time(self.interval)] * len(self.frames)
        if self.repeat:
            times[-1] = frame_time(self.interval + self.repeat_delay)
        with path.open("wb") as file:
            write_gif(file, self.images(), times, repeat=self.repeat)

    def _write_film(self, path: Path) -> None:
        find_ffmpeg()
        writer = FilmWriter(path, fps=1000 / self.interval)
        self.animation_fig.save(path, writer=writer, dpi=DPI)


def _check_seed(rollout_seed: Any) -> int:
    return check_seed(check_int("rollout_seed", rollout_seed, minimum=0))


def _check_times(interval: Any, repeat_delay: Any) -> tuple[int, int]:
    """Return both if a GIF can hold them, before any step is run."""
    check_int("interval", interval, minimum=1)
    check_int("repeat_delay", repeat_delay, minimum=0)
    if interval > LONGEST_FRAME:
        raise ValueError(f"interval must be at most {LONGEST_FRAME} ms, got {interval}")
    longest = LONGEST_FRAME - interval
    if repeat_delay > longest:
        raise ValueError(
            f"repeat_delay must be at most {longest} ms after an interval of {interval} ms "
            f"(a GIF shows a frame for {LONGEST_FRAME} ms at most), got {repeat_delay}"
        )
    return int(interval), int(repeat_delay)
