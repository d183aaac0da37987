"""The head that classifies a whole image from its hidden channels."""

import torch
from torch import Tensor, nn

from ncalab.core import AbstractNCAHead
from ncalab.core.checks import check_device, check_int

_POOLS = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


class ClassificationNCAHead(AbstractNCAHead):
    """Pool the hidden channels to a small grid, then classify it with a two-layer perceptron.

    Adaptive average pooling makes the grid the same for images of any size, so one head serves
    them all.

    Args:
        num_hidden_channels: Number of hidden channels of the model, at least 1.
        num_classes: Number of classes K, at least 2.
        device: Where parameters are created.
        avg_pool_size: Side of the pooled grid, at least 1.
        hidden_size: Number of hidden neurons, at least 1.
        spatial_dims: Number of axes of the grid: 1, 2 or 3.

    Raises:
        TypeError: If a size is not an integer.
        ValueError: If one is out of its range.

    >>> head = ClassificationNCAHead(8, 3, torch.device("cpu"), avg_pool_size=2)
    >>> head(torch.rand(5, 8, 28, 21)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        num_hidden_channels: int,
        num_classes: int,
        device: torch.device,
        avg_pool_size: int,
        hidden_size: int = 32,
        *,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__()
        self.num_hidden_channels = check_int("num_hidden_channels", num_hidden_channels, minimum=1)
        self.num_classes = check_int("num_classes", num_classes, minimum=2)
        self.avg_pool_size = check_int("avg_pool_size", avg_pool_size, minimum=1)
        self.hidden_size = check_int("hidden_size", hidden_size, minimum=1)
        if check_int("spatial_dims", spatial_dims, minimum=1) not in _POOLS:
            raise ValueError(f"spatial_dims must be 1, 2 or 3, got {spatial_dims}")
        self.classifier = nn.Sequential(
            _POOLS[spatial_dims](avg_pool_size),
            nn.Flatten(),
            nn.Linear(num_hidden_channels * avg_pool_size**spatial_dims, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, num_classes),
        ).to(check_device("device", device))

    @property
    def device(self) -> torch.device:
        """Device that holds the head."""
        return next(self.parameters()).device

    def forward(self, x: Tensor) -> Tensor:
        """Classify images.

        Args:
            x: Hidden channels, shape ``(B, hidden channels, *grid)``.

        Returns:
            Logits, shape ``(B, K)``.
        """
        logits: Tensor = self.classifier(x)
        return logits

    def freeze(self, freeze_last: bool = False) -> None:
        """Exclude the head's parameters from training.

        Args:
            freeze_last: Whether to freeze the last layer, too; otherwise it stays as it is.
        """
        frozen = self.classifier if freeze_last else self.classifier[:-1]
        frozen.requires_grad_(False)
