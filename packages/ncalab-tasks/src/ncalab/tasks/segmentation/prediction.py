"""A prediction that also says which class each cell belongs to."""

from functools import cached_property

from torch import Tensor

from ncalab.core import Prediction


def mask_of(logits: Tensor) -> Tensor:
    """Return the most likely class of each cell.

    Args:
        logits: Shape ``(B, K, W, H)``: with K = 1 the logit of the foreground, otherwise one of
            each class.

    Returns:
        Class indices, shape ``(B, W, H)``, int64; 0 or 1 if K = 1.

    >>> import torch
    >>> mask_of(torch.tensor([[[[-1.0, 2.0]]]])).tolist()
    [[[0, 1]]]
    """
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)


class SegmentationPrediction(Prediction):
    """A prediction whose logits are those of the classes of each cell."""

    @cached_property
    def mask(self) -> Tensor:
        """Predicted class of each cell, shape ``(B, W, H)``, int64; 0 or 1 if binary."""
        return mask_of(self.logits)
