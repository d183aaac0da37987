"""Base of all update rules: sizes, device, and the name under which one is saved."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import nn

from ncalab.core.checks import check_device, check_int
from ncalab.core.registering import register_class


class AbstractNCARule(nn.Module, ABC):
    """Base class of update rules: perception vectors in, residual updates out.

    Every subclass is registered under its class name, so that a saved model can name its rule.

    A rule whose ``forward`` treats each cell by itself may declare ``pointwise = True``. The fast
    engines then serve it: they call it with the cells that fire only, some thousand at a time, as
    a grid ``(1, input_size, N, 1)``. What it computes must be the same whichever cells it is
    called with, and depend on nothing but its parameters, its buffers and what the cell
    perceives. That is tested when it is first run, and by :func:`ncalab.core.testing.check_rule`.

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

    pointwise: ClassVar[bool] = False
    """Whether each output depends on the inputs of the same cell only."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        register_class(AbstractNCARule.registry, cls, kind="rule")

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
