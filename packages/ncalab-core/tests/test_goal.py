"""Goals: one rule that does several things, told by a vector that every cell perceives."""

from pathlib import Path
from typing import Any

import pytest
import torch
from core_models import TinyModel
from hypothesis import given, settings
from hypothesis import strategies as st
from rollout_checks import assert_gradients_agree
from torch import Tensor

from ncalab.core import AutoStepper, GatedNCARule, MLPNCARule, export_program
from ncalab.core.perception import AttentionView, LearnedView, ViewsNCAPerception
from ncalab.core.rollout import rollout, tiled_rollout, why_not_fused
from ncalab.core.rollout.cpu.compiled.library import library

CPU = torch.device("cpu")
GOALS = torch.tensor([2, 0, 1])


def make(**arguments: Any) -> TinyModel:
    torch.manual_seed(1)
    model = TinyModel(CPU, 4, 3, 2, **{"hidden_size": 8, "goal_size": 5, **arguments})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def states(*grid: int) -> Tensor:
    return torch.rand(3, 9, *grid, generator=torch.Generator().manual_seed(2))


@pytest.mark.skipif(isinstance(library(torch.float32), str), reason="needs the compiled engine")
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_fast_engine_gives_cells_their_goal_as_the_reference_does(data: st.DataObject) -> None:
    arguments: dict[str, Any] = data.draw(
        st.fixed_dictionaries(
            {
                "num_goals": st.sampled_from([None, 3]),
                "use_temporal_encoding": st.booleans(),
                "use_alive_mask": st.booleans(),
                "rule_type": st.sampled_from([MLPNCARule, GatedNCARule]),
                "spatial_dims": st.integers(1, 3),
                "fire_rate": st.sampled_from([0.4, 1.0]),
            }
        )
    )
    views = {"views": [(LearnedView, {"dilation": 2}), AttentionView]}
    if data.draw(st.booleans()):
        arguments |= {"perception_type": ViewsNCAPerception, "perception_args": views}
    model = make(**arguments).double()
    x = states(*(5, 4, 3)[: model.spatial_dims]).double()
    vectors = torch.linspace(-1, 1, 15, dtype=torch.float64).view(3, 5)
    goal = vectors.requires_grad_() if model.num_goals is None else GOALS
    checkpoint = data.draw(st.sampled_from([None, 2]))
    found = []
    for engine, kept in (("fused", checkpoint), ("reference", None)):
        start = x.clone().requires_grad_()
        after = rollout(model, start, 3, seed=1, engine=engine, checkpoint=kept, goal=goal)  # type: ignore[arg-type]  # one of the two
        wanted = [start, *model.parameters(), *([vectors] if model.num_goals is None else [])]
        found.append([after.detach(), *torch.autograd.grad(after.square().sum(), wanted)])

    assert_gradients_agree(*found, relative=1e-9, rounding=1e-13)


def test_a_sample_follows_its_goal_alone_and_in_a_batch() -> None:
    model = make(num_goals=3)
    x = states(6, 5)

    together = rollout(model, x, 4, seed=1, goal=GOALS)
    alone = rollout(model, x[1:2], 4, seed=1, samples=[1], goal=GOALS[1:2])

    assert torch.equal(together[1:2], alone)
    assert not torch.equal(rollout(model, x, 4, seed=1, goal=GOALS.flip(0)), together)


def test_cells_see_the_goal_as_it_is() -> None:
    model = make(fire_rate=1.0, use_temporal_encoding=True)
    goal = torch.arange(15.0).view(3, 5)
    seen: list[Tensor] = []
    model.rule.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    rollout(model, states(2, 3), 1, goal=goal)

    assert torch.equal(seen[0][:, -5:], goal[:, :, None, None].expand(-1, -1, 2, 3))


def test_predictions_records_tiles_and_autosteps_have_the_goal(tmp_path: Path) -> None:
    model = make(num_goals=3)
    x = states(40, 3)
    want = model.predict(x, 4, seed=1, goal=GOALS)

    assert torch.equal(model.record(x, 4, seed=1, goal=GOALS)[-1].output_image, want.output_image)
    stepped = AutoStepper(3, 4).run(model, x, seed=1, goal=GOALS)
    assert torch.equal(stepped.output_image, want.output_image)
    tiled = tiled_rollout(model, x, 4, seed=1, tile=20, progress=False, goal=GOALS)
    torch.testing.assert_close(tiled, want.output_image)
    half = rollout(model, x, 2, seed=1, goal=GOALS)
    whole = model.continue_rollout(half, 2, start=2, seed=1, goal=GOALS)
    assert torch.equal(whole, want.output_image)
    model.save_pretrained(tmp_path)
    twin = TinyModel.from_pretrained(tmp_path)
    assert torch.equal(twin.predict(x, 4, seed=1, goal=GOALS).logits, want.logits)


@pytest.mark.parametrize("num_goals", [None, 3])
@pytest.mark.parametrize("unroll", [False, True])
def test_an_exported_model_takes_goals(num_goals: int | None, unroll: bool) -> None:
    model = make(num_goals=num_goals)
    program = export_program(model, steps=3, unroll=unroll).module()

    for batch, grid in ((3, (6, 5)), (2, (1, 7))):
        image = states(*grid)[:batch, :4]
        goal = torch.rand(batch, 5) if num_goals is None else GOALS[:batch]
        got = program(image=image, seed=torch.tensor(4), goal=goal)["state"]
        want = model.predict(image, 3, seed=4, goal=goal).output_image
        torch.testing.assert_close(got, want, atol=1e-5, rtol=0)


def test_validation_takes_the_goals_that_a_loader_yields() -> None:
    model = make(num_goals=3)
    seen: list[Tensor] = []
    model.rule.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, -5:, 0, 0]))

    model.validate([(states(4, 4)[:, :4], torch.zeros(3), GOALS)], 1)  # type: ignore[arg-type]  # as a loader yields

    assert model.goal_embedding is not None
    assert torch.equal(seen[0], model.goal_embedding(GOALS))


def test_validation_without_goals_names_the_loader() -> None:
    with pytest.raises(
        ValueError, match=r"dataloader must yield triples \(images, labels, goals\)"
    ):
        make().validate([(states(4, 4)[:, :4], torch.zeros(3))])  # type: ignore[arg-type]  # as a loader yields


@pytest.mark.parametrize(
    ("arguments", "goal", "message"),
    [
        ({"goal_size": 0}, GOALS, "goal must be None for a model whose goal_size is 0"),
        ({}, None, "goal must be a tensor for this model, got NoneType"),
        ({}, torch.zeros(3, 4), r"goal must have shape \(3, 5\), got \(3, 4\)"),
        ({}, torch.zeros(3, 5, dtype=torch.int64), "goal must be floating point, got torch.int64"),
        ({"num_goals": 3}, torch.zeros(3), "goal must be indices, got torch.float32"),
        ({"num_goals": 3}, GOALS > 0, "goal must be indices, got torch.bool"),
        ({"num_goals": 3}, GOALS + 0j, "goal must be indices, got torch.complex64"),
        ({}, torch.zeros(3, 5) + 0j, "goal must be floating point, got torch.complex64"),
        ({"num_goals": 3}, GOALS + 1, r"goal must be in \[0, 3\), got \[3, 1, 2\]"),
    ],
)
def test_bad_goals_are_named(arguments: dict[str, Any], goal: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        rollout(make(**arguments), states(4, 4), 1, goal=goal)


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "uint16", "int32", "uint64"])
def test_goals_are_indices_of_any_integer_type(kind: str) -> None:
    model = make(num_goals=3)
    goal = GOALS.to(getattr(torch, kind))

    got = rollout(model, states(4, 4), 2, seed=1, goal=goal)

    assert torch.equal(got, rollout(model, states(4, 4), 2, seed=1, goal=GOALS))
    got.square().sum().backward()


@pytest.mark.parametrize("sizes", [{"goal_size": 10**12}, {"num_goals": 10**12}])
def test_goals_that_no_memory_holds_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"goal_size.* must need at most 268435456 weights"):
        make(**sizes)


def test_a_learned_goal_needs_a_size() -> None:
    with pytest.raises(ValueError, match="goal_size must be at least 1, got 0"):
        make(goal_size=0, num_goals=3)


def test_a_model_with_a_goal_runs_on_the_fast_engine() -> None:
    assert why_not_fused(make(), states(4, 4)) is None
