"""Measure whether a growing model reaches its picture, keeps it, and heals."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ncalab.core.checks import check_int
from ncalab.tasks.growing.model import GrowingNCAModel

ROLLOUTS = 4
LENGTH = 1000
HEALING_STEPS = 150
CUTS = 8
# Steps before the cuts, at least: by then, the picture has settled.
_SETTLED = 200
# Mean squared errors up to which a picture counts as what the words say.
_WORDS = (
    (0.001, "sharp"),
    (0.003, "clear"),
    (0.01, "recognisable"),
    (0.03, "blurred"),
)
RECOGNISABLE = 0.01
# Of a picture with at least this mean square. In one with less, thin or faint, less is an error:
# a tenth of it, and what an empty grid would have is far from recognisable.
_USUAL = 0.1
# Below it, no multiple of an error is seen; nor of what a cut takes away.
_INVISIBLE, _INVISIBLE_SHARE = 0.001, 0.05


def describe_error(mse: float, empty: float = _USUAL) -> str:
    """Say how a picture with a mean squared error looks.

    Args:
        mse: Mean squared error over RGBA in [0, 1].
        empty: The error that an empty grid has, the mean square of the picture. If it is below
            0.1, the words are those of an error that is larger in proportion.

    >>> [describe_error(error) for error in (0.0004, 0.002, 0.008, 0.02, 0.2)]
    ['sharp', 'clear', 'recognisable', 'blurred', 'not recognisable yet']
    >>> describe_error(0.004, empty=0.004)
    'not recognisable yet'
    """
    share = _share_of_usual(empty)
    return next((word for limit, word in _WORDS if mse <= limit * share), "not recognisable yet")


def _share_of_usual(empty: float) -> float:
    return min(1.0, empty / _USUAL)


def _limit(empty: float) -> float:
    """Return the largest error with which a picture can be recognised."""
    return RECOGNISABLE * _share_of_usual(empty)


@dataclass(frozen=True)
class Cut:
    """A circle that was cut out, and the errors before and after.

    Attributes:
        place: Centre (W, H) in cells.
        before: Mean squared error before the cut.
        after: The same right after it.
        healed: The same 150 steps later.
    """

    place: tuple[int, int]
    before: float
    after: float
    healed: float

    @property
    def heals(self) -> bool:
        """Whether the error is back within twice what it was, or too small to be seen."""
        invisible = min(_INVISIBLE, _INVISIBLE_SHARE * self.after)
        return self.healed <= max(2 * self.before, invisible)


@dataclass(frozen=True)
class GrowthReport:
    """Result of :func:`measure_growth`.

    Attributes:
        arrival: The step by which the picture should be there.
        length: Number of steps measured.
        errors: Mean squared error after 64, 200, 500 and 1,000 steps, as far as measured, and at
            arrival.
        drifts_after: The step up to which the picture is kept; None if it is kept to the end.
        cuts: Circles cut out of the settled picture.
        empty: Mean squared error of an empty grid.
        grown: In how many of four rollouts the picture could be recognised at arrival.
    """

    arrival: int
    length: int
    errors: dict[int, float]
    drifts_after: int | None
    cuts: tuple[Cut, ...]
    empty: float = _USUAL
    grown: int = ROLLOUTS

    @property
    def reached(self) -> bool:
        """Whether the picture can be recognised at arrival."""
        return self.errors[self.arrival] <= _limit(self.empty)

    @property
    def heals(self) -> bool:
        """Whether every cut closes."""
        return all(cut.heals for cut in self.cuts)

    @property
    def pause_after(self) -> int:
        """The step to stop at, so that only what was learned is shown; 0 for none."""
        return self.drifts_after or 0 if self.reached else self.arrival

    def verdict(self) -> str:
        """Say in a few words what can be expected of the model."""
        if not self.reached:
            words = describe_error(self.errors[self.arrival], self.empty)
            return f"{words} at step {self.arrival}"
        holds = f"holds for {self.length:,} steps"
        if self.drifts_after is not None:
            holds = f"drifts after about {self.drifts_after:,} steps"
        if self.grown < ROLLOUTS:
            holds = f"grows {self.grown} times of {ROLLOUTS}; {holds}"
        if not self.cuts:
            return holds
        healed = sum(cut.heals for cut in self.cuts)
        return f"{holds}; {'heals' if self.heals else f'heals {healed} of {len(self.cuts)} cuts'}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as data that JSON can hold."""
        errors = {str(step): error for step, error in self.errors.items()}
        words = {"verdict": self.verdict(), "heals": self.heals}
        return {**words, **asdict(self), "errors": errors}


def measure_growth(
    model: GrowingNCAModel,
    target: Tensor,
    *,
    arrival: int | None = None,
    length: int | None = None,
    seed: int = 0,
) -> GrowthReport:
    """Grow four pictures from the seed, watch them for 1,000 steps, and cut eight holes.

    A picture is kept as long as its error, the mean of the four, stays below 0.01 (in thin or faint
    pictures, a tenth of that of an empty grid), or twice what it was at arrival if that is more.
    Circles with a diameter of a quarter of the grid's width are cut out of the picture after 200
    steps, each out of a picture of its own: one in the middle, the others at random places of the
    picture.

    Args:
        model: Trained model; RGBA.
        target: Premultiplied target, shape ``(4, W, H)``, range [0, 1].
        arrival: Step by which the picture should be there; 64, or the upper end of the model's
            ``inference_timesteps`` if that is more, if None.
        length: Number of steps to watch, more than ``arrival``; 1,000, or twice the arrival if that
            is more, if None.
        seed: Decides which cells fire, and where all cuts but the first are.

    Raises:
        ValueError: If the target is not RGBA, or there are too few steps.
    """
    if target.ndim != 3 or len(target) != 4 or model.num_image_channels != 4:
        raise ValueError(f"target must have shape (4, W, H), got {tuple(target.shape)}")
    arrival = _usual_arrival(model) if arrival is None else check_int("arrival", arrival, minimum=1)
    length = length if length is not None else max(LENGTH, 2 * arrival)
    check_int("length", length, minimum=arrival + 1)
    target = target.to(model.device, model.dtype)
    cut_at = min(max(_SETTLED, arrival), length)
    errors: list[float] = []
    grown: list[int] = []
    settled: list[Tensor] = []

    def look(step: int, state: Tensor) -> bool:
        errors.append(_mse(state, target))
        if step == arrival:
            of_each = (_mse(sample[None], target) for sample in state)
            grown.append(sum(error <= _limit(empty) for error in of_each))
        if step == cut_at:
            settled.append(state.clone())
        return False

    empty = target.square().mean().item()
    seeds = model.make_seed(*target.shape[1:]).repeat(ROLLOUTS, 1, 1, 1)
    model.predict(seeds, length, seed=seed, on_step=look)
    return GrowthReport(
        arrival=arrival,
        length=length,
        errors={step: errors[step - 1] for step in _shown_steps(arrival, length)},
        drifts_after=_drifts_after(errors, arrival, empty),
        cuts=_cut(model, settled[0], target, seed),
        empty=empty,
        grown=grown[0],
    )


def _usual_arrival(model: GrowingNCAModel) -> int:
    usual = model.inference_timesteps
    return max(64, usual if isinstance(usual, int) else usual[1] - 1)


def _shown_steps(arrival: int, length: int) -> list[int]:
    return sorted({arrival, length, *(step for step in (64, 200, 500, 1000) if step <= length)})


def _mse(state: Tensor, target: Tensor) -> float:
    value = (state[:, :4] - target).square().mean().item()
    return value if math.isfinite(value) else math.inf


def _drifts_after(errors: list[float], arrival: int, empty: float) -> int | None:
    """Return the last step before the error first exceeds its limit, None if it never does."""
    limit = max(_limit(empty), 2 * errors[arrival - 1])
    late = (step for step, error in enumerate(errors[arrival:], arrival) if error > limit)
    return next(late, None)


def _middle(target: Tensor) -> tuple[int, int]:
    return target.shape[1] // 2, target.shape[2] // 2


def random_places(target: Tensor, count: int, seed: int) -> list[tuple[int, int]]:
    """Draw visible cells (W, H) of a picture, to cut circles around; the middle if none is visible.

    Args:
        target: Premultiplied target, shape ``(4, W, H)``.
        count: Number of cells.
        seed: Seed of the draw.
    """
    cells = (target[3] > 0.5).nonzero()
    if not len(cells):
        return [_middle(target)] * count
    drawn = torch.randint(len(cells), (count,), generator=torch.Generator().manual_seed(seed))
    return [(int(w), int(h)) for w, h in cells[drawn]]


def cut_circle(states: Tensor, place: tuple[int, int]) -> Tensor:
    """Clear a circle whose diameter is a quarter of the grid's width.

    Args:
        states: States, shape ``(B, C, W, H)``; not changed.
        place: Its centre (W, H) in cells.

    >>> cut_circle(torch.ones(1, 1, 8, 8), (4, 4))[0, 0].sum().item()
    59.0
    """
    width, height = states.shape[2:]
    along_w = torch.arange(width, device=states.device)[:, None] - place[0]
    along_h = torch.arange(height, device=states.device)[None, :] - place[1]
    return states.masked_fill(torch.hypot(along_w.float(), along_h.float()) <= width / 8, 0)


def _cut(model: GrowingNCAModel, states: Tensor, target: Tensor, seed: int) -> tuple[Cut, ...]:
    """Cut circles out of grown pictures, one out of each, and let them heal."""
    places = [_middle(target), *random_places(target, CUTS - 1, seed)]
    whole = states[torch.arange(CUTS) % len(states)]
    hurt = torch.cat([cut_circle(state[None], at) for state, at in zip(whole, places, strict=True)])
    healed = model.predict(hurt, HEALING_STEPS, seed=seed + 1).output_image
    errors = ([_mse(each[None], target) for each in part] for part in (whole, hurt, healed))
    return tuple(Cut(*values) for values in zip(places, *errors, strict=True))
