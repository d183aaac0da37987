import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_models import Run

import ncalab
from ncalab.cli.jobs import doctor
from ncalab.core import AbstractNCAModel

PACKAGES = Path(__file__).parents[2]


def test_the_doctor_names_versions_devices_and_extras(run: Run) -> None:
    result = run("doctor")

    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"ncalab {ncalab.__version__}: core 0.")
    assert f"torch {torch.__version__}" in result.output
    assert f"  cpu   {torch.get_num_threads()} threads" in result.output
    assert "  onnx " in result.output


def test_the_doctor_says_why_a_faster_engine_does_not_serve(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "why_not_compiled", lambda *_: "it was not built")

    output = run("doctor").output

    assert "engine: operations (no faster one: it was not built)" in output


def test_a_model_that_no_fast_engine_serves_runs_on_the_reference(
    growing: AbstractNCAModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "why_not_fused", lambda *_: "its rule is another")

    found = doctor.serving_engine(growing, torch.zeros(1, growing.num_channels, 4, 4))

    assert found == ("reference", "its rule is another")


def test_the_doctor_knows_every_extra(run: Run) -> None:
    found: dict[str, Any] = json.loads(run("doctor", "--json").output)["extras"]

    declared = set()
    for file in PACKAGES.glob("*/pyproject.toml"):
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        declared |= set(project.get("optional-dependencies", {}))
    assert set(found) == declared
    assert all(extra["purpose"] for extra in found.values())


def test_a_missing_extra_comes_with_the_command_that_installs_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "onnx" else real(name))

    command = 'pip install "./packages/ncalab-core[onnx]"'
    assert f"  onnx         no (ncalab export --format onnx): {command}" in run("doctor").output
