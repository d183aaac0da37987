"""Cells of any kind give the same on the fast engine, on the reference, and tile by tile."""

from typing import Any, NamedTuple

import pytest
import torch
from core_models import TinyModel
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds_of_cells import RULES, SMOOTH_RULES, VIEWS, views_of
from rollout_checks import assert_gradients_agree
from torch import Tensor

from ncalab.core.perception import ViewsNCAPerception
from ncalab.core.rollout import rollout, tiled_rollout, why_not_fused
from ncalab.core.rollout.cpu.compiled.library import library

CPU = torch.device("cpu")
GOAL_SIZE = 3
NUM_GOALS = 4

pytestmark = pytest.mark.skipif(
    isinstance(library(torch.float32), str), reason=str(library(torch.float32))
)

ARGUMENTS = {
    "filter_padding": st.sampled_from(["zero", "reflect", "replicate", "circular"]),
    "fire_rate": st.sampled_from([0.0, 0.4, 1.0]),
    "use_temporal_encoding": st.booleans(),
    "immutable_image_channels": st.booleans(),
    "dt": st.sampled_from([1.0, 0.5]),
    "num_goals": st.sampled_from([None, NUM_GOALS]),
    "goal_size": st.sampled_from([0, GOAL_SIZE]),
}


class Drawn(NamedTuple):
    """A model in float64, and what it starts from."""

    model: TinyModel
    x: Tensor
    goal: Tensor | None
    steps: int


@st.composite
def drawn(draw: st.DrawFn, rules: dict[str, dict[str, Any]], *, masked: bool) -> Drawn:
    """Draw a kind of cells, a batch of them, goals and a number of steps."""
    arguments: dict[str, Any] = draw(st.fixed_dictionaries(ARGUMENTS))
    if not arguments["goal_size"]:
        arguments["num_goals"] = None
    dims = draw(st.integers(1, 3))
    views = views_of(draw(st.sampled_from(sorted(VIEWS))), dims)
    arguments |= rules[draw(st.sampled_from(sorted(rules)))]
    model = TinyModel(
        CPU,
        4,
        5,
        2,
        hidden_size=8,
        spatial_dims=dims,
        use_alive_mask=masked and draw(st.booleans()),
        perception_type=ViewsNCAPerception,
        perception_args={"views": views},
        **arguments,
    ).double()
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
            parameter.add_(0.1 * noise)
    # Several samples share a block of cells, and a block may end within one.
    batch = draw(st.sampled_from([1, 2, 3, 13]))
    grid = [draw(st.integers(1, 40 if dims == 1 else 6)) for _ in range(dims)]
    size = (batch, model.num_channels, *grid)
    x = torch.randn(size, dtype=torch.float64, generator=generator)
    goal = None
    if model.goal_size:
        goal = torch.randn(batch, GOAL_SIZE, dtype=torch.float64, generator=generator)
        if model.num_goals:
            goal = torch.arange(batch) % NUM_GOALS
    return Drawn(model, x, goal, draw(st.integers(1, 4)))


def states_and_gradients(case: Drawn, engine: Any, checkpoint: int | None) -> list[Tensor]:
    x = case.x.clone().requires_grad_()
    goal, wanted = case.goal, [x, *case.model.parameters()]
    if goal is not None and goal.is_floating_point():
        goal = goal.clone().requires_grad_()
        wanted.append(goal)
    after = rollout(
        case.model, x, case.steps, seed=4, engine=engine, checkpoint=checkpoint, goal=goal
    )
    weights = torch.linspace(-1, 1, after.numel(), dtype=after.dtype).view_as(after)
    return [after.detach(), *torch.autograd.grad((after * weights).sum(), wanted)]


@settings(max_examples=20, deadline=None)
@given(drawn(RULES, masked=True), st.sampled_from([None, 1, 2]))
def test_states_and_gradients_are_those_of_the_reference(
    case: Drawn, checkpoint: int | None
) -> None:
    assert why_not_fused(case.model, case.x) is None

    fast = states_and_gradients(case, "fused", checkpoint)

    plain = states_and_gradients(case, "reference", None)
    torch.testing.assert_close(fast[0], plain[0], atol=1e-10, rtol=1e-10)
    assert_gradients_agree(fast[1:], plain[1:], relative=1e-9, rounding=1e-13)


@settings(max_examples=10, deadline=None)
@given(drawn(SMOOTH_RULES, masked=False))
def test_float32_is_close_to_float64(case: Drawn) -> None:
    exact = states_and_gradients(case, "reference", None)
    goal = case.goal
    if goal is not None and goal.is_floating_point():
        goal = goal.float()

    fast = states_and_gradients(
        Drawn(case.model.float(), case.x.float(), goal, case.steps), "fused", None
    )

    torch.testing.assert_close(fast[0].double(), exact[0], atol=1e-5, rtol=0)
    assert_gradients_agree(fast[1:], exact[1:], relative=1e-4, rounding=1e-6)


@settings(max_examples=15, deadline=None)
@given(drawn(RULES, masked=True), st.integers(1, 7))
def test_tiles_give_what_the_whole_gives(case: Drawn, tile: int) -> None:
    model, x, goal, steps = case

    parts = tiled_rollout(model, x, steps, start=2, seed=9, tile=tile, goal=goal, progress=False)

    whole = rollout(model, x, steps, start=2, seed=9, goal=goal)
    torch.testing.assert_close(parts, whole, atol=1e-10, rtol=1e-10)
