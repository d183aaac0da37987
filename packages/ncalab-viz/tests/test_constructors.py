"""Every argument of every constructor is refused at construction if it is of another type."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from viz_models import make_fading
from wrong_types import assert_refused, public_classes, wrong_arguments

import ncalab.viz
from ncalab.viz import Animator, AnimatorStyle

CLASSES: dict[type, Callable[[], dict[str, Any]]] = {
    Animator: lambda: {"nca": make_fading(4), "seed": torch.rand(1, 4, 5, 6), "steps": 2},
    AnimatorStyle: lambda: dict.fromkeys(
        ("color_background", "color_overlay", "color_title", "color_progress"), "red"
    ),
}


@pytest.mark.parametrize(("target", "valid", "name", "value"), wrong_arguments(CLASSES))
def test_an_argument_of_another_type_is_refused(
    target: type, valid: Any, name: str, value: Any
) -> None:
    assert_refused(target, valid(), name, value)


def test_no_class_is_left_out() -> None:
    assert public_classes(ncalab.viz) == CLASSES.keys()
