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


@pytest.mark.parametrize("gap", [1, 2, 6])
def test_pieces_that_life_does_not_get_to_are_joined_and_that_is_said(
    gap: int, tmp_path: Path
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
        assert thread.sum() == gap and thread[:, 25 : 25 + gap].sum() == gap
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


def test_specks_are_left_where_they_are() -> None:
    pixels = two_squares(1)
    pixels[2, 2:5, 3] = 255

    joined, threads = join_pieces(pixels)

    assert threads == 0 and (joined == pixels).all()


@pytest.mark.parametrize("opacity", [0, 64])
def test_a_picture_without_a_visible_cell_has_no_pieces(opacity: int) -> None:
    joined, threads = join_pieces(np.full((5, 5, 4), opacity, dtype=np.uint8))

    assert threads == 0 and (joined == opacity).all()


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=6),
)
def test_afterwards_all_is_one_piece_but_for_specks(
    width: int, height: int, corners: list[tuple[int, int]]
) -> None:
    pixels = np.zeros((width, height, 4), dtype=np.uint8)
    for row, column in corners:
        pixels[row : row + 2, column : column + 2] = (0, 0, 255, 255)
    before = pixels.copy()

    joined, threads = join_pieces(pixels)

    assert (pixels == before).all()
    drawn = before[..., 3] > 0
    assert (joined[drawn] == before[drawn]).all()
    large = [piece for piece in pieces_of(before) if len(piece) > 3]
    assert len([piece for piece in pieces_of(joined) if len(piece) > 3]) <= 1
    if large and len(large) == len(pieces_of(before)):
        assert threads == len(large) - 1
