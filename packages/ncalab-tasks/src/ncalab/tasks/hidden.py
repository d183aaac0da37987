"""The penalty on hidden channels that the losses of tasks share."""

from torch import Tensor

from ncalab.core import Prediction


def add_hidden_penalty(
    losses: dict[str, Tensor], prediction: Prediction, weight: float
) -> dict[str, Tensor]:
    """Add the mean square of the hidden channels to losses.

    Args:
        losses: Losses by name, with a "total".
        prediction: Prediction whose hidden channels are to stay small.
        weight: Weight of the penalty, at least 0.

    Returns:
        The losses, with "hidden" and its share of "total"; unchanged without a weight or hidden
        channels.
    """
    hidden = prediction.hidden_channels
    if weight == 0 or hidden.shape[1] == 0:
        return losses
    penalty = hidden.square().mean()
    return {**losses, "total": losses["total"] + weight * penalty, "hidden": penalty}
