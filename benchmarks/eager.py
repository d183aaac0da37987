"""A step as the literature writes it: whole-grid operations on tensors in (B, C, *grid) order.

The yardstick of the benchmarks, for cells of any kind. It takes a model's weights and obeys its
options, but draws fire masks from torch's generator, as public implementations do.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ncalab.core import AbstractNCAModel
from ncalab.core.automaton import Automaton
from ncalab.core.export.rollout import export_plan
from ncalab.core.perception import FilterBank, ViewsNCAPerception

_MODES = {
    "zero": "constant",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}
# By the number of axes of the grid.
_CONVOLUTIONS: dict[int, Callable[..., Any]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_POOLINGS: dict[int, Callable[..., Any]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def eager_step(nca: Automaton, x: Tensor, step: int = 0, goal: Tensor | None = None) -> Tensor:
    """Take one step of every cell.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023: perception filter by filter, concatenation, the rule (two 1x1
    convolutions), stochastic update, living cell masking.

    Args:
        nca: The model.
        x: States, shape ``(B, C, *grid)``.
        step: Number of steps taken before, for the temporal encoding.
        goal: Goals as vectors, shape ``(B, goal_size)``.

    Returns:
        Next states, shape ``(B, C, *grid)``.
    """
    seen = [x, *_views(nca, x)]
    if nca.use_temporal_encoding:
        seen.append(x.new_full((len(x), 1, *x.shape[2:]), nca.perception.time(step)))
    if goal is not None:
        seen.append(goal.view(*goal.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:]))
    perceived = torch.cat(seen, dim=1)
    if x.ndim != 4:
        perceived = perceived.flatten(2)[..., None]
    update = nca.rule(perceived).view(x.shape)
    if nca.dt != 1:
        update = nca.dt * update
    if nca.immutable_image_channels:
        update[:, : nca.num_image_channels] = 0
    if nca.fire_rate < 1:
        fires = torch.rand(x.shape[0], 1, *x.shape[2:], device=x.device) < nca.fire_rate
        update = update * fires
    after: Tensor = x + update
    if nca.use_alive_mask:
        after = after * (_alive(x) & _alive(after))
    return after


def _views(nca: Automaton, x: Tensor) -> list[Tensor]:
    """Return what cells perceive of their neighbourhood."""
    perception = nca.perception
    if not isinstance(perception, ViewsNCAPerception):
        return _filtered(nca, x, (perception.filter_banks() or [])[0])
    seen = []
    for view in perception.listed:
        filtered = _filtered(nca, x, view.bank)
        if view.is_linear:
            seen += filtered
            continue
        cells = (part.flatten(2)[..., None] for part in (x, torch.cat(filtered, dim=1)))
        seen.append(view.combine(*cells).view(len(x), -1, *x.shape[2:]))
    return seen


def _filtered(nca: Automaton, x: Tensor, bank: FilterBank) -> list[Tensor]:
    """Return what depthwise filters give."""
    dims, channels = x.ndim - 2, x.shape[1]
    radius = bank.dilation * (bank.filters.shape[-1] // 2)
    padded = F.pad(x, [radius] * 2 * dims, mode=_MODES[nca.filter_padding])
    convolve = _CONVOLUTIONS[dims]
    options = {"groups": channels, "dilation": bank.dilation}
    return [convolve(padded, kernel[:, None], **options) for kernel in bank.filters]


def _alive(x: Tensor) -> Tensor:
    highest: Tensor = _POOLINGS[x.ndim - 2](x[:, 3:4], 3, stride=1, padding=1)
    return highest > 0.1


def eager_rollout(
    nca: AbstractNCAModel, x: Tensor, steps: int, goal: Tensor | None = None
) -> Tensor:
    """Take ``steps`` steps; autograd keeps what it needs of each operation.

    A cascade takes its share of them at each scale.
    """
    plan, first, taken = export_plan(nca), x, 0
    vectors = None if goal is None else nca.encode_goal(goal, len(x))
    for place, share in enumerate(plan.share(torch.tensor(steps))):
        x = plan.enter(place, x, first)
        for step in range(taken, taken + int(share)):
            x = eager_step(plan.models[place], x, step, vectors)
        taken += int(share)
    return plan.leave(x, first)
