"""Turning the cells of a web page, in Chromium."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from headless import CHROMIUM, WEBGPU, WHY_NOT, decode, run_in_page
from viz_models import PlainModel

from ncalab.core import AbstractNCAModel
from ncalab.core.perception import IsotropicView, LaplaceView, SteerableView, ViewsNCAPerception
from ncalab.core.testing import awaken
from ncalab.viz import export_html

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)

ENGINES = {"javascript": (), "webgl2": (), "webgpu": WEBGPU}


def make_model(*views: Any, image: int = 3, hidden: int = 4, **arguments: Any) -> AbstractNCAModel:
    """Return a model that sees by these views, and whose cells all fire."""
    seen: dict[str, Any] = {
        "perception_type": ViewsNCAPerception,
        "perception_args": {"views": views},
    }
    device = torch.device("cpu")
    model = PlainModel(device, image, hidden, 2, fire_rate=1.0, hidden_size=9, **seen, **arguments)
    awaken(model, 0.3)
    return model


def run_script(
    model: Any, image: torch.Tensor, script: str, folder: Path, engine: str = "javascript"
) -> Any:
    """Run an asynchronous script in the paused page of a model; ``state()`` reads its cells."""
    export_html(model, folder / "page.html", image, seed=4, overlay=False)
    page = (folder / "page.html").read_text(encoding="utf-8")
    before = """
      const row = id => document.getElementById(id);
      const state = async () => { await ncalab.settle(); return encode(ncalab.state()); };
      await viewer.ready;
      ncalab.play(false);
      ncalab.reset();
    """
    script = f"return (async () => {{ {before} {script} }})();"
    options = ENGINES[engine]
    where = f"backend={engine}"
    return run_in_page(page, script, folder, fragment=where, options=options, wait=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_cells_that_know_no_direction_go_on_as_if_they_had_been_turned_before(
    tmp_path: Path, engine: str
) -> None:
    model = make_model((IsotropicView, {"determinants": 3}), LaplaceView)
    image = torch.rand(1, 3, 7, 7, generator=torch.Generator().manual_seed(1))
    script = """
      ncalab.step(3);
      await ncalab.turn();
      ncalab.step(3);
      return {state: await state(), backend: ncalab.backend, hidden: row("turn-row").hidden};
    """

    found = run_script(model, image, script, tmp_path, engine)

    expected = model.predict(image.rot90(-1, (2, 3)), 6, seed=4).output_array[0]
    straight = model.predict(image, 6, seed=4).output_array[0]
    assert found["backend"].lower() == engine and not found["hidden"]
    assert np.abs(expected - straight).max() > 0.1
    np.testing.assert_allclose(decode(found["state"], expected.shape), expected, atol=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_steerable_cells_draw_turns_with_their_angle(tmp_path: Path, engine: str) -> None:
    model = make_model((SteerableView, {"angle_channel": 3}))
    # The rule neither reads the angle nor changes it.
    model.rule.get_parameter("network.0.weight").data[:, 3] = 0
    model.rule.get_parameter("network.2.weight").data[3] = 0
    dot = torch.zeros(1, 3, 9, 9)
    dot[:, :, 4, 4] = 1
    script = """
      ncalab.step(4);
      const first = await state();
      ncalab.steer(90);
      ncalab.step(4);
      row("link").click();
      const {hidden} = row("angle-row");
      return {first, turned: await state(), address: location.hash, hidden};
    """

    found = run_script(model, dot, script, tmp_path, engine)

    start = torch.cat([dot, torch.zeros(1, 6, 9, 9)], dim=1)
    start[:, 3] = torch.pi / 2
    expected = model.predict(start, 4, seed=4).output_array[0]
    first, turned = (decode(found[name], expected.shape) for name in ("first", "turned"))
    drawn = [0, 1, 2, 4, 5, 6, 7, 8]
    assert np.abs(first - turned)[drawn].max() > 0.05
    np.testing.assert_allclose(turned, expected, atol=1e-3)
    # Clockwise: from the first axis (W, downwards) to the second one backwards.
    np.testing.assert_allclose(turned[drawn], np.rot90(first[drawn], -1, (1, 2)), atol=1e-3)
    assert not found["hidden"] and found["address"] == "#seed=4&step=4&angle=90"


def test_seeds_look_where_the_angle_says_and_empty_cells_nowhere(tmp_path: Path) -> None:
    model = make_model((SteerableView, {"angle_channel": -1}), immutable_image_channels=False)
    start = torch.zeros(1, 9, 5, 6)
    start[:, :, 2, 3] = 1
    script = """
      ncalab.steer(180);
      ncalab.plant(1, 4);
      return [await state(), row("turn-row").hidden];
    """

    found, turns_hidden = run_script(model, start, script, tmp_path)

    angle = decode(found, (9, 5, 6))[8]
    np.testing.assert_allclose(angle[[2, 4], [3, 1]], 1 + np.pi, rtol=1e-6)
    assert np.count_nonzero(angle) == 2 and turns_hidden


def test_a_grid_that_is_not_square_turns_about_its_middle(tmp_path: Path) -> None:
    model = make_model(IsotropicView, immutable_image_channels=False)
    start = torch.rand(1, 9, 8, 12, generator=torch.Generator().manual_seed(2))
    script = "const before = await state(); await ncalab.turn(); return [before, await state()];"

    before, after = (
        decode(text, (9, 8, 12)) for text in run_script(model, start, script, tmp_path)
    )

    expected = np.zeros_like(before)
    expected[:, :, 2:10] = np.rot90(before[:, :, 2:10], -1, (1, 2))
    np.testing.assert_array_equal(after, expected)


def test_reset_turns_an_image_back(tmp_path: Path) -> None:
    model = make_model(IsotropicView)
    image = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(3))
    script = "await ncalab.turn(); ncalab.erase(0, 0, 9); ncalab.reset(); return await state();"

    found = run_script(model, image, script, tmp_path)

    np.testing.assert_array_equal(decode(found, (9, 6, 6))[:3], image[0].numpy())


@pytest.mark.parametrize("kind", ["Sobel filters", "an image that is not square"])
def test_what_cannot_be_turned_offers_no_turn(tmp_path: Path, kind: str) -> None:
    isotropic = make_model(IsotropicView)
    model = PlainModel(torch.device("cpu"), 3, 4, 2) if kind == "Sobel filters" else isotropic
    image = torch.rand(1, 3, 6, 6 if kind == "Sobel filters" else 7)
    script = """
      const before = await state();
      await ncalab.turn();
      return [row("turn-row").hidden, row("angle-row").hidden, before === await state()];
    """

    assert run_script(model, image, script, tmp_path) == [True, True, True]
