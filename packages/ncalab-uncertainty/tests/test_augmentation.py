from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from uncertainty_models import KINDS, images, make, values_of

from ncalab.uncertainty import TestTimeAugmentation
from ncalab.uncertainty.augmentation import transform, undo

CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-6}


@pytest.mark.parametrize(("turns", "mirrored"), list(product(range(4), [False, True])))
def test_undoing_a_transform_leaves_what_was_there(turns: int, mirrored: bool) -> None:
    x = torch.arange(42.0).view(1, 2, 7, 3)

    assert torch.equal(undo(transform(x, (turns, mirrored)), (turns, mirrored)), x)


@pytest.mark.parametrize(("transforms", "count"), [("flips", 4), ("rotations", 4), ("all", 8)])
def test_no_symmetry_comes_twice(transforms: Any, count: int) -> None:
    model = make("values", num_image_channels=1, fire_rate=0.0)
    x = torch.arange(35.0).view(1, 1, 7, 5)
    seen: list[Tensor] = []
    predict = model.prepare_input

    def watched(x: Tensor) -> Tensor:
        seen.append(x)
        return predict(x)

    model.prepare_input = watched  # type: ignore[method-assign]  # replaced to look into it

    TestTimeAugmentation(model, transforms=transforms)(x)

    assert len({(tuple(one.shape), *one.flatten().tolist()) for one in seen}) == count


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transforms", ["flips", "rotations", "all"])
def test_it_agrees_with_a_loop_over_single_predictions(kind: str, transforms: Any) -> None:
    model = make(kind, fire_rate=1.0)
    x = images(model)

    heatmap, predictions, _ = TestTimeAugmentation(model, transforms=transforms)(x)

    turns = (0, 2) if transforms == "flips" else (0, 1, 2, 3)
    mirrors = (False,) if transforms == "rotations" else (False, True)
    singles = []
    for symmetry in product(turns, mirrors):
        prediction = model.predict(transform(x, symmetry))
        values = values_of(model, [prediction])[0]
        singles.append(undo(values, symmetry))
    torch.testing.assert_close(heatmap, torch.stack(singles).std(dim=0, correction=0), **CLOSE)
    torch.testing.assert_close(values_of(model, predictions)[0], singles[0], **CLOSE)
    assert heatmap.max() > 1e-5


def test_states_come_back_as_they_lie_in_the_image() -> None:
    model = make("no output", fire_rate=0.0)
    x = images(model)

    _, predictions, _ = TestTimeAugmentation(model)(x)

    assert all(torch.equal(p.image_channels, x) for p in predictions)


def test_the_heat_map_turns_with_the_image() -> None:
    model = make("mask", fire_rate=1.0)
    x, estimator = images(model), TestTimeAugmentation(model)

    turned = estimator(x.rot90(1, (2, 3)))[0]

    torch.testing.assert_close(turned, estimator(x)[0].rot90(1, (2, 3)), **CLOSE)


def test_a_model_that_sees_no_direction_is_sure() -> None:
    model = make("mask", fire_rate=1.0)
    with torch.no_grad():  # of the perception, only the cell itself
        model.rule.get_parameter("network.0.weight")[:, model.num_channels :] = 0

    assert TestTimeAugmentation(model)(images(model))[0].max() < 1e-6


def test_the_same_seed_gives_the_same_again() -> None:
    model = make("mask", pad_noise=True)
    x, estimator = images(model), TestTimeAugmentation(model, measure="mutual_information")

    assert torch.equal(estimator(x, seed=1)[0], estimator(x, seed=1)[0])


def test_the_memory_changes_nothing() -> None:
    model = make("mask")
    x = images(model)

    one, other = (TestTimeAugmentation(model, memory=m)(x, seed=1)[0] for m in (1, 10**9))

    torch.testing.assert_close(one, other, **CLOSE)


def test_unknown_transforms_and_images_are_refused() -> None:
    model = make("mask")

    with pytest.raises(ValueError, match="transforms must be one of flips, rotations, all"):
        TestTimeAugmentation(model, transforms="shear")  # type: ignore[arg-type]  # of a wrong type
    with pytest.raises(ValueError, match=r"image must have shape \(B, C, W, H\)"):
        TestTimeAugmentation(model)(torch.rand(2))
