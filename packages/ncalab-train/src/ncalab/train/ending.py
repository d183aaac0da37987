"""The end of a training: after its last epoch, by Ctrl-C, or by an error."""

import logging
from typing import Any

from torch.utils.data import DataLoader

from ncalab.train.history import TrainingHistory
from ncalab.train.loop import TrainingLoop

logger = logging.getLogger(__name__)


def train_to_the_end(loop: TrainingLoop, test: DataLoader[Any] | None) -> TrainingHistory:
    """Train; whatever ends the training, what was trained is kept.

    Args:
        loop: The training.
        test: Data to measure the best weights on at the end.

    Returns:
        History of the training.

    Raises:
        Exception: Whatever ended the training, Ctrl-C in a single process apart.
    """
    with loop.interrupts:
        try:
            with loop.step.operation_threads, loop.step.watching():
                _train(loop, test)
        except BaseException:
            loop.status = "failed"
            loop.end()
            raise
        loop.end()
    return loop.history


def _train(loop: TrainingLoop, test: DataLoader[Any] | None) -> None:
    try:
        _train_and_finish(loop, test)
    except KeyboardInterrupt:
        loop.interrupts.end()
        if loop.processes.count > 1:
            # Others may be within another step: what is on disk is what all agree on.
            raise
        _interrupt(loop)


def _train_and_finish(loop: TrainingLoop, test: DataLoader[Any] | None) -> None:
    try:
        with loop.callbacks.progress:
            loop.train_epochs()
    except Exception:
        loop.interrupts.end()
        if loop.processes.count == 1:
            _rescue(loop)
        raise
    _finish(loop, test)


def _finish(loop: TrainingLoop, test: DataLoader[Any] | None) -> None:
    """Save, measure the best weights, and save what was measured."""
    history = loop.history
    if not loop.checkpointing.is_saved(loop):
        loop.save()
    history.finish()
    if history.best_model is None and loop.val is not None:
        logger.warning(
            "no best model could be chosen, and no test metrics measured: validation %s was "
            "undefined (NaN) after every epoch",
            loop.nca.validation_metric,
        )
    elif history.best_model is not None and test is not None:
        history.test_metrics = loop.measure(history.best_model, test)
        loop.save()
    loop.status = "finished"
    loop.processes.wait()


def _interrupt(loop: TrainingLoop) -> None:
    """Save where the training stands, unless that is within a step."""
    loop.history.interrupted = True
    epoch = loop.history.current_epoch
    if loop.interrupts.held:
        last_good = loop.checkpointing.last_good()
        logger.warning("interrupted within a step after epoch %d; %s", epoch, last_good)
    else:
        loop.check_finite()
        logger.warning(
            "interrupted after epoch %d and %d batches; saving (a third Ctrl-C stops that)",
            epoch,
            loop.batches,
        )
        loop.save()
    loop.history.finish()
    loop.status = "interrupted"


def _rescue(loop: TrainingLoop) -> None:
    """Save where the training stands, after an error that ends it.

    An error in a rollout, its loss or a data set leaves the weights as the last step made them.
    Nothing is saved if they may be half a step further, or are not finite.
    """
    if loop.history.path is None or loop.checkpointing.failed:
        return
    if loop.checkpointing.is_saved(loop) or not loop.iterations or not _is_sound(loop):
        return
    loop.history.interrupted = True
    try:
        loop.save()
    except Exception as error:  # the one that ends the training is raised, not this one
        logger.warning("after an error, the training could not be saved: %s", error)
        return
    epoch = loop.history.current_epoch
    logger.warning("after an error, epoch %d and %d batches were saved", epoch, loop.batches)


def _is_sound(loop: TrainingLoop) -> bool:
    """Return whether no step is half taken, and loss and weights are finite so far."""
    if loop.step.torn:
        return False
    try:
        loop.check_finite()
    except RuntimeError:
        return False
    return True
