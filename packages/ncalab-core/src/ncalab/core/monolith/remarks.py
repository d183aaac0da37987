"""What a monolithic file cannot hold, and where the monolith computed something else."""

from typing import Any

from ncalab.core.model import AbstractNCAModel
from ncalab.core.monolith.names import Cells


def lacks(cell: AbstractNCAModel, cells: Cells, *, filters: Any) -> tuple[str, ...]:
    """Say what the monolith did not save.

    Args:
        cell: Model whose rule has the weights.
        cells: What the file has.
        filters: What the user gave in place of learned filters.
    """
    lines = [
        "configuration: none of the model's arguments was checked beyond the shapes of its weights",
        "metrics and curves: measure with validate",
        "state of the training (optimiser, pool): a training starts anew",
    ]
    if cell.num_learned_filters and cells.filters is None:
        kept = "the model's own, untrained: train it" if isinstance(filters, str) else "yours"
        lines.append(f"learned perception filters: never saved; taken instead: {kept}")
    if cells.scale:
        lines.append(
            "scales and steps of the cascade, and weights of scales that were copies which "
            "it did not train"
        )
    return tuple(lines)


def needed(cell: AbstractNCAModel) -> tuple[str, ...]:
    """Name the model's values that the file does not confirm."""
    sizes = ("num_image_channels", "num_hidden_channels", "num_output_channels")
    names = [*sizes, "fire_rate", "use_alive_mask", "immutable_image_channels", "pad_noise"]
    names += ["rule_args", "inference_timesteps"]
    if cell.num_learned_filters:
        names.append("filter_padding")
    if cell.use_temporal_encoding:
        names.append("training_timesteps")
    lines = [", ".join(f"{name}={getattr(cell, name)!r}" for name in names)]
    if not cell.num_learned_filters:
        count = cell.perception.num_filters
        lines.append(
            f"that the {count} filters were fixed ones: {count} learned filters would have left "
            "the same file, which is of no use without them"
        )
    return tuple(lines)


def differences(cell: AbstractNCAModel, cells: Cells) -> tuple[str, ...]:
    """Say where the model computes something else than the monolith did with these weights."""
    lines = []
    if not cell.num_learned_filters and cell.filter_padding != "zero":
        lines.append(
            "borders: fixed filters of the monolith saw zeros there, whatever filter_padding was; "
            f"this model has {cell.filter_padding!r}, build it with 'zero'"
        )
    if cell.use_alive_mask:
        lines.append(
            "alive mask: the monolith looked at the states after an update only, this model before "
            "and after: a cell cannot come alive out of reach of living ones"
        )
    if cell.use_alive_mask and cell.immutable_image_channels:
        lines.append("alive mask: the monolith masked immutable image channels, too")
    if cell.use_temporal_encoding:
        lines.append("step: record of the monolith gave its cells step 0 all the time")
    if cell.task == "segmentation":
        lines.append(
            "outputs: raw logits, of which masks are those above 0; the monolith's were "
            "sigmoids, which its record fed back into the states at every step"
        )
    if cells.old:
        lines.append(
            "old file (network instead of rule.network): the temporal encoding may have been "
            "step/100, and the Laplace filter one of 5 cells"
        )
    if cells.linear:
        lines.append(
            "old file (linear layers): the activation was ReLU or LeakyReLU (rule_args), and a "
            "cell fired with probability 1 - fire_rate"
        )
    return tuple(lines)
