"""The monolith's names of tensors, and ours."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

# A cascade holds the model once more for each scale; its wrapped model had two names.
_SCALE = re.compile(r"(models\.\d+|wrapped|backbone)\.(.+)")
_FILTER = re.compile(r"(?:perception\.)?filters\.(\d+)\.weight")
# Models had their rule in themselves before there was a class for it.
_OLD_RULE = "network."


@dataclass
class Cells:
    """Weights of one model, under our names.

    Attributes:
        tensors: Weights of the rule and, if there is one, of the head.
        filters: Learned filters, shape ``(n, C, k, k)``, if the file has them.
        sources: The monolith's names.
        scale: What the file calls the model's place in a cascade, "" if there is none.
        old: Whether they are from before the rule was a module of its own.
        linear: Whether the rule was made of linear layers instead of 1x1 convolutions.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    filters: Tensor | None = None
    sources: list[str] = field(default_factory=list)
    scale: str = ""
    old: bool = False
    linear: bool = False

    def equals(self, other: "Cells") -> bool:
        """Say whether the weights of rule and filters are the same."""
        mine, others = self._comparable(), other._comparable()
        return mine.keys() == others.keys() and all(torch.equal(mine[k], others[k]) for k in mine)

    def _comparable(self) -> dict[str, Tensor]:
        rule = {name: value for name, value in self.tensors.items() if name.startswith("rule.")}
        return rule if self.filters is None else {**rule, "filters": self.filters}


def split_scales(tensors: Mapping[str, Tensor]) -> tuple[list[Cells], list[str]]:
    """Sort the tensors of a file by the scale of a cascade; one scale, if there is no cascade.

    Args:
        tensors: Tensors by the monolith's names.

    Returns:
        Weights of each scale, a single one if all scales have the same, and the names of the
        tensors that are not needed.

    Raises:
        ValueError: If learned filters are no depthwise convolutions of one shape.
    """
    scales: dict[str, dict[str, str]] = {}
    for name in tensors:
        match = _SCALE.fullmatch(name)
        scale, inner = match.groups() if match else ("", name)
        scales.setdefault(scale, {})[inner] = name
    numbered = sorted((s for s in scales if s.startswith("models.")), key=_number)
    names = numbered or [s for s in ("wrapped", "backbone", "") if s in scales][:1]
    cells = [_rename(tensors, scales[scale], scale) for scale in names]
    if all(other.equals(cells[0]) for other in cells[1:]):
        cells = cells[:1]
    used = {source for scale in cells for source in scale.sources}
    return cells, [name for name in tensors if name not in used]


def _number(scale: str) -> int:
    return int(scale.rpartition(".")[2])


def _rename(tensors: Mapping[str, Tensor], names: Mapping[str, str], scale: str) -> Cells:
    """Bring the tensors of one model under our names."""
    cells, filters = Cells(scale=scale), dict[int, Tensor]()
    for inner, name in names.items():
        value = tensors[name]
        cells.sources.append(name)
        if match := _FILTER.fullmatch(inner):
            filters[int(match[1])] = value
            continue
        if inner.startswith(_OLD_RULE):
            inner, cells.old = f"rule.{inner}", True
        if inner.startswith("rule.network.") and value.ndim == 2:
            value, cells.linear = value[:, :, None, None], True
        cells.tensors[inner] = value
    if filters:
        cells.filters = _stack([filters[number] for number in sorted(filters)])
    return cells


def _stack(filters: list[Tensor]) -> Tensor:
    """Make one tensor, ``(n, C, k, k)``, of the weights of depthwise convolutions."""
    shapes = {tuple(weight.shape) for weight in filters}
    if len(shapes) != 1 or filters[0].ndim != 4 or filters[0].shape[1] != 1:
        raise ValueError(f"learned filters must have one shape (C, 1, k, k), got {sorted(shapes)}")
    return torch.stack([weight[:, 0] for weight in filters])
