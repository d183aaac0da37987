"""The perception of the documented arguments: Sobel, Laplace or learned filters."""

import torch
from torch import Tensor, nn

from ncalab.core.perception.base import AbstractNCAPerception, FilterBank, PerceivingCells
from ncalab.core.perception.filters import filter_cells, fixed_filters


class BasicNCAPerception(AbstractNCAPerception):
    """Perceive the neighbourhood through fixed (Sobel, Laplace) or learned depthwise filters.

    The perception vector of a cell is ``[x, K1*x, ..., Kn*x]`` and, with temporal encoding, t/T.

    Args:
        nca: Model that perceives; its channels, ``num_learned_filters``, ``kernel_size``,
            ``filter_padding``, ``use_laplace`` and ``use_temporal_encoding`` are read here.

    Raises:
        TypeError: If it is not a model.
    """

    filters: Tensor

    def __init__(self, nca: PerceivingCells) -> None:
        super().__init__(nca)
        self._define_filters()

    def _define_filters(self) -> None:
        """Create ``filters``, shape ``(n, C, k, ...)``: a parameter if learned, else a buffer."""
        nca, dims = self.nca, self.nca.spatial_dims
        if nca.num_learned_filters == 0:
            fixed = fixed_filters(use_laplace=nca.use_laplace, spatial_dims=dims)
            of_each = fixed.to(torch.get_default_dtype())[:, None]
            filters = of_each.repeat(1, nca.num_channels, *[1] * dims)
            # Rebuilt from the configuration, so not part of a weights file.
            self.register_buffer("filters", filters, persistent=False)
            return
        size = (nca.num_learned_filters, nca.num_channels, *[nca.kernel_size] * dims)
        # The scale of torch's own depthwise convolutions: U(-1/k, 1/k) for k x k weights.
        scale = nca.kernel_size ** (dims / 2)
        self.filters = nn.Parameter(torch.empty(size).uniform_(-1, 1) / scale)

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
        """Number of cells that a filter reaches in every direction."""
        return self.filters.shape[-1] // 2

    @property
    def output_size(self) -> int:
        """Length of the perception vector of a cell."""
        nca = self.nca
        return nca.num_channels * (1 + self.num_filters) + self.context_size

    def filter_banks(self) -> list[FilterBank]:
        """Return all filters, in one bank."""
        return [FilterBank(self.filters, 1, self.nca.num_learned_filters > 0)]

    def perceive(self, x: Tensor, step: int) -> Tensor:
        """Filter the states of all cells.

        Args:
            x: Cell states, shape ``(B, C, *grid)``, floating point.
            step: Current step, 0 for the first; only used by the temporal encoding.

        Returns:
            Perception vectors, shape ``(B, output_size, *grid)``.
        """
        return self.with_context([x, *filter_cells(x, self.filters, self.nca.filter_padding)], step)
