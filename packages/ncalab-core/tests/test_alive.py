import torch

from ncalab.core.alive import visible_cells


def test_an_image_without_a_living_cell_is_read_everywhere() -> None:
    images = torch.zeros(2, 1, 2, 2)
    images[0, 0, 1, 1] = 0.2

    assert visible_cells(images).sum(dim=(1, 2, 3)).tolist() == [1, 4]


def test_opacity_counts_where_there_is_one_and_else_every_cell() -> None:
    images = torch.zeros(1, 4, 2, 2)
    images[0, 3, 0] = 0.5

    assert visible_cells(images)[0, 0].tolist() == [[True, True], [False, False]]
    assert visible_cells(torch.zeros(1, 3, 2, 2)).all()
