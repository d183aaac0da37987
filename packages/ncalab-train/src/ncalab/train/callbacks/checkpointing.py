"""Save the run folder of a training, and restore a training from it."""

import time
from pathlib import Path
from typing import Any, Protocol

from ncalab.core.run_record import CHECKPOINT_NAME
from ncalab.train.callbacks.callback import Callback, EpochResult, Training
from ncalab.train.checkpoint import encode_state, read_checkpoint, write_checkpoint
from ncalab.train.interrupts import HeldInterrupts
from ncalab.train.run_folder import remove_leftovers

# With save_every=None, saving may take this share of the time.
_SHARE_OF_SAVING = 0.1

# What reading data of another structure than the expected one may raise.
_DAMAGE = (LookupError, TypeError, AttributeError, RuntimeError)


class SavedState(Protocol):
    """State of a training that can be saved and restored."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the training is resumed from."""

    def check_state_dict(self, state: dict[str, Any], path: Path) -> None:
        """Raise a ValueError unless a state is that of this model and configuration.

        Args:
            state: What :meth:`state_dict` of the saved training returned.
            path: File that holds it, for the error.
        """

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""


class SavedTraining(Training, Protocol):
    """A training with a state that is saved."""

    @property
    def state(self) -> SavedState:
        """State, whole between two groups of batches."""


class Checkpointing(Callback):
    """Write the run folder of a training, and read it.

    Args:
        path: Run folder; None to save nothing.
        save_every: Number of epochs between saves; None for as often as it takes little time.
        interrupts: Holds Ctrl-C back while files are written.
        writes: Whether this process writes; of several, one does.
    """

    def __init__(
        self,
        path: Path | None,
        save_every: int | None,
        interrupts: HeldInterrupts,
        *,
        writes: bool = True,
    ) -> None:
        self.path = path if writes else None
        self.folder = path
        self.save_every, self.interrupts = save_every, interrupts
        self.failed, self.saved_epoch = False, -1
        self._saved: tuple[int, int] | None = None
        self._seconds_saving = 0.0
        self._began = time.perf_counter()

    def size(self, training: SavedTraining) -> int:
        """Return the number of bytes that a save takes at least; raise if it cannot be saved.

        Raises:
            TypeError: If the state holds what is not data.
        """
        text, tensors = encode_state(training.state.state_dict())
        held = sum(tensor.nbytes for tensor in tensors.values())
        weights = sum(parameter.nbytes for parameter in training.nca.parameters())
        return len(text) + held + 5 * weights  # moments of Adam, best, last and average weights

    def resume(self, training: SavedTraining) -> dict[str, Any]:
        """Restore a training from the checkpoint in the run folder, and return its state.

        Raises:
            ValueError: If the checkpoint is damaged, or that of another model or configuration.
                The model is unchanged then.
        """
        if self.folder is None:
            raise ValueError("model_path must be a run folder to resume, got None")
        path, nca = self.folder / CHECKPOINT_NAME, training.nca
        state = read_checkpoint(path)
        try:
            training.state.check_state_dict(state, path)
        except _DAMAGE as error:
            raise ValueError(f"{path} is a damaged checkpoint: {error!r:.200}") from error
        before = {name: value.clone() for name, value in nca.state_dict().items()}
        try:
            training.state.load_state_dict(state)
        except (*_DAMAGE, ValueError) as error:
            nca.load_state_dict(before)
            raise ValueError(f"{path} is a damaged checkpoint: {error!r:.200}") from error
        self.saved_epoch = training.history.current_epoch
        return state

    def is_due(self, epoch: int) -> bool:
        """Return whether to save after an epoch: every so many, or while it takes little time."""
        if self.save_every is not None:
            return epoch % self.save_every == 0
        return self._seconds_saving <= _SHARE_OF_SAVING * (time.perf_counter() - self._began)

    def on_epoch_end(self, training: Training, epoch: EpochResult) -> None:
        """Save the run if that is due."""
        if epoch.save_due:
            training.save()

    def is_saved(self, training: Training) -> bool:
        """Return whether the training is saved as it is now."""
        return self._saved == _place(training)

    def write(self, training: SavedTraining) -> bool:
        """Write the run folder: first the checkpoint, which counts, then what repeats it.

        Returns:
            Whether there is a folder to write.

        Raises:
            OSError: If it cannot be written; files of the save before it are whole.
        """
        if self.path is None:
            return False
        start, history = time.perf_counter(), training.history
        self.interrupts.hold()
        try:
            remove_leftovers(self.path)
            write_checkpoint(self.path / CHECKPOINT_NAME, training.state.state_dict())
            self.saved_epoch = history.current_epoch
            history.save()
            self._saved = _place(training)
        except OSError as error:
            self.failed = True
            raise OSError(
                error.errno,
                f"epoch {history.current_epoch} could not be saved ({error.strerror}); "
                f"{self.last_good()}",
                str(self.path),
            ) from error
        self._seconds_saving += time.perf_counter() - start
        self.interrupts.release()
        return True

    def last_good(self) -> str:
        """Describe the checkpoint to return to after an error."""
        if self.folder is None or self.saved_epoch < 0:
            return "nothing was saved before"
        place = self.folder / CHECKPOINT_NAME
        return f"the last good checkpoint is that of epoch {self.saved_epoch} ({place})"


def _place(training: Training) -> tuple[int, int]:
    """Return numbers of epochs and batches: they differ once a training has continued."""
    return training.history.current_epoch, training.iterations
