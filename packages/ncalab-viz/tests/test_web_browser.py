"""Both automata of the web page against ``predict``, in Chromium."""

import io
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from headless import CHROMIUM, WEBGPU, WHY_NOT, decode, run_in_page
from PIL import Image, ImageSequence
from torch import nn
from viz_models import PlainModel, ScalesModel, VotingModel

from ncalab.core import AbstractNCAModel
from ncalab.core.perception import (
    IsotropicView,
    LaplaceView,
    LearnedView,
    SobelView,
    SteerableView,
    ViewsNCAPerception,
)
from ncalab.viz import export_html
from ncalab.viz.web.activation import _FORMULAS
from ncalab.viz.web.export import _SCRIPTS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)

STEPS = 12
BACKENDS = ("javascript", "webgl2")


def make_model(
    image: int = 4,
    hidden: int = 3,
    output: int = 2,
    *,
    kind: type[AbstractNCAModel] = PlainModel,
    weights: int = 3,
    **arguments: Any,
) -> AbstractNCAModel:
    """Return a model whose rule does something, hidden_size 10 unless told otherwise."""
    generator = torch.Generator().manual_seed(weights)
    arguments = {"hidden_size": 10, "training_timesteps": 20, **arguments}
    model = kind(torch.device("cpu"), image, hidden, output, **arguments)
    for parameter in model.parameters():
        noise = torch.empty(parameter.shape).normal_(0, 0.25, generator=generator)
        parameter.data = noise
    return model


def learned(kernel_size: int, padding: str) -> dict[str, Any]:
    return {"num_learned_filters": 2, "kernel_size": kernel_size, "filter_padding": padding}


def seeing(*views: Any) -> dict[str, Any]:
    return {"perception_type": ViewsNCAPerception, "perception_args": {"views": views}}


GROWING = {"use_alive_mask": True, "immutable_image_channels": False}
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
    "no views": (seeing(), (5, 6)),
    "isotropic cells": (seeing(IsotropicView), (6, 7)),
    "isotropic cells that grow": ({**seeing(IsotropicView, LaplaceView), **GROWING}, (12, 13)),
    "determinants of few channels, and time": (
        {**seeing((IsotropicView, {"determinants": 3})), "use_temporal_encoding": True},
        (6, 7),
    ),
    "determinants of all channels": (seeing((IsotropicView, {"determinants": 9})), (6, 7)),
    "steerable cells": ({**seeing(SteerableView), "filter_padding": "zero"}, (6, 7)),
    "steerable cells that grow": (
        {**seeing((SteerableView, {"angle_channel": 5})), **GROWING},
        (12, 13),
    ),
    "views of all kinds": (
        seeing(
            (IsotropicView, {"determinants": 2}),
            SobelView,
            (LearnedView, {"num_filters": 1, "dilation": 2}),
            (SteerableView, {"angle_channel": 4}),
            (IsotropicView, {"determinants": 5}),
            LaplaceView,
            (LearnedView, {"kernel_size": 1}),
        ),
        (7, 8),
    ),
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


def engines_page() -> str:
    """Return a page with all scripts but the one that shows something."""
    viewer = files("ncalab.viz.web")
    scripts = [(viewer / name).read_text(encoding="utf-8") for name in _SCRIPTS[:-1]]
    return "<!doctype html><body><script>" + "\n".join(scripts) + "</script></body>"


@pytest.fixture(scope="module")
def descriptions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Export all models."""
    folder = tmp_path_factory.mktemp("pages")
    descriptions = {}
    for name, (arguments, _) in MODELS.items():
        export_html(make_model(**arguments), folder / "page.html", image_of(name), seed=2**62 + 7)
        page = (folder / "page.html").read_text(encoding="utf-8")
        descriptions[name] = json.loads(page.split('type="application/json">')[1].split("<")[0])
    return descriptions


@pytest.fixture(scope="module")
def states(
    descriptions: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, str]]:
    """Run all models in both automata that answer at once, in one browser."""
    folder = tmp_path_factory.mktemp("browser")
    script = f"""
    const results = {{}};
    for (const [name, description] of Object.entries({json.dumps(descriptions)})) {{
      results[name] = {{}};
      for (const backend of {json.dumps(BACKENDS)}) {{
        const simulation = new Simulation(decodePage(description)[0], backend);
        simulation.step({STEPS});
        results[name][backend] = encode(simulation.state());
        simulation.automaton.release?.();
      }}
    }}
    return results;
    """
    results: dict[str, dict[str, str]] = run_in_page(engines_page(), script, folder)
    return results


@pytest.fixture(scope="module")
def webgpu_states(
    descriptions: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Run all models by WebGPU."""
    folder = tmp_path_factory.mktemp("browser")
    script = f"""
    return (async () => {{
      const results = {{}};
      for (const [name, description] of Object.entries({json.dumps(descriptions)})) {{
        const [model] = decodePage(description);
        const [stage] = model.stages;
        const automaton = await WebGPUAutomaton.create(stage);
        automaton.load(model.start);
        for (let step = 0; step < {STEPS}; step++) {{
          automaton.step(fireKeys(BigInt(model.seed), step), step * stage.timePerStep);
        }}
        await automaton.settle();
        results[name] = encode(automaton.read(0, model.count));
        automaton.release();
      }}
      return results;
    }})();
    """
    results: dict[str, str] = run_in_page(engines_page(), script, folder, options=WEBGPU, wait=True)
    return results


@pytest.mark.parametrize("name", MODELS)
def test_webgpu_computes_what_predict_computes(webgpu_states: dict[str, str], name: str) -> None:
    check_state(webgpu_states[name], name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
def test_the_page_computes_what_predict_computes(
    states: dict[str, dict[str, str]], name: str, backend: str
) -> None:
    check_state(states[name][backend], name)


def check_state(text: str, name: str) -> None:
    """Compare a state with that of ``predict``."""
    model = make_model(**MODELS[name][0])

    expected = model.predict(image_of(name), STEPS, seed=2**62 + 7, engine="reference")

    state = expected.output_image[0].numpy()
    found = decode(text, state.shape)
    assert np.isfinite(state).all() and (name == "no cell fires" or np.abs(state).max() > 0.1)
    np.testing.assert_allclose(found, state, atol=1e-3, rtol=1e-4)


SCALES: dict[str, tuple[dict[str, Any], list[int], tuple[int, int]]] = {
    "a fixed image, sizes that no scale divides": ({}, [4, 2, 1], (13, 18)),
    "time": ({"use_temporal_encoding": True, "training_timesteps": 9}, [3, 1, 1], (7, 6)),
    "a last scale that is not full size": ({}, [4, 4, 2], (16, 9)),
    "from fine to coarse": ({}, [1, 3, 2], (11, 12)),
    "a picture that grows": ({"immutable_image_channels": False}, [4, 2, 1], (9, 10)),
    "an alive mask": (
        {"use_alive_mask": True, "immutable_image_channels": False},
        [2, 1, 1],
        (12, 14),
    ),
    "noise in the hidden channels": ({"pad_noise": True}, [4, 2, 1], (10, 10)),
}
SHARES = [5, 4, 3]
SEEN_AT = [1, 5, 6, 9, 12, 15]


def make_scales(name: str) -> tuple[ScalesModel, torch.Tensor]:
    """Return a model of several scales, each with weights of its own, and an image for it."""
    arguments, scales, grid = SCALES[name]
    model = make_model(kind=ScalesModel, **arguments)
    assert isinstance(model, ScalesModel)
    model.parts = [make_model(weights=3 + place, **arguments) for place in range(3)]
    model.scales, model.steps = scales, SHARES
    generator = torch.Generator().manual_seed(5)
    return model, torch.rand(1, 4, *grid, generator=generator)


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[str]]]:
    """Run all models of several scales in both automata, in one browser."""
    folder = tmp_path_factory.mktemp("browser")
    descriptions = {}
    for name in SCALES:
        model, image = make_scales(name)
        export_html(model, folder / "page.html", image, seed=8, pause_after=sum(SHARES))
        page = (folder / "page.html").read_text(encoding="utf-8")
        descriptions[name] = json.loads(page.split('type="application/json">')[1].split("<")[0])
    script = f"""
    const results = {{}};
    for (const [name, description] of Object.entries({json.dumps(descriptions)})) {{
      results[name] = {{}};
      for (const backend of {json.dumps(BACKENDS)}) {{
        const simulation = new Simulation(decodePage(description)[0], backend);
        results[name][backend] = {json.dumps(SEEN_AT)}.map(steps => {{
          simulation.step(steps - simulation.steps);
          return encode(simulation.state());
        }});
        for (const automaton of simulation.automata) automaton.release?.();
      }}
    }}
    return results;
    """
    results: dict[str, dict[str, list[str]]] = run_in_page(engines_page(), script, folder)
    return results


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SCALES)
def test_the_page_runs_scale_after_scale_as_record_does(
    scaled: dict[str, dict[str, list[str]]], name: str, backend: str
) -> None:
    model, image = make_scales(name)
    total = sum(SHARES)

    recorded = model.record(image, total, seed=8, engine="reference")
    # Beyond, the steps are those of the last scale.
    longer = [*SHARES[:-1], SHARES[-1] + SEEN_AT[-1] - total]
    last = model.predict(image, longer, seed=8, engine="reference")

    for found, steps in zip(scaled[name][backend], SEEN_AT, strict=True):
        prediction = recorded[steps - 1] if steps <= total else last
        state = prediction.output_image[0].numpy()
        assert np.abs(state).max() > 0.1
        np.testing.assert_allclose(
            decode(found, state.shape), state, atol=1e-3, rtol=1e-4, err_msg=f"after {steps} steps"
        )


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Use the page of a cascade while its cells are large."""
    folder = tmp_path_factory.mktemp("browser")
    model, image = make_scales("a fixed image, sizes that no scale divides")
    export_html(model, folder / "page.html", image, pause_after=12, overlay=False)
    page = (folder / "page.html").read_text(encoding="utf-8")
    script = """
    const status = () => document.getElementById("status").textContent;
    const found = {};
    viewer.describe();
    found.before = status();
    ncalab.step(4);
    ncalab.erase(1, 2, 1);
    found.erased = encode(viewer.simulation.automaton.read(0, 9));
    found.start = encode(viewer.simulation.start);
    ncalab.step(8);
    viewer.describe();
    found.after = status();
    return found;
    """
    found: dict[str, Any] = run_in_page(page, script, folder, fragment="backend=javascript&step=1")
    return found


def test_the_page_says_how_many_cells_there_are_at_a_scale(coarse: dict[str, Any]) -> None:
    assert "Step 1 · paused · 5 \N{MULTIPLICATION SIGN} 4 cells" in coarse["before"]
    assert "Step 13 · paused · 18 \N{MULTIPLICATION SIGN} 13 cells" in coarse["after"]


def test_the_eraser_takes_the_large_cell_that_it_touches(coarse: dict[str, Any]) -> None:
    erased, start = (decode(coarse[name], (9, 4, 5)) for name in ("erased", "start"))
    same = (erased == start).all(axis=0)

    assert same[0, 0] and same.sum() == 1


@pytest.fixture(scope="module")
def voting(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Look at cells of which three show something: two vote for class 2, one for class 0."""
    folder = tmp_path_factory.mktemp("browser")
    model = make_model(1, 1, 3, kind=VotingModel, fire_rate=0.0)
    start = torch.zeros(1, 5, 2, 3)
    start[0, 0, 0] = torch.tensor([0.2, 1.0, 0.5])
    start[0, 0, 1] = 0.1
    start[0, 2, :, 2] = 1
    start[0, 4, :, :2] = 1
    export_html(model, folder / "page.html", start, class_names=["zero", "one", "two"])
    page = (folder / "page.html").read_text(encoding="utf-8")
    script = """
    ncalab.show("prediction");
    const context = document.querySelector("#grids canvas").getContext("2d");
    const pixel = (x, y) => [...context.getImageData(x, y, 1, 1).data].slice(0, 3);
    return {
      classes: [...document.querySelectorAll("#classes li")].map(item => item.textContent),
      most: document.querySelector("#classes .most").textContent,
      pixels: [pixel(0, 0), pixel(1, 0), pixel(2, 0), pixel(0, 1)],
      background: viewer.picture.background,
    };
    """
    found: dict[str, Any] = run_in_page(page, script, folder, fragment="backend=javascript&step=1")
    return found


def test_visible_cells_vote(voting: dict[str, Any]) -> None:
    shares = ["zero: 33.3 % of the votes", "one: 0.0 % of the votes", "two: 66.7 % of the votes"]
    assert voting["classes"] == shares
    assert voting["most"] == shares[2]


def test_cells_have_the_colour_of_their_class_as_bright_as_they_are(voting: dict[str, Any]) -> None:
    two, zero = np.array([0, 158, 115]), np.array([230, 159, 0])
    behind = np.array(voting["background"])
    shares = [(0.4, two), (1.0, two), (0.5, zero)]

    expected = [behind + (color - behind) * share for share, color in shares]
    np.testing.assert_allclose(voting["pixels"][:3], expected, atol=1)
    # A dim cell has no say, and is shown as it is.
    np.testing.assert_allclose(voting["pixels"][3], [25.5] * 3, atol=1)


def offer_webgpu(folder: Path, *, options: tuple[str, ...], before: str = "") -> dict[str, Any]:
    """Offer WebGPU to a simulation in JavaScript after four steps; take two more steps."""
    model = make_model(4, 3, 0, immutable_image_channels=False)
    export_html(model, folder / "page.html", image_of("Sobel filters"), seed=3)
    page = (folder / "page.html").read_text(encoding="utf-8")
    description = page.split('type="application/json">')[1].split("<")[0]
    script = f"""
    return (async () => {{
      {before}
      const simulation = new Simulation(decodePage({description})[0], "javascript");
      simulation.step(4);
      const words = await offerWebGPU(simulation, true);
      simulation.step(2);
      await simulation.automaton.settle?.();
      return {{words, backend: simulation.backend, state: encode(simulation.state())}};
    }})();
    """
    found: dict[str, Any] = run_in_page(engines_page(), script, folder, options=options, wait=True)
    expected = model.predict(image_of("Sobel filters"), 6, seed=3).output_array[0]
    np.testing.assert_allclose(decode(found["state"], expected.shape), expected, atol=1e-3)
    return found


def test_webgpu_takes_a_rollout_over(tmp_path: Path) -> None:
    found = offer_webgpu(tmp_path, options=WEBGPU)

    assert found["backend"] == "WebGPU"
    assert re.fullmatch(r"[\d.]+ ms a step, JavaScript [\d.]+ ms", found["words"])


def test_webgpu_that_computes_something_else_is_not_used(tmp_path: Path) -> None:
    place = "fn ${name}(place: i32) -> i32 { return (place + ${size}) % ${size}; }"
    wrong = f"placeWgsl = (name, size) => `{place}`;"

    found = offer_webgpu(tmp_path, options=WEBGPU, before=wrong)

    assert found["backend"] == "JavaScript"
    assert re.fullmatch(r"it computes other values \([\d.]+ of 1000\)", found["words"])


def test_webgpu_whose_shaders_do_not_compile_is_not_used(tmp_path: Path) -> None:
    found = offer_webgpu(tmp_path, options=WEBGPU, before='placeWgsl = () => "nonsense";')

    assert found["backend"] == "JavaScript" and found["words"].startswith("WebGPU: ")


def test_the_page_runs_without_webgpu(tmp_path: Path) -> None:
    before = 'Object.defineProperty(navigator, "gpu", {value: undefined});'

    found = offer_webgpu(tmp_path, options=(), before=before)

    assert found["backend"] == "JavaScript" and found["words"] == "the browser has no WebGPU"


def test_a_page_shows_what_webgpu_computes(tmp_path: Path) -> None:
    model = make_model(4, 3, 0, immutable_image_channels=False)
    export_html(model, tmp_path / "page.html", image_of("Sobel filters"), seed=3)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    script = """
    return (async () => {
      await viewer.ready;
      ncalab.play(false);
      ncalab.reset();
      ncalab.step(5);
      ncalab.erase(3, 4, 2);
      await ncalab.settle();
      return {
        state: encode(ncalab.state()),
        status: document.getElementById("status").textContent,
        engine: document.getElementById("engine").textContent,
      };
    })();
    """

    found = run_in_page(
        page, script, tmp_path, fragment="backend=webgpu", options=WEBGPU, wait=True
    )

    expected = model.predict(image_of("Sobel filters"), 5, seed=3).output_array[0].copy()
    row, column = np.mgrid[:7, :19]
    expected[:, (row - 4) ** 2 + (column - 3) ** 2 <= 4] = 0
    np.testing.assert_allclose(decode(found["state"], expected.shape), expected, atol=1e-3)
    assert found["status"].endswith("WebGPU")
    assert re.fullmatch(r"WebGPU: [\d.]+ ms a step, \w+ [\d.]+ ms\.", found["engine"])


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
      const canvas = document.querySelector("#grids canvas");
      found.sizes.push([canvas.width, canvas.height]);
    }
    ncalab.reset(5);
    ncalab.show("picture");
    ncalab.erase(0, 0, 0.5);
    ncalab.show("picture");
    const context = document.querySelector("#grids canvas").getContext("2d");
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
def beside(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Use a page of two models, and record a GIF of it."""
    folder = tmp_path_factory.mktemp("browser")
    models = {
        name: make_model(4, 3, 0, immutable_image_channels=False, weights=weights)
        for name, weights in (("one", 3), ("<i>two", 4))
    }
    image = torch.linspace(0, 1, 4 * 9 * 12).reshape(1, 4, 9, 12)
    export_html(models, folder / "page.html", image, seed=6)
    page = (folder / "page.html").read_text(encoding="utf-8")
    script = """
    const click = id => document.getElementById(id).click();
    const names = [...document.querySelectorAll("figcaption")].map(item => item.textContent);
    const found = {names};
    ncalab.play(false);
    ncalab.reset();
    ncalab.step(5);
    found.states = [0, 1].map(place => encode(ncalab.state(place)));
    // One touch of the second canvas.
    const canvas = document.querySelectorAll("#grids canvas")[1];
    const box = canvas.getBoundingClientRect();
    viewer.radius = 2;
    viewer.touch({target: canvas, clientX: box.left + box.width * 6.5 / 12,
                  clientY: box.top + box.height * 4.5 / 9}, null);
    found.cut = [0, 1].map(place => encode(ncalab.state(place)));
    const gifs = [];
    const pixels = [];
    URL.createObjectURL = blob => { gifs.push(blob); return "blob:"; };
    HTMLAnchorElement.prototype.click = () => {};
    const look = () => {
      viewer.draw();
      const copy = enlarged(viewer.panels.map(panel => panel.canvas));
      found.size = [copy.width, copy.height];
      const {data} = copy.getContext("2d").getImageData(0, 0, copy.width, copy.height);
      pixels.push(encode(Float32Array.from(data)));
    };
    look();
    click("gif");
    found.recording = document.getElementById("gif").textContent;
    for (let step = 0; step < 2; step++) {
      ncalab.step();
      look();
    }
    const parts = viewer.recorders[0].gif;
    click("gif");
    found.again = document.getElementById("gif").textContent;
    const bytes = [];
    for (const part of parts.parts()) bytes.push(...part);
    return {...found, pixels, gif: encode(Float32Array.from(bytes)), files: gifs.length};
    """
    found: dict[str, Any] = run_in_page(page, script, folder, fragment="backend=javascript")
    return {**found, "models": models, "image": image}


def test_models_beside_each_other_each_run_as_predict_does(beside: dict[str, Any]) -> None:
    assert beside["names"] == ["one", "<i>two"]
    for model, found in zip(beside["models"].values(), beside["states"], strict=True):
        expected = model.predict(beside["image"], 5, seed=6).output_array[0]
        np.testing.assert_allclose(decode(found, expected.shape), expected, atol=1e-3)


def test_a_cut_through_one_model_is_one_through_all(beside: dict[str, Any]) -> None:
    row, column = np.mgrid[:9, :12]
    disc = (row - 4) ** 2 + (column - 6) ** 2 <= 4
    for before, after in zip(beside["states"], beside["cut"], strict=True):
        whole, cut = decode(before, (7, 9, 12)), decode(after, (7, 9, 12))
        assert (cut[:, disc] == 0).all()
        assert np.array_equal(cut[:, ~disc], whole[:, ~disc])


def test_a_gif_shows_what_the_page_showed(beside: dict[str, Any]) -> None:
    width, height = beside["size"]
    shown = [decode(text, (height, width, 4))[..., :3] for text in beside["pixels"]]

    data = decode(beside["gif"], (-1,)).astype(np.uint8).tobytes()
    with Image.open(io.BytesIO(data)) as gif:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(gif)]
        assert gif.size == (width, height) and gif.info["loop"] == 0

    assert (beside["recording"], beside["again"], beside["files"]) == ("Stop", "GIF", 1)
    assert len(frames) == len(shown) == 3
    for frame, expected in zip(frames, shown, strict=True):
        np.testing.assert_allclose(frame, expected, atol=1)


@pytest.mark.parametrize("kind", ["few colours", "many colours", "one colour", "noise"])
def test_a_gif_of_any_picture_can_be_read(tmp_path: Path, kind: str) -> None:
    width, height = 97, 90
    row, column = np.mgrid[:height, :width]
    generator = np.random.default_rng(0)
    pictures = {
        "few colours": np.stack([row % 3, column % 5, row * 0], -1) * 40,
        "many colours": np.stack([row * 2, column * 2, (row + column)], -1),
        "one colour": np.full((height, width, 3), 77),
        # So many codes that their table is cleared.
        "noise": generator.integers(0, 2, (height, width, 3)) * 255,
    }
    pixels = np.concatenate([pictures[kind], np.full((height, width, 1), 255)], -1)
    script = f"""
    const writer = new GifWriter({width}, {height});
    const pixels = Uint8ClampedArray.from({pixels.ravel().tolist()});
    writer.add(pixels, 123);
    const bytes = [];
    for (const part of writer.parts()) bytes.push(...part);
    return encode(Float32Array.from(bytes));
    """

    found = run_in_page(engines_page(), script, tmp_path)

    data = decode(found, (-1,)).astype(np.uint8).tobytes()
    with Image.open(io.BytesIO(data)) as gif:
        frame = np.asarray(gif.convert("RGB")).astype(int)
        assert gif.info["duration"] == 120
    tolerance = 40 if kind == "many colours" else 0
    np.testing.assert_allclose(frame, pictures[kind], atol=tolerance)
    assert np.abs(frame - pictures[kind]).mean() < 4


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


def test_a_compact_page_is_as_high_as_its_frame(tmp_path: Path) -> None:
    names = ["nothing", "the inside of a nucleus", "the border of a nucleus"]
    image = torch.ones(1, 3, 9, 9)
    export_html(make_model(3, 3, 3), tmp_path / "page.html", image, overlay=True, class_names=names)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    script = """
    viewer.draw();
    const bottomOf = name => document.querySelector(name).getBoundingClientRect().bottom;
    const {scrollWidth} = document.documentElement;
    return {
      classes: bottomOf("#classes"), main: bottomOf("main"), scrollWidth, innerHeight, innerWidth,
    };
    """

    found = run_in_page(
        page,
        script,
        tmp_path,
        fragment="compact&backend=javascript&step=1",
        options=("--window-size=520,464",),
    )

    assert 0 < found["classes"] <= found["main"] <= found["innerHeight"] < 500
    assert found["scrollWidth"] <= found["innerWidth"]
