from itertools import product

import pytest

from ncalab.train import ParameterSet


def grid() -> ParameterSet:
    return ParameterSet(lr=[0.1, 0.01], training_timesteps=(30, 40), size=[1, 2, 3], name="x")


def test_the_combinations_are_the_product_of_the_lists() -> None:
    expected = [
        {"lr": lr, "training_timesteps": (30, 40), "size": size, "name": "x"}
        for lr, size in product([0.1, 0.01], [1, 2, 3])
    ]

    assert list(grid()) == expected
    assert grid().combinations == expected
    assert len(grid()) == grid().num_combinations() == 6
    assert [grid()[index] for index in range(-6, 6)] == expected * 2


def test_nested_walks_see_all_pairs() -> None:
    outer, inner = ParameterSet(a=[1, 2]), ParameterSet(b=[3, 4])

    pairs = [(a["a"], b["b"]) for a in outer for b in inner]

    assert pairs == [(1, 3), (1, 4), (2, 3), (2, 4)]
    assert [(a["a"], b["a"]) for a in outer for b in outer] == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_it_can_be_walked_again_and_by_hand() -> None:
    parameters = ParameterSet(a=[1, 2])

    assert list(parameters) == list(parameters)
    assert parameters.next() == {"a": 1}
    assert list(parameters) == [{"a": 1}, {"a": 2}]  # a walk of its own
    assert next(parameters) == {"a": 2} and parameters.index == 2
    with pytest.raises(StopIteration):
        parameters.next()
    parameters.index = 0
    assert parameters.next() == {"a": 1}


def test_only_lists_are_searched() -> None:
    parameters = grid()

    assert parameters.mutable == ["lr", "size"]
    assert parameters.is_mutable("lr") and not parameters.is_mutable("training_timesteps")
    assert parameters.params["training_timesteps"] == (30, 40)
    assert ParameterSet(scales=[[4, 2, 1]]).next() == {"scales": [4, 2, 1]}
    with pytest.raises(KeyError, match="key must be one of lr, .*, got 'rl'"):
        parameters.is_mutable("rl")


def test_without_lists_there_is_one_combination() -> None:
    assert list(ParameterSet(a=1, b=(2, 3))) == [{"a": 1, "b": (2, 3)}]
    assert list(ParameterSet()) == [{}]


def test_an_empty_list_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="size must hold at least one value to search, got"):
        ParameterSet(lr=[1], size=[])


def test_a_combination_that_is_not_there_is_refused() -> None:
    with pytest.raises(IndexError, match=r"index must be in \[-6, 6\), got 6"):
        grid()[6]


def test_a_grid_too_large_to_list_can_be_used() -> None:
    parameters = ParameterSet(**{f"p{i}": list(range(10)) for i in range(30)})

    assert parameters.num_combinations() == 10**30
    assert list(parameters[10**30 - 1].values()) == [9] * 30
    assert bool(parameters) and parameters.next()["p29"] == 0


def test_info_separates_fixed_from_searched() -> None:
    assert grid().info().splitlines()[0] == "6 combinations"
    assert "| lr | searched | 0.1, 0.01 |" in grid().info()
    assert "| training_timesteps | fixed | (30, 40) |" in grid().info()
    assert ParameterSet(a=[1]).info().startswith("1 combination\n")
