"""Checks before the first batch, for errors that would end a training later."""

import logging
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, default_collate

from ncalab.core import AbstractNCAModel
from ncalab.core.checks import check_flag, check_int, check_type
from ncalab.core.recomputed import from_stored, to_stored
from ncalab.core.saving import check_savable, check_weights
from ncalab.train.random_state import unchanged_random_state
from ncalab.train.visuals import Estimator, Visual, find_plot

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)


def check_folder_options(model_path: Path | None, *, overwrite: Any, resume: Any) -> None:
    """Raise unless resuming and overwriting are flags that do not contradict each other."""
    check_flag("overwrite", overwrite)
    check_flag("resume", resume)
    if resume and overwrite:
        raise ValueError(
            "resume and overwrite must not both be True: resume the run, or replace it"
        )
    if resume and model_path is None:
        raise ValueError("model_path must be a run folder to resume, got None")


def check_loaders(loaders: Mapping[str, DataLoader[Any] | None]) -> None:
    """Raise unless loaders yield batches.

    Args:
        loaders: By name, "train" among them; others may be None.
    """
    for name, loader in loaders.items():
        check_type(f"dataloader_{name}", loader, DataLoader, optional=name != "train")
        if loader is not None and number_of_batches(loader) == 0:
            samples: Any = loader.dataset
            raise ValueError(
                f"dataloader_{name} must yield at least one batch, got none "
                f"({len(samples)} samples, drop_last={loader.drop_last})"
            )


def check_goals(nca: AbstractNCAModel, loaders: Mapping[str, DataLoader[Any] | None]) -> None:
    """Raise unless loaders yield the goals that the cells of a model perceive.

    Looked at is the first sample of a data set whose samples are put together as torch does it.
    Others are found out by their first batch.

    Args:
        nca: Model to train.
        loaders: Loaders by name; some may be None.
    """
    if not nca.goal_size:
        return
    for name, loader in loaders.items():
        if loader is None or loader.collate_fn is not default_collate:
            continue
        with unchanged_random_state():
            try:
                sample = loader.dataset[0]
            except Exception:  # a data set of another kind; its own errors are for the first batch
                continue
        if isinstance(sample, tuple | list) and len(sample) < 3:
            raise ValueError(
                f"dataloader_{name}: batches must be triples (images, labels, goals) for a model "
                f"whose cells perceive a goal, got samples of {len(sample)}"
            )


def number_of_batches(loader: DataLoader[Any]) -> int | None:
    """Return the number of batches of an epoch; None for a data set without a length."""
    return len(loader) if hasattr(loader.dataset, "__len__") else None


def check_model(nca: AbstractNCAModel, *, saved: bool) -> None:
    """Raise unless a model can be trained, copied (for the best weights) and saved.

    Args:
        nca: The model.
        saved: Whether it is to be saved.

    Raises:
        TypeError: If it cannot be saved.
        ValueError: If it has nothing to train, or cannot be copied or saved.
    """
    if not nca.num_trainable_parameters():
        raise ValueError("nca must have parameters to train, got none: all are frozen")
    try:
        deepcopy(nca)
    except Exception as error:  # whatever a part of the model raises
        reason = f"{type(error).__name__}: {' '.join(str(error).split()):.200}"
        raise ValueError(
            f"nca must be a model that can be copied, got one that cannot ({reason})"
        ) from error
    if saved:
        check_savable(nca)
        if problem := why_not_rebuilt(nca):
            logger.warning(
                "nca.from_pretrained will not rebuild this model from what is saved (%s); its load "
                "reads the weights into a model that was changed in the same way",
                problem,
            )


def why_not_rebuilt(nca: AbstractNCAModel) -> str | None:
    """Say why a saved model could not be rebuilt by its configuration alone; None if it can.

    The configuration does not include parts that were added or replaced after it was made.
    """
    with torch.random.fork_rng(devices=[]):  # fresh weights are drawn
        try:
            rebuilt = type(nca).from_dict(nca.to_dict())
            check_weights(rebuilt, from_stored(rebuilt, to_stored(nca)), "it")
        except Exception as error:  # whatever a constructor raises
            return " ".join(str(error).split()) or type(error).__name__
    return None


def check_observers(
    nca: AbstractNCAModel,
    val: DataLoader[Any] | None,
    *,
    save_every: Any,
    writer: "SummaryWriter | None",
    visual: Visual | None,
    uncertainty: Estimator | None,
) -> None:
    """Raise unless logs, visuals and estimators have the methods that a training calls.

    Args:
        nca: Model to train.
        val: Validation data.
        save_every: Number of epochs between saves and figures, or None.
        writer: TensorBoard writer.
        visual: Draws a batch.
        uncertainty: Estimates the model's uncertainty.
    """
    if save_every is not None:
        check_int("save_every", save_every, minimum=1)
    if writer is not None:
        _check_methods("summary_writer", writer, "add_scalar", "SummaryWriter")
    # The model's own one is asked for only where there is somewhere to draw.
    shown = nca.plot_function if visual is None and writer is not None else visual
    if shown is not None:
        _check_methods("plot_function", shown, "show", "Visual")
    if uncertainty is not None:
        _check_uncertainty(uncertainty, nca, val, writer)


def _check_methods(name: str, value: Any, method: str, kind: str) -> None:
    if isinstance(value, type) or not callable(getattr(value, method, None)):
        article = "the class " if isinstance(value, type) else ""
        got = value.__name__ if isinstance(value, type) else type(value).__name__
        raise TypeError(
            f"{name} must be a {kind} or None, with a method {method}, got {article}{got}"
        )


def _check_uncertainty(
    uncertainty: Estimator,
    nca: AbstractNCAModel,
    val: DataLoader[Any] | None,
    writer: "SummaryWriter | None",
) -> None:
    """Raise unless heat maps can be drawn."""
    _check_methods("uncertainty", uncertainty, "estimate", "UncertaintyEstimator")
    if getattr(uncertainty, "nca", None) is not nca:
        raise ValueError("uncertainty must be an estimator of the trained model")
    for name, value in (("dataloader_val", val), ("summary_writer", writer)):
        if value is None:
            raise ValueError(f"{name} must be given for heat maps of uncertainty, got None")
    find_plot("uncertainty")
    # An estimator of another package need not have it.
    check = getattr(uncertainty, "check", None)
    if callable(check):
        check()
