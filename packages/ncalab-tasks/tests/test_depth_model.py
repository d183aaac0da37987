import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ncalab.core import AbstractNCAModel
from ncalab.core.testing import awaken
from ncalab.tasks import DepthNCAModel
from ncalab.tasks.depth.losses import gradient_error, scale_shift_error, squared_error
from ncalab.tasks.depth.ssim import masked_ssim

CPU = torch.device("cpu")


def seeing(**arguments: Any) -> DepthNCAModel:
    torch.manual_seed(0)
    model = DepthNCAModel(CPU, **{"num_hidden_channels": 4, "hidden_size": 16, **arguments})
    awaken(model, 0.1)
    return model


def batch(size: int = 3, width: int = 9, height: int = 14) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(size, 3, width, height, generator=generator)
    return images, 4 * torch.rand(size, width, height, generator=generator) + 1


def test_depth_is_the_output_channel_in_its_unit() -> None:
    model = seeing(depth_scale=5.0)

    prediction = model.predict(batch()[0], 4)

    assert prediction.logits.shape == (3, 1, 9, 14)
    torch.testing.assert_close(model.interpret(prediction), 5 * prediction.output_channels)


def test_the_total_is_the_weighted_sum_of_the_terms() -> None:
    weights = {"mse": 0.3, "scale_shift": 0.7, "gradient": 1.1, "ssim": 0.2}
    model = seeing(**{f"lambda_{name}": weight for name, weight in weights.items()}, depth_scale=2)
    images, label = batch()
    prediction = model.predict(images, 4)

    losses = model.loss(prediction, label)

    depth, known = model.interpret(prediction), label[:, None]
    valid = torch.ones_like(known, dtype=torch.bool)
    ranges = label.amax(dim=(1, 2))
    assert losses.keys() == {"total", *weights}
    for name, want in {
        "mse": squared_error(depth / 2, known / 2, valid),
        "scale_shift": scale_shift_error(depth / 2, known / 2, valid),
        "gradient": gradient_error(depth / 2, known / 2, valid),
        "ssim": 1 - masked_ssim(depth, known, valid, ranges),
    }.items():
        torch.testing.assert_close(losses[name], want.mean())
    total = sum(weight * losses[name] for name, weight in weights.items())
    torch.testing.assert_close(losses["total"], total)


@pytest.mark.parametrize("name", ["mse", "scale_shift", "gradient", "ssim"])
def test_a_term_without_weight_is_not_computed(name: str) -> None:
    model = seeing(**{f"lambda_{name}": 0.0})
    images, label = batch()

    assert name not in model.loss(model.predict(images, 2), label)


def test_both_shapes_of_labels_mean_the_same() -> None:
    model = seeing()
    images, label = batch()
    prediction = model.predict(images, 3)

    first, second = model.loss(prediction, label), model.loss(prediction, label[:, None])

    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("shape", [(3, 14, 9), (3, 9, 14, 1), (2, 9, 14), (9, 14), (3, 2, 9, 14)])
def test_a_label_of_another_shape_names_both_shapes(shape: tuple[int, ...]) -> None:
    model = seeing()
    prediction = model.predict(batch()[0], 1)
    message = f"must have shape (3, 9, 14) or (3, 1, 9, 14), got {shape}"

    for use in (model.loss, model._update_metrics):
        with pytest.raises(ValueError, match=re.escape(message)):
            use(prediction, torch.ones(shape))


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 17), (1, 30), (12, 11)])
@pytest.mark.parametrize("samples", [1, 2])
def test_small_and_narrow_images_are_learned_and_measured(
    size: tuple[int, int], samples: int
) -> None:
    model = seeing()
    images, label = batch(samples, *size)

    losses = model.loss(model(pad(model, images), 3), label)
    losses["total"].backward()
    values, _ = model.validate(DataLoader(list(zip(images, label, strict=True))), steps=3)  # type: ignore[arg-type]  # torch wants a Dataset, takes any list

    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert all(np.isfinite(value) for value in values.values())


def pad(model: DepthNCAModel, images: Tensor) -> Tensor:
    missing = torch.zeros(len(images), model.num_channels - 3, *images.shape[2:])
    return torch.cat([images, missing], dim=1)


@pytest.mark.parametrize("unknown", [float("nan"), 0.0, -3.0, float("inf")])
def test_unknown_depth_changes_neither_loss_nor_metrics(unknown: float) -> None:
    model = seeing(fire_rate=1.0)
    images, label = batch()
    holes = torch.rand(label.shape, generator=torch.Generator().manual_seed(2)) < 0.3
    prediction = model.predict(images, 3)
    results = []
    for value in (unknown, float("nan")):
        losses = model.loss(prediction, label.masked_fill(holes, value))
        model._update_metrics(prediction, label.masked_fill(holes, value))
        measured = {name: float(m.compute()) for name, m in model.named_metrics().items()}
        results.append({name: float(loss) for name, loss in losses.items()} | measured)
        for metric in model.named_metrics().values():
            metric.reset()

    assert results[0] == results[1]
    assert all(np.isfinite(value) for value in results[0].values())
    assert results[0]["mse"] != model.loss(prediction, label)["mse"]


def test_a_batch_that_knows_no_depth_has_a_loss_of_zero_and_a_gradient_of_zero() -> None:
    model = seeing()
    images, label = batch()

    losses = model.loss(model(pad(model, images), 3), torch.full_like(label, float("nan")))
    losses["total"].backward()

    assert all(loss == 0 for loss in losses.values())
    assert all(p.grad is not None and p.grad.abs().max() == 0 for p in model.parameters())


def test_an_image_that_knows_no_depth_does_not_dilute_the_others() -> None:
    model = seeing()
    images, label = batch()
    prediction = model.predict(images, 3)
    label[1] = 0

    losses = model.loss(prediction, label)

    alone = [model.loss(prediction[i], label[i : i + 1]) for i in (0, 2)]
    for name, value in losses.items():
        torch.testing.assert_close(value, (alone[0][name] + alone[1][name]) / 2)


def test_integer_labels_are_depths() -> None:
    model = seeing()
    images, label = batch()
    prediction = model.predict(images, 2)

    losses = model.loss(prediction, label.int())

    assert torch.equal(losses["total"], model.loss(prediction, label.int().float())["total"])


def test_millimetres_are_as_good_as_metres() -> None:
    images, label = batch()
    metres, millimetres = seeing(depth_scale=5.0), seeing(depth_scale=5000.0)

    first = metres.loss(metres.predict(images, 3, seed=0), label)
    second = millimetres.loss(millimetres.predict(images, 3, seed=0), 1000 * label)

    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-5, atol=1e-6)


# Vignette


def corners_cut(width: int = 9, height: int = 14) -> Tensor:
    w, h = torch.arange(width)[:, None], torch.arange(height)[None]
    return ((w - 4) / 5) ** 2 + ((h - 6.5) / 7) ** 2 <= 1


def test_outside_of_the_vignette_nothing_counts() -> None:
    model = seeing(vignette=corners_cut())
    images, label = batch()
    prediction = model.predict(images, 3)

    losses = model.loss(prediction, label)
    loader: Any = [(images, label)]
    torch.manual_seed(3)
    values, _ = model.validate(loader, 3)

    masked = torch.where(corners_cut(), label, float("nan"))
    model.vignette = None
    torch.manual_seed(3)
    want, _ = model.validate([(images, masked)], 3)  # type: ignore[arg-type]  # a list serves as a loader
    assert losses == model.loss(prediction, masked)
    assert losses != model.loss(prediction, label)
    assert values == want


@pytest.mark.parametrize("kind", ["bool", "float", "uint8", "numpy"])
def test_a_vignette_may_be_given_as_numbers_or_an_array(kind: str) -> None:
    mask = corners_cut()
    given: Any = {
        "bool": mask,
        "float": mask.float(),
        "uint8": mask.byte(),
        "numpy": mask.numpy(),
    }[kind]

    model = seeing(vignette=given)

    assert model.vignette is not None and torch.equal(model.vignette, mask)


def test_the_vignette_follows_the_model() -> None:
    model = seeing(vignette=corners_cut())

    model.to("meta")

    assert model.vignette is not None and model.vignette.device.type == "meta"


@pytest.mark.parametrize(
    ("vignette", "error", "message"),
    [
        (np.zeros((3, 4), bool), ValueError, "must be true somewhere"),
        (np.full((3, 4), 0.5), ValueError, "must be true"),
        (np.ones((1, 3, 4), bool), ValueError, r"must have shape \(W, H\), got \(1, 3, 4\)"),
        ("round", TypeError, "must be a tensor, an array or None, got 'round'"),
        ({"size": [3, 4]}, ValueError, "must be described by size and runs"),
        ({"size": [3, 4], "runs": [5]}, ValueError, "must be described by size and runs"),
    ],
)
def test_a_bad_vignette_is_named(vignette: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"vignette {message}"):
        seeing(vignette=vignette)
    model = seeing()
    with pytest.raises(error, match=f"vignette {message}"):
        model.vignette = vignette


def test_a_vignette_of_another_size_names_both_sizes() -> None:
    model = seeing(vignette=corners_cut(5, 5))
    images, label = batch()

    with pytest.raises(ValueError, match=r"size of the images \(9, 14\), got \(5, 5\)"):
        model.loss(model.predict(images, 1), label)


# Validation and saving


def test_the_best_model_is_chosen_by_a_metric_that_exists() -> None:
    model = seeing()

    assert model.validation_metric == "ssim"
    assert model.named_metrics()["ssim"].higher_is_better is True


def test_validation_measures_depth_over_all_images() -> None:
    model = seeing(fire_rate=1.0, depth_scale=3.0, data_range=6.0)
    images, label = batch(5)
    label[:, 2:4] = float("nan")
    loader: Any = [(images[:2], label[:2]), (images[2:], label[2:, None])]

    values, _ = model.validate(loader, steps=4)

    depth = model.interpret(model.predict(images, 4))
    known = ~label.isnan()
    p, y = depth[:, 0][known].double(), label[known].double()
    assert values["mae"] == pytest.approx((p - y).abs().mean().item(), abs=1e-6)
    assert values["rmse"] == pytest.approx((p - y).square().mean().sqrt().item(), abs=1e-6)
    ssim = masked_ssim(depth, label[:, None], known[:, None], torch.full((5,), 6.0))
    assert values["ssim"] == pytest.approx(ssim.mean().item(), abs=1e-6)


def test_metrics_take_on_no_half_precision() -> None:
    model = seeing().to(torch.bfloat16)
    images, label = batch()
    prediction = model.predict(images, 2)

    model._update_metrics(prediction, label)

    exact = (prediction.logits.double()[:, 0] - label.double()).abs().mean().item()
    assert float(model.named_metrics()["mae"].compute()) == pytest.approx(exact, abs=1e-6)


ALL_ARGUMENTS: dict[str, Any] = {
    "num_image_channels": 1,
    "num_hidden_channels": 5,
    "fire_rate": 0.6,
    "hidden_size": 12,
    "num_learned_filters": 3,
    "pad_noise": True,
    "lambda_mse": 0.1,
    "lambda_scale_shift": 0.2,
    "lambda_gradient": 0.3,
    "lambda_ssim": 0.4,
    "depth_scale": 7.0,
    "data_range": 3.5,
    "validation_metric": "rmse",
    "filter_padding": "zero",
    "kernel_size": 5,
    "use_temporal_encoding": True,
    "training_timesteps": (3, 5),
    "inference_timesteps": 4,
}


def test_every_argument_survives_saving(tmp_path: Path) -> None:
    model = seeing(**ALL_ARGUMENTS, vignette=corners_cut())

    model.save_pretrained(tmp_path)
    twin = AbstractNCAModel.from_pretrained(tmp_path)

    assert isinstance(twin, DepthNCAModel)
    assert {name: getattr(twin, name) for name in ALL_ARGUMENTS} == ALL_ARGUMENTS
    assert twin.vignette is not None and torch.equal(twin.vignette, corners_cut())
    image = torch.rand(1, 1, 9, 14)
    want = model.predict(image, seed=5).output_image
    assert torch.equal(twin.predict(image, seed=5).output_image, want)


@pytest.mark.parametrize("vignette", [None, corners_cut(), ~corners_cut()])
def test_a_configuration_survives_json(vignette: Tensor | None) -> None:
    model = seeing(vignette=vignette)

    twin = DepthNCAModel.from_dict(json.loads(json.dumps(model.to_dict())))

    assert twin.to_dict() == model.to_dict()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lambda_mse": -1}, "lambda_mse must be at least 0 and finite, got -1"),
        ({"lambda_ssim": float("nan")}, "lambda_ssim must be at least 0 and finite, got nan"),
        ({"depth_scale": 0}, "depth_scale must be above 0 and finite, got 0"),
        ({"data_range": -2.0}, "data_range must be above 0 and finite, got -2.0"),
        (
            {f"lambda_{name}": 0 for name in ("mse", "scale_shift", "gradient", "ssim")},
            "one of lambda_mse, .* must be above 0",
        ),
    ],
)
def test_bad_numbers_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        seeing(**arguments)


def test_depth_can_be_learned() -> None:
    model = seeing(fire_rate=1.0, hidden_size=32)
    images, _ = batch(2, 8, 8)
    label = 1 + images.mean(dim=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    first = model.loss(model(pad(model, images), 5), label)["total"].item()

    for _ in range(20):
        optimizer.zero_grad()
        losses = model.loss(model(pad(model, images), 5), label)
        losses["total"].backward()
        optimizer.step()

    assert losses["total"].item() < first / 2
