import pytest
import torch

from ncalab.core.multiscale.grids import coarse_size, resize, sample_cells, share_steps


@pytest.mark.parametrize(
    ("size", "scale", "want"),
    [((32, 16), 4, (8, 4)), ((30, 31), 4, (8, 8)), ((3, 1), 4, (1, 1)), ((7, 5), 1, (7, 5))],
)
def test_no_cell_is_larger_than_the_scale(
    size: tuple[int, int], scale: int, want: tuple[int, int]
) -> None:
    assert coarse_size(size, scale) == want


def test_a_checkerboard_becomes_grey_not_one_of_its_colours() -> None:
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2

    small = resize(board[None, None].float(), (2, 2))

    assert small.tolist() == [[[[0.5, 0.5], [0.5, 0.5]]]]


@pytest.mark.parametrize("size", [(1, 1), (7, 4), (8, 5), (31, 17), (40, 17), (62, 34)])
def test_a_plane_keeps_its_value_at_every_size(size: tuple[int, int]) -> None:
    plane = torch.full((2, 3, 31, 17), 0.25)

    torch.testing.assert_close(resize(plane, size), torch.full((2, 3, *size), 0.25))


def test_a_ramp_keeps_its_slope_when_its_scale_changes() -> None:
    ramp = torch.arange(16.0).expand(1, 1, 4, 16)

    small = resize(ramp, (2, 8))
    large = resize(small, (4, 16))

    torch.testing.assert_close(small[0, 0, 0], torch.arange(8) * 2 + 0.5)
    torch.testing.assert_close(large[..., 1:-1], ramp[..., 1:-1])


def test_no_channels_stay_none() -> None:
    assert resize(torch.rand(2, 0, 8, 8), (3, 4)).shape == (2, 0, 3, 4)


@pytest.mark.parametrize("size", [(8, 5), (5, 3), (1, 1), (31, 17)])
def test_sampled_noise_is_as_strong_as_before(size: tuple[int, int]) -> None:
    noise = torch.randn(64, 4, 31, 17, generator=torch.Generator().manual_seed(0))

    picked = sample_cells(noise, size)

    assert picked.shape == (64, 4, *size)
    assert abs(picked.std().item() - 1) < 0.1


def test_sampled_cells_are_whole_cells() -> None:
    cells = torch.arange(2 * 12 * 10.0).view(1, 2, 12, 10)

    picked = sample_cells(cells, (3, 5))

    # Channel 1 is channel 0 plus the number of cells, in every cell and in no mixture of cells.
    assert torch.equal(picked[0, 1], picked[0, 0] + 120)
    assert picked[0, 0].tolist()[1] == [61, 63, 65, 67, 69]


@pytest.mark.parametrize("place", [(0, 0), (15, 8), (30, 16), (11, 13)])
def test_a_single_living_cell_stays_one_wherever_it_is(place: tuple[int, int]) -> None:
    cells = torch.zeros(1, 2, 31, 17)
    cells[0, :, place[0], place[1]] = 1.0

    for scale in (1, 2, 3, 4, 8):
        size = coarse_size((31, 17), scale)
        picked = sample_cells(cells, size)

        assert picked.sum(dim=(2, 3)).tolist() == [[1.0, 1.0]]
        where = [place[0] * size[0] // 31, place[1] * size[1] // 17]
        assert picked[0, 0].nonzero().tolist() == [where]


def test_sampling_passes_gradients_to_the_picked_cells() -> None:
    cells = torch.rand(1, 1, 4, 4, requires_grad=True)

    sample_cells(cells, (2, 2)).sum().backward()

    assert cells.grad is not None
    assert cells.grad[0, 0].nonzero().tolist() == [[1, 1], [1, 3], [3, 1], [3, 3]]


@pytest.mark.parametrize(
    ("total", "weights", "want"),
    [
        (9, [4, 3, 2], [4, 3, 2]),
        (90, [4, 3, 2], [40, 30, 20]),
        (100, [1, 1, 1], [33, 34, 33]),
        (4, [50, 1, 1], [2, 1, 1]),
        (4, [1, 1, 50], [1, 1, 2]),
        (7, [7], [7]),
    ],
)
def test_steps_are_shared_in_proportion(total: int, weights: list[int], want: list[int]) -> None:
    assert share_steps(total, weights) == want


def test_shares_of_every_total_are_positive_and_add_up() -> None:
    weights = [13, 1, 1, 40, 2]

    for total in range(5, 200):
        shares = share_steps(total, weights)
        assert sum(shares) == total
        assert min(shares) >= 1


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="steps must be at least 3, one for each .* got 2"):
        share_steps(2, [5, 5, 5])
