from pathlib import Path

import pytest
import torch
from PIL import Image

from ncalab.tasks import GrowingNCAModel
from ncalab.tasks.growing import GrowthWatch, Quality, growing_preset, seconds_per_epoch

TARGET = torch.zeros(4, 12, 12)
TARGET[1:, 3:9, 3:9] = 1.0


def test_better_qualities_train_for_longer() -> None:
    epochs = [growing_preset(quality).epochs for quality in ("draft", "good", "best")]

    assert epochs == sorted(set(epochs))


def test_the_best_of_a_large_grid_takes_fewer_steps() -> None:
    epochs = [growing_preset("best", side=side).epochs for side in (8, 58, 72, 104, 300)]

    assert epochs[0] == epochs[1] == 15000
    assert epochs[1] > epochs[2] > epochs[3] > epochs[4] > growing_preset("good").epochs


@pytest.mark.parametrize("quality", ["draft", "good", "best"])
def test_holes_are_cut_into_all_but_seeds(quality: Quality) -> None:
    preset = growing_preset(quality)

    assert preset.pool["n_seed"] + preset.pool["num_damaged"] == preset.batch_size


def test_steps_follow_from_the_side() -> None:
    small, large, larger = (growing_preset(side=side) for side in (24, 72, 128))

    assert small.model["training_timesteps"] == (12, 25)
    assert small.model["inference_timesteps"] == 64
    assert large.model["training_timesteps"] == (24, 49)
    assert large.model["inference_timesteps"] == 96
    assert larger.model["training_timesteps"] == (32, 65)


def test_the_learning_rate_falls_on_large_grids() -> None:
    rates = [growing_preset(side=side).trainer["lr"] for side in (8, 48, 96)]

    assert rates == pytest.approx([0.02, 0.02, 0.01])


def test_the_learning_rate_ends_at_a_tenth() -> None:
    preset = growing_preset("draft", epochs=50)

    assert preset.trainer["lr_gamma"] ** 50 == pytest.approx(0.1)
    assert preset.trainer["max_epochs"] == preset.epochs == 50


def test_an_unknown_quality_is_named() -> None:
    with pytest.raises(ValueError, match="quality must be .* got 'fine'"):
        growing_preset("fine")  # type: ignore[arg-type]  # of a wrong type


def test_a_step_is_timed_without_a_trace() -> None:
    model = GrowingNCAModel(torch.device("cpu"), **growing_preset(side=12).model)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before = torch.get_rng_state()

    assert seconds_per_epoch(model, TARGET, 3) > 0

    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_watching_shows_target_and_grown_picture_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = GrowingNCAModel(torch.device("cpu"), num_hidden_channels=2, use_alive_mask=True)
    before = torch.get_rng_state()

    with GrowthWatch(model, TARGET, tmp_path, epochs=2) as watch:
        watch(1, {"loss": 0.5})
        watch(2, {"loss": 0.4})

    with Image.open(tmp_path / "preview.png") as preview:
        assert preview.size == (96, 48)
        assert preview.getpixel((24, 24)) == (0, 255, 255)  # the target
        assert preview.getpixel((0, 0)) == (255, 255, 255)
    seed_only = (TARGET.square().sum() - 1 + 0) / TARGET.numel()
    assert watch.error == pytest.approx(float(seed_only), abs=0.003)
    assert capsys.readouterr().err.splitlines()[-1].startswith("2/2 steps: error 0.1")
    assert torch.equal(before, torch.get_rng_state())
