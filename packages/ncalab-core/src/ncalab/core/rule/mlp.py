"""A perceptron as the rule: the standard one of the field, and deeper ones."""

import inspect

import torch
from torch import Tensor, nn

from ncalab.core.checks import check_choice, check_int, check_weights_of_layer
from ncalab.core.rule.base import AbstractNCARule
from ncalab.core.rule.cell_layers import NORMALIZATIONS, CellNorm, Normalization


class MLPNCARule(AbstractNCARule):
    """Perceptron on every cell: 1x1 convolution, nonlinearity, 1x1 convolution.

    It has one hidden layer unless more are asked for. The last layer has no bias and starts at
    zero, so that an untrained rule changes nothing.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023, section "Update rule".

    Args:
        device: Where the rule's parameters are created.
        input_size: Length of the perception vector of a cell.
        hidden_size: Number of hidden neurons.
        output_size: Number of channels of a cell.
        nonlinearity: Class of the elementwise activation, called without arguments.
        hidden_layers: Number of hidden layers, each of ``hidden_size`` neurons.
        normalization: "layer" or "rms" to normalise the neurons of each cell before every
            nonlinearity, see :class:`ncalab.core.rule.cell_layers.CellNorm`; None for none.

    Raises:
        TypeError: If an argument is of another type, or the activation needs arguments.
        ValueError: If a size or number is below 1, or the normalisation is not known.

    >>> rule = MLPNCARule(torch.device("cpu"), 12, 8, 4)
    >>> rule(torch.randn(1, 12, 5, 7)).abs().sum().item()
    0.0
    """

    pointwise = True

    def __init__(
        self,
        device: torch.device,
        input_size: int,
        hidden_size: int,
        output_size: int,
        nonlinearity: type[nn.Module] = nn.ReLU,
        *,
        hidden_layers: int = 1,
        normalization: Normalization | None = None,
    ) -> None:
        super().__init__(device, input_size, hidden_size, output_size)
        if not (isinstance(nonlinearity, type) and issubclass(nonlinearity, nn.Module)):
            raise TypeError(f"nonlinearity must be a class of torch modules, got {nonlinearity!r}")
        try:
            inspect.signature(nonlinearity).bind()
        except TypeError as error:
            raise TypeError(
                f"nonlinearity must be a class that needs no arguments, got {nonlinearity!r}"
            ) from error
        self.nonlinearity = nonlinearity
        self.hidden_layers = check_int("hidden_layers", hidden_layers, minimum=1)
        if normalization is not None:
            check_choice("normalization", normalization, NORMALIZATIONS)
        self.normalization = normalization
        between = self.hidden_layers * self.hidden_size if self.hidden_layers > 1 else 0
        check_weights_of_layer(
            "hidden_size and hidden_layers", self.hidden_size * max(self.input_size, between)
        )
        self.network = self._build_network().to(device)
        self._initialize_network()

    def _build_network(self) -> nn.Sequential:
        """Create the layers."""
        layers: list[nn.Module] = []
        for size in (self.input_size, *[self.hidden_size] * (self.hidden_layers - 1)):
            layers.append(nn.Conv2d(size, self.hidden_size, kernel_size=1))
            if self.normalization is not None:
                layers.append(CellNorm(self.hidden_size, self.normalization))
            layers.append(self.nonlinearity())
        last = nn.Conv2d(self.hidden_size, self.output_size, kernel_size=1, bias=False)
        return nn.Sequential(*layers, last)

    def _initialize_network(self) -> None:
        """Set the last layer to zero; the others keep torch's default initialisation."""
        nn.init.zeros_(self.last_layer.weight)

    @property
    def first_layer(self) -> nn.Conv2d:
        """The layer from perception to hidden neurons."""
        return self._layer(0)

    @property
    def last_layer(self) -> nn.Conv2d:
        """The layer from hidden neurons to the update."""
        return self._layer(-1)

    @property
    def activation(self) -> nn.Module:
        """The nonlinearity of the hidden neurons; the first one, if there are several layers."""
        return self.get_submodule("network.1")

    def _layer(self, place: int) -> nn.Conv2d:
        layer = self.network[place]
        if not isinstance(layer, nn.Conv2d):
            raise TypeError(f"layer {place} of the rule must be a Conv2d, got {layer}")
        return layer

    def forward(self, x: Tensor) -> Tensor:
        """Compute the residual update of every cell.

        Args:
            x: Perception vectors, shape ``(B, input_size, W, H)``.

        Returns:
            Residual updates, shape ``(B, output_size, W, H)``.
        """
        update: Tensor = self.network(x)
        return update

    def freeze(self, freeze_last: bool = False) -> None:
        """Exclude the hidden layers and, if asked for, the last one from training.

        Args:
            freeze_last: Whether to freeze the last layer, too.
        """
        self.network[:-1].requires_grad_(False)
        if freeze_last:
            self.last_layer.requires_grad_(False)
