"""How many threads rollouts use, and the operations around them."""

from collections.abc import Iterator

import pytest
import torch
from core_models import TinyModel, awaken

from ncalab.core.rollout import one_thread_for_operations, rollout
from ncalab.core.rollout.cpu.compiled.library import levels
from ncalab.core.rollout.cpu.threads import rollout_threads


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def make() -> TinyModel:
    torch.manual_seed(0)
    model = TinyModel(torch.device("cpu"), 3, 4, 1, hidden_size=16)
    awaken(model)
    return model


def test_operations_use_one_thread_and_rollouts_as_many_as_before() -> None:
    with one_thread_for_operations() as use:
        inside = torch.get_num_threads(), rollout_threads(), use.threads

    assert inside == (1, 2, 2)
    assert torch.get_num_threads() == rollout_threads() == 2


def test_the_number_of_threads_is_put_back_after_an_error() -> None:
    with pytest.raises(KeyError), one_thread_for_operations():
        raise KeyError

    assert torch.get_num_threads() == 2


def test_a_number_that_is_chosen_within_the_block_stays() -> None:
    with one_thread_for_operations():
        torch.set_num_threads(3)

    assert torch.get_num_threads() == 3


def test_within_another_one_rollouts_use_as_many_threads_as_outside() -> None:
    with one_thread_for_operations(), one_thread_for_operations():
        assert rollout_threads() == 2


@pytest.mark.skipif(not levels(), reason="the compiled engine does not know this processor")
def test_it_changes_nothing_about_compiled_rollouts() -> None:
    model = make()
    x = torch.rand(4, model.num_channels, 40, 40)
    want = rollout(model, x, 5, seed=1)

    with one_thread_for_operations() as use:
        got = rollout(model, x, 5, seed=1)

    assert torch.equal(got, want)
    assert not use.operations_need_threads


def test_rollouts_of_operations_are_noted() -> None:
    model = make()
    x = torch.rand(2, model.num_channels, 6, 6)

    with one_thread_for_operations() as asked:
        rollout(model, x, 2, seed=1, engine="reference")
    # No fast engine of the CPU runs under autocast.
    with one_thread_for_operations() as needed, torch.autocast("cpu", torch.bfloat16):
        rollout(model, x, 2, seed=1)

    assert asked.operations_need_threads and needed.operations_need_threads
