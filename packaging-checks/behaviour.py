"""Record what models compute, and compare it after a change that must not alter it.

`python packaging-checks/behaviour.py record FILE` writes states, gradients, losses and trained
weights of small models of every task, plain and as cascades, and of a training that is resumed.
`python packaging-checks/behaviour.py compare FILE` computes them anew. On the machine that recorded
a file, `--exact` asks for equality to the bit; elsewhere, sums of floats differ by their order.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ncalab.core import AbstractNCAModel, AutoStepper, Prediction
from ncalab.core.rollout import rollout, tiled_rollout
from ncalab.tasks import (
    CascadeNCA,
    ClassificationNCAModel,
    DepthNCAModel,
    GrowingNCAModel,
    SegmentationNCAModel,
)
from ncalab.train import BasicNCATrainer
from ncalab.uncertainty import MCMC, NQM

CPU = torch.device("cpu")
SIZE = (13, 10)
BATCH = 2
STEPS: dict[str, Any] = {"training_timesteps": (6, 10), "inference_timesteps": 9}

Recording = dict[str, Tensor]
Case = tuple[AbstractNCAModel, Tensor]
"""A model and labels of a batch for it."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Return numbers in [0, 1), the same every time."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def awake(model: AbstractNCAModel, seed: int = 0) -> AbstractNCAModel:
    """Give every parameter a small value, so that all of them have an effect."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def growing(**arguments: Any) -> Case:
    """Return a growing model of 3 hidden channels."""
    model = GrowingNCAModel(
        CPU, num_hidden_channels=3, hidden_size=8, lambda_hidden=0.1, **STEPS, **arguments
    )
    return awake(model), noise(BATCH, 4, *SIZE, seed=1)


def classification(**arguments: Any) -> Case:
    """Return a model of three classes."""
    model = ClassificationNCAModel(CPU, 2, 3, 3, hidden_size=8, **STEPS, **arguments)
    return awake(model), torch.tensor([2, 0])


def segmentation(**arguments: Any) -> Case:
    """Return a model of two classes."""
    model = SegmentationNCAModel(CPU, 2, 3, hidden_size=8, **STEPS, **arguments)
    return awake(model), (noise(BATCH, *SIZE, seed=1) > 0.5).long()


def depth(**arguments: Any) -> Case:
    """Return a model of depths."""
    model = DepthNCAModel(CPU, 2, 3, hidden_size=8, **STEPS, **arguments)
    return awake(model), noise(BATCH, *SIZE, seed=1) + 0.5


def bound(make: Callable[..., Case], **arguments: Any) -> Callable[[], Case]:
    """Return a function without arguments that makes a case."""
    return partial(make, **arguments)


CASES: dict[str, Callable[[], Case]] = {
    "growing": growing,
    "growing_alive": bound(growing, use_alive_mask=True, filter_padding="circular"),
    "growing_zero": bound(growing, filter_padding="zero", use_laplace=True),
    "growing_learned": bound(
        growing, num_learned_filters=3, kernel_size=5, use_temporal_encoding=True
    ),
    "classification_head": bound(classification, avg_pool_size=4),
    "classification_pooled": bound(classification, use_classifier=False, lambda_hidden=0.1),
    "classification_cells": bound(classification, pixel_wise_loss=True, loss_type="mse"),
    "segmentation": bound(segmentation, pad_noise=True),
    "segmentation_classes": bound(segmentation, num_classes=3, filter_padding="replicate"),
    "depth": depth,
}


def as_cascade(plain: Callable[[], Case], *, single_model: bool) -> Case:
    """Wrap a model; weights of scales differ where they are separate."""
    wrapped, label = plain()
    cascade = CascadeNCA(wrapped, [4, 2, 1], [4, 3, 2], single_model)
    for place, copy in enumerate(cascade.models[:-1]):
        if copy is not wrapped:
            awake(copy, seed=place + 1)
    return cascade, label


def all_cases() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Yield every kind of model, plain and as cascades, by name."""
    for name, make in CASES.items():
        yield name, make
        for kind, single in (("shared", True), ("separate", False)):
            yield f"{name}_{kind}", bound(as_cascade, plain=make, single_model=single)


def described(prediction: Prediction) -> Recording:
    """Return all tensors of a prediction."""
    found = {"state": prediction.output_image, "logits": prediction.logits}
    if (mask := getattr(prediction, "mask", None)) is not None:
        found["mask"] = mask
    return {**found, "interpreted": prediction.model.interpret(prediction)}


def predictions_of(model: AbstractNCAModel, label: Tensor) -> Recording:
    """Record inference: predictions, every step, tiles, metrics, uncertainty, early stopping."""
    image = noise(BATCH, model.num_image_channels, *SIZE)
    found = {f"predict/{k}": v for k, v in described(model.predict(image, 9, seed=1)).items()}
    found["range"] = model.predict(image, (9, 14), seed=2, samples=[5, 3]).output_image
    found["tiled"] = model.predict(image, 9, seed=1, tile=5).output_image
    record = model.record(image, 9, seed=1)
    found["record"] = torch.stack([prediction.output_image for prediction in record])
    loader: DataLoader[Any] = DataLoader(TensorDataset(image, label), batch_size=1)
    values, _ = model.validate(loader, 9, seeds=[1, 2])
    found.update({f"metric/{name}": torch.tensor(value) for name, value in values.items()})
    stepper = AutoStepper(min_steps=9, max_steps=20, plateau=2, threshold=10.0)
    found["autostepper"] = stepper.run(model, image, seed=1).output_image
    model.inference_timesteps = 9
    found["nqm"] = NQM(model, N=3).estimate(image, seed=1)[0]
    found["mcmc"] = MCMC(model, N_last=3).estimate(image, seed=1)[0]
    return found


def gradients_of(model: AbstractNCAModel, label: Tensor) -> Recording:
    """Record a forward and a backward pass with every way of keeping states."""
    found: Recording = {}
    ways: list[dict[str, Any]] = [{}, {"engine": "reference"}, {"checkpoint": 3}]
    for way in ways:
        name = "gradient/" + "".join(f"{key}={value}/" for key, value in way.items())
        model.zero_grad()
        state = noise(BATCH, model.num_channels, *SIZE).requires_grad_()
        prediction = model(state, 9, seed=1, **way)
        losses = model.loss(prediction, label)
        losses["total"].backward()
        found.update({f"{name}loss/{key}": value.detach() for key, value in losses.items()})
        found[f"{name}state"] = prediction.output_image.detach()
        gradients = {"x": state, **dict(model.named_parameters())}
        for key, value in gradients.items():
            if value.grad is not None:
                found[name + key] = value.grad.clone()
    found["sample_losses"] = model.sample_losses(model.predict(state, 9, seed=1), label)
    return found


def continued(model: AbstractNCAModel) -> Recording:
    """Record a rollout in two parts, a part of a grid at a time."""
    plain = getattr(model, "wrapped", model)
    state = noise(BATCH, plain.num_channels, *SIZE)
    with torch.no_grad():
        first = rollout(plain, state, 4, seed=3)
        second = rollout(plain, first, 5, seed=3, start=4)
        tiled = tiled_rollout(plain, state, 9, seed=3, tile=4, progress=False)
    return {"continued": second, "continued/tiled": tiled}


def trained(make: Callable[[], Case]) -> Recording:
    """Record the weights of a training, whole and stopped after one epoch and resumed."""
    found: Recording = {}
    for name, epochs in (("whole", [3]), ("resumed", [1, 3])):
        with tempfile.TemporaryDirectory() as folder:
            for count in epochs:
                model, label = make()
                channels = model.num_channels if model.task == "growing" else 2
                data = TensorDataset(noise(BATCH, channels, *SIZE), label)
                torch.manual_seed(4)
                trainer = BasicNCATrainer(model, folder, max_epochs=count, progress=False)
                history = trainer.train(
                    DataLoader(data, batch_size=1, shuffle=True),
                    DataLoader(data, batch_size=2),
                    save_every=1,
                    resume=count != epochs[0],
                )
            saved = AbstractNCAModel.from_pretrained(Path(folder) / "last_model.safetensors")
        found.update({f"{name}/{key}": value for key, value in saved.state_dict().items()})
        found[f"{name}/loss"] = torch.tensor(history.loss)
    return found


def record() -> Recording:
    """Compute all that is recorded."""
    found: Recording = {}
    for name, make in all_cases():
        model, label = make()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            parts = {
                **predictions_of(make()[0], label),
                **gradients_of(model, label),
                **continued(model),
                **trained(make),
            }
        found.update({f"{name}/{key}": value.detach() for key, value in parts.items()})
    return {name: value.clone().contiguous() for name, value in found.items()}


def agrees(old: Tensor, new: Tensor, *, exact: bool) -> bool:
    """Return whether two tensors are equal, to the bit or as far as sums of floats are."""
    if exact:
        return torch.equal(old.nan_to_num(), new.nan_to_num())
    return np.allclose(old.double(), new.double(), rtol=1e-2, atol=1e-3, equal_nan=True)


def differences(before: Recording, after: Recording, *, exact: bool) -> list[str]:
    """Name what is missing, new or different."""
    found = [f"{name} is missing" for name in sorted(before.keys() - after.keys())]
    found += [f"{name} is new" for name in sorted(after.keys() - before.keys())]
    for name in sorted(before.keys() & after.keys()):
        old, new = before[name], after[name]
        if old.shape != new.shape or old.dtype != new.dtype:
            found.append(f"{name}: {old.shape} {old.dtype} was, {new.shape} {new.dtype} is")
        elif not agrees(old, new, exact=exact):
            found.append(f"{name} differs by up to {(old - new).abs().max().item():.3g}")
    return found


def main() -> int:
    """Record or compare; return 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--exact", action="store_true", help="ask for equality to the bit")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = record()
    if options.what == "record":
        save_file(found, options.file)
        print(f"recorded {len(found)} tensors in {options.file}")
        return 0
    different = differences(load_file(options.file), found, exact=options.exact)
    print(*different or [f"all {len(found)} tensors are as recorded"], sep="\n")
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main())
