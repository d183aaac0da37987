import base64
import json
import math
import re
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from viz_models import FadingModel, PlainModel, ScalesModel, VotingModel

from ncalab.core import AbstractNCAHead, AbstractNCAModel, BasicNCAPerception, MLPNCARule
from ncalab.core.multiscale import MultiScale
from ncalab.core.perception import (
    AttentionView,
    IsotropicView,
    LaplaceView,
    SobelView,
    SteerableView,
    ViewsNCAPerception,
)
from ncalab.core.rollout.standard import ELEMENTWISE
from ncalab.core.testing import awaken
from ncalab.viz import export_html
from ncalab.viz.web.activation import formula
from ncalab.viz.web.description import encode_channel


class OtherRule(MLPNCARule):
    """A rule of one's own."""


def make_plain(image: int = 3, hidden: int = 4, output: int = 2, **arguments: Any) -> PlainModel:
    return PlainModel(torch.device("cpu"), image, hidden, output, **arguments)


def make_scales(parts: list[AbstractNCAModel], **arguments: Any) -> ScalesModel:
    model = ScalesModel(torch.device("cpu"), 3, 4, 2, **arguments)
    model.parts, model.scales, model.steps = parts, [4, 2, 1], [6, 3, 1]
    return model


def export(
    model: AbstractNCAModel, folder: Path, image: Tensor | None = None, **options: Any
) -> str:
    if image is None:
        image = torch.rand(1, model.num_image_channels, 5, 6)
    export_html(model, folder / "page.html", image, **options)
    return (folder / "page.html").read_text(encoding="utf-8")


def export_all(models: dict[Any, Any], folder: Path, **options: Any) -> str:
    export_html(models, folder / "page.html", torch.rand(1, 3, 5, 6), **options)
    return (folder / "page.html").read_text(encoding="utf-8")


def description(page: str) -> dict[str, Any]:
    match = re.search(r'<script id="models" type="application/json">(.+?)</script>', page)
    assert match is not None
    found: dict[str, Any] = json.loads(match[1])
    return found


def first_model(page: str) -> dict[str, Any]:
    found: dict[str, Any] = description(page)["models"][0]
    return found


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype="<f4")


def test_the_page_is_one_file_that_asks_for_no_other(tmp_path: Path) -> None:
    page = export(make_plain(), tmp_path)

    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert not re.search(r"https?://|src=|@import|url\(|fetch\(|XMLHttpRequest|import\(", page)
    assert "default-src 'none'" in page
    assert "{{" not in page.replace("= {{", "")


def test_a_page_of_a_growing_model_is_small(tmp_path: Path) -> None:
    model = make_plain(4, 12, 0, immutable_image_channels=False)

    page = export(model, tmp_path, torch.zeros(1, 16, 64, 64))

    assert model.num_trainable_parameters() == 8320
    assert len(page.encode()) < 130_000


def test_weights_are_embedded_to_the_bit(tmp_path: Path) -> None:
    model = make_plain(use_temporal_encoding=True, num_learned_filters=2, kernel_size=5)
    awaken(model, 1.0)

    weights = first_model(export(model, tmp_path))["automata"][0]["weights"]

    first, bias, last = (parameter.detach().numpy() for parameter in model.rule.parameters())
    assert np.array_equal(floats(weights["first"]), first[:, :27].ravel())
    assert np.array_equal(floats(weights["time"]), first[:, 27].ravel())
    assert np.array_equal(floats(weights["bias"]), bias)
    assert np.array_equal(floats(weights["last"]), last.ravel())
    perception: Any = model.perception
    assert np.array_equal(floats(weights["filters"]), perception.filters.detach().ravel())


def test_the_seed_is_written_in_all_its_digits(tmp_path: Path) -> None:
    assert description(export(make_plain(), tmp_path, seed=2**63 - 1))["seed"] == str(2**63 - 1)


def test_a_title_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    title = "</script><script>alert(1)</script> {{ models }}"

    page = export(make_plain(), tmp_path, title=title)

    assert page.count("alert(1)") == 3 and "<script>alert" not in page
    assert description(page)["title"] == title


def test_the_start_is_that_of_predict(tmp_path: Path) -> None:
    model = make_plain(pad_noise=True, fire_rate=0.0)
    image = torch.rand(1, 3, 7, 8)

    start = first_model(export(model, tmp_path, image, seed=9))["start"]

    expected = model.predict(image, 1, seed=9).output_image[0].numpy()
    assert np.array_equal([floats(channel["floats"]) for channel in start], expected.reshape(9, 56))


@pytest.mark.parametrize("kind", ["cells", "bytes", "floats"])
def test_every_encoding_of_a_channel_is_exact(kind: str) -> None:
    channel = np.zeros((9, 11), dtype=np.float32)
    if kind == "cells":
        channel[2, 3], channel[8, 10] = -0.1, math.pi
    else:
        channel[:] = np.arange(99, dtype=np.float32).reshape(9, 11) / 255
        channel[0, 0] += 1e-6 if kind == "floats" else 0

    found = encode_channel(channel)

    restored: np.ndarray = np.zeros(99, dtype=np.float32)
    if kind == "cells":
        restored[found["cells"]] = found["values"]
    elif kind == "bytes":
        raw = base64.b64decode(found["bytes"])
        restored = np.frombuffer(raw, dtype=np.uint8).astype(np.float32) / np.float32(255)
    else:
        restored = floats(found["floats"])
    assert np.array_equal(restored, channel.ravel())


@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        ({"inference_timesteps": (10, 21)}, {}, 20),
        ({"inference_timesteps": 7}, {}, 7),
        ({"inference_timesteps": 7, "immutable_image_channels": False}, {}, 0),
        ({"inference_timesteps": 7}, {"pause_after": 0}, 0),
        ({"immutable_image_channels": False}, {"pause_after": 30}, 30),
    ],
)
def test_models_that_look_at_images_pause(
    tmp_path: Path, arguments: dict[str, Any], options: dict[str, Any], expected: int
) -> None:
    page = export(make_plain(**arguments), tmp_path, **options)

    assert description(page)["pauseAfter"] == expected


@pytest.mark.parametrize(("pause_after", "speed"), [(0, 30), (16, 3), (2, 1), (1500, 30)])
def test_a_rollout_that_ends_is_shown_in_five_seconds(
    tmp_path: Path, pause_after: int, speed: int
) -> None:
    page = export(make_plain(), tmp_path, pause_after=pause_after)

    assert description(page)["speed"] == speed


def test_the_page_says_what_one_sees(tmp_path: Path) -> None:
    model = make_plain(4, 12, 0, immutable_image_channels=False)

    page = export(model, tmp_path)
    own = export(model, tmp_path, description="A <cat>.")

    assert "one rule of 8,320 weights" in page and "grow a picture" in page
    assert '<p id="what">A &lt;cat&gt;.</p>' in own


def test_classes_have_the_names_that_the_model_gives_them(tmp_path: Path) -> None:
    model: Any = make_plain()
    model.class_names = ["background", "nucleus"]

    named = first_model(export(model, tmp_path))["classNames"]
    model.class_names = ["one of another number"]

    assert named == ["background", "nucleus"]
    assert first_model(export(model, tmp_path))["classNames"] is None


def test_class_names_must_be_strings(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="class_names must be a list of strings, got 'no'"):
        export(make_plain(), tmp_path, class_names="no")


def test_scales_share_weights_where_they_share_an_automaton(tmp_path: Path) -> None:
    one, other = make_plain(), make_plain()

    found = first_model(export(make_scales([one, one, other]), tmp_path, pause_after=10))

    assert len(found["automata"]) == 2
    assert found["stages"] == [
        {"automaton": 0, "scale": 4, "steps": 6},
        {"automaton": 0, "scale": 2, "steps": 3},
        {"automaton": 1, "scale": 1, "steps": 1},
    ]


@pytest.mark.parametrize(
    ("pause_after", "steps"), [(20, [12, 6, 2]), (0, [4, 2, 1]), (3, [1, 1, 1])]
)
def test_scales_share_the_steps_after_which_the_page_pauses(
    tmp_path: Path, pause_after: int, steps: list[int]
) -> None:
    model = make_scales([make_plain()] * 3, inference_timesteps=7)

    found = first_model(export(model, tmp_path, pause_after=pause_after))

    assert [stage["steps"] for stage in found["stages"]] == steps


def test_every_scale_has_a_step(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pause_after must be 0 or at least 3, a step for each"):
        export(make_scales([make_plain()] * 3), tmp_path, pause_after=2)


def test_the_page_of_several_scales_names_them(tmp_path: Path) -> None:
    page = export(make_scales([make_plain(), make_plain(), make_plain()]), tmp_path)

    assert "Cells of 4 x 4 pixels run first, then cells of 2 x 2 and 1 x 1" in page
    assert "each size has a rule of its own" in page


def test_cells_that_vote_have_a_colour_for_every_class(tmp_path: Path) -> None:
    device = torch.device("cpu")

    voting = first_model(export(VotingModel(device, 1, 4, 3), tmp_path))
    looking = first_model(export(make_plain(output=3), tmp_path))

    assert voting["votes"] and voting["overlay"]
    assert voting["classColors"] == [[230, 159, 0], [86, 180, 233], [0, 158, 115]]
    assert not looking["votes"] and not looking["overlay"]
    assert looking["classColors"][1:] == voting["classColors"][:2]


def test_several_models_have_their_names_and_one_seed(tmp_path: Path) -> None:
    models = {"growing": make_plain(), "<b>": make_plain(output=1)}

    found = description(export_all(models, tmp_path, seed=4))

    assert [model["name"] for model in found["models"]] == ["growing", "<b>"]
    assert [model["channels"]["output"] for model in found["models"]] == [2, 1]
    assert found["seed"] == "4" and found["title"] == "PlainModel"
    assert "in all 2 models" in found["description"]


def test_several_models_pause_when_the_last_one_is_done(tmp_path: Path) -> None:
    ending = [make_plain(inference_timesteps=steps) for steps in (5, 8)]
    growing = make_plain(immutable_image_channels=False)

    both = description(export_all(dict(zip("ab", ending, strict=True)), tmp_path))
    never = description(export_all({"a": ending[0], "b": growing}, tmp_path))

    assert (both["pauseAfter"], never["pauseAfter"]) == (8, 0)
    assert [model["stages"][0]["steps"] for model in both["models"]] == [8, 8]


@pytest.mark.parametrize(
    ("models", "error", "message"),
    [
        ({}, ValueError, "model must hold at least one model, got none"),
        ({1: make_plain()}, TypeError, "model must name each model by a string, got 1"),
        (
            {"a": nn.Identity()},
            TypeError,
            r"model\['a'\] must be an AbstractNCAModel, got Identity",
        ),
        (
            {"a": make_plain(rule_type=OtherRule)},
            ValueError,
            r"model\['a'\] must be one that a web page can run, but the rule is a OtherRule",
        ),
    ],
)
def test_what_is_wrong_with_one_of_several_models_is_named(
    tmp_path: Path, models: dict[Any, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        export_all(models, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_model_stays_as_it_was(tmp_path: Path) -> None:
    model = make_plain().train()
    image = torch.rand(1, 3, 5, 6)
    before = image.clone()

    export(model, tmp_path, image)

    assert model.training and torch.equal(image, before)


class OtherPerception(BasicNCAPerception):
    """A perception of one's own."""


class OtherHead(AbstractNCAHead):
    """A head."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of each hidden channel."""
        return x.mean(dim=(2, 3))

    def freeze(self, freeze_last: bool = True) -> None:
        """Do nothing."""


class PostModel(PlainModel):
    """Changes the state after each step."""

    def _post_forward_step(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1)


class OtherRunner(MultiScale):
    """Runs its rollouts in some other way."""


class ChainModel(PlainModel):
    """Has a runner of its own."""

    @property
    def runner(self) -> OtherRunner:
        return OtherRunner([make_plain()], [1], [1], fixed=0)


def make_seeing(*views: Any, **arguments: Any) -> PlainModel:
    seen: dict[str, Any] = {
        "perception_type": ViewsNCAPerception,
        "perception_args": {"views": views},
    }
    return make_plain(**seen, **arguments)


@pytest.mark.parametrize(
    ("views", "turns", "angles", "words"),
    [
        ([IsotropicView, LaplaceView], True, [], "It knows no direction"),
        ([IsotropicView, SobelView], False, [], "neighbours. Together"),
        ([SteerableView, (SteerableView, {"angle_channel": 4})], False, [4, 8], "by an angle"),
    ],
)
def test_the_page_says_whether_cells_can_be_turned(
    tmp_path: Path, views: list[Any], turns: bool, angles: list[int], words: str
) -> None:
    page = export(make_seeing(*views), tmp_path)

    found = first_model(page)
    assert (found["knowsNoDirection"], found["angleChannels"]) == (turns, angles)
    assert words in description(page)["description"]


def unsupported() -> dict[str, tuple[AbstractNCAModel, str]]:
    device = torch.device("cpu")
    models = {
        "rule": make_plain(rule_type=OtherRule),
        "perception": make_plain(),
        "head": make_plain(),
        "hook": make_plain(),
        "nan": make_plain(),
        "layer": make_plain(rule_args={"nonlinearity": nn.PReLU}),
        "attention": make_seeing(SobelView, AttentionView),
        "goal": make_plain(goal_size=2),
    }
    models["perception"].perception = OtherPerception(models["perception"])
    models["head"].head = OtherHead()
    models["hook"].rule.register_forward_hook(lambda *_: None)
    models["nan"].rule.get_parameter("network.0.bias").data[0] = math.nan
    return {
        "rule": (models["rule"], "the rule is a OtherRule"),
        "perception": (models["perception"], "the perception is a OtherPerception"),
        "head": (models["head"], "it has a head, OtherHead"),
        "hook": (models["hook"], "MLPNCARule has a hook"),
        "nan": (models["nan"], "network.0.bias has NaN or infinite values"),
        "layer": (models["layer"], "PReLU is not known to act on each value by itself"),
        "attention": (models["attention"], "cells perceive by AttentionView"),
        "goal": (models["goal"], "cells perceive a goal"),
        "update": (FadingModel(device, 3, 4, 2), "FadingModel overrides _update"),
        "post": (PostModel(device, 3, 4, 2), "PostModel overrides _post_forward_step"),
        "chain": (ChainModel(device, 3, 4, 2), "ChainModel runs its steps by a OtherRunner"),
        "scale": (
            make_scales([make_plain(), FadingModel(device, 3, 4, 2), make_plain()]),
            "FadingModel overrides _update",
        ),
    }


@pytest.mark.parametrize("num_goals", [None, 3])
def test_a_goal_of_the_page_is_a_bias_of_the_rule(tmp_path: Path, num_goals: int | None) -> None:
    model = make_plain(goal_size=2, num_goals=num_goals, use_temporal_encoding=True)
    goal = torch.tensor([[0.5, -2.0]]) if num_goals is None else torch.tensor([2])
    vectors, rule = model.encode_goal(goal, 1), model.rule
    assert vectors is not None
    weight, bias = (rule.get_parameter(f"network.0.{name}") for name in ("weight", "bias"))

    weights = first_model(export(model, tmp_path, goal=goal))["automata"][0]["weights"]

    want = bias + (weight[:, -2:, 0, 0] * vectors).sum(dim=1)
    np.testing.assert_allclose(floats(weights["bias"]), want.detach().numpy(), atol=1e-6)
    np.testing.assert_array_equal(floats(weights["time"]), weight[:, -3, 0, 0].detach().numpy())


def test_one_model_is_shown_with_several_goals(tmp_path: Path) -> None:
    model = make_plain(goal_size=2, num_goals=3)
    goals = {"one": torch.tensor([0]), "two": torch.tensor([2])}

    page = export_all(dict.fromkeys(goals, model), tmp_path, goal=goals)

    one, two = (each["automata"][0]["weights"] for each in description(page)["models"])
    assert one["bias"] != two["bias"] and one["first"] == two["first"]


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        (None, "web page can run, but cells perceive a goal; give one"),
        (torch.tensor([3]), r"goal must be in \[0, 3\), got \[3\]"),
        (torch.tensor([1, 2]), r"goal must have shape \(1,\), got \(2,\)"),
        ({"other": torch.tensor([1])}, "goal must name models of the page, got 'other'"),
    ],
)
def test_a_bad_goal_of_a_page_is_named(tmp_path: Path, goal: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        export(make_plain(goal_size=2, num_goals=3), tmp_path, goal=goal)


@pytest.mark.parametrize("name", unsupported())
def test_a_model_that_cannot_be_exported_is_told_why(tmp_path: Path, name: str) -> None:
    model, reason = unsupported()[name]

    with pytest.raises(ValueError, match=f"model must be .* web page can run, but .*{reason}"):
        export(model, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": torch.rand(2, 3, 5, 6)}, "image must be a batch of one, got 2"),
        ({"image": torch.rand(1, 2, 5, 6)}, "3 channels .an image. or 9"),
        ({"image": torch.full((1, 3, 5, 6), math.nan)}, "image must hold finite values"),
        ({"size": (3, 3)}, "size must be None if there is an image"),
        ({"seed": -1}, "seed must be in"),
        ({"speed": 0}, "speed must be at least 1, got 0"),
        ({"pause_after": -1}, "pause_after must be at least 0, got -1"),
        ({"class_names": ["one"]}, "class_names must be 2 names, got 1"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        export(make_plain(), tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_an_image_is_asked_for_where_there_is_no_seed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="image must be given for PlainModel, got None"):
        export_html(make_plain(), tmp_path / "page.html")


def test_an_overlay_needs_output_channels(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="overlay must be False for a model without output"):
        export(make_plain(output=0), tmp_path, overlay=True)


def test_other_than_html_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"path must end in \.html, got .*page\.gif"):
        export_html(make_plain(), tmp_path / "page.gif", torch.rand(1, 3, 5, 6))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="model must be an AbstractNCAModel, got Identity"):
        export_html(nn.Identity(), tmp_path / "page.html")  # type: ignore[arg-type]  # of a wrong type


def test_a_page_that_was_there_outlives_a_failure(tmp_path: Path) -> None:
    page = export(make_plain(), tmp_path)

    with pytest.raises(ValueError, match="overrides"):
        export(FadingModel(torch.device("cpu"), 3, 4, 2), tmp_path)
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page


def test_missing_folders_are_created_and_the_file_can_be_shared(tmp_path: Path) -> None:
    export(make_plain(), tmp_path / "new" / "folder")

    mode = (tmp_path / "new" / "folder" / "page.html").stat().st_mode
    (tmp_path / "other").touch()
    assert stat.S_IMODE(mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


ACTIVATIONS = [
    *[layer() for layer in ELEMENTWISE],
    nn.LeakyReLU(1.5),
    nn.ELU(0.7),
    nn.CELU(2.5),
    nn.GELU("tanh"),
    nn.Softplus(beta=3.0),
    nn.Hardtanh(-0.5, 2.0),
]


@pytest.mark.parametrize("layer", ACTIVATIONS, ids=str)
def test_every_formula_is_its_nonlinearity(layer: nn.Module) -> None:
    x = torch.linspace(-30, 30, 241, dtype=torch.float64)
    names = {name: getattr(math, name) for name in ("exp", "log", "tanh", "erf")}

    found = [eval(formula(layer), {**names, "x": value}) for value in x.tolist()]

    torch.testing.assert_close(torch.tensor(found, dtype=x.dtype), layer(x), atol=1e-8, rtol=1e-7)


def test_a_layer_without_a_formula_is_named() -> None:
    with pytest.raises(ValueError, match="nonlinearity must be one of CELU, .* got PReLU"):
        formula(nn.PReLU())


def test_a_formula_has_no_other_numbers_than_glsl_reads() -> None:
    for layer in ACTIVATIONS:
        assert not re.search(r"(?<![\w.])\d+(?![\d.e])", formula(layer)), formula(layer)
