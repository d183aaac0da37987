"""A function that is called after every epoch."""

from collections.abc import Callable, Mapping

from ncalab.train.callbacks.callback import Callback, EpochResult, Training
from ncalab.train.guard import Guard

OnEpoch = Callable[[int, Mapping[str, float]], None]
"""Takes the number of an epoch, from 1, and its values by name."""


class EpochFunction(Callback):
    """Call a function after every epoch; an error in it is logged.

    Args:
        function: The function.
        guard: Logs its first error.
    """

    def __init__(self, function: OnEpoch, guard: Guard) -> None:
        self.function, self.guard = function, guard

    def on_epoch_end(self, training: Training, epoch: EpochResult) -> None:
        """Call the function."""
        with self.guard("on_epoch"):
            self.function(epoch.number, {**epoch.losses, **epoch.metrics, "lr": epoch.lr})
