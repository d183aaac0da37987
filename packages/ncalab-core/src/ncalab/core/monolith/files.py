"""Files of the monolithic ncalab: what they hold, and what that says about the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncalab.core.monolith.names import OLD_NETWORK, place_of
from ncalab.core.saving import PathLike, is_ours, read_tensors

FIRST, BIAS, LAST = "rule.network.0.weight", "rule.network.0.bias", "rule.network.2.weight"

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class MonolithWeights:
    """Weights as they were saved, under the names of today. Printing it says what is known.

    Attributes:
        path: File that was read.
        models: Tensors of each saved model: "" is that of a file with one model; a cascade has
            "wrapped", and in some versions "models.0", "models.1"...
        old_network: Whether the file is of the time before the rule was a module of its own.
        settings: Names of tensors that are not weights (class weights of a loss, for example).
        unknown: Names of tensors that no version is known to have written.
        unused: Names of tensors that no version ever ran: the rule of a cascade itself.
    """

    path: Path
    models: dict[str, Tensors]
    old_network: bool
    settings: tuple[str, ...]
    unknown: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def is_cascade(self) -> bool:
        """Whether a cascade was saved."""
        return "" not in self.models

    @property
    def main(self) -> Tensors:
        """Tensors of the model, or of the one that a cascade wraps."""
        return self.models["wrapped" if self.is_cascade else ""]

    @property
    def num_channels(self) -> int:
        """Number of channels of a cell: image, hidden and output."""
        return self.main[LAST].shape[0]

    @property
    def hidden_size(self) -> int:
        """Number of hidden neurons of the rule."""
        return self.main[LAST].shape[1]

    @property
    def num_filters(self) -> int:
        """Number of perception filters, fixed or learned."""
        return self.main[FIRST].shape[1] // self.num_channels - 1

    @property
    def use_temporal_encoding(self) -> bool:
        """Whether cells perceived the step."""
        return self.main[FIRST].shape[1] % self.num_channels == 1 and self.num_channels > 1

    @property
    def learned_filters(self) -> Tensor | None:
        """Learned filters, shape ``(n, C, k, k)``, if the file has them."""
        return learned_filters(self.main)

    def __str__(self) -> str:
        kind = "a cascade" if self.is_cascade else "one model"
        lines = [
            f"{self.path}: weights of {kind} of the monolithic ncalab",
            f"  channels: {self.num_channels} (image + hidden + output; not said how many of each)",
            f"  hidden_size={self.hidden_size}",
            f"  use_temporal_encoding={self.use_temporal_encoding}",
            f"  perception: {self._describe_filters()}",
        ]
        if (first := self.main.get("head.classifier.2.weight")) is not None:
            classes = self.main["head.classifier.4.weight"].shape[0]
            lines.append(f"  head: num_classes={classes}, head_hidden_size={first.shape[0]}")
        lines.append("  not in the file: fire_rate, filter_padding, steps, and all other settings")
        return "\n".join(lines)

    def _describe_filters(self) -> str:
        count = self.num_filters
        learned = self.learned_filters
        if learned is not None:
            return f"num_learned_filters={count}, kernel_size={learned.shape[-1]}"
        fixed = {2: "the Sobel filters", 3: "Sobel and Laplace filters"}.get(count)
        lost = f"num_learned_filters={count}, which were not saved"
        return lost if fixed is None else f"either {fixed}, or {lost}"


def learned_filters(tensors: Tensors) -> Tensor | None:
    """Stack the learned filters of a model, shape ``(n, C, k, k)``; None if there are none."""
    count = sum(name.startswith("filters.") for name in tensors)
    if count == 0:
        return None
    return torch.stack([tensors[f"filters.{i}"][:, 0] for i in range(count)])


def read_monolith(path: PathLike) -> MonolithWeights:
    """Read a weights file of the monolithic ncalab.

    Args:
        path: A safetensors file (``model.save``) or a state dict (``.pth``, what trainers wrote).
            A state dict is read by ``torch.load(weights_only=True)``: tensors and nothing else,
            so no code in it is ever run.

    Returns:
        The weights, on the CPU, and what their shapes show.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is neither, holds anything but tensors, or no weights of an NCA.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "old.pth"
    >>> rule = {"0.weight": (8, 12, 1, 1), "0.bias": (8,), "2.weight": (4, 8, 1, 1)}
    >>> torch.save({f"rule.network.{name}": torch.ones(s) for name, s in rule.items()}, file)
    >>> weights = read_monolith(file)
    >>> weights.num_channels, weights.hidden_size, weights.num_filters
    (4, 8, 2)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path must be a weights file, got {path}")
    tensors = _read_any(path)
    models: dict[str, Tensors] = {}
    settings, unknown = [], []
    for key, value in tensors.items():
        place = place_of(key)
        if place is None:
            unknown.append(key)
        elif not place.name:
            settings.append(key)
        else:
            models.setdefault(place.model, {})[place.name] = _as_convolution(place.name, value)
    unused = _drop_own_rule(models)
    for model in models.values():
        _check(path, model)
    if "" not in models and "wrapped" not in models:
        raise ValueError(f"{path} must hold weights of an NCA, got {sorted(tensors)[:8]}")
    old = any(OLD_NETWORK.match(key) for key in tensors)
    return MonolithWeights(path, models, old, tuple(settings), tuple(unknown), unused)


def _read_any(path: Path) -> Tensors:
    """Read all tensors of either format."""
    with path.open("rb") as file:
        start = file.read(9)
    # Eight bytes of length, then JSON; archives and pickles start otherwise.
    if start[8:] == b"{":
        tensors, metadata = read_tensors(path)
        if is_ours(metadata):
            raise ValueError(
                f"{path} must be a file of the monolithic ncalab, got one of this library; "
                "read it with from_pretrained or load"
            )
        # Of tensors that share their memory, one is stored; the others are named beside it.
        shared = {name: tensors[kept] for name, kept in metadata.items() if kept in tensors}
        return {**shared, **tensors}
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a broken stream makes the reader stumble in any way
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"{path} must be a safetensors file or a state dict of tensors alone "
            f"(nothing else is unpickled): {reason}"
        ) from error
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"{path} must hold a state dict of tensors, got {type(content).__name__}")
    return {str(key): value for key, value in content.items()}


def _as_convolution(name: str, value: Tensor) -> Tensor:
    """Give the weights of a linear layer of the rule the shape of a 1x1 convolution."""
    linear = name in (FIRST, LAST) and value.ndim == 2
    return value[:, :, None, None] if linear else value


def _drop_own_rule(models: dict[str, Tensors]) -> tuple[str, ...]:
    """Take apart what a cascade saved: give its head to the wrapped model, drop its own rule."""
    if "wrapped" not in models:
        return ()
    own = models.pop("", {})
    for name, value in own.items():
        if name.startswith("head."):
            models["wrapped"].setdefault(name, value)
    return tuple(name for name in own if not name.startswith("head."))


def _check(path: Path, tensors: Tensors) -> None:
    """Raise unless the tensors of a model are those of a rule, and finite."""
    missing = [name for name in (FIRST, BIAS, LAST) if name not in tensors]
    if missing:
        raise ValueError(f"{path} must hold the two layers of a rule, but lacks {missing}")
    first, bias, last = (tensors[name] for name in (FIRST, BIAS, LAST))
    sizes = first.shape[:1] == bias.shape == last.shape[1:2]
    if not sizes or first.ndim != 4 or last.ndim != 4 or first.shape[1] < last.shape[0]:
        shapes = [tuple(each.shape) for each in (first, bias, last)]
        raise ValueError(f"{path} must hold the two layers of a rule, got shapes {shapes}")
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise ValueError(f"{path} must hold finite weights, but {name} has NaN or infinities")
    if learned := [name for name in tensors if name.startswith("filters.")]:
        shapes_of = {tuple(tensors[name].shape) for name in learned}
        numbered = all(f"filters.{i}" in tensors for i in range(len(learned)))
        if len(shapes_of) != 1 or not numbered or len(next(iter(shapes_of))) != 4:
            raise ValueError(f"{path} must hold filters 0 to n - 1 of one size, got {learned}")
