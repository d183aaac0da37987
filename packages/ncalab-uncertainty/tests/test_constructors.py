"""Every argument of every constructor is refused at construction if it is of another type."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from uncertainty_models import ValueModel
from wrong_types import assert_refused, public_classes, wrong_arguments

import ncalab.uncertainty
from ncalab.uncertainty import MCMC, NQM, Perturbation, Spread, TestTimeAugmentation

CLASSES: dict[type, Callable[[], dict[str, Any]]] = {
    **dict.fromkeys((MCMC, NQM, Perturbation, TestTimeAugmentation), lambda: {"nca": ValueModel()}),
    Spread: lambda: {
        **dict.fromkeys(("mean", "deviation", "magnitude"), torch.zeros(1, 1, 2, 2)),
        **{"entropy": None, "mutual_information": None, "predictions": []},
    },
}


@pytest.mark.parametrize(("target", "valid", "name", "value"), wrong_arguments(CLASSES))
def test_an_argument_of_another_type_is_refused(
    target: type, valid: Any, name: str, value: Any
) -> None:
    assert_refused(target, valid(), name, value)


def test_no_class_is_left_out() -> None:
    assert public_classes(ncalab.uncertainty) == CLASSES.keys()
