from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ncalab.tasks.growing.picture import load_target, share_apart


@pytest.mark.parametrize(("gap", "share"), [(2, None), (3, "26%")])
def test_pieces_that_life_may_not_get_to_are_named(
    gap: int, share: str | None, tmp_path: Path
) -> None:
    pixels = np.zeros((40, 40, 4), dtype=np.uint8)
    pixels[10:30, 10:30] = 255
    pixels[10:30, 30 + gap :] = 255
    Image.fromarray(pixels).save(tmp_path / "pieces.png")
    said: list[str] = []

    load_target(tmp_path / "pieces.png", 40, 4, say=said.append)

    if share is None:
        assert not said
    else:
        (line,) = said
        assert line.startswith(f"{share} of ") and "more than 2 cells away" in line


def test_a_picture_without_a_visible_cell_has_nothing_apart() -> None:
    assert share_apart(torch.zeros(5, 5, dtype=torch.bool)) == 0
