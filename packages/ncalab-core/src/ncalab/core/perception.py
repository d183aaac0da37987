"""What a cell perceives: its own state and filtered views of its neighbourhood."""

from typing import Protocol

import torch
from torch import Tensor, nn

from ncalab.core.checks import check_model
from ncalab.core.padding import FILTER_PADDINGS, FilterPadding, pad_cells, padded_index
from ncalab.core.step import perceive

__all__ = [
    "FILTER_PADDINGS",
    "BasicNCAPerception",
    "FilterPadding",
    "fixed_filters",
    "pad_cells",
    "padded_index",
]

_SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
_LAPLACE = torch.tensor([[1.0, 2.0, 1.0], [2.0, -12.0, 2.0], [1.0, 2.0, 1.0]]) / 16


def fixed_filters(*, use_laplace: bool) -> Tensor:
    """Return the fixed filters: Sobel along H, Sobel along W and, if asked for, Laplace.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023, section "Perception"; the Laplace filter is that of Mordvintsev
    et al., Texture generation with NCA, 2021, arXiv:2105.07299, scaled to the size of the Sobel
    filters.

    Args:
        use_laplace: Whether to append the Laplace filter.

    Returns:
        Filters, shape ``(2 or 3, 3, 3)``, float32.

    >>> fixed_filters(use_laplace=False)[0].abs().sum().item()
    1.0
    """
    filters = [_SOBEL, _SOBEL.T]
    return torch.stack([*filters, _LAPLACE] if use_laplace else filters)


class PerceivingCells(Protocol):
    """What a perception reads of the automaton whose cells perceive."""

    num_channels: int
    num_learned_filters: int
    kernel_size: int
    filter_padding: FilterPadding
    use_laplace: bool
    use_temporal_encoding: bool

    @property
    def time_scale(self) -> int:
        """Number of steps T of the temporal encoding."""


class BasicNCAPerception(nn.Module):
    """Perceive the neighbourhood through fixed (Sobel, Laplace) or learned depthwise filters.

    The perception vector of a cell is ``[x, K1*x, ..., Kn*x]`` and, with temporal encoding, t/T.

    Args:
        nca: Model that perceives; its channels, ``num_learned_filters``, ``kernel_size``,
            ``filter_padding``, ``use_laplace`` and ``use_temporal_encoding`` are read here.

    Raises:
        TypeError: If it is no model.
    """

    filters: Tensor
    nca: PerceivingCells

    def __init__(self, nca: PerceivingCells) -> None:
        super().__init__()
        check_model("nca", nca)
        # Past nn.Module, which would register the model as a part of its own part.
        object.__setattr__(self, "nca", nca)
        self._define_filters()

    def _define_filters(self) -> None:
        """Create ``filters``, shape ``(n, C, k, k)``: a parameter if learned, else a buffer."""
        nca = self.nca
        if nca.num_learned_filters == 0:
            fixed = fixed_filters(use_laplace=nca.use_laplace).to(torch.get_default_dtype())
            filters = fixed[:, None].repeat(1, nca.num_channels, 1, 1)
            # Rebuilt from the configuration, so not part of a weights file.
            self.register_buffer("filters", filters, persistent=False)
            return
        size = (nca.num_learned_filters, nca.num_channels, nca.kernel_size, nca.kernel_size)
        # The scale of torch's own depthwise convolutions: U(-1/k, 1/k) for k x k weights.
        self.filters = nn.Parameter(torch.empty(size).uniform_(-1, 1) / nca.kernel_size)

    def extra_repr(self) -> str:
        """Name the filters, for ``repr``."""
        nca = self.nca
        fixed = "Sobel and Laplace" if nca.use_laplace else "Sobel"
        kind = "learned" if nca.num_learned_filters else fixed
        return f"{self.num_filters} {kind} filters, padding={nca.filter_padding!r}"

    @property
    def num_filters(self) -> int:
        """Number of filters n."""
        return self.filters.shape[0]

    @property
    def radius(self) -> int:
        """How many cells a filter reaches in every direction."""
        return self.filters.shape[-1] // 2

    @property
    def output_size(self) -> int:
        """Length of the perception vector of a cell."""
        nca = self.nca
        return nca.num_channels * (1 + self.num_filters) + int(nca.use_temporal_encoding)

    def time(self, step: int) -> float:
        """Return t/T, where T is the (largest) number of training steps."""
        return step / self.nca.time_scale

    def perceive(self, x: Tensor, step: int) -> Tensor:
        """Filter the states of all cells.

        Args:
            x: Cell states, shape ``(B, C, W, H)``, floating point.
            step: Current step, 0 for the first; only used by the temporal encoding.

        Returns:
            Perception vectors, shape ``(B, output_size, W, H)``.
        """
        time = self.time(step) if self.nca.use_temporal_encoding else None
        return perceive(x, self.filters, self.nca.filter_padding, time)

    def forward(self, x: Tensor, step: int = 0) -> Tensor:
        """Return :meth:`perceive` of ``x`` at ``step``."""
        return self.perceive(x, step)

    def freeze(self) -> None:
        """Exclude learned filters from training; fixed ones are never trained."""
        self.requires_grad_(False)
