"""Both automata of the web page against ``predict``, in Chromium."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from headless import CHROMIUM, WHY_NOT, decode, run_in_page
from torch import nn
from viz_models import PlainModel

from ncalab.core import AbstractNCAModel
from ncalab.viz import export_html
from ncalab.viz.web.activation import _FORMULAS
from ncalab.viz.web.export import _SCRIPTS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)

STEPS = 12
BACKENDS = ("javascript", "webgl2")


def make_model(
    image: int = 4, hidden: int = 3, output: int = 2, **arguments: Any
) -> AbstractNCAModel:
    """Return a model whose rule does something, hidden_size 10 unless told otherwise."""
    generator = torch.Generator().manual_seed(3)
    arguments = {"hidden_size": 10, "training_timesteps": 20, **arguments}
    model = PlainModel(torch.device("cpu"), image, hidden, output, **arguments)
    for parameter in model.parameters():
        noise = torch.empty(parameter.shape).normal_(0, 0.25, generator=generator)
        parameter.data = noise
    return model


def learned(kernel_size: int, padding: str) -> dict[str, Any]:
    return {"num_learned_filters": 2, "kernel_size": kernel_size, "filter_padding": padding}


MODELS: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "Sobel filters": ({}, (7, 19)),
    "one cell": ({}, (1, 1)),
    "a single row": ({"filter_padding": "circular"}, (1, 9)),
    "a Laplace filter and time": ({"use_laplace": True, "use_temporal_encoding": True}, (6, 5)),
    "an alive mask": ({"use_alive_mask": True, "immutable_image_channels": False}, (16, 13)),
    "an alive mask on a fixed image": ({"use_alive_mask": True}, (16, 13)),
    "a mutable image, all cells fire": (
        {"immutable_image_channels": False, "fire_rate": 1.0},
        (5, 6),
    ),
    "no cell fires": ({"fire_rate": 0.0}, (5, 6)),
    "one channel": (
        {"image": 1, "hidden": 0, "output": 0, "immutable_image_channels": False},
        (8, 3),
    ),
    "more channels than can be written at once": ({"image": 3, "hidden": 38, "output": 1}, (5, 6)),
    "noise in the hidden channels": ({"pad_noise": True, "filter_padding": "zero"}, (9, 8)),
    **{
        f"learned {size}x{size} filters, {padding} padding": (learned(size, padding), (6, 4))
        for size in (1, 3, 5, 11)
        for padding in ("zero", "reflect", "replicate", "circular")
    },
    **{
        f"the nonlinearity {layer.__name__}": (
            {"rule_args": {"nonlinearity": layer}, "filter_padding": "zero"},
            (5, 4),
        )
        for layer in _FORMULAS
    },
}


def image_of(name: str) -> torch.Tensor:
    arguments, grid = MODELS[name]
    generator = torch.Generator().manual_seed(5)
    image = torch.rand(1, arguments.get("image", 4), *grid, generator=generator)
    # Below 0.1 in most places, so that an alive mask has an effect.
    return image**6 if arguments.get("use_alive_mask") else image


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Run all models in both automata, in one browser."""
    folder = tmp_path_factory.mktemp("browser")
    descriptions = {}
    for name, (arguments, _) in MODELS.items():
        export_html(make_model(**arguments), folder / "page.html", image_of(name), seed=2**62 + 7)
        page = (folder / "page.html").read_text(encoding="utf-8")
        descriptions[name] = json.loads(page.split('type="application/json">')[1].split("<")[0])
    viewer = files("ncalab.viz.web")
    scripts = [(viewer / name).read_text(encoding="utf-8") for name in _SCRIPTS[:-1]]
    empty = "<!doctype html><body><script>" + "\n".join(scripts) + "</script></body>"
    script = f"""
    const results = {{}};
    for (const [name, description] of Object.entries({json.dumps(descriptions)})) {{
      results[name] = {{}};
      for (const backend of {json.dumps(BACKENDS)}) {{
        const simulation = new Simulation(decodeModel(description), backend);
        simulation.step({STEPS});
        results[name][backend] = encode(simulation.state());
        simulation.automaton.gl?.getExtension("WEBGL_lose_context").loseContext();
      }}
    }}
    return results;
    """
    results: dict[str, dict[str, str]] = run_in_page(empty, script, folder)
    return results


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
def test_the_page_computes_what_predict_computes(
    states: dict[str, dict[str, str]], name: str, backend: str
) -> None:
    model = make_model(**MODELS[name][0])

    expected = model.predict(image_of(name), STEPS, seed=2**62 + 7, engine="reference")

    state = expected.output_image[0].numpy()
    found = decode(states[name][backend], state.shape)
    assert np.isfinite(state).all() and (name == "no cell fires" or np.abs(state).max() > 0.1)
    np.testing.assert_allclose(found, state, atol=1e-3, rtol=1e-4)


@pytest.fixture(scope="module")
def controls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Use the controls of one page."""
    folder = tmp_path_factory.mktemp("browser")
    model = make_model(4, 3, 0, immutable_image_channels=False, rule_args={"nonlinearity": nn.Tanh})
    start = torch.ones(1, 7, 9, 12)
    start[:, 1] = 0  # magenta
    export_html(model, folder / "page.html", start, title="<b>Tom & Jerry")
    page = (folder / "page.html").read_text(encoding="utf-8")
    script = """
    const click = id => document.getElementById(id).click();
    const status = () => document.getElementById("status").textContent;
    const found = {title: document.title, heading: document.querySelector("h1").textContent};
    click("play");
    found.paused = status();
    click("step");
    click("step");
    found.stepped = ncalab.steps;
    click("reset");
    found.start = encode(ncalab.state());
    ncalab.erase(3, 2, 1.5);
    found.erased = encode(ncalab.state());
    ncalab.plant(11, 8);
    found.planted = encode(ncalab.state());
    const view = document.getElementById("view");
    found.views = [...view.options].map(option => option.label);
    found.sizes = [];
    for (const option of view.options) {
      ncalab.show(option.value);
      const canvas = document.getElementById("grid");
      found.sizes.push([canvas.width, canvas.height]);
    }
    ncalab.reset(5);
    ncalab.show("picture");
    ncalab.erase(0, 0, 0.5);
    ncalab.show("picture");
    const context = document.getElementById("grid").getContext("2d");
    found.pixels = [[0, 0], [5, 4]].map(place => [...context.getImageData(...place, 1, 1).data]);
    return found;
    """
    found: dict[str, Any] = run_in_page(page, script, folder, fragment="backend=javascript")
    return found


def test_the_title_is_text_whatever_is_in_it(controls: dict[str, Any]) -> None:
    assert controls["title"] == controls["heading"] == "<b>Tom & Jerry"


def test_buttons_pause_and_step(controls: dict[str, Any]) -> None:
    assert "paused" in controls["paused"] and controls["stepped"] >= 2


def test_reset_brings_back_the_start_and_the_eraser_empties_a_disc(
    controls: dict[str, Any],
) -> None:
    start, erased = (decode(controls[name], (7, 9, 12)) for name in ("start", "erased"))
    row, column = np.mgrid[:9, :12]
    disc = (row - 2) ** 2 + (column - 3) ** 2 <= 1.5**2

    assert start.mean(axis=(1, 2)).tolist() == [1, 0, 1, 1, 1, 1, 1]
    assert (erased[:, disc] == 0).all() and disc.sum() == 9
    assert np.array_equal(erased[:, ~disc], start[:, ~disc])


def test_a_seed_is_opaque_and_without_colour(controls: dict[str, Any]) -> None:
    planted = decode(controls["planted"], (7, 9, 12))

    assert planted[:, 8, 11].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert planted[:, 8, 10].tolist() == [1, 0, 1, 1, 1, 1, 1]


def test_every_channel_can_be_shown(controls: dict[str, Any]) -> None:
    assert controls["views"][:2] == ["Picture", "All channels"]
    assert controls["views"][-1] == "Channel 6 (hidden 2)" and len(controls["views"]) == 9
    assert controls["sizes"][0] == controls["sizes"][-1] == [12, 9]
    assert controls["sizes"][1] == [3 * 13 - 1, 3 * 10 - 1]


def test_colours_stand_before_the_background(controls: dict[str, Any]) -> None:
    assert controls["pixels"] == [[255, 255, 255, 255], [255, 0, 255, 255]]


@pytest.fixture(scope="module")
def ending(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Use a page of a rollout that ends, opened at a seed and a step."""
    folder = tmp_path_factory.mktemp("browser")
    export_html(
        make_model(3, 3, 2),
        folder / "page.html",
        torch.ones(1, 3, 9, 12),
        pause_after=6,
        overlay=True,
        class_names=["nothing", "a nucleus"],
    )
    page = (folder / "page.html").read_text(encoding="utf-8")
    script = """
    const text = id => document.getElementById(id).textContent;
    const click = id => document.getElementById(id).click();
    const found = {seed: ncalab.seed, steps: ncalab.steps, first: text("play")};
    ncalab.show("prediction");
    [found.classes, found.hint] = [text("classes"), text("hint")];
    viewer.run(2);
    found.last = [ncalab.steps, text("play")];
    click("play");
    found.again = [ncalab.steps, ncalab.seed, text("play")];
    click("play");
    click("link");
    found.address = location.hash;
    return found;
    """
    where = "backend=javascript&seed=12&step=4"
    found: dict[str, Any] = run_in_page(page, script, folder, fragment=where)
    return found


def test_the_address_names_seed_and_step(ending: dict[str, Any]) -> None:
    assert (ending["seed"], ending["steps"], ending["first"]) == ("12", 4, "Play")
    assert ending["address"] == "#seed=12&step=0"


def test_a_rollout_that_has_ended_can_be_played_again(ending: dict[str, Any]) -> None:
    assert ending["last"] == [6, "Play again"]
    assert ending["again"] == [0, "12", "Pause"]


def test_classes_have_their_names(ending: dict[str, Any]) -> None:
    assert ending["classes"].startswith("a nucleus: ")
    assert ending["hint"] == "Drag over the cells to make them forget"


def test_the_page_says_when_all_cells_are_dead(tmp_path: Path) -> None:
    model = make_model(4, 3, 0, immutable_image_channels=False, use_alive_mask=True)
    export_html(model, tmp_path / "page.html", torch.ones(1, 7, 9, 12))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    script = """
    const hint = () => document.getElementById("hint").textContent;
    ncalab.play(false);
    ncalab.reset();
    ncalab.show("picture");
    const found = [ncalab.dead, hint()];
    ncalab.erase(6, 4, 100);
    ncalab.show("picture");
    return [...found, ncalab.dead, hint()];
    """

    found = run_in_page(page, script, tmp_path, fragment="backend=javascript")

    assert found == [
        False,
        "Drag over the cells to cut them",
        True,
        "All cells are dead: place a seed, or reset.",
    ]
