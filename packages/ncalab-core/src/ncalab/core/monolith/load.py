"""Give the weights of a monolithic file to a model, all of them or none."""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from ncalab.core.model import AbstractNCAModel
from ncalab.core.monolith.files import read_monolith
from ncalab.core.monolith.names import Cells, split_scales
from ncalab.core.monolith.remarks import differences, lacks, needed
from ncalab.core.monolith.report import MonolithReport
from ncalab.core.saving import PathLike, check_weights

_FIRST, _LAST = "rule.network.0.weight", "rule.network.2.weight"
_FILTERS = "perception.filters"
# The monolith's Laplace filter is not divided by 16.
_LAPLACE_SCALE = 16

Filters = Tensor | Literal["keep"] | None


def load_monolith_weights(
    model: AbstractNCAModel, path: PathLike, *, filters: Filters = None
) -> MonolithReport:
    """Read weights that the monolithic ncalab saved.

    Its files have no configuration: ``model`` must have been built with the arguments of the old
    one. Its learned perception filters are in hardly any file (and were never trained); as the
    rule is useless without the filters that it was trained on, a file without them is refused
    unless ``filters`` says what to do. Where equations differ, weights are converted exactly if
    that can be; the rest is in the report.

    Args:
        model: Model, or cascade, of the configuration that was saved.
        path: A safetensors file, or a state dict that torch saved (``.pth``, ``.pt``), which is
            read through ``torch.load(weights_only=True)``: nothing else is ever unpickled.
        filters: For a model with learned filters and a file without: the filters, shape
            ``(n, C, k, k)``, or "keep" for those that the model has now.

    Returns:
        What was read and converted, what the file lacks, and what is left to check.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If ``model`` is no model, or ``filters`` neither a tensor nor "keep" nor None.
        ValueError: If the file is broken, does not fit the model, or has no learned filters where
            the model has some. The model is unchanged then.

    >>> import tempfile
    >>> import torch
    >>> from safetensors.torch import save_file
    >>> class Grid(AbstractNCAModel):
    ...     loss = None
    >>> model = Grid(torch.device("cpu"), 3, 4, 1, filter_padding="zero")
    >>> with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
    ...     save_file(model.state_dict(), file.name)
    ...     report = load_monolith_weights(model, file.name)
    >>> report.read
    ('rule.network.0.bias', 'rule.network.0.weight', 'rule.network.2.weight')
    """
    _check_arguments(model, filters)
    scales, unused = split_scales(read_monolith(path))
    cell = _cell_model(model)
    for cells in scales:
        _check_sizes(cells, cell, path)
    _check_filters(scales[0].filters, cell, path, filters)
    # The lines are the same for all scales.
    converted, *_ = [_convert(cells, cell) for cells in scales]
    weights = _assign(scales, model, path, filters)
    check_weights(model, weights, path)
    model.load_state_dict(weights)
    return MonolithReport(
        path=str(path),
        model=type(model).__name__,
        read=tuple(sorted(name for cells in scales for name in cells.sources)),
        converted=tuple(converted),
        unused=tuple(sorted(unused)),
        lacks=lacks(cell, scales[0], filters=filters),
        differs=differences(cell, scales[0]),
        needed=needed(cell),
    )


def _check_arguments(model: AbstractNCAModel, filters: Filters) -> None:
    if not isinstance(model, AbstractNCAModel):
        raise TypeError(f"model must be an AbstractNCAModel, got {type(model).__name__}")
    cell = _cell_model(model)
    if filters is None:
        return
    if not isinstance(filters, Tensor) and filters != "keep":
        raise TypeError(f'filters must be a tensor, "keep" or None, got {filters!r}')
    if not cell.num_learned_filters:
        raise ValueError("filters must be None for a model with fixed filters, got some")
    wanted = tuple(cell.perception.filters.shape)
    if isinstance(filters, Tensor) and tuple(filters.shape) != wanted:
        raise ValueError(f"filters must have shape {wanted}, got {tuple(filters.shape)}")


def _cell_model(model: AbstractNCAModel) -> AbstractNCAModel:
    """Return the model whose rule runs: the wrapped one of a cascade."""
    wrapped = getattr(model, "wrapped", None)
    return wrapped if isinstance(wrapped, AbstractNCAModel) else model


def _check_filters(
    found: Tensor | None, cell: AbstractNCAModel, path: PathLike, filters: Filters
) -> None:
    """Raise unless there are learned filters from one source if, and only if, they are needed."""
    if found is None:
        if cell.num_learned_filters and filters is None:
            raise ValueError(_no_filters(cell, path))
        return
    if filters is not None:
        raise ValueError(f"filters must be None for {path}, which has learned filters, got some")
    if not cell.num_learned_filters:
        raise ValueError(
            f"{path} has learned filters, so model must be built with num_learned_filters="
            f"{found.shape[0]} and kernel_size={found.shape[-1]}, got fixed filters"
        )


def _no_filters(cell: AbstractNCAModel, path: PathLike) -> str:
    shape = tuple(cell.perception.filters.shape)
    return (
        f"{path} has no learned filters, but the model has {cell.num_learned_filters}: the "
        "monolith did not save them, and its rule is useless without. If the old model had fixed "
        "filters, build this one with num_learned_filters=0. If you can get the old filters "
        "(where the old library is installed, they are those of a model built from the same "
        "random seed, as they were never trained: torch.stack([f.weight.detach()[:, 0] for f in "
        f"model.perception.filters])), give them as filters, shape {shape}. "
        'filters="keep" takes those that the model has now; it must then be trained again'
    )


def _check_sizes(cells: Cells, cell: AbstractNCAModel, path: PathLike) -> None:
    """Raise a ValueError that says which arguments are wrong, where sizes tell it."""
    saved, wanted = (_sizes(tensors) for tensors in (cells.tensors, cell.state_dict()))
    if wanted is None:
        raise ValueError(
            f"model must have the MLPNCARule of the monolith, got {type(cell.rule).__name__}; "
            "weights of another rule go into it by model.rule.load_state_dict"
        )
    if saved is None:
        names = sorted(cells.sources)
        raise ValueError(f"{path} must hold {_FIRST} and {_LAST}, or their old names, got {names}")
    if saved != wanted:
        raise ValueError(
            f"{path} does not fit {type(cell).__name__}: its rule has {saved}, the model's has "
            f"{wanted}; build the model with the arguments of the old one"
        )


def _sizes(tensors: Mapping[str, Tensor]) -> str | None:
    """Describe the sizes of a rule; None, if it has other layers."""
    first, last = tensors.get(_FIRST), tensors.get(_LAST)
    if first is None or last is None or first.ndim != 4 or last.ndim != 4:
        return None
    channels, seen = last.shape[0], first.shape[1]
    filters, more = divmod(seen - channels, channels)
    time = {0: "", 1: " and the step"}.get(more, f" and {more} others")
    return (
        f"{channels} channels, {first.shape[0]} hidden neurons and {seen} inputs a cell "
        f"(its state, {filters} filters of it{time})"
    )


def _convert(cells: Cells, cell: AbstractNCAModel) -> list[str]:
    """Change the weights in place so that they compute the same in our equations."""
    done = []
    if cells.linear:
        done.append("linear layers of the rule -> 1x1 convolutions")
    if cell.use_laplace:
        done.append(_divide_laplace(cells, cell))
    for name in sorted(cell.state_dict()):
        weight = cells.tensors.get(f"{name.removesuffix('.bias')}.weight")
        if name.startswith("head.") and name not in cells.tensors and weight is not None:
            cells.tensors[name] = weight.new_zeros(weight.shape[0])
            done.append(f"{name}: 0, as the old layer had none")
    return done


def _divide_laplace(cells: Cells, cell: AbstractNCAModel) -> str:
    """Make up for the division of our Laplace filter in the weights of what it sees."""
    channels = cell.num_channels
    start = channels * cell.perception.num_filters
    weight = cells.tensors[_FIRST].clone()
    weight[:, start : start + channels] *= _LAPLACE_SCALE
    cells.tensors[_FIRST] = weight
    return (
        f"{_FIRST}: inputs {start} to {start + channels - 1} times {_LAPLACE_SCALE}, "
        "as our Laplace filter is divided by that"
    )


def _assign(
    scales: list[Cells], model: AbstractNCAModel, path: PathLike, filters: Filters
) -> dict[str, Tensor]:
    """Name the weights as the model does; a cascade has them once for each set of weights."""
    wanted = model.state_dict()
    places = [""]
    if _cell_model(model) is not model:
        copies = {name.split(".")[1] for name in wanted if name.startswith("copies.")}
        places = [*(f"copies.{number}." for number in sorted(copies, key=int)), "wrapped."]
    if len(scales) not in (1, len(places)):
        raise ValueError(
            f"{path} has other weights for each of {len(scales)} scales, so model must be a "
            f"cascade of as many with single_model=False, got {len(places)} set(s) of weights"
        )
    weights: dict[str, Tensor] = {}
    for place, cells in zip(places, scales * (len(places) // len(scales)), strict=True):
        # Copies have no head: it reads the last scale only.
        head = place.startswith("copies.")
        names = [n for n in cells.tensors if not (head and n.startswith("head."))]
        weights |= {f"{place}{name}": cells.tensors[name] for name in names}
        kept = wanted.get(f"{place}{_FILTERS}")
        given = filters if isinstance(filters, Tensor) else kept if filters == "keep" else None
        learned = cells.filters if given is None else given
        if learned is not None:
            weights[f"{place}{_FILTERS}"] = learned.detach().clone()
    return weights
