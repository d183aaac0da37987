"""The update rule that all cells share: perception vector in, residual update out."""

import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ncalab.core.checks import check_device, check_int
from ncalab.core.tracing import stands_for_module


class AbstractNCARule(nn.Module, ABC):
    """Base class of update rules.

    Every subclass is registered under its class name, so that a saved model can name its rule.

    Args:
        device: Where the rule's parameters are created.
        input_size: Length of the perception vector of a cell.
        hidden_size: Number of hidden neurons.
        output_size: Number of channels of a cell.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If a size is below 1.
    """

    registry: ClassVar[dict[str, type["AbstractNCARule"]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not stands_for_module(cls):
            AbstractNCARule.registry[cls.__name__] = cls

    def __init__(
        self, device: torch.device, input_size: int, hidden_size: int, output_size: int
    ) -> None:
        super().__init__()
        device = check_device("device", device)
        self.input_size = check_int("input_size", input_size, minimum=1)
        self.hidden_size = check_int("hidden_size", hidden_size, minimum=1)
        self.output_size = check_int("output_size", output_size, minimum=1)
        # Follows .to(), unlike a stored device.
        self.register_buffer("_anchor", torch.empty(0, device=device), persistent=False)

    @property
    def device(self) -> torch.device:
        """Device that holds the rule."""
        return self.get_buffer("_anchor").device

    @abstractmethod
    def freeze(self, freeze_last: bool = False) -> None:
        """Exclude the rule's parameters from training.

        Args:
            freeze_last: Whether to freeze the last layer, too.
        """


class MLPNCARule(AbstractNCARule):
    """Two-layer perceptron on every cell: 1x1 convolution, nonlinearity, 1x1 convolution.

    The last layer has no bias and starts at zero, so that an untrained rule changes nothing.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023, section "Update rule".

    Args:
        device: Where the rule's parameters are created.
        input_size: Length of the perception vector of a cell.
        hidden_size: Number of hidden neurons.
        output_size: Number of channels of a cell.
        nonlinearity: Class of the elementwise activation, called without arguments.

    Raises:
        TypeError: If an argument is of another type, or the activation needs arguments.
        ValueError: If a size is below 1.

    >>> rule = MLPNCARule(torch.device("cpu"), 12, 8, 4)
    >>> rule(torch.randn(1, 12, 5, 7)).abs().sum().item()
    0.0
    """

    def __init__(
        self,
        device: torch.device,
        input_size: int,
        hidden_size: int,
        output_size: int,
        nonlinearity: type[nn.Module] = nn.ReLU,
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
        self.network = self._build_network().to(device)
        self._initialize_network()

    def _build_network(self) -> nn.Sequential:
        """Create the three layers."""
        return nn.Sequential(
            nn.Conv2d(self.input_size, self.hidden_size, kernel_size=1),
            self.nonlinearity(),
            nn.Conv2d(self.hidden_size, self.output_size, kernel_size=1, bias=False),
        )

    def _initialize_network(self) -> None:
        """Set the last layer to zero; the first keeps torch's default initialisation."""
        nn.init.zeros_(self.last_layer.weight)

    @property
    def first_layer(self) -> nn.Conv2d:
        """The layer from perception to hidden neurons."""
        return self._layer(0)

    @property
    def last_layer(self) -> nn.Conv2d:
        """The layer from hidden neurons to the update."""
        return self._layer(-1)

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
        """Exclude the first layer and, if asked for, the last one from training.

        Args:
            freeze_last: Whether to freeze the last layer, too.
        """
        self.first_layer.requires_grad_(False)
        if freeze_last:
            self.last_layer.requires_grad_(False)
