"""Arguments of a compiled rollout besides its tensors."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor, nn

from ncalab.core.fire import FireClock, fire_threshold
from ncalab.core.padding import FilterPadding
from ncalab.core.rollout.cpu.compiled.geometry import Geometry, geometry, offset_in

# The order of ``Activation`` in native/activations.h.
ACTIVATIONS: tuple[type[nn.Module], ...] = (
    nn.ReLU,
    nn.Identity,
    nn.LeakyReLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.ELU,
    nn.SiLU,
)

# What the number is called that some of them have.
SLOPES: dict[type[nn.Module], str] = {nn.LeakyReLU: "negative_slope", nn.ELU: "alpha"}


@dataclass(frozen=True)
class Views:
    """The filtered views that a cell has of its neighbourhood, as lists of taps.

    Attributes:
        taps: Where the taps of each view begin, and where the last ones end.
        places: Of every tap, the neighbour that it reads, as distances along each axis.
    """

    taps: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]

    @classmethod
    def joined(cls, parts: Iterable["Views"]) -> "Views":
        """Return views one after the other."""
        taps: list[int] = [0]
        places: list[tuple[int, ...]] = []
        for part in parts:
            taps += [taps[-1] + tap for tap in part.taps[1:]]
            places += part.places
        return cls(tuple(taps), tuple(places))

    @property
    def count(self) -> int:
        """Number of views."""
        return len(self.taps) - 1

    @property
    def radius(self) -> int:
        """Largest distance of a neighbour along an axis."""
        return max((abs(distance) for place in self.places for distance in place), default=0)


# Every group of samples asks for the same tables.
@lru_cache(maxsize=64)
def tap_tables(views: Views, framed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return where the taps of each view begin, and how far away in memory each of them reads.

    Args:
        views: Filtered views.
        framed: Cells on each of three axes, with the frame.

    Returns:
        Both int64; to be read only.
    """
    offsets = [offset_in(framed, place) for place in views.places]
    return torch.tensor(views.taps), torch.tensor(offsets or [0])


@dataclass(frozen=True)
class TapSpec:
    """A rollout.

    Attributes:
        clock: Steps, and which cells fire in them.
        views: What cells perceive besides their own state.
        radius: Cells that a view reaches along each axis.
        padding: How the grid continues beyond its border.
        first_mutable: First channel that steps change.
        use_alive_mask: Whether cells without a visible neighbour are cleared.
        activation: Of a perceptron, the index in ``ACTIVATIONS``.
        slope: Slope of a leaky ReLU below zero; the scale of an ELU.
    """

    clock: FireClock
    views: Views
    radius: int
    padding: FilterPadding
    first_mutable: int
    use_alive_mask: bool
    activation: int = 0
    slope: float = 0.0

    @property
    def steps(self) -> int:
        """Number of steps to take."""
        return self.clock.steps

    @property
    def threshold(self) -> int:
        """A cell fires if 24 bits of its hash are below."""
        return fire_threshold(self.clock.fire_rate)

    @cached_property
    def keys(self) -> Tensor:
        """Keys of the fire masks, shape ``(T, B, 2)``, int32."""
        return self.clock.keys.contiguous()

    def geometry(self, x: Tensor) -> Geometry:
        """Return the grid of one sample of states ``(B, C, *grid)``."""
        return geometry(tuple(x.shape[2:]), self.radius, self.padding)
