"""The check of a model of one's own."""

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ncalab.core.model import AbstractNCAModel
from ncalab.core.testing.models import awaken

_SEED = 7


def check_model(
    model: AbstractNCAModel,
    image: Tensor,
    label: Tensor,
    *,
    steps: int = 4,
    atol: float = 1e-5,
    goal: Tensor | None = None,
) -> None:
    """Test a model of one's own, as whoever trains, saves and exports it will use it.

    A prediction must have the shape of the image, be repeatable, be the last one of the record,
    and leave its input alone; the loss must be finite and reach all trainable parameters; each
    sample must be predicted as it is alone; and the model must be the same when copied, described,
    saved and loaded.

    Args:
        model: Model; it is not changed. Its rule is given weights where it has none yet.
        image: Images, shape ``(B, image channels, W, H)``, B at least 2.
        label: Labels of these images, as the loss takes them, batch first.
        steps: Number of steps of a rollout.
        atol: Tolerance between ways to compute the same.
        goal: Goal of each image, for a model with ``goal_size``: vectors ``(B, goal_size)``, or
            indices ``(B,)`` with ``num_goals``.

    Raises:
        AssertionError: If the model fails; the message says in what.

    >>> from ncalab.core.testing import TinyModel
    >>> model = TinyModel(torch.device("cpu"), 3, 4, 1, hidden_size=8)
    >>> check_model(model, torch.rand(2, 3, 6, 5), torch.rand(2, 1, 6, 5))
    """
    before = torch.get_rng_state()
    try:
        torch.manual_seed(_SEED)
        model = copy.deepcopy(model).eval()
        if model.runner is None:
            awaken(model)
        _check_prediction(model, image, goal, steps)
        _check_samples(model, image, goal, steps, atol)
        _check_loss(model, image, label, goal, steps, atol)
        _check_metrics(model, image, label, goal, steps)
        _check_files(model, image, goal, steps)
    finally:
        torch.set_rng_state(before)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(f"the model must {what}")


def _options(goal: Tensor | None) -> dict[str, Any]:
    """Return what is passed on of a goal; a model without one need not take it."""
    return {"seed": _SEED} if goal is None else {"seed": _SEED, "goal": goal}


def _check_prediction(
    model: AbstractNCAModel, image: Tensor, goal: Tensor | None, steps: int
) -> None:
    given = image.clone()
    prediction = model.predict(image, steps, **_options(goal))
    _require(torch.equal(image, given), "leave the images as they are")
    wanted = (image.shape[0], model.num_channels, *image.shape[2:])
    got = tuple(prediction.output_image.shape)
    _require(got == wanted, f"predict states of shape {wanted}, got {got}")
    _require(prediction.steps == steps, f"take {steps} steps, got {prediction.steps}")
    again = model.predict(image, steps, **_options(goal))
    _require(torch.equal(again.logits, prediction.logits), "predict the same from the same seed")
    record = model.record(image, steps, **_options(goal))
    _require(len(record) == steps, f"record {steps} steps, got {len(record)}")
    _require(torch.equal(record[-1].logits, prediction.logits), "record last what predict returns")
    interpreted = model.interpret(prediction)
    _require(len(interpreted) == len(image), "interpret a value or more for each sample")
    _require(not interpreted.requires_grad, "predict without gradients")


def _check_samples(
    model: AbstractNCAModel, image: Tensor, goal: Tensor | None, steps: int, atol: float
) -> None:
    # From states, as padding noise is drawn for a whole batch.
    state = model.start(image, steps, _SEED).state
    whole = model.predict(state, steps, **_options(goal)).logits
    for sample in range(len(image)):
        part = slice(sample, sample + 1)
        own = _options(None if goal is None else goal[part])
        alone = model.predict(state[part], steps, samples=[sample], **own).logits
        _require(
            torch.allclose(alone, whole[part], atol=atol, equal_nan=True),
            f"predict sample {sample} alone as within a batch",
        )


def _check_loss(
    model: AbstractNCAModel,
    image: Tensor,
    label: Tensor,
    goal: Tensor | None,
    steps: int,
    atol: float,
) -> None:
    state = model.start(image, steps, _SEED).state
    prediction = model(state, steps, **_options(goal))
    losses = model.loss(prediction, label)
    _require("total" in losses, f"have a loss named 'total', got {sorted(losses)}")
    for name, value in losses.items():
        _require(value.ndim == 0, f"have scalar losses, got shape {tuple(value.shape)} for {name}")
        _require(bool(value.isfinite()), f"have finite losses, got {value.item()} for {name}")
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    slopes = torch.autograd.grad(losses["total"], list(trainable.values()), allow_unused=True)
    for name, slope in zip(trainable, slopes, strict=True):
        _require(slope is not None, f"use its parameter {name}, which has no gradient")
    each = model.sample_losses(prediction.detach(), label)
    _require(each.shape == (len(image),), f"have a loss per sample, got {tuple(each.shape)}")
    alone = model.loss(prediction.detach()[0], label[:1])["total"].detach()
    _require(torch.allclose(each[0], alone, atol=atol), "have the loss of a sample as its own")


def _check_metrics(
    model: AbstractNCAModel, image: Tensor, label: Tensor, goal: Tensor | None, steps: int
) -> None:
    loader = DataLoader(
        TensorDataset(image, label, *([] if goal is None else [goal])), batch_size=1
    )
    values, _ = model.validate(loader, steps, keep_predictions=False, seeds=range(len(image)))
    wanted = model.validation_metric
    if wanted is not None:
        _require(wanted in values, f"compute its validation_metric {wanted}, got {sorted(values)}")


def _check_files(model: AbstractNCAModel, image: Tensor, goal: Tensor | None, steps: int) -> None:
    want = model.predict(image, steps, **_options(goal)).logits
    described = json.loads(json.dumps(model.to_dict()))
    twin = type(model).from_dict(described)
    _require(twin.to_dict() == described, "be described alike when rebuilt from its description")
    copied = copy.deepcopy(model).predict(image, steps, **_options(goal)).logits
    _require(torch.equal(copied, want), "predict the same when copied")
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.safetensors")
        loaded = AbstractNCAModel.from_pretrained(Path(folder) / "model.safetensors")
    got = loaded.predict(image, steps, **_options(goal)).logits
    _require(torch.equal(got, want), "predict the same when saved and loaded")
