import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from core_models import MakeModel, TinyModel

from ncalab.core import AbstractNCAModel, Preparation
from ncalab.core.intensities import NORMALIZATIONS, Normalization, normalized
from ncalab.core.resizing import resize_linear

Array = np.ndarray

EVERY: list[Preparation] = [
    Preparation(),
    Preparation(channels=3, normalize="percentile", resize=(8, 6)),
    Preparation(channels=4, premultiply=True),
    Preparation(channels=2, raw=True, mean=(1.0, 2.5), scale=(0.5, 3.0)),
    Preparation(normalize="standardize", resize=(5, 5), transform="Compose"),
]


def noise(*shape: int, dtype: Any = np.uint8) -> Array:
    top = np.iinfo(dtype).max + 1 if np.issubdtype(dtype, np.integer) else 1
    return (np.random.default_rng(0).random(shape) * top).astype(dtype)


@pytest.mark.parametrize("kind", NORMALIZATIONS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_images_are_normalised_in_their_own_size_and_then_resized(
    kind: Normalization, dtype: Any
) -> None:
    image = noise(12, 10, 3, dtype=dtype)

    got = Preparation(channels=3, normalize=kind, resize=(5, 4)).apply(image)

    whole = torch.from_numpy(np.moveaxis(normalized(image, kind), -1, 0).copy())
    assert torch.equal(got, resize_linear(whole, (5, 4)))


def test_without_arguments_integers_are_scaled_and_nothing_else_is_done() -> None:
    image = noise(4, 5, 3)

    got = Preparation().apply(image)

    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), np.moveaxis(image, -1, 0) / 255, rtol=1e-6)


def test_arrays_and_tensors_of_an_image_are_prepared_alike() -> None:
    image = noise(6, 5, 1, dtype=np.uint16)
    preparation = Preparation(channels=1, normalize="percentile", resize=(3, 3))

    want = preparation.apply(image)

    assert torch.equal(preparation.apply(image[..., 0]), want)
    assert torch.equal(preparation.apply(torch.from_numpy(image[..., 0])[None]), want)


def test_channels_are_converted_before_values_are_measured() -> None:
    grey = noise(6, 5, 1)

    got = Preparation(channels=3, normalize="range").apply(grey)

    assert torch.equal(got[0], got[1]) and torch.equal(got[1], got[2])
    assert got.min() == 0 and got.max() == 1


def test_each_channel_is_standardised_by_the_given_numbers() -> None:
    image = noise(6, 5, 2)
    preparation = Preparation(channels=2, raw=True, mean=(100.0, 20.0), scale=(50.0, 4.0))

    got = preparation.apply(image)

    want = (image - np.array([100.0, 20.0])) / np.array([50.0, 4.0])
    np.testing.assert_allclose(got.numpy(), np.moveaxis(want, -1, 0), rtol=1e-6)


def test_raw_values_are_the_numbers_themselves_of_any_integer_type() -> None:
    image = np.array([[[-5], [70_000]]], np.int64)

    assert Preparation(raw=True).apply(image).flatten().tolist() == [-5, 70_000]


def test_colours_are_multiplied_by_the_opacity_of_four_channels_only() -> None:
    image = np.array([[[1.0, 0.5, 0.0, 0.5]]])
    preparation = Preparation(premultiply=True)

    assert preparation.apply(image).flatten().tolist() == [0.5, 0.25, 0.0, 0.5]
    assert preparation.apply(image[..., :3]).flatten().tolist() == [1.0, 0.5, 0.0]


def test_what_becomes_of_an_image_does_not_depend_on_the_others() -> None:
    images = noise(5, 9, 8, 3, dtype=np.uint16)
    images[2] //= 50
    preparation = Preparation(normalize="percentile", resize=(4, 7))

    together = preparation.apply_to_all(images)

    assert torch.equal(together, torch.stack([preparation.apply(image) for image in images]))


def test_labels_are_resized_to_their_nearest_values_and_keep_their_type() -> None:
    labels = np.array([[0, 3], [3, 7]], np.uint8)

    got = Preparation(resize=(4, 4)).apply_to_labels(labels)

    assert got.dtype == torch.uint8
    assert got.tolist() == labels.repeat(2, 0).repeat(2, 1).tolist()
    assert Preparation().apply_to_labels(labels).tolist() == labels.tolist()


# Back to the image


def test_masks_come_back_by_their_nearest_values() -> None:
    mask = torch.tensor([[[0, 2], [1, 0]]])

    restored = Preparation(resize=(2, 2)).restore(mask, (4, 6))

    assert torch.equal(restored, mask.repeat_interleave(2, 1).repeat_interleave(3, 2))


def test_probabilities_and_depths_come_back_linearly() -> None:
    values = torch.rand(2, 3, 4, 5)

    restored = Preparation(resize=(4, 5)).restore(values, (9, 8))

    assert torch.equal(restored, resize_linear(values, (9, 8)))
    assert torch.equal(
        Preparation().restore(values, (8, 10), nearest=True),
        values.repeat_interleave(2, 2).repeat_interleave(2, 3),
    )


def test_a_mask_of_the_size_of_its_image_comes_back_itself() -> None:
    mask = torch.zeros(3, 4, dtype=torch.bool)

    assert Preparation().restore(mask, (3, 4)) is mask


def test_a_model_predicts_from_a_prepared_image(make_model: MakeModel) -> None:
    model = make_model()
    model.preparation = Preparation(channels=4, resize=(6, 9))

    prediction = model.predict(model.preparation.apply(noise(13, 20, 3))[None], 2, seed=0)

    restored = model.preparation.restore(prediction.logits, (13, 20))
    assert restored.shape == (1, 2, 13, 20)


# Whether a transform may have the image as it was read


@pytest.mark.parametrize(
    ("preparation", "dtype", "want"),
    [
        (Preparation(normalize="auto"), np.uint8, True),
        (Preparation(normalize="auto"), np.uint16, False),
        (Preparation(normalize="none"), np.uint16, True),
        (Preparation(resize=(6, 5)), np.uint8, True),
        (Preparation(resize=(5, 6)), np.uint8, False),
        (Preparation(channels=3), np.uint8, True),
        (Preparation(channels=1), np.uint8, False),
        (Preparation(premultiply=True), np.uint8, True),
        (Preparation(raw=True), np.uint8, False),
        (Preparation(mean=(0.0,) * 3, scale=(1.0,) * 3), np.uint8, False),
    ],
)
def test_an_image_is_plain_if_only_its_type_is_converted(
    preparation: Preparation, dtype: Any, want: bool
) -> None:
    image = noise(6, 5, 3, dtype=dtype)

    assert preparation.is_plain(image) == want
    assert not want or torch.equal(preparation.apply(image), Preparation().apply(image))


# How it is kept


@pytest.mark.parametrize("preparation", EVERY)
def test_a_preparation_survives_json(preparation: Preparation) -> None:
    data = json.loads(json.dumps(preparation.to_dict()))

    assert Preparation.from_dict(data) == preparation
    assert hash(Preparation.from_dict(data)) == hash(preparation)


@pytest.mark.parametrize("preparation", EVERY)
def test_a_preparation_is_saved_with_its_model(
    make_model: MakeModel, tmp_path: Path, preparation: Preparation
) -> None:
    model = make_model()
    model.preparation = preparation
    model.save_pretrained(tmp_path / "model")
    model.save(tmp_path / "weights.safetensors")

    for path in (tmp_path / "model", tmp_path / "weights.safetensors"):
        assert AbstractNCAModel.from_pretrained(path).preparation == preparation
        assert TinyModel.load(make_model(), tmp_path / "weights.safetensors").preparation == (
            preparation
        )
    assert json.loads((tmp_path / "model/config.json").read_text())["preparation"] == (
        preparation.to_dict()
    )


def test_a_model_of_before_has_none_and_loading_it_changes_none(
    make_model: MakeModel, tmp_path: Path
) -> None:
    old = make_model()
    old.save(tmp_path / "old.safetensors")
    model = make_model()
    model.preparation = Preparation(resize=(3, 3))

    TinyModel.load(model, tmp_path / "old.safetensors")

    assert "preparation" not in old.to_dict()
    assert TinyModel.from_pretrained(tmp_path / "old.safetensors").preparation is None
    assert model.preparation == Preparation(resize=(3, 3))


def test_the_configuration_of_a_folder_counts(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    model.preparation = Preparation(resize=(3, 3))
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["preparation"] = Preparation(resize=(5, 6)).to_dict()
    (tmp_path / "config.json").write_text(json.dumps(config))

    assert AbstractNCAModel.from_pretrained(tmp_path).preparation == Preparation(resize=(5, 6))


def test_a_damaged_preparation_is_named_with_its_file(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    model.preparation = Preparation(resize=(3, 3))
    described = {**model.to_dict(), "preparation": {"resize": "large"}}
    monkeypatch.setattr(model, "to_dict", lambda: described)
    model.save_pretrained(tmp_path / "folder")
    model.save(tmp_path / "weights.safetensors")
    message = r"preparation.resize must be a pair \(W, H\) or None, got 'large'"

    with pytest.raises(ValueError, match=f"config.json: {message}"):
        AbstractNCAModel.from_pretrained(tmp_path / "folder")
    for read in (TinyModel.from_pretrained, lambda path: TinyModel.load(make_model(), path)):
        with pytest.raises(ValueError, match=f"weights.safetensors: {message}"):
            read(tmp_path / "weights.safetensors")


def test_a_preparation_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Preparation().channels = 3  # type: ignore[misc]  # frozen: that is tested


def test_a_model_takes_nothing_else(make_model: MakeModel) -> None:
    model = make_model()

    with pytest.raises(TypeError, match="preparation must be a Preparation or None, got {}"):
        model.preparation = {}  # type: ignore[assignment]  # of a wrong type


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"channels": 0}, ValueError, "channels must be at least 1, got 0"),
        ({"channels": 1.5}, TypeError, "channels must be an integer, got 1.5"),
        ({"normalize": "loud"}, ValueError, "normalize must be one of auto, range, .*'loud'"),
        ({"raw": "no"}, TypeError, "raw must be True or False, got 'no'"),
        ({"raw": True, "normalize": "range"}, ValueError, "normalize must be 'none' for raw"),
        ({"premultiply": 1}, TypeError, "premultiply must be True or False, got 1"),
        ({"resize": 24}, TypeError, r"resize must be a pair \(W, H\) or None, got 24"),
        ({"resize": (24, 0)}, ValueError, r"resize\[1\] must be at least 1, got 0"),
        ({"resize": (1, 2, 3)}, TypeError, "resize must be a pair"),
        ({"mean": (1.0,)}, ValueError, "mean and scale must go together"),
        ({"mean": (1.0,), "scale": (0.0,)}, ValueError, "scale must be above 0"),
        ({"mean": (float("nan"),), "scale": (1.0,)}, ValueError, "mean must hold finite numbers"),
        ({"mean": (1.0, 2.0), "scale": (1.0,)}, ValueError, "a number for each of the channels"),
        (
            {"channels": 3, "mean": (1.0,), "scale": (1.0,)},
            ValueError,
            r"a number for each of the channels \(3\), got 1 and 1",
        ),
        ({"mean": "abc", "scale": "abc"}, TypeError, "mean must be a list of numbers"),
        ({"transform": 3}, TypeError, "transform must be a name or None, got 3"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Preparation(**arguments)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], r"preparation must hold channels, .*, got \[\]"),
        ({"colour": 3}, r"preparation must hold channels, .*, got {'colour': 3}"),
        ({"resize": [24]}, r"preparation.resize must be a pair"),
        ({"normalize": []}, r"preparation.normalize must be one of"),
        ({"mean": ["a"], "scale": [1]}, r"preparation.mean must be a list of numbers"),
        ("none", r"preparation must hold"),
    ],
)
def test_what_a_file_holds_in_its_place_is_named(
    make_model: MakeModel, data: Any, message: str
) -> None:
    described = {**make_model().to_dict(), "preparation": data}

    with pytest.raises(ValueError, match=message):
        AbstractNCAModel.from_dict(described)


@pytest.mark.parametrize("shape", [(4,), (1, 2, 3, 4)])
def test_only_images_are_prepared(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"image must have shape \(W, H\) or \(W, H, C\), got"):
        Preparation().apply(np.zeros(shape))
    with pytest.raises(TypeError, match="image must be an array .* got str"):
        Preparation().apply("image.png")  # type: ignore[arg-type]  # of a wrong type


def test_the_description_names_every_step() -> None:
    preparation = Preparation(
        channels=3, normalize="standardize", resize=(8, 9), transform="Compose"
    )

    text = preparation.describe()

    for part in ("3 channels", "mean 0 and deviation 1", "8 x 9", "Compose"):
        assert part in text
    assert "16 bits by the percentiles" in replace(preparation, normalize="auto").describe()
