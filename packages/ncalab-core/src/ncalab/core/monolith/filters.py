"""Learned filters that the monolithic ncalab never saved."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ncalab.core.model import AbstractNCAModel


def redraw_filters(model: "AbstractNCAModel", seed: int) -> Tensor:
    """Draw learned filters as the monolithic ncalab drew them.

    Most versions neither trained nor saved them, so the filters of a trained model are those
    that its constructor drew, first of all. If the training script seeded torch right before it
    made the model (``fix_random_seed(seed)``), they are these.

    Args:
        model: Model of the same channels, ``num_learned_filters`` and ``kernel_size``.
        seed: What the script seeded torch with; 1337 was the default.

    Returns:
        Filters, shape ``(n, C, k, k)``, float32, on the CPU. The generator of torch is left as it
        was.

    Raises:
        ValueError: If the model has no learned filters.
    """
    if model.num_learned_filters == 0:
        raise ValueError("model must have learned filters, got num_learned_filters = 0")
    channels, size = model.num_channels, model.kernel_size
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        layers = [
            nn.Conv2d(channels, channels, size, groups=channels, bias=False)
            for _ in range(model.num_learned_filters)
        ]
    return torch.stack([layer.weight.detach()[:, 0] for layer in layers])
