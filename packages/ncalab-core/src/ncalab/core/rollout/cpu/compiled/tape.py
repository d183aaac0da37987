"""Tensors that some steps keep for the backward pass."""

from typing import NamedTuple

import torch
from torch import Tensor

from ncalab.core.rollout.cpu.compiled.structures import Tape

# Rows of a tape beyond what a step may need at once, in bytes: what is never written takes no
# memory, but a tape that is full ends a call.
MOST_BYTES = 8 * 2**20
# Numbers that whole vectors may write beyond the last row.
SLACK = 64


class TapeTensors(NamedTuple):
    """The memory of a tape.

    Attributes:
        rows: States of the cells that changed, before they did, one row after the other.
        fates: With an alive mask, what became of every cell of the steps' boxes, uint8.
        boxes: With an alive mask, the box of each step and sample, int64.
        starts: Of each step, its first row and its first fate, int64.
    """

    rows: Tensor
    fates: Tensor
    boxes: Tensor
    starts: Tensor

    @classmethod
    def empty(cls, like: Tensor, steps: int, rows: int, width: int, boxes: int) -> "TapeTensors":
        """Make room.

        Args:
            like: A tensor of the dtype of the states.
            steps: Number of steps.
            rows: Number of rows.
            width: Numbers of a row.
            boxes: Boxes of a step; 0 without an alive mask.
        """
        return cls(
            like.new_empty(rows * width + SLACK),
            torch.empty(rows if boxes else 0, dtype=torch.uint8),
            torch.empty(6 * boxes * steps, dtype=torch.int64),
            torch.empty(2 * steps, dtype=torch.int64),
        )

    def structure(self, width: int) -> Tape:
        """Return it as the compiled functions take it, with nothing on it."""
        rows = (len(self.rows) - SLACK) // max(width, 1)
        pointers = [tensor.data_ptr() for tensor in self]
        return Tape(pointers[0], rows, 0, pointers[1], len(self.fates), 0, *pointers[2:])

    def used(self, tape: Tape, steps: int, width: int) -> "TapeTensors":
        """Return views of what the steps have left."""
        boxes = len(self.boxes) // max(len(self.starts) // 2, 1)
        return TapeTensors(
            self.rows[: tape.rows_used * width + SLACK],
            self.fates[: tape.fates_used],
            self.boxes[: boxes * steps],
            self.starts[: 2 * steps],
        )


class Stretch(NamedTuple):
    """Some steps in a row, and what they left.

    Attributes:
        first: The first of them, counted from the start of the rollout.
        steps: How many they are.
        tapes: One tape; one for each band where the grid is cut.
    """

    first: int
    steps: int
    tapes: list[TapeTensors]


def rows_wanted(cells: int, steps: int, fire_rate: float, width: int, itemsize: int) -> int:
    """Return how many rows a tape should have for the rest of a rollout.

    Args:
        cells: Cells that a step may change.
        steps: Steps to come.
        fire_rate: Probability that a cell fires.
        width: Numbers of a row.
        itemsize: Bytes of a number.
    """
    expected = cells * steps * fire_rate
    # More than that happens to one rollout in a billion, which then has two tapes.
    expected += 6 * (cells * steps * fire_rate * (1 - fire_rate)) ** 0.5
    most = MOST_BYTES // (max(width, 1) * itemsize)
    return max(cells, min(int(expected) + 1, most))
