import io
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from ncalab.viz.gif import LONGEST_FRAME, write_gif


def round_trip(
    arrays: list[np.ndarray], times: list[int] | None = None, *, repeat: bool = True
) -> Image.Image:
    """Write images and open them again."""
    file = io.BytesIO()
    images = [Image.fromarray(array) for array in arrays]
    write_gif(file, images, times or [50] * len(arrays), repeat=repeat)
    return Image.open(file)


def frames(gif: Image.Image) -> list[np.ndarray]:
    return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(gif)]


def test_frames_of_few_colours_come_back_as_they_were() -> None:
    palette = np.random.default_rng(0).integers(0, 256, (40, 3), dtype=np.uint8)
    arrays = list(palette[np.random.default_rng(1).integers(0, 40, (6, 7, 19))])
    arrays[3] = arrays[2].copy()  # nothing changes
    arrays[4] = arrays[3].copy()
    arrays[4][6, 18] = (1, 2, 3)  # one corner does

    shown = frames(round_trip(arrays))

    assert len(shown) == 6
    worst = max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(arrays, shown, strict=True))
    assert worst <= 1


def test_frames_of_many_colours_are_close() -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    array = np.stack([*np.meshgrid(ramp, ramp), np.full((64, 64), 90, np.uint8)], axis=-1)

    shown = frames(round_trip([array, array[::-1].copy()]))

    for want, got in zip([array, array[::-1]], shown, strict=True):
        assert np.abs(want.astype(int) - got).max() <= 16


def test_times_and_repetition_are_in_the_file() -> None:
    arrays = [np.full((2, 3, 3), value, np.uint8) for value in (0, 9, 99)]

    for repeat in (True, False):
        gif = round_trip(arrays, [10, 40, LONGEST_FRAME], repeat=repeat)
        times = [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]
        assert times == [10, 40, LONGEST_FRAME]
        assert ("loop" in gif.info) == repeat


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path) -> None:
    def images(count: int) -> Iterator[Image.Image]:
        for number in range(count):
            yield Image.fromarray(np.full((200, 200, 3), number, np.uint8))

    peaks = []
    for count in (4, 64):
        tracemalloc.start()
        with (tmp_path / "a.gif").open("wb") as file:
            write_gif(file, images(count), [50] * count, repeat=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < peaks[0] + 5 * 200 * 200 * 3  # 60 more frames were written


def test_as_many_times_as_frames_are_needed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        round_trip([np.zeros((2, 3, 3), np.uint8)] * 2, [50])
