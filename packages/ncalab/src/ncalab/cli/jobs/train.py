"""Train what a settings file describes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from ncalab.cli.config.build import (
    build_early_stopping,
    build_model,
    build_recommended,
    build_trainer,
    describe_recipe,
)
from ncalab.cli.config.data import Parts, read_parts
from ncalab.cli.config.read import override, parse_override, read_config
from ncalab.cli.config.sections import Checked, check_config
from ncalab.cli.jobs.ending import CURVES, save_curves, say_how_to_resume, shown_value
from ncalab.cli.jobs.files import PRETRAINED, TRAIN_FILE, check_run_folder
from ncalab.core import AbstractNCAModel, fix_random_seed, get_compute_device
from ncalab.core.saving import atomic_write
from ncalab.tasks.scales import TIMESTEPS
from ncalab.train import TrainingHistory
from ncalab.train.run_folder import tidied

_SHORT_BATCHES = 2


def train_model(
    config: Path,
    changes: Sequence[str],
    texts: Mapping[str, str],
    *,
    resume: bool,
    force: bool,
    short: bool,
) -> bool:
    """Check everything, then train, and write the run folder.

    Args:
        config: Settings file.
        changes: Settings to replace, as :func:`ncalab.cli.config.read.parse_override` takes them.
        texts: Further settings of the top level to replace.
        resume: Whether to resume the run in the output folder.
        force: Whether to replace that run.
        short: Whether to try it out only, and to keep nothing.

    Returns:
        Whether it went to its end, and was not stopped by Ctrl-C.
    """
    replaced = [parse_override(change) for change in changes]
    replaced += [([name], text) for name, text in texts.items()]
    checked = check_config(override(read_config(config), replaced))
    if short:
        return _try_out(checked)
    folder = Path(checked.top.output or Path("runs") / config.stem)
    device = get_compute_device(checked.top.device)
    with tidied(folder):
        writes = (PRETRAINED, CURVES, TRAIN_FILE)
        check_run_folder(folder, resume=resume, force=force, writes=writes, source=config)
        history = _train(checked, folder, device=str(device), resume=resume, force=force)
    if history.interrupted:
        command = ["ncalab", "train", str(folder / TRAIN_FILE), "--output", str(folder)]
        say_how_to_resume(folder, history.current_epoch, [*command, "--resume"])
        return False
    _report(history, folder)
    return True


def _train(
    checked: Checked,
    folder: Path,
    *,
    device: str,
    resume: bool = False,
    force: bool = False,
    samples: int | None = None,
) -> TrainingHistory:
    """Make everything that trains, and train.

    Args:
        checked: The settings.
        folder: Run folder.
        device: Where to train.
        resume: Whether to resume the run in the folder.
        force: Whether to replace it.
        samples: How many samples of each part to take; all if None.
    """
    fix_random_seed(checked.top.seed)
    model = build_model(checked, get_compute_device(device))
    parts = read_parts(checked, model)
    given = checked
    model, checked, reasons = build_recommended(checked, model, parts.train, model.device)
    used = parts.distorted(checked)
    used = used if samples is None else used.shortened(samples)
    train, val, test = used.loaders(checked.loader)
    trainer = build_trainer(checked, model, folder, len(train))
    if checked.trainer.keys() - given.trainer.keys():
        reasons = (*reasons, describe_recipe(given, trainer))
    _say_what_is_unused(given)
    for reason in reasons:
        click.echo(f"chosen from the data: {reason}")
    _say_what_trains(model, parts)
    stopping = build_early_stopping(checked)
    if not resume:
        _keep_settings(checked, folder)
    history = trainer.train(
        train,
        val,
        test,
        save_every=checked.save_every,
        earlystopping=stopping,
        resume=resume,
        overwrite=force,
    )
    # Of a resumed run, only now: it has been found to be that of these settings.
    _keep_settings(checked, folder)
    return history


def _keep_settings(checked: Checked, folder: Path) -> None:
    text = json.dumps(checked.source, indent=2, default=str) + "\n"
    atomic_write(folder / TRAIN_FILE, text.encode())


def _say_what_is_unused(checked: Checked) -> None:
    for name in TIMESTEPS:
        if checked.cascade is not None and name in checked.model and name not in checked.cascade:
            click.echo(
                f"model.{name} is not used: the cascade takes its steps; set cascade.{name}",
                err=True,
            )
    if {"max_minutes", "max_epochs"} <= checked.trainer.keys() and checked.trainer["max_minutes"]:
        click.echo("trainer.max_epochs is not used: trainer.max_minutes decides", err=True)


def _say_what_trains(model: AbstractNCAModel, parts: Parts) -> None:
    sizes = {"train": parts.train, "validate": parts.val, "test": parts.test}
    counted = [f"{len(part)} to {name}" for name, part in sizes.items() if part is not None]  # type: ignore[arg-type]  # torch declares no length
    parameters = model.num_trainable_parameters()
    click.echo(f"{type(model).__name__} with {parameters:,} parameters; {', '.join(counted)}")


def _try_out(checked: Checked) -> bool:
    """Train on a few batches, in a folder that is deleted then."""
    trainer = {**checked.trainer, "max_epochs": 1, "max_minutes": None}
    short = Checked(**{**vars(checked), "trainer": trainer})
    with TemporaryDirectory(prefix="ncalab-") as folder:
        samples = _SHORT_BATCHES * checked.loader.batch_size
        history = _train(short, Path(folder), device=checked.top.device, samples=samples)
    click.echo(f"it runs: loss={history.loss[-1]:.4g} after {_SHORT_BATCHES} batches, nothing kept")
    return not history.interrupted


def _report(history: TrainingHistory, folder: Path) -> None:
    """Write the weights to keep and the curves; say what came out."""
    model = history.best_model or history.current_model
    model.save_pretrained(folder / PRETRAINED)
    click.echo(f"weights: {folder / PRETRAINED}")
    save_curves(history, folder)
    for name, value in history.test_metrics.items():
        click.echo(f"test_{name}={shown_value(value)}")
    metric = model.validation_metric if history.metric_curves else "loss"
    if history.best_epoch:
        click.echo(f"best_{metric}={history.best_accuracy:.6g} epoch={history.best_epoch}")
        return
    click.echo(f"best_{metric}=undefined epoch=none")
    click.echo(
        f"no best model could be chosen: {metric} was undefined after every epoch; "
        "the weights are those of the last one",
        err=True,
    )
