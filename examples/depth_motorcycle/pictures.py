"""Pictures of predicted depth."""

from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scene import Pair, Pairs, known
from torch import Tensor

from ncalab.core import unwrap
from ncalab.tasks import DepthNCAModel


def bounds(depth: Tensor, nca: DepthNCAModel) -> tuple[float, float]:
    """Return the range of colours: that of the known depths, if there are any."""
    depths = known(depth)
    if len(depths):
        return float(depths.min()), float(depths.max())
    return 0.0, unwrap(nca.data_range)


def save_pictures(nca: DepthNCAModel, pairs: Pairs, path: Path) -> None:
    """Draw image, true depth, predicted depth and error, one row for each of up to four pairs."""
    rows = range(min(4, len(pairs)))
    figure = Figure(figsize=(14, 5 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), 4, squeeze=False)
    for number in rows:
        image, depth = pairs[number]
        predicted = nca.interpret(nca.predict(image[None], seed=0))[0, 0].cpu()
        truth = torch.where(depth.isfinite() & (depth > 0), depth, torch.nan)
        low, high = bounds(depth, nca)
        grid[number, 0].imshow(image[:3].permute(1, 2, 0).numpy())
        for axes, panel in zip(grid[number, 1:3], (truth, predicted), strict=True):
            figure.colorbar(axes.imshow(panel.numpy(), vmin=low, vmax=high), ax=axes, shrink=0.6)
        error, limit = grid[number, 3], high - low
        shown = error.imshow((predicted - truth).numpy(), cmap="RdBu", vmin=-limit, vmax=limit)
        figure.colorbar(shown, ax=error, shrink=0.6)
    for axes, title in zip(grid[0], ("image", "depth", "prediction", "error"), strict=True):
        axes.set_title(title)
    for axes in grid.flat:
        axes.set_axis_off()
    figure.savefig(path, dpi=80)


def save_animation(nca: DepthNCAModel, pair: Pair, path: Path) -> None:
    """Draw image and predicted depth side by side after every step, as a GIF."""
    image, depth = pair
    low, high = bounds(depth, nca)
    left = image[:3].permute(1, 2, 0).numpy()
    frames = []
    for prediction in nca.record(image[None], seed=0):
        shown = (nca.interpret(prediction)[0, 0].cpu().numpy() - low) / (high - low)
        right = colormaps["viridis"](np.clip(shown, 0, 1))[..., :3]
        joined = np.round(255 * np.concatenate([left, right], axis=1)).astype(np.uint8)
        frames.append(Image.fromarray(joined.repeat(4, axis=0).repeat(4, axis=1)))
    pause = [80] * (len(frames) - 1) + [2000]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=pause, loop=0)
