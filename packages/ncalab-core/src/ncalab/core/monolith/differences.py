"""Find settings that make a model act otherwise than the monolith did with the same weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from torch import Tensor, nn

from ncalab.core.monolith.files import LAST, MonolithWeights
from ncalab.core.rule import MLPNCARule

if TYPE_CHECKING:
    from ncalab.core.model import AbstractNCAModel

DifferenceKind = Literal[
    "learned_filters",
    "border",
    "laplace",
    "alive_mask",
    "pad_noise",
    "activation",
    "cascade",
    "untrained",
    "unknown_tensors",
]
KINDS: tuple[DifferenceKind, ...] = get_args(DifferenceKind)


@dataclass(frozen=True)
class Difference:
    """One difference.

    Attributes:
        kind: What to put into ``accept`` to load the weights all the same.
        text: What differs, and what to do about it.
    """

    kind: DifferenceKind
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


def find_differences(
    weights: MonolithWeights, stages: list["AbstractNCAModel"], filters: Tensor | None
) -> Iterator[Difference]:
    """Yield what would act otherwise.

    Args:
        weights: What was saved.
        stages: Models that take them: one, or one for each set of weights of a cascade.
        filters: Learned filters that the caller gives.
    """
    model = stages[-1]
    yield from _of_perception(weights, model, filters)
    yield from _of_step(model, old_network=weights.old_network)
    if weights.is_cascade:
        yield Difference(
            "cascade",
            "a cascade picked single pixels where it is the mean of an image that is scaled down "
            "now, upscaled states by repetition where it is bilinear now, and took up to 20 % "
            "more or fewer steps; some versions ran untrained copies at each scale. Fine-tune it",
        )
    if any(not tensors[LAST].any() for tensors in weights.models.values()):
        yield Difference(
            "untrained",
            "the last layer of the rule is all zero, as it is before training: a cascade with "
            "single_model=False trained copies that were not saved",
        )
    if weights.unknown:
        yield Difference(
            "unknown_tensors",
            f"no version of the monolith is known to have written {list(weights.unknown)}",
        )


def _of_perception(
    weights: MonolithWeights, model: "AbstractNCAModel", filters: Tensor | None
) -> Iterator[Difference]:
    if model.num_learned_filters > 0:
        if weights.learned_filters is None and filters is None:
            yield Difference(
                "learned_filters",
                f"the file lacks the {model.num_learned_filters} learned filters: they were no "
                "parameters, so they were neither trained nor saved. Give filters= (see "
                "redraw_filters if the script seeded torch), or accept to keep the model's own, "
                "with which the rule was not trained",
            )
        return
    if model.filter_padding != "zero":
        yield Difference(
            "border",
            "Sobel and Laplace filters were padded with zeros whatever filter_padding said; make "
            f"the model with filter_padding='zero', not {model.filter_padding!r}",
        )
    if model.use_laplace and weights.old_network:
        yield Difference(
            "laplace",
            "the Laplace filter of that time had four neighbours instead of eight; make the model "
            "with num_learned_filters=3 and filter_padding='zero', and give filters=",
        )


def _of_step(model: "AbstractNCAModel", *, old_network: bool) -> Iterator[Difference]:
    rule = model.rule
    activation = rule.nonlinearity if isinstance(rule, MLPNCARule) else None
    # Rules without a module of their own had one or the other, and a file does not say which.
    known = (nn.ReLU, nn.LeakyReLU) if old_network else (nn.ReLU,)
    if activation not in known:
        yield Difference(
            "activation",
            "rule_args were ignored, and the rule had a ReLU; make the model without them",
        )
    if model.use_alive_mask:
        yield Difference(
            "alive_mask",
            "cells had to be alive after a step; now before it, too, so a cell that has no visible "
            "neighbour stays empty, where it could come to life then; and image channels that are "
            "fixed are never masked. Fine-tune it",
        )
    if model.pad_noise:
        yield Difference(
            "pad_noise",
            "noise was drawn for hidden channels only, now for output channels, too; make the "
            "model with pad_noise=False and predict from states that you padded yourself",
        )
