import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from core_models import MakeModel
from hypothesis import given
from hypothesis import strategies as st

from ncalab.core import (
    fix_random_seed,
    get_compute_device,
    intepret_range_parameter,
    interpret_range_parameter,
    pad_input,
    unwrap,
)


@pytest.mark.parametrize("noise", [False, True])
def test_padding_keeps_the_image_and_appends_channels(make_model: MakeModel, noise: bool) -> None:
    model = make_model()
    image = torch.rand(2, 4, 30, 40)

    state = pad_input(image, model, noise=noise)

    assert state.shape == (2, 9, 30, 40)
    assert torch.equal(state[:, :4], image)
    assert (state[:, 4:].std() > 0) == noise


def test_noise_has_the_asked_mean_and_deviation_in_all_appended_channels(
    make_model: MakeModel,
) -> None:
    state = pad_input(torch.zeros(1, 4, 100, 100), make_model(), mean=2.0, std=0.5)

    for channel in state[0, 4:]:
        assert channel.mean().item() == pytest.approx(2, abs=0.05)
        assert channel.std().item() == pytest.approx(0.5, abs=0.05)


def test_noise_is_the_same_for_every_dtype(make_model: MakeModel) -> None:
    states = [
        pad_input(torch.zeros(1, 4, 3, 3, dtype=dtype), make_model(), generator=generator)
        for dtype in (torch.float32, torch.float64)
        if (generator := torch.Generator().manual_seed(0))
    ]

    assert torch.equal(states[0], states[1].float())


def test_a_state_is_returned_as_it_is(make_model: MakeModel) -> None:
    state = torch.rand(1, 9, 3, 3)

    assert pad_input(state, make_model()) is state


def test_another_number_of_channels_is_refused(make_model: MakeModel) -> None:
    with pytest.raises(ValueError, match="x must have 4 channels .* or 9 .* got 1"):
        pad_input(torch.rand(1, 1, 3, 3), make_model())


@given(st.integers(1, 1000), st.integers(1, 50))
def test_a_range_is_drawn_from_min_to_below_max(low: int, width: int) -> None:
    steps = interpret_range_parameter((low, low + width))

    assert low <= steps < low + width


def test_both_spellings_do_the_same() -> None:
    assert intepret_range_parameter(7) == interpret_range_parameter(7) == 7
    torch.manual_seed(0)
    first = intepret_range_parameter((1, 1000))
    torch.manual_seed(0)
    assert interpret_range_parameter((1, 1000)) == first


@pytest.mark.parametrize("value", ["5", 5.0, None, True, [1, 2], (1, 2, 3), (1.0, 2)])
def test_another_type_than_int_or_pair_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="steps must be an integer"):
        intepret_range_parameter(value)


@pytest.mark.parametrize("value", [0, (0, 3), (4, 4), (5, 2)])
def test_an_empty_range_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match="steps must be"):
        intepret_range_parameter(value)


def test_a_seed_fixes_python_numpy_and_torch() -> None:
    draws = []
    for _ in range(2):
        fix_random_seed(7)
        draws.append((random.random(), float(np.random.rand()), torch.rand(1).item()))

    assert draws[0] == draws[1]


def test_unwrap_passes_values_and_refuses_none() -> None:
    assert unwrap(0) == 0
    with pytest.raises(RuntimeError, match="must not be None"):
        unwrap(None)


def accelerators(monkeypatch: pytest.MonkeyPatch, *, cuda: int, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("name", "cuda", "mps", "want"),
    [
        ("cpu", 1, True, "cpu"),
        ("cuda:0", 1, False, "cuda:0"),
        ("cuda:0", 0, True, "cpu"),
        ("cuda", 2, False, "cuda"),
        ("mps", 0, True, "mps"),
        ("mps", 1, False, "cpu"),
        ("auto", 1, False, "cuda"),
        ("auto", 0, True, "mps"),
        ("auto", 0, False, "cpu"),
    ],
)
def test_the_device_is_the_wanted_one_or_the_cpu(
    monkeypatch: pytest.MonkeyPatch, name: str, cuda: int, mps: bool, want: str
) -> None:
    accelerators(monkeypatch, cuda=cuda, mps=mps)

    assert get_compute_device(name) == torch.device(want)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "meta", "cuda:2"])
def test_an_unknown_device_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    accelerators(monkeypatch, cuda=2, mps=False)

    with pytest.raises(ValueError, match=f"device must be .*got {name!r}"):
        get_compute_device(name)


def test_importing_creates_nothing_and_draws_nothing(tmp_path: Path) -> None:
    # safetensors, numpy and torch are imported first: only our own imports are on trial.
    script = """
import random, torch, torchmetrics
state, python = torch.get_rng_state(), random.getstate()
import ncalab.core as core
assert torch.equal(state, torch.get_rng_state())
assert python == random.getstate()
print(core.ROOT_PATH, core.WEIGHTS_PATH, core.TASK_PATH, sep="\\n")
"""

    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    root = tmp_path.resolve()
    paths = [Path(line).resolve() for line in run.stdout.split("\n") if line]
    assert paths == [root, root / "weights", root / "tasks"]
    assert list(tmp_path.iterdir()) == []
