import pytest
import torch

from ncalab.train.sample_keys import sample_keys, standing

DTYPES = [torch.bool, torch.uint8, torch.int16, torch.int64, torch.bfloat16, torch.float64]


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float32, torch.complex64])
def test_samples_have_the_same_key_if_and_only_if_they_are_equal(dtype: torch.dtype) -> None:
    images = torch.rand(3, 2, 4, 5)
    labels = torch.tensor([[0, 1, 1], [1, 0, 1], [0, 1, 1]]).to(dtype)

    keys = sample_keys(images[[0, 0, 0]], labels).tolist()

    assert keys[0] == keys[2] != keys[1]


def test_one_value_anywhere_makes_another_sample() -> None:
    images = torch.zeros(61, 3, 4, 5)
    images.flatten(1)[range(60), range(60)] = 1

    assert len(set(sample_keys(images).tolist())) == 61


def test_the_order_of_parts_and_values_counts() -> None:
    first, second = torch.tensor([[1, 2]]), torch.tensor([[2, 1]])

    assert sample_keys(first) != sample_keys(second)
    assert sample_keys(first, second) != sample_keys(second, first)


def test_a_million_samples_have_a_million_keys() -> None:
    assert len(sample_keys(torch.arange(10**6)).unique()) == 10**6


def test_keys_are_those_of_the_numbers_whatever_the_memory_layout() -> None:
    images = torch.rand(2, 3, 4, 5)

    assert torch.equal(
        sample_keys(images), sample_keys(images.to(memory_format=torch.channels_last))
    )


def test_losses_rank_within_a_sample_only() -> None:
    losses, keys = torch.tensor([0.1, 0.2, 7.0, 8.0]), torch.tensor([5, 5, 9, 9])

    assert standing(losses, keys, losses, keys).tolist() == [0.25, 0.75, 0.25, 0.75]


def test_losses_of_one_sample_rank_as_they_are() -> None:
    losses = torch.rand(1024)
    keys = torch.zeros(1024, dtype=torch.int64)

    ranks = standing(losses, keys, losses, keys)

    assert torch.equal(ranks.argsort(), losses.argsort())


def test_only_states_of_their_samples_are_in_the_middle() -> None:
    losses, keys = torch.tensor([0.1, 0.9, torch.inf]), torch.tensor([1, 2, 3])

    assert standing(losses, keys, losses, keys).tolist() == [0.5, 0.5, torch.inf]
