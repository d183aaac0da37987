from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot, rcParams
from torch import Tensor


@pytest.fixture(autouse=True)
def nothing_global_changes() -> Iterator[None]:
    """Hold every test to leave pyplot and matplotlib's settings alone."""
    settings, figures = dict(rcParams), pyplot.get_fignums()
    yield
    assert dict(rcParams) == settings
    assert pyplot.get_fignums() == figures


@pytest.fixture
def keep() -> Iterator[Callable[[Any], Any]]:
    """Return a function that passes an array on; it must be the same at the end of the test."""
    kept: list[tuple[Any, np.ndarray]] = []

    def remember(array: Any) -> Any:
        kept.append((array, _array(array).copy()))
        return array

    yield remember
    assert kept
    for array, copy in kept:
        np.testing.assert_array_equal(_array(array), copy)


def _array(values: Any) -> np.ndarray:
    return values.detach().numpy() if isinstance(values, Tensor) else np.asarray(values)
