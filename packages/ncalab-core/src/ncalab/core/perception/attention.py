"""A view that chooses which neighbours to look at."""

import torch
from torch import Tensor, nn

from ncalab.core.checks import check_int, check_weights_of_layer
from ncalab.core.perception.views import View


class AttentionView(View):
    """Attention of a cell to itself and its neighbours.

    Every head compares the cell's query with the keys of the cells around it, and returns the mean
    of their values, weighted by the softmax of these products.

    Source: Tesfaldet et al., Attention-based Neural Cellular Automata, 2022, arXiv:2211.01233,
    with attention to the 3x3 neighbourhood (3^d on a grid of d axes) and without a code for where
    a neighbour stands but a learned bias for each place.

    Args:
        channels: Number of channels C of a cell.
        spatial_dims: Number of axes of the grid.
        heads: Number of heads, at least 1.
        head_size: Numbers of a query, key or value of each head, at least 1.

    Raises:
        TypeError: If an argument is not an integer.
        ValueError: If an argument is below 1.
    """

    def __init__(
        self, channels: int, spatial_dims: int, heads: int = 4, head_size: int = 8
    ) -> None:
        super().__init__(channels, spatial_dims)
        self.heads = check_int("heads", heads, minimum=1)
        self.head_size = check_int("head_size", head_size, minimum=1)
        self.places = 3**spatial_dims
        # One filter for every place: the state of the neighbour there.
        self.set_filters(torch.eye(self.places).view(-1, *[3] * spatial_dims))
        width = heads * head_size
        check_weights_of_layer("heads and head_size", 2 * channels * width)
        self.query = nn.Conv2d(channels, width, 1, bias=False)
        self.key_and_value = nn.Conv2d(channels, 2 * width, 1, bias=False)
        self.place_bias = nn.Parameter(torch.zeros(heads, self.places))

    @property
    def output_size(self) -> int:
        """Number of values that a cell perceives through it."""
        return self.heads * self.head_size

    def combine(self, state: Tensor, filtered: Tensor) -> Tensor:
        """Attend to the neighbours; see :meth:`View.combine`."""
        batch, _, cells, _ = state.shape
        heads, places = (self.heads, self.head_size), (self.places, self.channels)
        query = self.query(state).view(batch, *heads, 1, cells)
        around = filtered.unflatten(1, places).transpose(1, 2).flatten(2, 3)  # (B, C, places N, 1)
        keys, values = self.key_and_value(around).chunk(2, dim=1)
        keys = keys.reshape(batch, *heads, self.places, cells)
        values = values.reshape(batch, *heads, self.places, cells)
        scores = (query * keys).sum(dim=2) / self.head_size**0.5 + self.place_bias[..., None]
        weights = scores.softmax(dim=2)[:, :, None]  # (B, heads, 1, places, N)
        seen: Tensor = (weights * values).sum(dim=3)
        return seen.reshape(batch, -1, cells, 1)
