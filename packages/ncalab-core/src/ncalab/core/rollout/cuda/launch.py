"""Settings of a launch of the CUDA engine's kernels: constants, sizes of tiles, tables."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from ncalab.core.alive import ALPHA_CHANNEL
from ncalab.core.fire import fire_threshold
from ncalab.core.rollout.cuda.activations import activation_of
from ncalab.core.rollout.cuda.precision import Precision
from ncalab.core.rollout.spec import RolloutSpec

# The smallest side of a matrix product on tensor cores.
_LEAST = 16
_TYPES = {torch.float32: tl.float32, torch.float64: tl.float64, torch.bfloat16: tl.bfloat16}
_INPUT = {"float32": "ieee", "tf32x3": "tf32x3", "tf32": "tf32", "bfloat16": "ieee"}
# Products may be fused with the sums that follow (Triton will not always do so by itself): a result
# is rounded once instead of twice. Integers, and thus masks, are not concerned.
_FUSED = {"enable_fp_fusion": True}
# Cells, hidden neurons and warps of a tile: without and with tensor cores. These are the largest
# whose values stay in registers (as ptxas counts them for sm_90, 16 channels, 2 filters and 128
# neurons); which of them is fastest has not been measured. Without tensor cores, a thread holds
# whole rows of a product's factors, so that one of the product's inner sides must be short.
_FORWARD_TILES = {False: (64, 32, 4), True: (64, 128, 4)}
# The same without tensor cores, for cells that perceive more than so many values.
_WIDE, _WIDE_TILE = 96, (16, 16, 8)
_REVERSE_TILES = {False: (16, 128, 8), True: (64, 64, 8)}
# Blocks of cells in kernels without matrix products.
_PLAIN_ROWS = 128
# Sums that all programs of a backward pass keep in memory, in values (64 MiB of float32).
_MOST_SUMS = 2**24
# Programs that a multiprocessor can hold at once; enough to hide each other's memory accesses.
_PROGRAMS_EACH = 2
# Few, but several: the interpreter is to meet what a GPU meets.
_INTERPRETED_PROGRAMS = 3


@dataclass(frozen=True)
class LaunchPlan:
    """Sizes of one rollout, and what the kernels are compiled for.

    Attributes:
        spec: The rollout.
        shape: Shape ``(B, C, W, H)`` of the states.
        filters: Shape ``(n, C, k, k)`` of the filters.
        hidden: Number of hidden neurons.
        dtype: Type of the states.
        precision: How matrix products are computed.
    """

    spec: RolloutSpec
    shape: tuple[int, int, int, int]
    filters: tuple[int, int, int, int]
    hidden: int
    dtype: torch.dtype
    precision: Precision

    @classmethod
    def from_tensors(
        cls, spec: RolloutSpec, precision: Precision, x: Tensor, parameters: Sequence[Tensor]
    ) -> "LaunchPlan":
        """Plan a rollout from its states and parameters."""
        batch, channels, width, height = x.shape
        n, _, k, _ = parameters[0].shape
        hidden = parameters[1].shape[0]
        filters = (n, channels, k, k)
        return cls(spec, (batch, channels, width, height), filters, hidden, x.dtype, precision)

    @property
    def cells(self) -> int:
        """Number of cells of the whole batch."""
        batch, _, width, height = self.shape
        return batch * width * height

    @cached_property
    def channels_padded(self) -> int:
        """Channels of a tile: a power of two."""
        return power_of_two(self.shape[1])

    @cached_property
    def seen_padded(self) -> int:
        """Filtered views of a tile: a power of two."""
        return power_of_two(self.filters[0] * self.shape[1])

    @cached_property
    def hidden_padded(self) -> int:
        """Hidden neurons, padded to a power of two."""
        return power_of_two(self.hidden)

    @property
    def sum_dtype(self) -> torch.dtype:
        """Type of sums, gradients and perceptions."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    @property
    def product_dtype(self) -> torch.dtype:
        """Type of the factors of matrix products."""
        return torch.bfloat16 if self.precision == "bfloat16" else self.sum_dtype

    @property
    def clears(self) -> bool:
        """Whether who lives is known only when all cells have been updated."""
        return self.spec.use_alive_mask and self.spec.first_mutable <= ALPHA_CHANNEL

    def key(self, parameters: Sequence[Tensor]) -> tuple[Hashable, ...]:
        """Return all that two rollouts without gradients must share to be one CUDA graph.

        Parameters count by where they are, not by their values, which a graph reads anew.
        """
        where = tuple((p.data_ptr(), p.stride(), p.dtype, p.device) for p in parameters)
        settings = (self.spec.padding, self.spec.times is None, self.spec.clock.steps)
        compiled = tuple(self.rule.items())
        return (self.shape, self.filters, self.dtype, *settings, *compiled, *where)

    @cached_property
    def geometry(self) -> tuple[int, int, int]:
        """B, W and H, as all kernels take them."""
        batch, _, width, height = self.shape
        return batch, width, height

    @cached_property
    def sizes(self) -> dict[str, Any]:
        """Compile-time constants of every kernel that filters."""
        return {
            "C": self.shape[1],
            "N": self.filters[0],
            "K": self.filters[2],
            "SP": self.seen_padded,
        }

    @cached_property
    def rule(self) -> dict[str, Any]:
        """Compile-time constants of every kernel that applies the rule."""
        activation = activation_of(self.spec.activation)
        if activation is None:
            raise ValueError(
                f"nonlinearity must be one of the kernels', got {self.spec.activation}"
            )
        return {
            **self.sizes,
            "THRESHOLD": fire_threshold(self.spec.clock.fire_rate),
            "FIRST": self.spec.first_mutable,
            "USE_ALIVE": self.spec.use_alive_mask,
            "HIDDEN": self.hidden_padded,
            "CP": self.channels_padded,
            "ACC": _TYPES[self.sum_dtype],
            "DOT": _TYPES[self.product_dtype],
            "PRECISION": _INPUT[self.precision],
            "ACT": activation.name,
            "A": activation.a,
            "B": activation.b,
            "S": activation.scale,
        }

    @cached_property
    def forward_tile(self) -> dict[str, Any]:
        """Tile of ``step_kernel``, and the number of its warps."""
        cells, neurons, warps = _FORWARD_TILES[self._on_tensor_cores]
        perceived = self.channels_padded + self.seen_padded
        if perceived > _WIDE and not self._on_tensor_cores:
            cells, neurons, warps = _WIDE_TILE
        neurons = shrunk(min(self.hidden_padded, neurons), perceived, most=2**13)
        cells = shrunk(cells, perceived + neurons, most=2**14)
        return {"M": cells, "BN": neurons, "num_warps": warps, "num_stages": 1, **_FUSED}

    @cached_property
    def reverse_tile(self) -> dict[str, Any]:
        """Tile of ``reverse_kernel``, whose sums for the weights stay in registers."""
        cells, neurons, warps = _REVERSE_TILES[self._on_tensor_cores]
        sums = 2 * self.channels_padded + self.seen_padded
        neurons = shrunk(min(self.hidden_padded, neurons), sums, most=2**13)
        cells = shrunk(cells, sums + neurons, most=2**13)
        return {"M": cells, "BN": neurons, "num_warps": warps, "num_stages": 1, **_FUSED}

    @property
    def _on_tensor_cores(self) -> bool:
        return self.precision != "float32"

    @cached_property
    def plain_tile(self) -> dict[str, Any]:
        """Tile of the kernels that only add."""
        return {
            "M": shrunk(_PLAIN_ROWS, self.channels_padded, most=2**12),
            "num_warps": 4,
            **_FUSED,
        }

    @cached_property
    def filter_tile(self) -> dict[str, Any]:
        """Tile of ``filter_kernel``."""
        return {"M": shrunk(_PLAIN_ROWS, self.seen_padded, most=2**12), "num_warps": 4, **_FUSED}

    def sums_of(self, device: torch.device, cells: int) -> int:
        """Return by how many programs the weights' gradients are summed.

        The number depends on the device and the sizes only, so that the sums are repeatable.
        """
        each = (2 * self.channels_padded + self.seen_padded) * self.hidden_padded
        programs = _INTERPRETED_PROGRAMS
        if device.type == "cuda":
            processors = torch.cuda.get_device_properties(device).multi_processor_count
            programs = _PROGRAMS_EACH * processors
        return max(1, min(programs, -(-self.cells // cells), _MOST_SUMS // each))


def power_of_two(size: int) -> int:
    """Return the next power of two, at least the smallest side of a matrix product.

    >>> [power_of_two(n) for n in (0, 16, 17)]
    [16, 16, 32]
    """
    return max(_LEAST, 1 << (size - 1).bit_length() if size else 0)


def shrunk(side: int, other: int, *, most: int) -> int:
    """Halve a side of a tile until the tile holds at most so many values."""
    while side > _LEAST and side * other > most:
        side //= 2
    return side
