"""Compare a rule with what it was when its program was made."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from ncalab.core.rollout.cpu.compiled.trace import Trace, tensors_in

# Values whose representation tells all that there is of them.
_PLAIN = {
    *(bool, int, float, complex, str, bytes, type(None)),
    *(torch.dtype, torch.device, torch.Size),
}
_COLLECTIONS = {tuple, list, set, frozenset}
_MAPPINGS = {dict, OrderedDict}
_KNOWN = ("ncalab", "torch")


def fingerprint(rule: nn.Module, dtype: torch.dtype) -> tuple[Any, ...]:
    """Return what modules a rule consists of, with their attributes, besides values of tensors.

    Of rules for which :func:`is_closed` is true, nothing else changes with what they compute.
    """
    parts: list[Any] = [dtype]
    # Which tensors are one; another tensor in the place of one changes nothing.
    numbers: dict[int, int] = {}
    for part in rule.modules():
        parts += [id(part), type(part), type(part).forward]
        for name, value in vars(part).items():
            if name in ("_parameters", "_buffers"):
                tensors = ((key, t) for key, t in value.items() if t is not None)
                parts += [(k, numbers.setdefault(id(t), len(numbers)), t.shape) for k, t in tensors]
            elif name == "_modules":
                parts += [(key, id(child)) for key, child in value.items()]
            elif not _is_empty(value):
                parts.append((name, repr(value) if _is_plain(value) else id(value)))
    return tuple(parts)


def is_closed(rule: nn.Module) -> bool:
    """Return whether a rule reads nothing but its tensors and what its representation tells.

    Functions, arrays and classes of a user may read anything, such as a global of another module.
    """
    return all(_is_of_library(part) and _holds_plain_values(part) for part in rule.modules())


def signature(traced: Trace, tensors: list[Tensor]) -> tuple[Any, ...]:
    """Return the operations of a trace with all that they are given besides values of tensors.

    Two traces of a rule have the same signature if it computes the same, whatever it reads for it:
    globals, closures, defaults, arrays or attributes of any object.

    Args:
        traced: The trace, with gradients.
        tensors: Parameters and buffers of the rule.
    """
    numbers: dict[int, int] = {}
    for tensor in (*tensors, traced.x):
        numbers.setdefault(id(tensor), len(numbers))
    parts: list[Any] = []
    for call in traced.calls:
        # Before its results have numbers: what an operation returns may be what it was given.
        given = [_described(value, numbers) for value in (call.arguments, call.options)]
        results = list(tensors_in(call.result))
        for tensor in results:
            numbers.setdefault(id(tensor), len(numbers))
        found = ((numbers[id(t)], t.dtype, t.shape, bool(t._backward_hooks)) for t in results)
        parts.append((call.function, *given, call.is_hidden, *found))
    return (*parts, numbers.get(id(traced.result)), traced.result.shape)


def _described(value: Any, numbers: dict[int, int]) -> Any:
    """Return an argument as something to compare; a tensor by its number, or else its content."""
    if isinstance(value, Tensor):
        number = numbers.get(id(value))
        return _content(value) if number is None else number
    if isinstance(value, (list, tuple)):
        return tuple(_described(part, numbers) for part in value)
    if isinstance(value, dict):
        return tuple((name, _described(part, numbers)) for name, part in value.items())
    # Numbers by what is written: 1, 1.0 and True are equal, and NaN is not equal to itself.
    return repr(value)


def _content(tensor: Tensor) -> Any:
    if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        return object()  # equal to nothing: translated anew
    flat = tensor.detach().resolve_conj().resolve_neg().flatten().contiguous()
    return tensor.dtype, tensor.shape, flat.view(torch.uint8).numpy().tobytes()


def _is_of_library(part: nn.Module) -> bool:
    """Return whether a module's class is one of this library or of torch, and as that wrote it."""
    kind = type(part)
    names = (kind.__module__, getattr(kind.forward, "__module__", None) or "")
    return all(name.partition(".")[0] in _KNOWN for name in names)


def _holds_plain_values(part: nn.Module) -> bool:
    managed = ("_parameters", "_buffers", "_modules")
    own = (value for name, value in vars(part).items() if name not in managed)
    return all(_is_empty(value) or _is_plain(value) for value in own)


def _is_empty(value: Any) -> bool:
    """Return whether a value is an empty collection, as modules have many."""
    return type(value) in _MAPPINGS | {set} and not value


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind in _COLLECTIONS:
        return all(_is_plain(part) for part in value)
    if kind in _MAPPINGS:
        return all(_is_plain(part) for pair in value.items() for part in pair)
    # A class or function of the library, such as that of an activation, changes nothing.
    name = getattr(value, "__module__", None)
    is_code = isinstance(value, type) or (callable(value) and hasattr(value, "__name__"))
    return is_code and isinstance(name, str) and name.partition(".")[0] in _KNOWN
