"""The engines against each other, the choice between them, and bad input."""

import threading
from typing import Any

import pytest
import torch
from core_models import MakeModel, TinyModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ncalab.core import AbstractNCARule
from ncalab.core.options import RolloutOptions, Tile, total_steps
from ncalab.core.rollout import rollout, why_not_fused
from ncalab.core.runner import ExportPlan, Runner
from ncalab.core.testing import awaken

CPU = torch.device("cpu")

MODELS = st.fixed_dictionaries(
    {
        "num_hidden_channels": st.sampled_from([0, 3]),
        "num_output_channels": st.sampled_from([0, 2]),
        "fire_rate": st.sampled_from([0.0, 0.3, 1.0]),
        "use_alive_mask": st.booleans(),
        "immutable_image_channels": st.booleans(),
        "filter_padding": st.sampled_from(["zero", "reflect", "replicate", "circular"]),
        "use_temporal_encoding": st.booleans(),
        "rule_args": st.sampled_from([None, {"nonlinearity": nn.Tanh}]),
    }
)
FILTERS = st.sampled_from(
    [{}, {"use_laplace": True}]
    + [{"num_learned_filters": n, "kernel_size": k} for n in (1, 3) for k in (1, 3, 5)]
)
GRIDS = st.sampled_from([(1, 1), (3, 200), (7, 5), (13, 11), (1, 9), (2, 2), (31, 37)])


def states(model: TinyModel, batch: int, grid: tuple[int, int], sparse: bool) -> Tensor:
    x = torch.randn(batch, model.num_channels, *grid, dtype=model.dtype)
    if sparse:
        x = torch.zeros_like(x)
        x[:, 3:, grid[0] // 2, grid[1] // 2] = 1
    return x


def gradients(model: TinyModel, x: Tensor, steps: int, engine: Any) -> list[Tensor]:
    x = x.clone().requires_grad_()
    model.zero_grad()
    after = rollout(model, x, steps, seed=5, engine=engine)
    weights = torch.linspace(-1, 1, after.numel(), dtype=after.dtype).view_as(after)
    ((after * weights).sum() + after.square().mean()).backward()
    leaves = [x, *model.parameters()]
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in leaves]


@settings(max_examples=60, deadline=None)
@given(MODELS, FILTERS, GRIDS, st.sampled_from([1, 3, 17]), st.integers(1, 6), st.booleans())
def test_fused_equals_reference_in_states_and_gradients(
    model_arguments: dict[str, Any],
    filters: dict[str, Any],
    grid: tuple[int, int],
    batch: int,
    steps: int,
    sparse: bool,
) -> None:
    torch.manual_seed(0)
    model = TinyModel(CPU, 4, hidden_size=8, **model_arguments, **filters).double()
    awaken(model, 0.1)
    x = states(model, batch, grid, sparse)

    after = [rollout(model, x, steps, seed=5, engine=e) for e in ("reference", "fused")]
    slopes = [gradients(model, x, steps, e) for e in ("reference", "fused")]

    torch.testing.assert_close(after[1], after[0], atol=1e-12, rtol=1e-12)
    for fused, reference in zip(slopes[1], slopes[0], strict=True):
        torch.testing.assert_close(fused, reference, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize("learned", [0, 2])
def test_fused_gradients_equal_finite_differences(make_model: Any, learned: int) -> None:
    model = make_model(
        num_learned_filters=learned, hidden_size=4, rule_args={"nonlinearity": nn.Tanh}
    ).double()
    x = torch.rand(1, 9, 3, 4, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        return rollout(model, x, 3, seed=1, engine="fused")

    assert torch.autograd.gradcheck(run, (x, *model.parameters()))


def test_fused_keeps_float32_states_and_gradients_close_to_float64(make_model: MakeModel) -> None:
    model = make_model(num_hidden_channels=8, hidden_size=64)
    x = torch.rand(2, model.num_channels, 20, 17)

    after, slopes = rollout(model, x, 8, seed=5), gradients(model, x, 8, "fused")

    exact = model.double()
    want = rollout(exact, x.double(), 8, seed=5, engine="reference")
    torch.testing.assert_close(after.double(), want, atol=1e-5, rtol=0)
    for got, slope in zip(slopes, gradients(exact, x.double(), 8, "reference"), strict=True):
        assert (got - slope).norm() <= 1e-4 * slope.norm()


@pytest.mark.parametrize("engine", ["reference", "fused"])
@pytest.mark.parametrize("alive", [False, True])
@pytest.mark.parametrize("checkpoint", ["auto", 1, 3, 100])
def test_checkpointing_changes_no_bit_of_a_gradient(
    make_model: MakeModel, engine: Any, alive: bool, checkpoint: Any
) -> None:
    model = make_model(use_alive_mask=alive, use_temporal_encoding=True)
    x = torch.rand(3, model.num_channels, 12, 9)
    leaves = [x.requires_grad_(), *model.parameters()]

    def slopes(checkpoint: Any) -> tuple[Tensor, ...]:
        after = rollout(model, x, 10, seed=3, engine=engine, checkpoint=checkpoint)
        return torch.autograd.grad(after.square().sum(), leaves)

    for kept, recomputed in zip(slopes(None), slopes(checkpoint), strict=True):
        assert torch.equal(kept, recomputed)


def saved_bytes(model: TinyModel, x: Tensor, steps: int, checkpoint: Any) -> int:
    """Count the bytes that autograd keeps of a rollout, besides the parameters."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        rollout(model, x, steps, seed=1, engine="fused", checkpoint=checkpoint)
    return sum(sizes) - sum(p.numel() * p.element_size() for p in model.parameters())


def test_what_checkpointing_keeps_grows_with_the_root_of_the_steps(make_model: MakeModel) -> None:
    model = make_model()
    x = torch.rand(1, model.num_channels, 20, 20)
    # The states to start from, and the last ones, with their frame.
    states = model.num_channels * (20 * 20 + 22 * 22) * x.element_size()

    kept = {n: saved_bytes(model, x, n, None) - states for n in (16, 64, 256)}
    lean = {n: saved_bytes(model, x, n, "auto") for n in (16, 64, 256)}

    assert kept[64] > 3.9 * kept[16]
    assert lean[64] <= 2 * lean[16]
    assert lean[256] <= 2 * lean[64]
    # What is kept of a step are the mutable channels of the cells that fired, about half of them;
    # what is checkpointed are whole states.
    assert 3 * lean[256] < kept[256]


@pytest.mark.parametrize("chain", [[4, 5], [1, 1, 7], [8, 1]])
@pytest.mark.parametrize("engine", ["reference", "fused"])
def test_rollouts_in_a_row_equal_one(make_model: MakeModel, engine: Any, chain: list[int]) -> None:
    model = make_model(use_alive_mask=True, use_temporal_encoding=True)
    x = torch.rand(2, model.num_channels, 8, 11)
    one = rollout(model, x, sum(chain), seed=2, engine=engine)

    start = 0
    for steps in chain:
        x = rollout(model, x, steps, start=start, seed=2, engine=engine)
        start += steps

    assert torch.equal(x, one)


def test_engines_agree_in_every_mode(make_model: MakeModel) -> None:
    model = make_model()
    x = torch.rand(2, 9, 9, 7)
    want = rollout(model, x, 5, seed=2, engine="reference").detach()

    with torch.no_grad():
        without_graph = rollout(model, x, 5, seed=2, engine="fused")
    with torch.inference_mode():
        inferred = rollout(model, x, 5, seed=2, engine="fused").clone()
        within = rollout(model, x.clone(), 5, seed=2, engine="fused").clone()
    moved = rollout(model.to("cpu", torch.float64), x.double(), 5, seed=2, engine="fused")

    for got in (without_graph, inferred, within, moved.float()):
        torch.testing.assert_close(got, want, atol=1e-6, rtol=0)


def test_autocast_is_obeyed(make_model: MakeModel) -> None:
    model = make_model()
    x = torch.rand(2, 9, 9, 7)

    with torch.autocast("cpu", torch.bfloat16):
        got = rollout(model, x, 5, seed=2)
        want = rollout(model, x, 5, seed=2, engine="reference")
        with pytest.raises(ValueError, match="autocast"):
            rollout(model, x, 5, seed=2, engine="fused")

    assert torch.equal(got, want)
    exact = rollout(model, x, 5, seed=2)
    assert not torch.equal(got, exact)
    torch.testing.assert_close(got, exact, atol=0.05, rtol=0)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_engines_update_the_same_cells(make_model: MakeModel, rate: float) -> None:
    model = make_model(fire_rate=rate, immutable_image_channels=False)
    x = torch.rand(17, 9, 13, 11)

    changed = [
        (rollout(model, x, 1, seed=8, engine=engine) != x).any(dim=1)
        for engine in ("reference", "fused")
    ]

    assert torch.equal(*changed)
    assert changed[0].float().mean().item() == pytest.approx(rate, abs=0.03)


def test_gradients_go_through_torchs_checkpointing(make_model: MakeModel) -> None:
    model = make_model()
    x = torch.rand(1, 9, 6, 5, requires_grad=True)

    def run(x: Tensor) -> Tensor:
        return rollout(model, x, 4, seed=3, engine="fused")

    (direct,) = torch.autograd.grad(run(x).square().sum(), x)
    again = torch.utils.checkpoint.checkpoint(run, x, use_reentrant=False)
    (checkpointed,) = torch.autograd.grad(again.square().sum(), x)

    assert torch.equal(direct, checkpointed)


def test_frozen_parameters_get_no_gradient(make_model: MakeModel) -> None:
    model = make_model(num_learned_filters=2)
    model.finetune()

    rollout(model, torch.rand(1, 9, 4, 4), 3, engine="fused").sum().backward()

    trained = [name for name, p in model.named_parameters() if p.grad is not None]
    assert trained == ["rule.network.2.weight"]


def test_a_nan_kills_no_more_cells_than_in_the_reference(make_model: MakeModel) -> None:
    model = make_model(use_alive_mask=True, fire_rate=1.0, immutable_image_channels=False)
    x = torch.rand(1, model.num_channels, 9, 9) + 0.2
    x[0, 3, 4, 4] = torch.nan

    got, want = (rollout(model, x, 1, seed=1, engine=e) for e in ("fused", "reference"))

    torch.testing.assert_close(got, want, atol=1e-6, rtol=0, equal_nan=True)


class DoublingRule(AbstractNCARule):
    """A rule of another kind."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.output_size]

    def freeze(self, freeze_last: bool = False) -> None:
        pass


class DriftingModel(TinyModel):
    """A model with an update of its own."""

    def _update(self, x: Tensor, step: int) -> Tensor:
        return torch.full_like(x, step + 1.0)


def test_an_overridden_update_is_obeyed() -> None:
    model = DriftingModel(CPU, 1, 1, 0, fire_rate=1.0, immutable_image_channels=False)

    after = rollout(model, torch.zeros(1, 2, 3, 3), 3)

    assert torch.equal(after, torch.full_like(after, 1.0 + 2.0 + 3.0))


def test_another_rule_is_obeyed() -> None:
    model = TinyModel(CPU, 1, 1, 0, fire_rate=1.0, rule_type=DoublingRule)

    assert rollout(model, torch.ones(1, 2, 3, 3), 3)[:, 1].unique().item() == 2.0**3


def test_fused_names_why_it_cannot_serve(make_model: MakeModel) -> None:
    drifting = DriftingModel(CPU, 1, 1, 0)

    with pytest.raises(ValueError, match="fused.*DriftingModel overrides _update"):
        rollout(drifting, torch.zeros(1, 2, 3, 3), 1, engine="fused")
    assert why_not_fused(make_model(), torch.rand(1, 9, 3, 3)) is None


def test_a_hook_on_the_rule_is_obeyed(make_model: MakeModel) -> None:
    model = make_model()
    x = torch.rand(1, 9, 3, 3)
    handle = model.rule.register_forward_hook(lambda *_: torch.zeros_like(x))

    assert torch.equal(rollout(model, x, 2), x)
    handle.remove()
    assert not torch.equal(rollout(model, x, 2), x)


def test_on_step_sees_every_state_and_may_end_the_rollout(make_model: MakeModel) -> None:
    model = make_model()
    x = torch.rand(1, 9, 3, 3)
    seen: list[tuple[int, Tensor]] = []

    def watch(steps: int, state: Tensor) -> bool:
        seen.append((steps, state))
        return steps == 4

    with torch.no_grad():
        last = rollout(model, x, 9, seed=1, on_step=watch)
        want = [rollout(model, x, n, seed=1) for n in range(1, 5)]

    assert [n for n, _ in seen] == [1, 2, 3, 4]
    assert all(torch.equal(s, w) for (_, s), w in zip(seen, want, strict=True))
    assert torch.equal(last, want[-1])


class Chain(Runner):
    """Runs as many steps through one automaton as through the next one."""

    def __init__(self, models: tuple[TinyModel, TinyModel]) -> None:
        self.models = models

    def run(
        self, x: Tensor, steps: int | list[int], options: RolloutOptions, tile: Tile = None
    ) -> Tensor:
        for model in self.models:
            x = rollout(model, x, steps, **options)
            options = {**options, "start": options["start"] + total_steps(steps)}
        return x

    def continue_rollout(self, x: Tensor, steps: int, options: RolloutOptions) -> Tensor:
        return rollout(self.models[-1], x, steps, **options)

    def coarse_steps(self, steps: int) -> int:
        return steps

    def export_plan(self) -> ExportPlan:
        return ExportPlan(self.models)


class ChainModel(TinyModel):
    """Runs its steps through another model, then as many through a third."""

    models: tuple[TinyModel, TinyModel]

    @property
    def runner(self) -> Chain:
        return Chain(self.models)


def test_a_chain_runs_its_links_with_one_seed_and_the_same_options(make_model: MakeModel) -> None:
    chain = ChainModel(CPU, 4, 3, 2, hidden_size=16)
    chain.__dict__["models"] = (make_model(), make_model(use_laplace=True))
    x = torch.rand(1, 9, 5, 4)
    seen: list[int] = []

    got = rollout(chain, x, 3, seed=6, samples=[2], on_step=lambda step, _: seen.append(step))

    half = rollout(chain.models[0], x, 3, seed=6, samples=[2])
    want = rollout(chain.models[1], half, 3, start=3, seed=6, samples=[2])
    torch.testing.assert_close(got, want, atol=1e-6, rtol=0)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert torch.equal(chain(x, 3, seed=6, samples=[2]).output_image, want)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.rand(9, 4, 4)}, r"x must have shape \(B, C, W, H\).*\(9, 4, 4\)"),
        ({"x": torch.rand(1, 9, 0, 4)}, r"x must have shape"),
        ({"x": torch.rand(1, 4, 4, 4)}, "x must have 9 channels.*got 4"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"start": -1}, "start must be at least 0, got -1"),
        ({"seed": -1}, "seed must be in"),
        ({"samples": [0, 1]}, "samples must be 1 indices"),
        ({"engine": "warp"}, "engine must be one of .*got 'warp'"),
    ],
)
def test_bad_input_is_named(make_model: MakeModel, change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"x": torch.rand(1, 9, 4, 4), "steps": 1, **change}

    with pytest.raises(ValueError, match=message):
        rollout(make_model(), **arguments)


@pytest.mark.parametrize(
    "change", [{"x": torch.ones(1, 9, 4, 4, dtype=torch.uint8)}, {"x": [1]}, {"steps": 1.5}]
)
def test_bad_types_are_named(make_model: MakeModel, change: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"x": torch.rand(1, 9, 4, 4), "steps": 1, **change}

    with pytest.raises(TypeError, match=rf"{next(iter(change))} must be"):
        rollout(make_model(), **arguments)


def test_two_threads_roll_out_one_model_each_with_its_own_masks(make_model: MakeModel) -> None:
    model = make_model()
    x = torch.rand(2, 9, 48, 48)
    seeds = (1, 2)
    want = [rollout(model, x, 12, seed=seed) for seed in seeds]
    got: dict[int, Tensor] = {}

    def run(seed: int) -> None:
        got[seed] = rollout(model, x, 12, seed=seed)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for seed, expected in zip(seeds, want, strict=True):
        torch.testing.assert_close(got[seed], expected, atol=1e-6, rtol=0)
