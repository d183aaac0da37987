"""The documented API, held as data, against the installed wheels."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import ncalab

CONTRACT = json.loads((Path(__file__).parent / "contract.json").read_text(encoding="utf-8"))
BUILT = set(ncalab.__all__)
SCOPE = {"ncalab": ncalab, "torch": torch, "nn": torch.nn}


def documented(text: str) -> Any:
    """Evaluate a documented default; one that is a name of ncalab's stands for its value."""
    names = {name: getattr(ncalab, name) for name in ("MLPNCARule", "DEFAULT_RANDOM_SEED")}
    return eval(text, {**SCOPE, **names})  # data of our own, not of a user


def signature_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(function).parameters.values())
    return [p for p in parameters if p.name not in ("self", "cls")]


def cases() -> list[Any]:
    """List (label, function, documented parameters) of every name that is built so far."""
    found: list[Any] = []
    for name, entry in CONTRACT["classes"].items():
        if name in BUILT:
            cls = getattr(ncalab, name)
            methods = dict(entry["methods"])
            if entry["init"]:
                methods["__init__"] = entry["init"]
            found += [(f"{name}.{m}", getattr(cls, m), params) for m, params in methods.items()]
    for name, params in CONTRACT["functions"].items():
        if name in BUILT:
            found.append((name, getattr(ncalab, name), params))
    return [pytest.param(function, params, id=label) for label, function, params in found]


@pytest.mark.parametrize(("function", "params"), cases())
def test_parameters_are_the_documented_ones(
    function: Callable[..., Any], params: list[dict[str, str]]
) -> None:
    real = signature_of(function)
    # Explicit keywords may stand where the text has **kwargs.
    wanted = [p for p in params if not p["name"].startswith("*")]

    assert [p.name for p in real[: len(wanted)]] == [p["name"] for p in wanted]
    for parameter, want in zip(real, wanted, strict=False):
        if "default" in want:
            assert parameter.default == documented(want["default"]), parameter.name
    if {"*args"} & {p["name"] for p in params}:
        return  # what stands where the text has *args may be given by position
    for extra in real[len(wanted) :]:
        assert extra.kind in (extra.KEYWORD_ONLY, extra.VAR_KEYWORD, extra.VAR_POSITIONAL)


@pytest.mark.parametrize("name", sorted(BUILT & set(CONTRACT["classes"])))
def test_documented_properties_are_there(name: str) -> None:
    for prop in CONTRACT["classes"][name]["properties"]:
        assert hasattr(getattr(ncalab, name), prop)


@pytest.mark.parametrize("name", sorted(CONTRACT["attributes"]))
def test_documented_attributes_are_there(name: str) -> None:
    assert hasattr(ncalab, name)
