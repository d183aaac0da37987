"""The parameters of a model as the compiled functions read them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate, chain, compress, product
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ncalab.core.automaton import Automaton
from ncalab.core.fire import FireClock
from ncalab.core.perception import FilterBank
from ncalab.core.rollout.cpu.compiled.spec import ACTIVATIONS, SLOPES, TapSpec, Views
from ncalab.core.rollout.cpu.compiled.structures import Gradients
from ncalab.core.rollout.spec import perceptron_of, rule_parameters_of


class Parameters(NamedTuple):
    """Tensors that a rollout is differentiated with respect to, besides its states.

    Attributes:
        factors: Of every tap of every view, one number for each channel, shape ``(taps, C)``.
        into: Perception (without time) to hidden neurons, shape ``(hidden, (1 + n) C)``.
        bias: Bias of the hidden neurons at each step, shape ``(T or 1, B or 1, hidden)``.
        out: Hidden neurons to updates, shape ``(C, hidden)``.
    """

    factors: Tensor
    into: Tensor
    bias: Tensor
    out: Tensor


def read_model(model: Automaton, clock: FireClock) -> tuple[TapSpec, Parameters]:
    """Collect what a rollout of a standard model needs, differentiably."""
    first, bias, last = rule_parameters_of(model)
    spec, factors = read_cells(model, clock)
    into = first.flatten(1)
    biases = bias[None, None]
    seen = model.input_vector_size - model.perception.context_size
    if (times := times_of(model, clock)) is not None:
        biases = biases + times[:, None, None] * into[:, seen]
    if clock.goal is not None:
        biases = biases + clock.goal @ into[:, into.shape[1] - model.goal_size :].t()
    into = into[:, :seen]
    activation = perceptron_of(model).activation
    spec = replace(spec, activation=ACTIVATIONS.index(type(activation)), slope=_slope(activation))
    return spec, Parameters(factors, into, biases, last.flatten(1))


def read_cells(model: Automaton, clock: FireClock) -> tuple[TapSpec, Tensor]:
    """Collect what a rollout needs besides the rule; return it, and the factors of the taps."""
    banks = model.perception.filter_banks() or []
    views, factors = zip(*(_taps(bank) for bank in banks), strict=True) if banks else ((), ())
    spec = TapSpec(
        clock=clock,
        views=Views.joined(views),
        radius=model.perception.radius,
        padding=model.filter_padding,
        first_mutable=model.num_fixed_channels,
        use_alive_mask=model.use_alive_mask,
    )
    empty = torch.empty(0, model.num_channels, dtype=model.dtype)
    return spec, torch.cat(factors) if factors else empty


def context_of(model: Automaton, clock: FireClock) -> Tensor:
    """Return what all cells of a sample perceive alike, shape ``(T or 1, B or 1, E)``."""
    parts = []
    if (times := times_of(model, clock)) is not None:
        parts.append(times[:, None, None])
    if clock.goal is not None:
        parts.append(clock.goal[None])
    if not parts:
        return torch.empty(1, 1, 0, dtype=model.dtype)
    sizes = torch.broadcast_shapes(*(part.shape[:2] for part in parts))
    return torch.cat([part.expand(*sizes, -1) for part in parts], dim=2)


def times_of(model: Automaton, clock: FireClock) -> Tensor | None:
    """Return t/T at each step, shape ``(T,)``; None if cells do not perceive it."""
    if not model.use_temporal_encoding:
        return None
    steps = range(clock.start, clock.start + clock.steps)
    return torch.tensor([model.perception.time(step) for step in steps], dtype=model.dtype)


def _slope(activation: nn.Module) -> float:
    """Return the number that a leaky ReLU or an ELU has."""
    return float(getattr(activation, SLOPES.get(type(activation), ""), 0))


def _taps(bank: FilterBank) -> tuple[Views, Tensor]:
    """Return depthwise filters ``(n, C, k, ...)`` as taps; of fixed ones, those that are not 0."""
    filters, dilation, is_learned = bank
    rows = filters.flatten(2).transpose(1, 2)
    sizes = len(rows), filters.shape[2:], dilation
    if is_learned:
        used = (True,) * (rows.shape[0] * rows.shape[1])
        return _views(used, *sizes), rows.flatten(0, 1)
    mask = (rows != 0).any(2)
    return _views(tuple(mask.flatten().tolist()), *sizes), rows[mask]


@lru_cache(maxsize=64)
def _views(used: tuple[bool, ...], count: int, size: tuple[int, ...], dilation: int) -> Views:
    """Return views of whose taps some are used.

    Args:
        used: Of every tap of every view, whether it is used.
        count: Number of views.
        size: Size of the filters along each axis.
        dilation: Distance between neighbouring taps.
    """
    every = list(product(*([dilation * (i - n // 2) for i in range(n)] for n in size)))
    masks = [used[n * len(every) : (n + 1) * len(every)] for n in range(count)]
    places = [list(compress(every, mask)) for mask in masks]
    starts = accumulate(map(len, places), initial=0)
    return Views(tuple(starts), tuple(chain.from_iterable(places)))


class Packed(NamedTuple):
    """Parameters in the layout of the compiled functions, padded to whole vectors.

    Attributes:
        lanes: Numbers of a vector.
        factors: Shape ``(taps, C padded)``.
        into: Shape ``((1 + n) C, hidden padded)``.
        into_back: Shape ``(hidden padded, (1 + n) C padded)``.
        out: Shape ``(hidden padded, mutable padded)``.
        out_back: Shape ``(mutable, hidden padded)``.
        bias: Shape ``(T or 1, B or 1, hidden padded)``.
    """

    lanes: int
    factors: Tensor
    into: Tensor
    into_back: Tensor
    out: Tensor
    out_back: Tensor
    bias: Tensor

    def fields(self) -> dict[str, int]:
        """Return fields of the structure of a rollout."""
        return {
            "hidden": self.into.shape[1],
            "into": self.into.data_ptr(),
            "into_back": self.into_back.data_ptr(),
            "out": self.out.data_ptr(),
            "out_back": self.out_back.data_ptr(),
        }

    def gradients(self, own: list[Tensor], wanted: Sequence[bool], first_bias: int) -> Gradients:
        """Return a task's sums as the compiled functions take them.

        Args:
            own: The sums, see :class:`GradientSums`.
            wanted: Which of :class:`Parameters` want a gradient.
            first_bias: Numbers of the bias before that of the task's first sample.
        """
        into, out, bias, factors = (tensor.data_ptr() for tensor in own)
        wants_factors, wants_into, _, wants_out = wanted
        return Gradients(
            into if wants_into else None,
            out if wants_out else None,
            bias + first_bias * own[2].itemsize,
            factors if wants_factors else None,
            None,
        )


def padded(matrix: Tensor, *shape: int) -> Tensor:
    """Return a tensor with zeros behind it along every axis."""
    room = matrix.new_zeros(shape)
    room[tuple(slice(n) for n in matrix.shape)] = matrix
    return room


def pack(parameters: Parameters, first_mutable: int, lanes: int) -> Packed:
    """Lay out parameters for the compiled functions."""
    factors, into, bias, out = parameters
    out = out[first_mutable:]
    seen, hidden, mutable = into.shape[1], into.shape[0], out.shape[0]

    def up(number: int) -> int:
        return round_up(number, lanes)

    return Packed(
        lanes,
        padded(factors, len(factors), up(factors.shape[1])),
        padded(into.t(), seen, up(hidden)),
        padded(into, up(hidden), up(seen)),
        padded(out.t(), up(hidden), up(mutable)),
        padded(out, mutable, up(hidden)),
        padded(bias, *bias.shape[:2], up(hidden)),
    )


# Gradients are computed in tiles of up to that many rows (``TILE_ROWS`` in native/products.h).
TILE_ROWS = 12


class GradientSums:
    """Buffers in which the tasks of a backward pass add up the gradients of the parameters.

    Args:
        parameters: The parameters.
        first_mutable: First channel that steps change.
        lanes: Numbers of a vector.
        tasks: Number of tasks.
    """

    def __init__(self, parameters: Parameters, first_mutable: int, lanes: int, tasks: int) -> None:
        factors, into, bias, out = self.parameters = parameters
        hidden, channels = (round_up(n, lanes) for n in (len(into), factors.shape[1]))
        self.mutable = len(out) - first_mutable
        rows = (round_up(n, TILE_ROWS) for n in (into.shape[1], self.mutable))
        self.shapes = [
            *((n, hidden) for n in rows),
            (*bias.shape[:2], hidden),
            (len(factors), channels),
        ]
        self._sizes = [math.prod(shape) for shape in self.shapes]
        self._sums = into.new_zeros(tasks, sum(self._sizes))

    def of_task(self, task: int) -> list[Tensor]:
        """Return the sums of a task: into, out, bias and factors."""
        return list(self._sums[task].split(self._sizes))

    def total(self) -> list[Tensor]:
        """Return the gradients of the parameters."""
        parts = zip(added(self._sums).split(self._sizes), self.shapes, strict=True)
        d_into, d_out, d_bias, d_factors = (part.view(shape) for part, shape in parts)
        factors, into, _, out = self.parameters
        hidden, seen = into.shape
        of_all = torch.zeros_like(out)
        of_all[len(out) - self.mutable :] = d_out[: self.mutable, :hidden]
        return [
            d_factors[:, : factors.shape[1]],
            d_into[:seen, :hidden].t(),
            d_bias[..., :hidden],
            of_all,
        ]


def added(rows: Tensor) -> Tensor:
    """Return the sum of rows, one after the other, whose order may not depend on their number."""
    total = rows[0]
    for row in rows[1:]:
        total = total + row
    return total


def round_up(number: int, unit: int) -> int:
    """Return the next multiple of a unit.

    >>> round_up(17, 16)
    32
    """
    return -(-number // unit) * unit
