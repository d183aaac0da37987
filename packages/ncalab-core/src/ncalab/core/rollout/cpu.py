"""The CPU engine: the steps of the reference, in the order that suits a processor's caches.

What makes it fast (``nox -s bench`` measures how much):

- the state is kept channels-last, where a depthwise convolution takes a tenth of the time and a
  cell's channels are one row of memory;
- only cells that fire (and, with an alive mask, only those near a living one) are gathered and go
  through the two matrix products, a chunk of rows at a time, so that hidden neurons never leave
  the cache;
- with an alive mask, a step works on the box around the living cells, not on the whole grid;
- a rollout is one autograd node: it keeps the state before each step and recomputes the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ncalab.core.alive import ALIVE_THRESHOLD, ALPHA_CHANNEL
from ncalab.core.fire import FireClock
from ncalab.core.perception import FilterPadding
from ncalab.core.rollout.halo import Box, Halo
from ncalab.core.rollout.reference import OnStep

if TYPE_CHECKING:
    from ncalab.core.model import AbstractNCAModel

# Rows of the matrix products at a time: 128 hidden neurons of them fill 2 MB, a common L2 cache.
CHUNK = 4096


@dataclass(frozen=True)
class Job:
    """What a rollout needs to know besides tensors."""

    clock: FireClock
    times: list[float] | None
    padding: FilterPadding
    radius: int
    first_mutable: int
    use_alive_mask: bool
    activation: nn.Module


@dataclass(frozen=True)
class Weights:
    """Parameters in the layout of the matrix products.

    Attributes:
        filters: n depthwise filters, each ``(C, 1, k, k)``.
        into: Perception (without time) to hidden neurons, shape ``((1 + n) C, hidden)``.
        bias: Bias of the hidden neurons, shape ``(hidden,)``.
        time: What t/T adds to the bias, shape ``(hidden,)``.
        out: Hidden neurons to mutable channels, shape ``(hidden, mutable)``.
    """

    filters: list[Tensor]
    into: Tensor
    bias: Tensor
    time: Tensor
    out: Tensor

    @classmethod
    def of(cls, job: Job, filters: Tensor, first: Tensor, bias: Tensor, last: Tensor) -> "Weights":
        """Rearrange the parameters of perception and rule."""
        n, channels = filters.shape[:2]
        into = first.flatten(1).t()
        kernels = filters[:, :, None].unbind()
        return cls(
            [kernel.contiguous(memory_format=torch.channels_last) for kernel in kernels],
            into[: (1 + n) * channels].contiguous(),
            bias,
            into[-1],
            last.flatten(1)[job.first_mutable :].t().contiguous(),
        )

    def bias_at(self, job: Job, step: int) -> Tensor:
        """Return the bias of a step: with temporal encoding, t/T acts through it."""
        if job.times is None:
            return self.bias
        return self.bias + job.times[step - job.clock.start] * self.time


@dataclass(frozen=True)
class Tape:
    """What the backward pass of one step starts from.

    Attributes:
        step: The step.
        box: Where it worked.
        source: States before the step in the box and its frame, ``(B, w + 2r, h + 2r, C)``.
        cells: Indices, in the box, of the cells that fired and live, int64.
        alive: Which cells of the box live, ``(B, w, h)``, bool; empty without an alive mask.
    """

    step: int
    box: Box
    source: Tensor
    cells: Tensor
    alive: Tensor


def convolve(grid: Tensor, kernel: Tensor) -> Tensor:
    """Filter a framed channels-last grid depthwise; ``(B, w + 2r, h + 2r, C)`` in."""
    seen = F.conv2d(grid.permute(0, 3, 1, 2), kernel, groups=grid.shape[3])
    return seen.permute(0, 2, 3, 1).contiguous()


def see(grid: Tensor, filters: list[Tensor]) -> list[Tensor]:
    """Filter a framed grid; each view ``(B * w * h, C)``."""
    return [convolve(grid, kernel).view(-1, grid.shape[3]) for kernel in filters]


def gather(states: Tensor, at: Tensor, seen: list[Tensor], rows: Tensor, out: Tensor) -> Tensor:
    """Collect what some cells perceive.

    Args:
        states: States of all cells, a row each.
        at: Rows of the wanted cells in ``states``, int64.
        seen: Filtered views of all cells, a row each.
        rows: Rows of the wanted cells in ``seen``, int64.
        out: Buffer of at least that many rows.

    Returns:
        Perception without time, shape ``(len(rows), (1 + n) C)``, in the buffer.
    """
    views = [states.index_select(0, at), *(view.index_select(0, rows) for view in seen)]
    return torch.cat(views, dim=1, out=out[: len(rows)])


def places_in(shape: Sequence[int], box: Box, radius: int) -> Tensor:
    """Return the row of every cell of a box in a framed grid ``(B, W + 2r, H + 2r, C)``."""
    batch, width, height, _ = shape
    rows = torch.arange(batch * width * height).view(batch, width, height, 1)
    return box.inner(rows, radius).reshape(-1)


def _pool(plane: Tensor) -> Tensor:
    return F.max_pool2d(plane[:, None], 3, stride=1, padding=1)[:, 0]


def _bounding_box(mask: Tensor, box: Box) -> Box:
    """Return the smallest box that holds all true cells of ``mask``, which covers ``box``."""
    axes = [mask.any(dim=0).any(dim=other).nonzero().flatten() for other in (1, 0)]
    if not len(axes[0]):
        return Box(box.w0, box.w0, box.h0, box.h0)
    (w0, w1), (h0, h1) = ((int(axis[0]), int(axis[-1]) + 1) for axis in axes)
    return Box(box.w0 + w0, box.w0 + w1, box.h0 + h0, box.h0 + h1)


class Stepper:
    """The grid of one rollout and the buffers to step it.

    Args:
        job: The rollout.
        x: First states, shape ``(B, C, W, H)``.
        weights: Parameters.
    """

    def __init__(self, job: Job, x: Tensor, weights: Weights) -> None:
        batch, channels, self.width, self.height = x.shape
        self.job, self.weights = job, weights
        r = job.radius
        self.grid = x.new_zeros(batch, self.width + 2 * r, self.height + 2 * r, channels)
        self.whole = Box(0, self.width, 0, self.height)
        self.whole.inner(self.grid, r).copy_(x.permute(0, 2, 3, 1))
        self.halo = Halo(self.width, self.height, r, job.padding)
        self.halo.fill(self.grid)
        # Beyond this box, mutable channels are zero; before the first step, nothing is known.
        self.living = self.whole
        rows, columns = min(CHUNK, batch * self.width * self.height), weights.into.shape[0]
        self.perceived = x.new_empty(rows, columns)
        self.hidden = x.new_empty(rows, weights.into.shape[1])
        self._places: dict[Box, Tensor] = {}
        self._indices = torch.arange(self.width * self.height, dtype=torch.int32)

    def state(self) -> Tensor:
        """Return the current states as ``(B, C, W, H)``."""
        inner = self.whole.inner(self.grid, self.job.radius)
        return inner.permute(0, 3, 1, 2).contiguous()

    def places(self, box: Box) -> Tensor:
        """Return where the cells of a box stand in the grid; that of the last box is kept."""
        if box not in self._places:
            self._places = {box: places_in(self.grid.shape, box, self.job.radius)}
        return self._places[box]

    def step(self, step: int, *, record: bool) -> Tape | None:
        """Take one step in place.

        Args:
            step: The step.
            record: Whether to return what the backward pass needs.
        """
        job = self.job
        box = self.whole
        if job.use_alive_mask:
            # A cell that may live has a visible one beside it; what fires beside that one
            # decides whether it lives on.
            box = self.living.grown(2, self.width, self.height)
        view = box.framed(self.grid, job.radius)
        source = view.clone() if record else view.contiguous()
        fires = self._fires(step, box)
        before = None
        if job.use_alive_mask:
            near = _pool(self._opacity(box))
            before = near > ALIVE_THRESHOLD
            fires &= _pool(near) > ALIVE_THRESHOLD
        cells = fires.flatten().nonzero().flatten()
        self._update(step, box, source, cells)
        alive = fires.new_empty(0)
        if before is not None:
            alive = before & (_pool(self._opacity(box)) > ALIVE_THRESHOLD)
            mutable = box.inner(self.grid, job.radius)[..., job.first_mutable :]
            mutable.masked_fill_(~alive[..., None], 0)
            self.living = _bounding_box(alive, box)
            cells = cells[alive.flatten()[cells]] if record else cells
        self.halo.fill(self.grid)
        return Tape(step, box, source, cells, alive) if record else None

    def _opacity(self, box: Box) -> Tensor:
        return box.inner(self.grid, self.job.radius)[..., ALPHA_CHANNEL].contiguous()

    def _fires(self, step: int, box: Box) -> Tensor:
        indices = self._indices.view(self.width, self.height)
        window = indices[box.w0 : box.w1, box.h0 : box.h1].reshape(-1)
        return self.job.clock.fires(step, window).view(-1, *box.size)

    def _update(self, step: int, box: Box, source: Tensor, cells: Tensor) -> None:
        """Add the rule's update to the given cells of the box."""
        job, weights = self.job, self.weights
        channels = self.grid.shape[3]
        states = self.grid.view(-1, channels)
        seen = see(source, weights.filters)
        bias = weights.bias_at(job, step)
        places = self.places(box).index_select(0, cells)
        for rows, at in zip(cells.split(CHUNK), places.split(CHUNK), strict=True):
            # Neighbours were seen above, so rows of the grid may change while others are read.
            perceived = gather(states, at, seen, rows, out=self.perceived)
            hidden = torch.addmm(bias, perceived, weights.into, out=self.hidden[: len(rows)])
            update = torch.mm(activate(job.activation, hidden), weights.out)
            update += perceived[:, job.first_mutable : channels]
            states[:, job.first_mutable :].index_copy_(0, at, update)


def activate(activation: nn.Module, hidden: Tensor) -> Tensor:
    """Apply the nonlinearity, in place where that is known to be safe."""
    if type(activation) is nn.ReLU:
        return hidden.relu_()
    result: Tensor = activation(hidden)
    return result


def make_job(model: "AbstractNCAModel", clock: FireClock) -> Job:
    """Collect what a rollout of a standard model needs to know."""
    perception = model.perception
    steps = range(clock.start, clock.start + clock.steps)
    return Job(
        clock=clock,
        times=[perception.time(step) for step in steps] if model.use_temporal_encoding else None,
        padding=model.filter_padding,
        radius=perception.radius,
        first_mutable=model.num_image_channels if model.immutable_image_channels else 0,
        use_alive_mask=model.use_alive_mask,
        activation=model.rule.get_submodule("network.1"),
    )


def run(
    model: "AbstractNCAModel", x: Tensor, clock: FireClock, on_step: OnStep | None = None
) -> Tensor:
    """Run the steps of ``clock`` for a standard model on the CPU.

    Args:
        model: Model that :func:`ncalab.core.rollout.standard.why_not_standard` accepts.
        x: States, shape ``(B, C, W, H)``; not changed.
        clock: Which steps to run, and which cells fire in them.
        on_step: Called with (number of steps taken so far, state); true ends the rollout. Only
            without gradients.

    Returns:
        States after the last step, shape ``(B, C, W, H)``.
    """
    from ncalab.core.rollout.cpu_backward import Rollout  # it needs Stepper from here

    job = make_job(model, clock)
    first, _, last = (model.rule.get_submodule(f"network.{i}") for i in range(3))
    parameters: list[Any] = [model.perception.filters, first.weight, first.bias, last.weight]
    if torch.is_grad_enabled() and any(p.requires_grad for p in (x, *parameters)):
        result: Tensor = Rollout.apply(job, x, *parameters)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return result
    with torch.no_grad():
        stepper = Stepper(job, x, Weights.of(job, *parameters))
        for step in range(clock.start, clock.start + clock.steps):
            stepper.step(step, record=False)
            if on_step is not None and on_step(step + 1, stepper.state()):
                break
        return stepper.state()
