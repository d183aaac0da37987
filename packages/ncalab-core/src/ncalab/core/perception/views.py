"""Views of the neighbourhood: filters, and what a cell makes of them."""

from abc import ABC
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ncalab.core.checks import check_int, check_weights_of_layer
from ncalab.core.padding import FilterPadding
from ncalab.core.perception.base import FilterBank
from ncalab.core.perception.filters import (
    MOST_BYTES,
    check_shape_of_filters,
    filter_cells,
    laplace_filter,
    sobel_filters,
)
from ncalab.core.registering import register_class
from ncalab.core.tracing import is_tracing


class View(nn.Module, ABC):
    """Base class of views: a bank of depthwise filters, and a function of what they give.

    A view of one's own calls this constructor, then sets ``filters``, shape ``(n, C, k, ...)`` (a
    parameter, or a buffer that is not persistent), and may override :meth:`combine` and
    :attr:`output_size`. A cell sees its neighbours through the filters only, so that the fast
    engine of the CPU can compute them for the cells that fire. Subclasses are registered under
    their names, so that a saved model can name them.

    Args:
        channels: Number of channels C of a cell.
        spatial_dims: Number of axes of the grid.
    """

    registry: ClassVar[dict[str, type["View"]]] = {}

    filters: Tensor
    dilation: int = 1
    """Distance between the cells that neighbouring weights act on."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        register_class(View.registry, cls, kind="view")

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__()
        self.channels, self.spatial_dims = channels, spatial_dims

    def set_filters(self, filters: Tensor) -> None:
        """Use the same fixed filters, shape ``(n, k, ...)``, k odd, for every channel.

        Raises:
            ValueError: If they have another shape.
        """
        check_shape_of_filters(type(self).__name__, filters.shape, self.spatial_dims)
        of_each = filters.to(torch.get_default_dtype())[:, None]
        repeated = of_each.repeat(1, self.channels, *[1] * self.spatial_dims)
        # Rebuilt from the configuration, so not part of a weights file.
        self.register_buffer("filters", repeated, persistent=False)

    @property
    def output_size(self) -> int:
        """Number of values that a cell perceives through it."""
        return self.filters.shape[0] * self.channels

    @property
    def radius(self) -> int:
        """Number of cells that a cell sees in every direction."""
        return self.dilation * (self.filters.shape[-1] // 2)

    @property
    def bank(self) -> FilterBank:
        """Its filters."""
        return FilterBank(self.filters, self.dilation, self.filters.requires_grad)

    @property
    def is_linear(self) -> bool:
        """Whether a cell perceives what the filters give as it is."""
        return type(self).combine is View.combine

    def combine(self, state: Tensor, filtered: Tensor) -> Tensor:  # noqa: ARG002 - for subclasses
        """Compute, cell by cell, what is perceived; what the filters give unless overridden.

        Args:
            state: States of N cells, shape ``(B, C, N, 1)``.
            filtered: What the n filters give, one after the other, shape ``(B, n C, N, 1)``.

        Returns:
            Shape ``(B, output_size, N, 1)``.
        """
        return filtered

    def call_combine(self, state: Tensor, filtered: Tensor) -> Tensor:
        """Return what :meth:`combine` returns, of the right shape for certain.

        Args:
            state: States of N cells, shape ``(B, C, N, 1)``; may be changed in place.
            filtered: What the n filters give, shape ``(B, n C, N, 1)``; may be changed, too.

        Returns:
            Shape ``(B, output_size, N, 1)``.

        Raises:
            ValueError: If ``combine`` returns another shape.
        """
        seen = self.combine(state, filtered)
        wanted = (state.shape[0], self.output_size, *state.shape[2:])
        if not is_tracing() and seen.shape != wanted:
            raise ValueError(
                f"{type(self).__name__}.combine must return shape {wanted} for states of shape "
                f"{tuple(state.shape)}, got {tuple(seen.shape)}"
            )
        return seen

    def forward(self, x: Tensor, padding: FilterPadding) -> Tensor:
        """Compute the view of every cell.

        Args:
            x: Cell states, shape ``(B, C, *grid)``.
            padding: How the grid continues beyond its border.

        Returns:
            Shape ``(B, output_size, *grid)``.
        """
        filtered = torch.cat(filter_cells(x, self.filters, padding, self.dilation), dim=1)
        if self.is_linear:
            return filtered
        state, filtered = (part.flatten(2)[..., None] for part in (x, filtered))
        seen = self.call_combine(state.clone(), filtered)
        return seen.reshape(x.shape[0], -1, *x.shape[2:])


class SobelView(View):
    """Gradients along every axis, the last one first, by Sobel filters."""

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__(channels, spatial_dims)
        self.set_filters(sobel_filters(spatial_dims))


class LaplaceView(View):
    """Difference between the neighbours and the cell, by the Laplace filter."""

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__(channels, spatial_dims)
        self.set_filters(laplace_filter(spatial_dims)[None])


class LearnedView(View):
    """Learned filters of any odd size and dilation.

    Two of them side by side, of which one is dilated, see near and far; Source: NCAtorch,
    arXiv:2604.24990.

    Args:
        channels: Number of channels C of a cell.
        spatial_dims: Number of axes of the grid.
        num_filters: Number of filters of every channel, at least 1.
        kernel_size: Their size along every axis, odd.
        dilation: Distance between the cells that neighbouring weights act on, at least 1.

    Raises:
        TypeError: If an argument is not an integer.
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        channels: int,
        spatial_dims: int,
        num_filters: int = 2,
        kernel_size: int = 3,
        dilation: int = 1,
    ) -> None:
        super().__init__(channels, spatial_dims)
        check_int("num_filters", num_filters, minimum=1)
        if check_int("kernel_size", kernel_size, minimum=1) % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.dilation = check_int("dilation", dilation, minimum=1)
        size = (num_filters, channels, *[kernel_size] * spatial_dims)
        check_weights_of_layer("num_filters and kernel_size", prod(size))
        _check_reach(kernel_size, dilation, channels, spatial_dims)
        # The scale of torch's own depthwise convolutions.
        scale = kernel_size ** (spatial_dims / 2)
        self.filters = nn.Parameter(torch.empty(size).uniform_(-1, 1) / scale)


def _check_reach(kernel_size: int, dilation: int, channels: int, spatial_dims: int) -> None:
    """Raise a ValueError if even a single cell cannot have the border that filters need."""
    places = 1 + 2 * dilation * (kernel_size // 2)
    size = channels * places**spatial_dims * torch.get_default_dtype().itemsize
    if size >= MOST_BYTES:
        raise ValueError(
            f"dilation and kernel_size must leave a cell with a border below 2**63 bytes, got "
            f"{dilation} and {kernel_size}: {places} cells along every axis, {channels} channels"
        )
