"""A rule with gates: cells that decide what to keep."""

import torch
from torch import Tensor, nn

from ncalab.core.rule.base import AbstractNCARule


class GatedNCARule(AbstractNCARule):
    """Gated recurrent unit on every cell, whose memory is the cell's state.

    With the state h (which a perception vector begins with) and hidden neurons f = ReLU(A p) of
    the perception p, it computes the gates r and z, a candidate c, and the update d::

        r, z = sigmoid(G [f, h])
        c = tanh(F f + H (r h))
        d = gain z (c - h)

    Source: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, 2014,
    arXiv:1406.1078, with two deviations: its input are features of the perception, and the update
    has a gain for each channel, which starts at zero as in Bachlechner et al., ReZero, 2021,
    arXiv:2003.04887, so that an untrained rule changes nothing.

    Args:
        device: Where the rule's parameters are created.
        input_size: Length of the perception vector of a cell.
        hidden_size: Number of hidden neurons.
        output_size: Number of channels of a cell, at most ``input_size``.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If a size is out of its range.

    >>> rule = GatedNCARule(torch.device("cpu"), 12, 8, 4)
    >>> rule(torch.randn(1, 12, 5, 7)).abs().sum().item()
    0.0
    """

    pointwise = True

    def __init__(
        self, device: torch.device, input_size: int, hidden_size: int, output_size: int
    ) -> None:
        super().__init__(device, input_size, hidden_size, output_size)
        if output_size > input_size:
            raise ValueError(
                f"output_size must be at most input_size = {input_size}, got {output_size}; what "
                "a cell perceives begins with its state"
            )
        self.features = nn.Conv2d(input_size, hidden_size, 1)
        self.gates = nn.Conv2d(hidden_size + output_size, 2 * output_size, 1)
        self.candidate = nn.Conv2d(hidden_size, output_size, 1)
        self.candidate_of_state = nn.Conv2d(output_size, output_size, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(output_size))
        self.to(device)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the residual update of every cell.

        Args:
            x: Perception vectors, shape ``(B, input_size, W, H)``.

        Returns:
            Residual updates, shape ``(B, output_size, W, H)``.
        """
        state = x[:, : self.output_size]
        features = self.features(x).relu()
        gates = self.gates(torch.cat([features, state], dim=1)).sigmoid()
        reset, update = gates.chunk(2, dim=1)
        remembered = self.candidate_of_state(reset * state)
        candidate = (self.candidate(features) + remembered).tanh()
        change: Tensor = self.gain[:, None, None] * update * (candidate - state)
        return change

    def freeze(self, freeze_last: bool = False) -> None:
        """Exclude features, gates and, if asked for, candidate and gain from training.

        Args:
            freeze_last: Whether to freeze candidate and gain, too.
        """
        self.features.requires_grad_(False)
        self.gates.requires_grad_(False)
        if freeze_last:
            self.requires_grad_(False)
