"""Which cells of a growing automaton are alive."""

from torch import Tensor, nn

ALPHA_CHANNEL = 3
ALIVE_THRESHOLD = 0.1


def alive_mask(state: Tensor) -> Tensor:
    """Mark the cells that have a visible cell in their 3x3 neighbourhood.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023, section "Living cell masking".

    Args:
        state: Cell states, shape ``(B, C, W, H)``, whose channel 3 is the opacity.

    Returns:
        Mask, shape ``(B, 1, W, H)``, bool.

    >>> import torch
    >>> seed = torch.zeros(1, 4, 3, 5)
    >>> seed[0, 3, 0, 0] = 1
    >>> alive_mask(seed)[0, 0].int().tolist()
    [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    """
    opacity = state[:, ALPHA_CHANNEL : ALPHA_CHANNEL + 1].detach()
    # Max-pooling pads with -inf: beyond the border nothing lives.
    return nn.functional.max_pool2d(opacity, 3, stride=1, padding=1) > ALIVE_THRESHOLD
