"""The CUDA engine against the reference: on a GPU, or else in Triton's interpreter.

The interpreter runs the kernels' code on the CPU, cell by cell the same mathematics, but says
nothing of speed; states of some ten cells keep it below a second.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from core_models import MakeModel, TinyModel
from torch import Tensor, nn

from ncalab.core.fire import FireClock
from ncalab.core.rollout import reference, rollout
from ncalab.core.rollout.cuda import engine as cuda
from ncalab.core.rollout.cuda.precision import Precision, precision_of

triton = pytest.importorskip("triton", reason="the CUDA engine needs Triton, it is not installed")

ON_GPU = torch.cuda.is_available()
if not ON_GPU:
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("there is no GPU, and TRITON_INTERPRET is not 1", allow_module_level=True)
    if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7):
        pytest.skip("there is no GPU, and Triton's interpreter is too old", allow_module_level=True)

DEVICE = torch.device("cuda" if ON_GPU else "cpu")
needs_gpu = pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
needs_interpreter = pytest.mark.skipif(ON_GPU, reason="float64 runs in the interpreter only")


@pytest.fixture(autouse=True)
def exact_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep cuDNN from computing the reference's convolutions in TF32, as it would by default."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def clock_of(model: TinyModel, x: Tensor, steps: int, **change: Any) -> FireClock:
    arguments = {"seed": 5, "samples": range(len(x)), "start": 0, **change}
    return FireClock(fire_rate=model.fire_rate, steps=steps, device=x.device, **arguments)


def fused(
    model: TinyModel, x: Tensor, steps: int, segment: int | None = None, **clock: Any
) -> Tensor:
    precision: Precision = "float32"
    when = clock_of(model, x, steps, **clock)
    return cuda.run(model, x, when, None, segment, precision=precision)


def referred(model: TinyModel, x: Tensor, steps: int, **clock: Any) -> Tensor:
    return reference.run(model, x, clock_of(model, x, steps, **clock))


Run = Callable[[TinyModel, Tensor], Tensor]


def results(model: TinyModel, x: Tensor, run: Run) -> list[Tensor]:
    """Return the states after a rollout and the gradients of states and parameters."""
    x = x.clone().requires_grad_()
    model.zero_grad()
    after = run(model, x)
    weights = torch.linspace(-1, 1, after.numel(), dtype=after.dtype, device=after.device)
    ((after * weights.view_as(after)).sum() + after.square().mean()).backward()
    slopes = [torch.zeros_like(p) if p.grad is None else p.grad for p in (x, *model.parameters())]
    return [after.detach(), *(slope.clone() for slope in slopes)]


def states(model: TinyModel, batch: int, grid: tuple[int, int], *, sparse: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(batch, model.num_channels, *grid, generator=generator)
    if sparse:
        # Opacities around the threshold, so that cells die and come alive.
        x *= torch.rand(batch, 1, *grid, generator=generator) < 0.1
        x[:, 3] *= 0.3
    return x.to(DEVICE, model.dtype)


ALIVE = {"use_alive_mask": True, "immutable_image_channels": False, "fire_rate": 0.5}
LEARNED = {"num_learned_filters": 2, "kernel_size": 5}
CASES: dict[str, tuple[dict[str, Any], int, tuple[int, int]]] = {
    "one cell": ({"filter_padding": "reflect"}, 1, (1, 1)),
    "one cell, learned filters": ({"num_learned_filters": 2}, 2, (1, 1)),
    "many tiny grids": ({"filter_padding": "circular", "fire_rate": 0.3}, 17, (2, 2)),
    "one column": ({"filter_padding": "replicate", "fire_rate": 0.3}, 1, (1, 17)),
    "zero padding": ({"filter_padding": "zero", "fire_rate": 1.0}, 1, (5, 7)),
    "nothing fires": ({"fire_rate": 0.0}, 1, (3, 4)),
    "laplace": ({"use_laplace": True, "fire_rate": 0.3}, 2, (3, 5)),
    "reflected twice": ({**LEARNED, "filter_padding": "reflect"}, 1, (2, 5)),
    "one place": ({"num_learned_filters": 3, "kernel_size": 1}, 1, (5, 7)),
    "one learned filter": ({"num_learned_filters": 1, "filter_padding": "zero"}, 1, (5, 7)),
    "time": ({"use_temporal_encoding": True, "immutable_image_channels": False}, 2, (4, 3)),
    "alive": ({**ALIVE, "filter_padding": "circular"}, 1, (7, 11)),
    "alive, fixed opacity": ({"use_alive_mask": True, "fire_rate": 1.0}, 1, (7, 5)),
    "many neurons": ({"num_hidden_channels": 17, "hidden_size": 200}, 1, (3, 5)),
    "many channels": ({"num_hidden_channels": 94, "hidden_size": 20}, 1, (3, 5)),
}


@pytest.mark.parametrize("case", CASES)
def test_states_and_gradients_are_those_of_the_reference(make_model: MakeModel, case: str) -> None:
    arguments, batch, grid = CASES[case]
    steps = 1 if arguments.get("kernel_size") == 5 else 2  # the interpreter's time
    model = make_model(**arguments).to(DEVICE)
    x = states(model, batch, grid, sparse="alive" in case)

    after, *slopes = results(model, x, partial(fused, steps=steps))

    exact, x = model.double(), x.double()
    want, *exact_slopes = results(exact, x, partial(referred, steps=steps))
    torch.testing.assert_close(after.double(), want, atol=1e-5, rtol=0)
    assert torch.equal(after == 0, want == 0)
    for slope, exact_slope in zip(slopes, exact_slopes, strict=True):
        assert (slope - exact_slope).norm() <= 1e-4 * exact_slope.norm()


def test_a_long_narrow_grid_is_that_of_the_reference(make_model: MakeModel) -> None:
    model = make_model(fire_rate=0.3).to(DEVICE)
    x = states(model, 1, (3, 200))

    with torch.no_grad():
        torch.testing.assert_close(fused(model, x, 1), referred(model, x, 1), atol=1e-5, rtol=0)


@needs_interpreter
def test_float64_is_that_of_the_reference_to_its_last_digits(make_model: MakeModel) -> None:
    arguments = {**ALIVE, **LEARNED, "use_temporal_encoding": True}
    model = make_model(**arguments, rule_args={"nonlinearity": nn.Tanh}).double()
    x = states(model, 2, (6, 4), sparse=True)

    both = [results(model, x, partial(run, steps=2, start=4)) for run in (fused, referred)]

    for got, want in zip(*both, strict=True):
        torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-9)


@needs_interpreter
def test_gradients_are_finite_differences(make_model: MakeModel) -> None:
    model = make_model(hidden_size=3, rule_args={"nonlinearity": nn.Tanh}).double()
    x = states(model, 1, (2, 2)).requires_grad_()

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        return fused(model, x, 2)

    assert torch.autograd.gradcheck(run, (x, *model.parameters()), fast_mode=True)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 1.0])
def test_fire_masks_are_those_of_the_hash_to_the_bit(make_model: MakeModel, rate: float) -> None:
    model = make_model(fire_rate=rate, immutable_image_channels=False, awake=False).to(DEVICE)
    values = {"network.0.weight": 0.0, "network.0.bias": 1.0, "network.2.weight": 1.0}
    for name, value in values.items():
        nn.init.constant_(model.rule.get_parameter(name), value)
    x = torch.zeros(2, 9, 13, 7, device=DEVICE)
    change: dict[str, Any] = {"seed": 2**62 + 11, "samples": (3, 70_000), "start": 9}

    with torch.no_grad():
        after = fused(model, x, 1, **change)

    mask = clock_of(model, x, 1, **change).mask(9, 13, 7)
    assert torch.equal(after != 0, mask.expand_as(after))


NONLINEARITIES: list[nn.Module] = [
    nn.ReLU(),
    nn.LeakyReLU(0.2),
    nn.ReLU6(),
    nn.Hardtanh(-0.5, 0.75),
    nn.ELU(0.7),
    nn.CELU(0.7),
    nn.SELU(),
    nn.Sigmoid(),
    nn.SiLU(),
    nn.Tanh(),
    nn.Softplus(2.0, 3.0),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.Identity(),
]


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES, ids=str)
def test_nonlinearities_and_their_slopes_are_torchs(
    make_model: MakeModel, nonlinearity: nn.Module
) -> None:
    model = make_model(rule_args={"nonlinearity": type(nonlinearity)}, fire_rate=1.0)
    model.rule.get_submodule("network").add_module("1", nonlinearity)
    # Far from zero on both sides, and at kinks.
    before = [-90.0, -7, -3, -1, -0.5, 0, 0.1, 0.75, 1, 1.5, 2, 3, 6, 7, 40, 90]
    with torch.no_grad():
        model.rule.get_parameter("network.0.weight").zero_()
        model.rule.get_parameter("network.0.bias").copy_(torch.tensor(before))
    model.to(DEVICE)
    x = states(model, 1, (2, 2))

    both = [results(model, x, partial(run, steps=1)) for run in (fused, referred)]

    for got, want in zip(*both, strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_checkpointed_gradients_are_the_same_to_the_bit(make_model: MakeModel) -> None:
    model = make_model(**ALIVE).to(DEVICE)
    x = states(model, 1, (3, 5))

    plain, *others = (
        results(model, x, partial(fused, steps=3, segment=segment)) for segment in (None, 2, 9)
    )

    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(plain, other, strict=True))


@needs_gpu
def test_gradients_are_the_same_to_the_bit_whenever_computed(make_model: MakeModel) -> None:
    model = make_model(**ALIVE, num_learned_filters=2).to(DEVICE)
    x = states(model, 4, (61, 67))

    first, *others = (results(model, x, partial(fused, steps=4)) for _ in range(3))

    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_gradients_go_through_torchs_checkpointing(make_model: MakeModel) -> None:
    model = make_model().to(DEVICE)
    x = states(model, 1, (3, 3)).requires_grad_()

    def run(x: Tensor) -> Tensor:
        return fused(model, x, 2)

    (direct,) = torch.autograd.grad(run(x).square().sum(), x)
    again = torch.utils.checkpoint.checkpoint(run, x, use_reentrant=False)
    (checkpointed,) = torch.autograd.grad(again.square().sum(), x)

    assert torch.equal(direct, checkpointed)


SECOND: dict[str, dict[str, Any]] = {
    "fixed filters": {"rule_args": {"nonlinearity": nn.Tanh}},
    "learned filters, time": {"num_learned_filters": 1, "use_temporal_encoding": True},
    "alive": ALIVE,
}


@pytest.mark.parametrize("segment", [None, 2])
@pytest.mark.parametrize("case", SECOND)
def test_second_derivatives_are_those_of_the_reference(
    make_model: MakeModel, case: str, segment: int | None
) -> None:
    model = make_model(**SECOND[case], hidden_size=5).to(DEVICE)
    x = states(model, 1, (2, 3))
    leaves = [x.requires_grad_(), *model.parameters()]

    def slopes(run: Run) -> tuple[Tensor, ...]:
        (slope,) = torch.autograd.grad(run(model, x).sigmoid().sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), leaves)

    got = slopes(partial(fused, steps=3, segment=segment))

    for found, want in zip(got, slopes(partial(referred, steps=3)), strict=True):
        assert want.abs().sum() > 0
        torch.testing.assert_close(found, want, atol=1e-6, rtol=1e-4)


def test_many_gradients_at_once_are_those_of_one_after_the_other(make_model: MakeModel) -> None:
    model = make_model(hidden_size=5).to(DEVICE)
    x = states(model, 1, (2, 1))

    def run(x: Tensor) -> Tensor:
        return fused(model, x, 1)[:, 4:6]

    at_once = torch.autograd.functional.jacobian(run, x, vectorize=True)

    torch.testing.assert_close(at_once, torch.autograd.functional.jacobian(run, x))


def test_frozen_parameters_get_no_gradient(make_model: MakeModel) -> None:
    model = make_model(num_learned_filters=2).to(DEVICE)
    model.finetune()

    fused(model, states(model, 1, (3, 3)), 2).sum().backward()

    trained = [name for name, p in model.named_parameters() if p.grad is not None]
    assert trained == ["rule.network.2.weight"]


def test_two_rollouts_in_a_row_are_one_and_change_no_input(make_model: MakeModel) -> None:
    model = make_model(use_temporal_encoding=True).to(DEVICE)
    x = states(model, 2, (4, 3))
    before = x.clone()

    with torch.no_grad():
        halves = fused(model, fused(model, x, 1), 2, start=1)

    assert torch.equal(halves, fused(model, x, 3).detach())
    assert torch.equal(x, before)


def test_a_nan_stays_where_it_is_masked(make_model: MakeModel) -> None:
    model = make_model(fire_rate=0.5).to(DEVICE)
    x = states(model, 1, (5, 5))
    x[:, 5, 2, 2] = float("nan")

    with torch.no_grad():
        after, want = fused(model, x, 2), referred(model, x, 2)

    assert torch.equal(after.isnan(), want.isnan())
    assert after[:, :4].isfinite().all()


def test_a_nan_is_not_alive(make_model: MakeModel) -> None:
    model = make_model(**ALIVE).to(DEVICE)
    x = states(model, 1, (7, 5))
    x[:, 3, 1, 2] = float("nan")

    with torch.no_grad():
        after, want = fused(model, x, 1), referred(model, x, 1)

    torch.testing.assert_close(after, want, atol=1e-5, rtol=0, equal_nan=True)


def test_on_step_sees_every_state_and_may_end_the_rollout(make_model: MakeModel) -> None:
    model = make_model().to(DEVICE)
    x = states(model, 1, (3, 3))
    seen: list[tuple[int, Tensor]] = []

    def watch(steps: int, state: Tensor) -> bool:
        seen.append((steps, state))
        return steps == 6

    with torch.no_grad():
        last = cuda.run(model, x, clock_of(model, x, 9, start=4), watch)
        want = [fused(model, x, n, start=4) for n in (1, 2)]

    assert [n for n, _ in seen] == [5, 6]
    assert all(torch.equal(s, w) for (_, s), w in zip(seen, want, strict=True))
    assert torch.equal(last, want[-1])


@pytest.mark.parametrize(
    "precision",
    # The interpreter multiplies the bits of bfloat16 as if they were integers.
    ["tf32", "tf32x3", pytest.param("bfloat16", marks=needs_gpu)],
)
def test_other_precisions_stay_close(make_model: MakeModel, precision: Precision) -> None:
    model = make_model().to(DEVICE)
    x = states(model, 1, (4, 4))

    def run(model: TinyModel, x: Tensor) -> Tensor:
        return cuda.run(model, x, clock_of(model, x, 2), precision=precision)

    both = results(model, x, run), results(model, x, partial(referred, steps=2))
    for got, want in zip(*both, strict=True):
        assert (got - want).norm() <= 2e-2 * want.norm()


def test_bfloat16_states_stay_bfloat16(make_model: MakeModel) -> None:
    builder = pytest.importorskip("triton.runtime.interpreter").InterpreterBuilder
    if not ON_GPU and not hasattr(builder, "get_bf16"):
        pytest.skip("there is no GPU, and Triton's interpreter has no bfloat16 before 3.8")
    model = make_model(**ALIVE).to(DEVICE).bfloat16()
    x = states(model, 1, (4, 4))

    after = cuda.run(model, x, clock_of(model, x, 2), precision="float32")
    after.float().sum().backward()

    want = referred(model.float(), x.float(), 2).detach()
    assert after.dtype == torch.bfloat16
    torch.testing.assert_close(after.float(), want, atol=3e-2, rtol=0)
    assert all(p.grad is not None for p in model.parameters())


def test_precision_follows_torchs_settings() -> None:
    x = torch.zeros(1, device=DEVICE)

    assert precision_of(x) == "float32"
    assert precision_of(x.bfloat16()) == "bfloat16"
    with torch.autocast(DEVICE.type, torch.bfloat16):
        assert precision_of(x) == "bfloat16"
    torch.set_float32_matmul_precision("high")
    try:
        assert precision_of(x) == "tf32"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"rule_args": {"nonlinearity": nn.Softsign}}, "does not know Softsign"),
        (
            {"num_learned_filters": 30},
            "9 channels and 270 filtered values, the most are 128 and 256",
        ),
    ],
)
def test_what_the_kernels_cannot_run_is_named(
    make_model: MakeModel, arguments: dict[str, Any], reason: str
) -> None:
    model = make_model(**arguments)

    assert reason in (cuda.why_no_kernel(model, torch.rand(1, 9, 2, 2)) or "")
    assert cuda.why_no_kernel(make_model(), torch.rand(1, 9, 2, 2)) is None


def test_all_launches_compile_for_a_gpu_and_fit_its_shared_memory() -> None:
    script = Path(__file__).parent / "support" / "compiled_rollouts.py"
    environment = {name: v for name, v in os.environ.items() if name != "TRITON_INTERPRET"}

    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    kernels, memory = zip(*map(str.split, done.stdout.splitlines()), strict=True)
    assert len(set(kernels)) == 5
    # What a block may have on the smallest of the GPUs with tensor cores for TF32.
    assert max(map(int, memory)) <= 99 * 1024


@needs_gpu
def test_rollout_serves_cuda_by_this_engine(make_model: MakeModel) -> None:
    model = make_model().to(DEVICE)
    x = states(model, 2, (9, 8))

    after = rollout(model, x, 3, seed=5, engine="fused")

    torch.testing.assert_close(after, fused(model, x, 3), atol=0, rtol=0)
    with pytest.raises(ValueError, match=r"fused.*float32 and bfloat16 states, not torch.float64"):
        rollout(model.double(), x.double(), 1, engine="fused")
