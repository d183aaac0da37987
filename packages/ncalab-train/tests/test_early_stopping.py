import math

import pytest

from ncalab.train import EarlyStopping


def epochs_until_done(stopping: EarlyStopping, values: list[float]) -> int:
    for epoch, value in enumerate(values, start=1):
        stopping.step(value)
        if stopping.done():
            return epoch
    return -1


@pytest.mark.parametrize("values", [[0.5, 0.6, 0.6, 0.6, 0.9], [-5.0, -4.0, -4.0, -6.0, -1.0]])
def test_it_stops_after_patience_epochs_without_improvement(values: list[float]) -> None:
    assert epochs_until_done(EarlyStopping(patience=2), values) == 4


def test_lower_values_may_be_the_better_ones() -> None:
    stopping = EarlyStopping(patience=2, higher_is_better=False)

    assert epochs_until_done(stopping, [3.0, 2.0, 1.0, 1.5, 1.2]) == 5
    assert stopping.best_accuracy == 1.0


def test_each_training_sets_its_direction_anew() -> None:
    stopping = EarlyStopping(patience=1)
    for higher, values in ((True, [0.1, 0.2, 0.1]), (False, [0.2, 0.1, 0.2])):
        stopping.reset(higher_is_better=higher)
        assert epochs_until_done(stopping, values) == 3

    assert stopping.higher_is_better is None


def test_a_direction_of_its_own_is_kept() -> None:
    stopping = EarlyStopping(patience=1, higher_is_better=False)
    stopping.reset(higher_is_better=True)

    assert epochs_until_done(stopping, [0.2, 0.1, 0.2]) == 3


def test_less_than_min_delta_is_no_improvement() -> None:
    assert epochs_until_done(EarlyStopping(patience=1, min_delta=0.1), [0.5, 0.55]) == 2
    assert epochs_until_done(EarlyStopping(patience=1, min_delta=0.1), [0.5, 0.65]) == -1


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("higher", [True, False])
def test_exactly_min_delta_is_an_improvement(higher: bool, scale: float) -> None:
    sign = scale if higher else -scale
    stopping = EarlyStopping(1, min_delta=0.1 * scale, higher_is_better=higher)

    values = [0.5 * sign, 0.6 * sign, 0.7 * sign, 0.799 * sign]

    assert epochs_until_done(stopping, values) == 4
    assert stopping.best_accuracy == 0.7 * sign


def test_the_same_value_is_no_improvement_however_small_min_delta_is() -> None:
    assert epochs_until_done(EarlyStopping(1, min_delta=0), [0.5, 0.5]) == 2
    assert epochs_until_done(EarlyStopping(1, min_delta=1e-300), [0.5, 0.5]) == 2


def test_the_best_value_is_0_before_the_first_one() -> None:
    stopping = EarlyStopping(3)
    assert (stopping.best_accuracy, stopping.counter) == (0.0, 0)

    stopping.step(-2.0)

    assert (stopping.best_accuracy, stopping.counter) == (-2.0, 0)


def test_a_state_before_the_first_value_is_one() -> None:
    other = EarlyStopping(3)
    other.step(0.4)

    other.load_state_dict(EarlyStopping(3).state_dict())
    assert other.best_accuracy == 0.0
    other.step(-1.0)

    assert (other.best_accuracy, other.counter) == (-1.0, 0)


def test_nan_is_no_improvement() -> None:
    stopping = EarlyStopping(patience=2)

    assert epochs_until_done(stopping, [math.nan, 0.1, math.nan, math.nan]) == 4
    assert stopping.best_accuracy == 0.1


@pytest.mark.parametrize(("patience", "min_delta"), [(0, 0.1), (1, -0.1), (1, math.nan)])
def test_bad_arguments_are_refused(patience: int, min_delta: float) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        EarlyStopping(patience, min_delta)


def test_it_goes_on_counting_from_its_state() -> None:
    first, second = EarlyStopping(patience=3), EarlyStopping(patience=3)
    for value in (0.5, 0.4):
        first.step(value)

    second.load_state_dict(first.state_dict())

    assert epochs_until_done(second, [0.3, 0.2]) == 2
    assert second.best_accuracy == 0.5
