from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ncalab.core.task import DataRequest
from ncalab.tasks import GrowingNCAModel
from ncalab.tasks.growing.picture import load_target, read_picture
from ncalab.tasks.growing.pieces import join_pieces


def two_squares(gap: int) -> np.ndarray:
    pixels = np.zeros((40, 40, 4), dtype=np.uint8)
    pixels[10:30, 10:25] = pixels[10:30, 25 + gap : 35] = (255, 0, 0, 255)
    return pixels


def pieces_of(pixels: np.ndarray) -> list[set[tuple[int, int]]]:
    """Return sets of firm cells that life gets to from one another, an empty cell between."""
    left = {(int(w), int(h)) for w, h in zip(*np.nonzero(pixels[..., 3] > 64), strict=True)}
    pieces = []
    while left:
        new = [left.pop()]
        piece = set(new)
        while new:
            w, h = new.pop()
            near = {(a, b) for a, b in left if max(abs(a - w), abs(b - h)) <= 2}
            left -= near
            piece |= near
            new += near
        pieces.append(piece)
    return pieces


@pytest.mark.parametrize(("gap", "width"), [(1, 0), (2, 1), (3, 3), (6, 5)])
def test_pieces_that_life_does_not_get_to_are_joined_and_that_is_said(
    gap: int, width: int, tmp_path: Path
) -> None:
    pixels = two_squares(gap)
    Image.fromarray(pixels).save(tmp_path / "pieces.png")
    said: list[str] = []

    target = load_target(tmp_path / "pieces.png", 40, 0, say=said.append)

    thread = (target != pixels).any(-1)
    if gap == 1:
        assert not said and not thread.any()
    else:
        assert (target[thread] == (255, 255, 255, 89)).all()
        # Where life comes first, of all places where they are as near.
        middle = slice(20 - width // 2, 21 + width // 2)
        assert thread.sum() == gap * width and thread[middle, 25 : 25 + gap].all()
        (line,) = said
        assert "pieces that stand apart" in line and line.endswith("threads join them, 1 in all.")


@pytest.mark.parametrize("mask", [True, False])
def test_cells_that_all_live_need_no_threads(mask: bool, tmp_path: Path) -> None:
    Image.fromarray(two_squares(6)).save(tmp_path / "pieces.png")
    model = GrowingNCAModel(torch.device("cpu"), use_alive_mask=mask)
    request = DataRequest(
        settings={"image": str(tmp_path / "pieces.png")},
        model=model,
        batch_size=1,
        augment=None,
        say=print,
    )

    _seed, image = read_picture(request).train[0]

    assert ((image[3] > 0.1) & (image[3] < 0.9)).any() == mask


def test_a_thread_leaves_what_is_visible() -> None:
    # The nearest cells of two pieces, with a visible cell on the line between them.
    visible = [(0, 6), (0, 7), (0, 8), (1, 3), (1, 7), (2, 3), (5, 7), (6, 0), (6, 4), (6, 7)]
    visible += [(7, 3), (7, 5), (7, 8)]
    pixels = np.zeros((9, 9, 4), dtype=np.uint8)
    for cell in visible:
        pixels[cell] = (0, 0, 255, 255)

    joined, threads = join_pieces(pixels)

    assert threads and all((joined[cell] == pixels[cell]).all() for cell in visible)


def test_hundreds_of_dots_are_joined_in_a_moment() -> None:
    pixels = np.zeros((300, 300, 4), dtype=np.uint8)
    pixels[5::10, 5::10] = (0, 0, 255, 255)

    joined, threads = join_pieces(pixels)

    # A thread spans the nine cells between two dots, and is as wide; some meet.
    assert threads == 899 and 899 * 9 < (joined[..., 3] == 89).sum() <= 899 * 81


def test_a_picture_of_which_nothing_would_live_is_refused(tmp_path: Path) -> None:
    pixels = np.zeros((40, 40, 4), dtype=np.uint8)
    pixels[::8, ::8] = 255
    Image.fromarray(pixels).save(tmp_path / "dots.png")

    load_target(tmp_path / "dots.png", 40, 0, say=print)
    with pytest.raises(ValueError, match=r"more opaque than 0.1 .* on 10 cells of .*dots.png"):
        load_target(tmp_path / "dots.png", 10, 0)
    load_target(tmp_path / "dots.png", 10, 0, join=False)


@pytest.mark.parametrize("opacity", [0, 64])
def test_a_picture_without_a_visible_cell_has_no_pieces(opacity: int) -> None:
    joined, threads = join_pieces(np.full((5, 5, 4), opacity, dtype=np.uint8))

    assert threads == 0 and (joined == opacity).all()


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29), st.integers(1, 3)), max_size=8),
)
def test_afterwards_all_is_one_piece(
    width: int, height: int, squares: list[tuple[int, int, int]]
) -> None:
    pixels = np.zeros((width, height, 4), dtype=np.uint8)
    for row, column, side in squares:
        pixels[row : row + side, column : column + side] = (0, 0, 255, 255)
    before = pixels.copy()

    joined, threads = join_pieces(pixels)

    assert (pixels == before).all()
    drawn = before[..., 3] > 0
    assert (joined[drawn] == before[drawn]).all()
    assert threads == max(1, len(pieces_of(before))) - 1
    assert len(pieces_of(joined)) <= 1
