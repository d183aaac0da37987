"""A step as the literature writes it: whole-grid operations on tensors in (B, C, W, H) order.

The yardstick of the benchmarks, for models of the standard kind. It takes a model's weights and
obeys its options, but draws fire masks from torch's generator, as public implementations do.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ncalab.core import AbstractNCAModel, MLPNCARule

_MODES = {"zero": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def eager_step(nca: AbstractNCAModel, x: Tensor) -> Tensor:
    """Take one step of every cell.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023: perception filter by filter, concatenation, two 1x1 convolutions,
    stochastic update, living cell masking.

    Args:
        nca: Model of the standard kind, without temporal encoding.
        x: States, shape ``(B, C, W, H)``.

    Returns:
        Next states, shape ``(B, C, W, H)``.
    """
    channels = x.shape[1]
    radius = nca.kernel_size // 2
    padded = F.pad(x, [radius] * 4, mode=_MODES[nca.filter_padding])
    views = [F.conv2d(padded, kernel[:, None], groups=channels) for kernel in nca.perception.filters]
    if not isinstance(nca.rule, MLPNCARule):
        raise TypeError(f"nca must have a rule of two layers, got {type(nca.rule).__name__}")
    update = nca.rule(torch.cat([x, *views], dim=1))
    if nca.immutable_image_channels:
        update[:, : nca.num_image_channels] = 0
    fires = torch.rand(x.shape[0], 1, *x.shape[2:], device=x.device) < nca.fire_rate
    after = x + update * fires
    if nca.use_alive_mask:
        after = after * (_alive(x) & _alive(after))
    return after


def _alive(x: Tensor) -> Tensor:
    return F.max_pool2d(x[:, 3:4], 3, stride=1, padding=1) > 0.1


def eager_rollout(nca: AbstractNCAModel, x: Tensor, steps: int) -> Tensor:
    """Take ``steps`` steps; autograd keeps what it needs of each operation."""
    for _ in range(steps):
        x = eager_step(nca, x)
    return x
