"""Save a run, and go on from what was saved."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncalab.core.saving import check_weights
from ncalab.train.checkpoint import CHECKPOINT_NAME, encode_state, read_checkpoint, write_checkpoint
from ncalab.train.describe import differences
from ncalab.train.optimizers import restore_scheduler
from ncalab.train.random_state import random_state_to_data, restore_random_state
from ncalab.train.run_folder import remove_leftovers

if TYPE_CHECKING:
    from ncalab.train.run import Run

# With save_every=None, saving may take this share of the time.
_SHARE_OF_SAVING = 0.1

# What reading data of another structure than the expected one may raise.
_DAMAGE = (LookupError, TypeError, AttributeError, RuntimeError)


class Saver:
    """Write the run folder of a training, and read it.

    Args:
        run: The training.
    """

    def __init__(self, run: "Run") -> None:
        self.run = run
        self.saved, self.failed, self.saved_epoch = False, False, -1
        self._seconds_saving = 0.0
        self._began = time.perf_counter()

    def state(self) -> dict[str, Any]:
        """Return all that the training goes on from."""
        run = self.run
        pool, stopping = run.trainer.pool, run.earlystopping
        return {
            "settings": run.settings,
            "model": run.nca.state_dict(),
            "best": run.history.best_weights,
            "average": None if run.average is None else run.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
            "scheduler": run.scheduler.state_dict(),
            "pool": None if pool is None else pool.state_dict(),
            "early_stopping": None if stopping is None else stopping.state_dict(),
            "history": run.history.to_dict(),
            "epoch": run.history.current_epoch,
            "batches": run.batches,
            "iterations": run.iterations,
            "counts": dict(run.counts),
            "steps": run.step.taken,
            "lr": run.lr,
            "seconds": run.budget.seconds(),
            "sums": run.sums,
            "epoch_start": random_state_to_data(run.epoch_start),
            "random": random_state_to_data(run.moment),
        }

    def size(self) -> int:
        """Return the number of bytes that a save takes at least; raise if it cannot be saved.

        Raises:
            TypeError: If the state holds what is no data.
        """
        text, tensors = encode_state(self.state())
        held = sum(tensor.nbytes for tensor in tensors.values())
        weights = sum(parameter.nbytes for parameter in self.run.nca.parameters())
        return len(text) + held + 5 * weights  # moments of Adam, best, last and average weights

    def resume(self) -> None:
        """Go on from the checkpoint in the run folder.

        Raises:
            ValueError: If the checkpoint is damaged, or that of another model or configuration.
                The model is unchanged then.
        """
        run = self.run
        if run.history.path is None:
            raise ValueError("model_path must be a run folder to resume, got None")
        path = run.history.path / CHECKPOINT_NAME
        state = read_checkpoint(path)
        try:
            self._check(state, path)
        except _DAMAGE as error:
            raise ValueError(f"{path} is a damaged checkpoint: {error!r:.200}") from error
        before = {name: value.clone() for name, value in run.nca.state_dict().items()}
        try:
            self._restore(state)
        except (*_DAMAGE, ValueError) as error:
            run.nca.load_state_dict(before)
            raise ValueError(f"{path} is a damaged checkpoint: {error!r:.200}") from error

    def _check(self, state: dict[str, Any], path: Path) -> None:
        """Raise unless a checkpoint is that of this model and configuration."""
        run = self.run
        if missing := sorted(self.state().keys() - state.keys()):
            raise ValueError(f"{path} is a damaged checkpoint: it lacks {', '.join(missing)}")
        if found := differences(state["settings"], run.settings):
            raise ValueError(
                f"model_path must hold a run of the same model and settings to resume, got "
                f"{path.parent} with others ({'; '.join(found)})"
            )
        check_weights(run.nca, state["model"], path)
        if state["best"] is not None:
            check_weights(run.nca, state["best"], path)
        if run.average is not None:
            check_weights(run.average, state["average"], path)
        if (held := len(state["random"]["generators"])) != len(run.generators):
            raise ValueError(
                "dataloaders and pool must have as many generators of their own as when the run "
                f"was saved, {held}, to resume, got {len(run.generators)}"
            )

    def _restore(self, state: dict[str, Any]) -> None:
        run = self.run
        run.nca.load_state_dict(state["model"])
        for optimizer, own in zip(run.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
            # Or a schedule whose first step comes next would warn that it comes too early.
            optimizer._opt_called = state["steps"] > 0  # type: ignore[attr-defined]  # torch's own
        restore_scheduler(run.scheduler, state["scheduler"])
        if run.average is not None:
            run.average.load_state_dict(state["average"])
            run.history.average_weights = run.averaged_model().state_dict()
        if run.trainer.pool is not None:
            run.trainer.pool.load_state_dict(state["pool"], device=run.nca.device)
        if run.earlystopping is not None and state["early_stopping"] is not None:
            run.earlystopping.load_state_dict(state["early_stopping"])
        run.history.restore(state["history"], state["best"])
        run.batches, run.iterations = state["batches"], state["iterations"]
        run.budget.restart(state["seconds"])
        run.lr = state["lr"]
        run.step.taken, run.counts = state["steps"], dict(state["counts"])
        run.sums = {name: value.to(run.nca.device) for name, value in state["sums"].items()}
        run.epoch_start, run.moment = state["epoch_start"], state["random"]
        restore_random_state(run.moment, run.generators)
        self.saved_epoch = run.history.current_epoch

    def is_due(self, epoch: int, save_every: int | None) -> bool:
        """Return whether to save after an epoch: every so many, or while it takes little time."""
        if save_every is not None:
            return epoch % save_every == 0
        return self._seconds_saving <= _SHARE_OF_SAVING * (time.perf_counter() - self._began)

    def save(self) -> None:
        """Write the run folder: first the checkpoint, which counts, then what repeats it.

        Raises:
            OSError: If it cannot be written; what was there before is whole.
        """
        run = self.run
        if not run.processes.is_main or run.history.path is None:
            return
        start = time.perf_counter()
        run.interrupts.hold()
        try:
            remove_leftovers(run.history.path)
            write_checkpoint(run.history.path / CHECKPOINT_NAME, self.state())
            self.saved_epoch = run.history.current_epoch
            run.history.save()
            self.saved = True
        except OSError as error:
            self.failed = True
            raise OSError(
                error.errno,
                f"epoch {run.history.current_epoch} could not be saved ({error.strerror}); "
                f"{self.last_good()}",
                str(run.history.path),
            ) from error
        self._seconds_saving += time.perf_counter() - start
        run.interrupts.release()

    def last_good(self) -> str:
        """Say which checkpoint there is to go back to."""
        run = self.run
        if run.history.path is None or self.saved_epoch < 0:
            return "nothing was saved before"
        place = run.history.path / CHECKPOINT_NAME
        return f"the last good checkpoint is that of epoch {self.saved_epoch} ({place})"
