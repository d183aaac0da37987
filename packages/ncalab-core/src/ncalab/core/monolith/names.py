"""Translate the tensor names of the monolithic ncalab."""

import re
from typing import NamedTuple

# A cascade saved the model it wraps, and in some versions one more name for each scale.
_PLACE = re.compile(r"(?:(?P<place>wrapped|models\.\d+)\.)?(?P<rest>.+)")
_RULE = re.compile(r"(?:rule\.)?network\.(?P<tensor>(?:0|2)\.weight|0\.bias)")
_FILTER = re.compile(r"(?:perception\.)?filters\.(?P<index>\d+)\.weight")
_HEAD = re.compile(r"head\.classifier\.(?:2|4)\.(?:weight|bias)")
# Losses and metrics were modules, or parts of one; they hold settings, not weights.
_SETTING = re.compile(r"(?:\w*loss\w*|metrics)\..+")

OLD_NETWORK = re.compile(r"(?:wrapped\.|models\.\d+\.)?network\.")
"""Names of the time when the rule was no module of its own."""


class Place(NamedTuple):
    """Place of a tensor in a model.

    Attributes:
        model: "" for the saved model itself, "wrapped" or "models.<i>" within a cascade.
        name: Its name in a model of today; "filters.<i>" for one learned filter.
    """

    model: str
    name: str


def place_of(key: str) -> Place | None:
    """Return where a tensor of a file belongs, None if it is not known.

    The name is "" for what is known, but no weight.

    >>> place_of("wrapped.network.0.weight")
    Place(model='wrapped', name='rule.network.0.weight')
    >>> place_of("butterfly.weight") is None
    True
    """
    matched = _PLACE.fullmatch(key)
    if matched is None:
        return None
    model, rest = matched["place"] or "", matched["rest"]
    if rule := _RULE.fullmatch(rest):
        return Place(model, f"rule.network.{rule['tensor']}")
    if one := _FILTER.fullmatch(rest):
        return Place(model, f"filters.{one['index']}")
    if _HEAD.fullmatch(rest):
        return Place(model, rest)
    return Place(model, "") if _SETTING.fullmatch(rest) else None
