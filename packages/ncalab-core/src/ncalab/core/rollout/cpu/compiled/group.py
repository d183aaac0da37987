"""Rollouts of some samples of a batch, by one thread."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ncalab.core.alive import ALIVE_THRESHOLD
from ncalab.core.rollout.cpu.compiled.geometry import Geometry
from ncalab.core.rollout.cpu.compiled.library import Library
from ncalab.core.rollout.cpu.compiled.packed_program import PackedProgram
from ncalab.core.rollout.cpu.compiled.parameters import Packed
from ncalab.core.rollout.cpu.compiled.spec import TapSpec, tap_tables
from ncalab.core.rollout.cpu.compiled.structures import (
    Gradients,
    Rollout32,
    Rollout64,
    copied,
    reference,
)
from ncalab.core.rollout.cpu.compiled.tape import SLACK, Stretch, TapeTensors, rows_wanted
from ncalab.core.rollout.cpu.compiled.timing import new_counter

BOX = 6


class Group:
    """Some samples of a rollout, and the grid that they are stepped in.

    Args:
        library: The compiled functions.
        spec: The rollout.
        packed: Its parameters, which must stay as they are while the group is used.
        x: States of the whole batch, shape ``(B, C, *grid)``, contiguous.
        samples: Which samples.
    """

    # How many tasks a backward pass has, each with sums of its own.
    tasks = 1

    def __init__(
        self,
        library: Library,
        spec: TapSpec,
        packed: Packed | PackedProgram,
        x: Tensor,
        samples: slice,
    ) -> None:
        self.library, self.spec, self.packed, self.samples = library, spec, packed, samples
        self.geometry: Geometry = spec.geometry(x)
        self.count = samples.stop - samples.start
        self.channels = x.shape[1]
        self.width = self.channels - spec.first_mutable
        self.cells = x[0, 0].numel()
        self._like = x
        self._tables = [
            self.geometry.line_starts(spec.clock.columns),
            *tap_tables(spec.views, self.geometry.framed),
            spec.keys,
        ]
        self._spent = new_counter()
        self.rollout = self._structure()
        self.grid = x.new_empty(0)
        self.living = torch.zeros(self.count, BOX, dtype=torch.int64)

    def _structure(self) -> Any:
        spec, packed, grid = self.spec, self.packed, self.geometry
        lines, taps, offsets, keys = self._tables
        kind = Rollout32 if self._like.dtype == torch.float32 else Rollout64
        of_step, of_sample = packed.bias.stride()[:2]
        return kind(
            samples=self.count,
            cells=grid.cells,
            frame=grid.frame,
            channels=self.channels,
            first_mutable=spec.first_mutable,
            alive_mask=int(spec.use_alive_mask),
            threshold=spec.threshold,
            keys=keys.data_ptr() + self.samples.start * keys.stride(1) * keys.itemsize,
            keys_of_step=keys.stride(0),
            first_cells=lines.data_ptr(),
            framed=len(grid.frame_cells),
            frame_cells=grid.frame_cells.data_ptr(),
            frame_sources=grid.frame_sources.data_ptr(),
            padded=len(grid.padding),
            padding=grid.padding.data_ptr(),
            views=spec.views.count,
            taps=taps.data_ptr(),
            offsets=offsets.data_ptr(),
            factors=packed.factors.data_ptr(),
            activation=spec.activation,
            slope=spec.slope,
            **packed.fields(),
            bias=packed.bias.data_ptr() + self._first_bias() * packed.bias.itemsize,
            bias_of_step=of_step if len(packed.bias) > 1 else 0,
            bias_of_sample=of_sample if packed.bias.shape[1] > 1 else 0,
            spent=None if self._spent is None else self._spent.data_ptr(),
            alive_threshold=ALIVE_THRESHOLD,
        )

    def _first_bias(self) -> int:
        shared = self.packed.bias.shape[1] == 1
        return 0 if shared else self.samples.start * self.packed.bias.stride(1)

    def begin(self, x: Tensor) -> None:
        """Start from states of the whole batch."""
        own = x[self.samples]
        self.grid = self._new_grid()
        self.library.call("enter", reference(self.rollout), own.data_ptr(), self.grid.data_ptr())
        if self.spec.use_alive_mask:
            self.living = occupied_boxes(own)

    def resume(self, grid: Tensor) -> None:
        """Start from a framed grid, which is copied."""
        self.grid = grid.clone()
        if self.spec.use_alive_mask:
            self.living = self._whole_boxes()

    def _new_grid(self) -> Tensor:
        return self._like.new_zeros(self.count * self.geometry.framed_cells * self.channels + SLACK)

    def _whole_boxes(self) -> Tensor:
        return torch.tensor([[0, 0, 0, *self.geometry.cells]] * self.count)

    def run(self, first: int, steps: int) -> None:
        """Take steps in place, from step ``first`` of the rollout on."""
        self._forward(first, steps, None)

    def record(self, first: int, steps: int) -> list[Stretch]:
        """Take steps in place; return what the backward pass needs."""
        stretches, stop = [], first + steps
        while first < stop:
            room = rows_wanted(
                self.count * self.cells,
                stop - first,
                self.spec.clock.fire_rate,
                self.width,
                self._like.itemsize,
            )
            boxes = self.count if self.spec.use_alive_mask else 0
            tensors = TapeTensors.empty(self._like, stop - first, room, self.width, boxes)
            tape = tensors.structure(self.width)
            taken = self._forward(first, stop - first, tape)
            stretches.append(Stretch(first, taken, [tensors.used(tape, taken, self.width)]))
            first += taken
        return stretches

    def _forward(self, first: int, steps: int, tape: Any) -> int:
        return self.library.call(
            "forward",
            reference(self.rollout),
            first,
            steps,
            self.grid.data_ptr(),
            self.living.data_ptr(),
            None if tape is None else reference(tape),
        )

    def end(self, out: Tensor) -> None:
        """Write the states to their place in a batch ``(B, C, *grid)``, contiguous."""
        own = out[self.samples]
        self.library.call("leave", reference(self.rollout), self.grid.data_ptr(), own.data_ptr())

    # The backward pass

    def begin_gradient(self, gradient: Tensor) -> None:
        """Start from the gradient of the last states of the whole batch, contiguous."""
        without_frame = copied(self.rollout)
        without_frame.framed = 0
        own = gradient[self.samples]
        self.gradient = self._new_grid()
        self.library.call(
            "enter", reference(without_frame), own.data_ptr(), self.gradient.data_ptr()
        )
        self.reached = self._whole_boxes()

    def undo(self, stretch: Stretch, sums: list[list[Tensor]], *, wanted: Sequence[bool]) -> None:
        """Take the gradient back over some steps, whose last states the grid holds.

        Args:
            stretch: The steps; the last ones that are not undone yet.
            sums: Where this group's gradients of the parameters are added up.
            wanted: Which of the parameters want one.
        """
        (tape,), (own,) = stretch.tapes, sums
        self.library.call(
            "backward",
            reference(self.rollout),
            stretch.first,
            stretch.steps,
            self.grid.data_ptr(),
            self.gradient.data_ptr(),
            self.reached.data_ptr(),
            reference(tape.structure(self.width)),
            reference(self.sums(own, wanted)),
        )

    def sums(self, own: list[Tensor], wanted: Sequence[bool]) -> Gradients:
        """Return a task's sums as the compiled functions take them."""
        return self.packed.gradients(own, wanted, self._first_bias())

    def end_gradient(self, out: Tensor) -> None:
        """Write the gradient of the first states to its place in a batch."""
        own = out[self.samples]
        self.library.call(
            "leave", reference(self.rollout), self.gradient.data_ptr(), own.data_ptr()
        )


def occupied_boxes(x: Tensor) -> Tensor:
    """Return, for each sample of ``(B, C, *grid)``, the box of the cells that are not zero.

    Returns:
        Lowest and (exclusive) highest places along three axes, shape ``(B, 6)``, int64.
    """
    marked = (x != 0).any(dim=1)
    batch, dims = x.shape[0], x.ndim - 2
    boxes = torch.zeros(batch, 2, BOX // 2, dtype=torch.int64)
    boxes[:, 1] = 1
    for axis in range(dims):
        others = [1 + other for other in range(dims) if other != axis]
        along = marked.any(dim=others) if others else marked
        size = along.shape[1]
        boxes[:, 0, axis - dims] = along.to(torch.uint8).argmax(dim=1)
        boxes[:, 1, axis - dims] = size - along.flip(1).to(torch.uint8).argmax(dim=1)
    boxes[~marked.flatten(1).any(dim=1)] = 0
    return boxes.flatten(1)
