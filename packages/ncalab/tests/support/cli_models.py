"""Models and settings that the tests of the command line share."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from click.testing import Result
from PIL import Image

from ncalab.core import AbstractNCAModel

Run = Callable[..., Result]
Save = Callable[[AbstractNCAModel], Path]
Model = TypeVar("Model", bound=AbstractNCAModel)


def shaken(model: Model) -> Model:
    """Give all weights values, so that predictions depend on images and steps."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def noise(path: Path, *shape: int, seed: int = 0) -> np.ndarray:
    """Write a picture of noise, and return its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels
