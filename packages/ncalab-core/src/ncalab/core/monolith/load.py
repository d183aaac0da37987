"""Bring the weights of an old file into a model of today."""

from collections.abc import Collection
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ncalab.core.monolith.differences import (
    KINDS,
    Difference,
    DifferenceKind,
    find_differences,
)
from ncalab.core.monolith.files import (
    FIRST,
    MonolithWeights,
    Tensors,
    learned_filters,
    read_monolith,
)
from ncalab.core.monolith.report import MonolithReport
from ncalab.core.saving import PathLike, check_weights

if TYPE_CHECKING:
    from ncalab.core.model import AbstractNCAModel

# The Laplace filter of today is that of the monolith, divided by this.
_LAPLACE_SCALE = 16
_FILTERS = "perception.filters"
_LAST_BIAS = "head.classifier.4.bias"


def load_monolith_weights(
    model: "AbstractNCAModel",
    path: PathLike,
    *,
    filters: Tensor | None = None,
    accept: Collection[DifferenceKind] = (),
) -> MonolithReport:
    """Load weights that the monolithic ncalab saved; all of them, or none and an error.

    A file holds no settings: make the model with those of then (:func:`read_monolith` reports what
    can be seen from the weights). Where the equations differ, weights are converted so that the
    model takes the same steps; where that cannot be, it is an error, unless ``accept`` names it.

    Args:
        model: Model to load them into; a cascade takes those of a cascade, or of one model for
            all of its scales.
        path: A safetensors file, or a state dict (``.pth``); see :func:`read_monolith`.
        filters: Learned perception filters, shape ``(n, C, k, k)``, if the file lacks them.
        accept: Kinds of differences to load the weights in spite of: "learned_filters", "border",
            "laplace", "alive_mask", "pad_noise", "activation", "cascade", "untrained",
            "unknown_tensors".

    Returns:
        What was read, converted, missing and ignored; print it.

    Raises:
        FileNotFoundError: If the file does not exist.
        TypeError: If ``accept`` is a word instead of a list of words.
        ValueError: If it holds other weights, they do not fit the model, or the model would act
            otherwise in a way that ``accept`` does not name; the model is unchanged.
    """
    if isinstance(accept, str):
        raise TypeError(f"accept must be a list of names of differences, got {accept!r}")
    for kind in accept:
        if kind not in KINDS:
            raise ValueError(f"accept must name differences ({', '.join(KINDS)}), got {kind!r}")
    weights = read_monolith(path)
    stages = _stages(model)
    _check_filters(weights, stages[0][1], filters)
    found = list(find_differences(weights, [stage for _, stage in stages], filters))
    if refused := [each for each in found if each.kind not in accept]:
        raise ValueError(_refusal(weights, refused))
    converted: list[str] = []
    given: list[str] = []
    tensors: Tensors = {}
    for (prefix, stage), source in zip(stages, _sources(weights, len(stages)), strict=True):
        state = _convert(stage, source, filters, converted, given)
        tensors.update({prefix + name: value for name, value in state.items()})
    check_weights(model, tensors, path)
    model.load_state_dict(tensors)
    return MonolithReport(
        path=weights.path,
        loaded=tuple(tensors),
        converted=tuple(dict.fromkeys(converted)),
        given=tuple(dict.fromkeys(given)),
        accepted=tuple(found),
        ignored=_ignored(weights),
        to_check=_to_check(model, weights),
    )


def _stages(model: "AbstractNCAModel") -> list[tuple[str, "AbstractNCAModel"]]:
    """Return the models with weights of their own, by prefix: one, or those of a cascade."""
    from ncalab.core.model import AbstractNCAModel

    found = [
        (f"{name}." if name else "", module)
        for name, module in model.named_modules()
        if isinstance(module, AbstractNCAModel) and "rule" in dict(module.named_children())
    ]
    if not found:
        raise ValueError(f"model must have a rule, got {type(model).__name__}")
    return found


def _sources(weights: MonolithWeights, count: int) -> list[Tensors]:
    """Return the saved tensors of each of ``count`` models, from coarse to fine."""
    scales = sorted((name for name in weights.models if name.startswith("models.")), key=_number)
    if len(scales) == count > 1:
        # The last one is the wrapped model, the only one that reads out.
        head = {name: value for name, value in weights.main.items() if name.startswith("head.")}
        return [
            {**{n: v for n, v in weights.models[s].items() if not n.startswith("head.")}, **extra}
            for s, extra in zip(scales, [*[{}] * (count - 1), head], strict=True)
        ]
    main = weights.main
    rule = {name: value for name, value in main.items() if not name.startswith("head.")}
    return [*[rule] * (count - 1), main]


def _number(name: str) -> int:
    return int(name.rsplit(".", maxsplit=1)[-1])


def _check_filters(
    weights: MonolithWeights, model: "AbstractNCAModel", filters: Tensor | None
) -> None:
    """Raise for filters that nothing needs, or that are of another shape."""
    if filters is None:
        return
    if weights.learned_filters is not None:
        raise ValueError("filters must be None for a file that has its own, got a tensor")
    wanted = (model.num_learned_filters, model.num_channels, model.kernel_size, model.kernel_size)
    if tuple(filters.shape) != wanted:
        raise ValueError(f"filters must have shape {wanted}, got {tuple(filters.shape)}")


def _convert(
    model: "AbstractNCAModel",
    source: Tensors,
    filters: Tensor | None,
    converted: list[str],
    given: list[str],
) -> Tensors:
    """Return the tensors of one model as they are to be loaded, and note what was done."""
    state = {name: value for name, value in source.items() if not name.startswith("filters.")}
    if model.use_laplace:
        state[FIRST] = _scale_laplace(state[FIRST], model.num_channels)
        converted.append(
            f"{FIRST}: what the Laplace filter goes into, times {_LAPLACE_SCALE}, by which the "
            "filter is smaller now"
        )
    if "head.classifier.4.weight" in state and _LAST_BIAS not in state:
        state[_LAST_BIAS] = torch.zeros(state["head.classifier.4.weight"].shape[0])
        given.append(f"{_LAST_BIAS}: 0, as the last layer of a head had no bias at that time")
    saved = learned_filters(source)
    if saved is not None:
        state[_FILTERS] = saved
        converted.append(f"{_FILTERS}: {len(saved)} learned filters, in one tensor now")
    elif model.num_learned_filters > 0:
        own = model.perception.get_parameter("filters").detach().clone()
        state[_FILTERS] = own if filters is None else filters
        origin = "those that the model had" if filters is None else "those given as filters="
        given.append(f"{_FILTERS}: {origin}")
    return state


def _scale_laplace(first: Tensor, channels: int) -> Tensor:
    """Scale the weights of the Laplace-filtered channels, the fourth block of the perception."""
    scaled = first.clone()
    scaled[:, 3 * channels : 4 * channels] *= _LAPLACE_SCALE
    return scaled


def _refusal(weights: MonolithWeights, refused: list[Difference]) -> str:
    kinds = ", ".join(repr(each.kind) for each in refused)
    listed = "".join(f"\n  - {each}" for each in refused)
    return (
        f"{weights.path} cannot be loaded so that the model acts as it did; change the model, or "
        f"accept=({kinds},) to load it in spite of:{listed}"
    )


def _ignored(weights: MonolithWeights) -> tuple[str, ...]:
    lines = [
        f"{name}: the rule of the cascade itself, which was never run" for name in weights.unused
    ]
    lines += [f"{name}: a setting of a loss or metric" for name in weights.settings]
    return (*lines, *(f"{name}: not known" for name in weights.unknown))


def _to_check(model: "AbstractNCAModel", weights: MonolithWeights) -> tuple[str, ...]:
    """List what no file says, as the model has it."""
    lines = [
        f"num_image_channels={model.num_image_channels}, "
        f"num_hidden_channels={model.num_hidden_channels}, "
        f"num_output_channels={model.num_output_channels}",
        f"immutable_image_channels={model.immutable_image_channels}",
        f"fire_rate={model.fire_rate}, inference_timesteps={model.inference_timesteps}",
    ]
    if model.num_learned_filters > 0:
        lines.append(f"filter_padding={model.filter_padding!r} of the learned filters")
    if model.use_temporal_encoding:
        lines.append(
            f"training_timesteps={model.training_timesteps}, which the temporal encoding divides "
            "by (record always encoded step 0)"
        )
    if model.task == "segmentation":
        lines.append(
            "reading of the output channels: they are logits now; some versions put their sigmoid "
            "into the final state. The mask is the same"
        )
    if weights.old_network:
        lines.append(
            "activation (rule_args={'nonlinearity': nn.LeakyReLU} for some versions) and fire_rate "
            "(in some versions, a cell was updated with probability 1 - fire_rate)"
        )
    return tuple(lines)
