"""A step as the literature writes it: whole-grid operations on tensors in (B, C, W, H) order.

The yardstick of the benchmarks, for models of the standard kind. It takes a model's weights and
obeys its options, but draws fire masks from torch's generator, as public implementations do.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ncalab.core import AbstractNCAModel, MLPNCARule
from ncalab.core.automaton import Automaton
from ncalab.core.export.rollout import export_plan

_MODES = {
    "zero": "constant",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}


def eager_step(nca: Automaton, x: Tensor, step: int = 0) -> Tensor:
    """Take one step of every cell.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023: perception filter by filter, concatenation, two 1x1 convolutions,
    stochastic update, living cell masking.

    Args:
        nca: Model of the standard kind.
        x: States, shape ``(B, C, W, H)``.
        step: Number of steps taken before, for the temporal encoding.

    Returns:
        Next states, shape ``(B, C, W, H)``.
    """
    channels = x.shape[1]
    radius = nca.kernel_size // 2
    padded = F.pad(x, [radius] * 4, mode=_MODES[nca.filter_padding])
    views = [
        F.conv2d(padded, kernel[:, None], groups=channels) for kernel in nca.perception.filters
    ]
    if not isinstance(nca.rule, MLPNCARule):
        raise TypeError(f"nca must have a rule of two layers, got {type(nca.rule).__name__}")
    if nca.use_temporal_encoding:
        views.append(x.new_full((len(x), 1, *x.shape[2:]), nca.perception.time(step)))
    update = nca.rule(torch.cat([x, *views], dim=1))
    if nca.immutable_image_channels:
        update[:, : nca.num_image_channels] = 0
    if nca.fire_rate < 1:
        fires = torch.rand(x.shape[0], 1, *x.shape[2:], device=x.device) < nca.fire_rate
        update = update * fires
    after: Tensor = x + update
    if nca.use_alive_mask:
        after = after * (_alive(x) & _alive(after))
    return after


def _alive(x: Tensor) -> Tensor:
    highest: Tensor = F.max_pool2d(x[:, 3:4], 3, stride=1, padding=1)
    return highest > 0.1


def eager_rollout(nca: AbstractNCAModel, x: Tensor, steps: int) -> Tensor:
    """Take ``steps`` steps; autograd keeps what it needs of each operation.

    A cascade takes its share of them at each scale.
    """
    plan, first, taken = export_plan(nca), x, 0
    for place, share in enumerate(plan.share(torch.tensor(steps))):
        x = plan.enter(place, x, first)
        for step in range(taken, taken + int(share)):
            x = eager_step(plan.models[place], x, step)
        taken += int(share)
    return plan.leave(x, first)
