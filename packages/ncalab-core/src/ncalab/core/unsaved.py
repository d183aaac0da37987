"""Tensors that no file holds, because they are made anew from a model's arguments."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ncalab.core.recomputed import find_recomputed

# Filters that were rounded to half precision and back are still those of the arguments.
_TOLERANCE = 0.01


def why_not_made_anew(model: nn.Module) -> str | None:
    """Say which tensor would be another one in a model that is built from the same arguments.

    Args:
        model: Model to save; not changed.

    Returns:
        The fault as a sentence with what to do about it; None if there is none.
    """
    for module in model.modules():
        # Automata, which stand on this; a cascade without one of its own has no parts.
        if hasattr(type(module), "_define_perception") and "perception" in module._modules:
            fault = _find_fault(module)
            if fault is not None:
                return fault
    return None


def _find_fault(automaton: Any) -> str | None:
    own = dict(_unsaved(automaton.perception))
    # A perception of another class was put in its place: a model of one's own making.
    if own and type(automaton.perception) is automaton.perception_type:
        twin = _build(automaton._define_perception, 0)
        if (fault := _compare(own, twin, automaton.perception)) is not None:
            return fault
    # Of a rule, such a tensor may change with use; but two fresh ones must agree.
    if type(automaton.rule) is automaton.rule_type and dict(_unsaved(automaton.rule)):
        first, second = (_build(automaton._define_rule, seed) for seed in (0, 1))
        return _compare(first, second, automaton.rule)
    return None


def _unsaved(part: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Find tensors that a state dict lacks: buffers that are not persistent, plain attributes."""
    computed = {each.name for each in find_recomputed(part)}
    for path, module in part.named_modules():
        buffers = {name: module._buffers[name] for name in module._non_persistent_buffers_set}
        for name, value in {**buffers, **vars(module)}.items():
            known = f"{path}.{name}" if path else name
            if isinstance(value, Tensor) and value.numel() and known not in computed:
                yield known, value


def _build(define: Callable[[], Any], seed: int) -> dict[str, Tensor]:
    """Return the unsaved tensors of a new part; of one that cannot be built, there are none."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        try:
            return dict(_unsaved(define()))
        except Exception:  # whatever a constructor raises; to rebuild the model raises it, too
            return {}


def _compare(own: dict[str, Tensor], twin: dict[str, Tensor], part: nn.Module) -> str | None:
    for name, value in own.items():
        other = twin.get(name)
        if other is not None and not _agree(value, other):
            path, _, attribute = name.rpartition(".")
            return (
                f"{attribute} of {type(part.get_submodule(path)).__name__} must be saved, or be "
                "the same whenever it is made from the same arguments, got another; make it an "
                "nn.Parameter or a persistent buffer, or compute it from arguments alone"
            )
    return None


def _agree(value: Tensor, other: Tensor) -> bool:
    if value.is_meta or other.is_meta:
        return True
    if value.shape != other.shape:
        return False
    value, other = (each.detach().to("cpu", torch.float64) for each in (value, other))
    scale = _TOLERANCE * other.abs().max().item()
    return torch.allclose(value, other, rtol=_TOLERANCE, atol=scale, equal_nan=True)
