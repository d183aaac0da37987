import tracemalloc

import numpy as np
import pytest

from ncalab.viz.reel import Reel


def test_arrays_come_back_in_any_order() -> None:
    reel, arrays = Reel((2, 3, 4)), np.random.default_rng(0).random((5, 2, 3, 4), np.float32)
    for array in arrays:
        reel.append(array)

    assert len(reel) == 5
    for place in (3, 0, -1, 2):
        np.testing.assert_array_equal(reel[place], arrays[place])
    np.testing.assert_array_equal(reel[1:4:2], arrays[1:4:2])
    np.testing.assert_array_equal(list(reel), arrays)


def test_writing_goes_on_after_reading() -> None:
    reel = Reel((1,))
    reel.append(np.array([1.0]))

    assert reel[0].tolist() == [1.0]
    reel.append(np.array([2.0]))

    assert [array.tolist() for array in reel] == [[1.0], [2.0]]


def test_arrays_without_entries_are_counted() -> None:
    reel = Reel((0, 3, 4))
    reel.append(np.zeros((0, 3, 4)))

    assert [array.shape for array in reel] == [(0, 3, 4)]


def test_places_beyond_the_end_are_refused() -> None:
    reel = Reel((1,))
    with pytest.raises(IndexError, match=r"place must be in \[-0, 0\), got 0"):
        reel[0]


def test_memory_does_not_grow_with_the_number_of_arrays() -> None:
    array, peaks = np.zeros((8, 64, 64), np.float32), []
    for count in (4, 64):
        tracemalloc.start()
        reel = Reel(array.shape)
        for _ in range(count):
            reel.append(array)
        assert reel[-1].shape == array.shape
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < peaks[0] + array.nbytes  # 60 more arrays were written
