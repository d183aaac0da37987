from typing import Any

import numpy as np
import pytest

from ncalab.core.checks import check_flag


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_])
def test_a_flag_of_python_or_numpy_becomes_a_bool(value: Any) -> None:
    assert check_flag("progress", value) is bool(value)


@pytest.mark.parametrize("value", ["no", "False", "", 0, 1, None, [True]])
def test_what_only_counts_as_true_or_false_is_no_flag(value: Any) -> None:
    with pytest.raises(TypeError, match="progress must be True or False, got"):
        check_flag("progress", value)
