"""Views that know no direction, or one that the cell chooses."""

from itertools import combinations
from math import comb

import torch
from torch import Tensor

from ncalab.core.checks import check_int, check_weights_of_layer
from ncalab.core.perception.filters import fixed_filters, sobel_filters
from ncalab.core.perception.views import View

# Under the root: the slope of a norm is infinite at 0.
_LEAST = 1e-8


class IsotropicView(View):
    """The length of the gradient, Laplace, and the determinants of gradients.

    All of them stay as they are where the grid is rotated; determinants, of the gradients of two
    channels (three in a volume), change their sign where it is mirrored.

    Source: Mordvintsev et al., Growing Isotropic Neural Cellular Automata, 2022,
    arXiv:2205.01681.

    Args:
        channels: Number of channels C of a cell.
        spatial_dims: Number of axes of the grid, 2 or 3 with determinants.
        determinants: From how many of the first channels determinants are taken, one of every pair
            of them (of every three in a volume); 0 for none.

    Raises:
        TypeError: If ``determinants`` is not an integer.
        ValueError: If it is out of its range, or the grid has one axis.
    """

    def __init__(self, channels: int, spatial_dims: int, determinants: int = 0) -> None:
        super().__init__(channels, spatial_dims)
        check_int("determinants", determinants, minimum=0)
        if determinants and spatial_dims == 1:
            raise ValueError(f"determinants must be 0 on a grid of one axis, got {determinants}")
        if determinants and not spatial_dims <= determinants <= channels:
            raise ValueError(
                f"determinants must be 0, or in [{spatial_dims}, {channels}]: on this grid, one is "
                f"of the gradients of {spatial_dims} channels; got {determinants}"
            )
        check_weights_of_layer("determinants", comb(determinants, spatial_dims))
        self.determinants = determinants
        self._groups = list(combinations(range(determinants), spatial_dims))
        self.set_filters(fixed_filters(use_laplace=True, spatial_dims=spatial_dims))

    @property
    def output_size(self) -> int:
        """Number of values that a cell perceives through it."""
        return 2 * self.channels + len(self._groups)

    def combine(self, state: Tensor, filtered: Tensor) -> Tensor:  # noqa: ARG002 - as View.combine
        """Compute lengths, Laplace and determinants; see :meth:`View.combine`."""
        parts = filtered.unflatten(1, (-1, self.channels))
        gradients = parts[:, : self.spatial_dims]  # (B, axes, C, N, 1)
        length = (gradients.square().sum(dim=1) + _LEAST).sqrt()
        seen = [length, parts[:, self.spatial_dims]]
        seen += [_determinant(gradients[:, :, list(group)]) for group in self._groups]
        return torch.cat(seen, dim=1)


def _determinant(g: Tensor) -> Tensor:
    """Return the determinants of ``(B, axes, axes, N, 1)`` matrices, shape ``(B, 1, N, 1)``."""
    if g.shape[1] == 2:
        return (g[:, 0, 0] * g[:, 1, 1] - g[:, 1, 0] * g[:, 0, 1])[:, None]
    cross = [g[:, i, 1] * g[:, j, 2] - g[:, j, 1] * g[:, i, 2] for i, j in ((1, 2), (2, 0), (0, 1))]
    terms = [g[:, i, 0] * cross[i] for i in range(3)]
    return (terms[0] + terms[1] + terms[2])[:, None]


class SteerableView(View):
    """Gradients turned by an angle, which is a channel of the cell.

    Cells agree on a direction of their own, or are given one, instead of seeing that of the grid.

    Source: Randazzo et al., Growing Steerable Neural Cellular Automata, 2023, arXiv:2302.10197.

    Args:
        channels: Number of channels C of a cell.
        spatial_dims: Number of axes of the grid, 2.
        angle_channel: Index of the channel that holds the angle, in radians.

    Raises:
        TypeError: If ``angle_channel`` is not an integer.
        ValueError: If the channel does not exist, or the grid does not have two axes.
    """

    def __init__(self, channels: int, spatial_dims: int, angle_channel: int = -1) -> None:
        super().__init__(channels, spatial_dims)
        if spatial_dims != 2:
            raise ValueError(f"spatial_dims must be 2 to turn gradients, got {spatial_dims}")
        check_int("angle_channel", angle_channel, minimum=-channels)
        if angle_channel >= channels:
            raise ValueError(f"angle_channel must be below {channels}, got {angle_channel}")
        self.angle_channel = angle_channel % channels
        self.set_filters(sobel_filters(2))

    def combine(self, state: Tensor, filtered: Tensor) -> Tensor:
        """Turn the gradients; see :meth:`View.combine`."""
        along_h, along_w = filtered.chunk(2, dim=1)
        angle = state[:, self.angle_channel : self.angle_channel + 1]
        cosine, sine = angle.cos(), angle.sin()
        ahead = cosine * along_h + sine * along_w
        aside = cosine * along_w - sine * along_h
        return torch.cat([ahead, aside], dim=1)
