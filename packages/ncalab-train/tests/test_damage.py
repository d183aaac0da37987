import torch
from hypothesis import given
from hypothesis import strategies as st

from ncalab.train.damage import circle_masks, cut_circles


@given(st.integers(1, 12), st.integers(1, 12))
def test_no_circle_is_empty(width: int, height: int) -> None:
    masks = circle_masks(20, width, height)

    assert masks.shape == (20, 1, width, height)
    assert masks.flatten(1).any(dim=1).all()


def test_circles_are_round_and_of_the_papers_size() -> None:
    masks = circle_masks(200, 201, 201, generator=torch.Generator().manual_seed(0))

    for mask in masks[:, 0]:
        rows, columns = mask.any(1).sum().item(), mask.any(0).sum().item()
        # A diameter of 0.1 to 0.4 of the grid, give or take a cell.
        assert 0.1 * 200 - 1 <= rows <= 0.4 * 200 + 1
        assert abs(rows - columns) <= 1
        # Between the cells of the outermost rows and the next ones, give or take half a diagonal.
        low, high = (torch.pi / 4 * (rows + d) ** 2 for d in (-1 - 2**0.5, 1 + 2**0.5))
        assert low <= mask.sum().item() <= high


def test_an_input_that_no_step_changes_is_not_damaged() -> None:
    states = torch.ones(4, 5, 9, 8)

    cut_circles(states, torch.tensor([3, 1]), 1.0, 2)

    assert (states[:, :2] == 1).all() and (states[::2] == 1).all()
    assert (states[1, 2:] == 0).any() and (states[3, 2:] == 0).any()
