import io
import json
import sys
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from core_models import MakeModel, TinyModel
from torch import Tensor

from ncalab.core import (
    AbstractNCARule,
    GatedNCARule,
    MLPNCARule,
    Preparation,
    export_onnx,
    export_program,
)
from ncalab.core.export.fire import TracedClock
from ncalab.core.fire import FireClock
from ncalab.core.perception import (
    FILTER_PADDINGS,
    AttentionView,
    FilterPadding,
    LearnedView,
    ViewsNCAPerception,
    pad_cells,
)
from ncalab.core.savable import SavableModel
from ncalab.core.tracing import tracing

SHAPES = [(2, 6, 9), (1, 7, 33), (3, 1, 2)]  # (B, W, H)


class OddStep(TinyModel):
    """A model that asks for the number of the step."""

    def _post_forward_step(self, x: Tensor) -> Tensor:
        return x

    def _forward_step(self, x: Tensor, step: int) -> Tensor:
        x = super()._forward_step(x, step)
        return x * 0.5 if step % 2 else x


class BoundedRule(MLPNCARule):
    """A rule of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.tanh(x))


def run(path: Path, image: Tensor, **numbers: int | Tensor) -> dict[str, Any]:
    """Run a file; return its outputs by name."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of inputs that may be left out
    session = onnxruntime.InferenceSession(path, options)
    inputs = {name: torch.as_tensor(number).numpy() for name, number in numbers.items()}
    values = session.run(None, {"image": image.numpy(), **inputs})
    names = [output.name for output in session.get_outputs()]
    return {k: torch.from_numpy(v) for k, v in zip(names, values, strict=True)}


@pytest.mark.parametrize("fire_rate", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_masks_of_a_seed_are_those_of_the_library_to_the_bit(fire_rate: float, seed: int) -> None:
    cpu = torch.device("cpu")
    own = FireClock(seed, fire_rate, range(3), 0, 99, cpu)
    traced = TracedClock(0, fire_rate, (), 0, 1, cpu, seed_input=torch.tensor(seed), batch=3)

    for step in (0, 1, 98):
        want = own.mask(step, 13, 17)
        assert torch.equal(traced.mask(torch.tensor(step), 13, 17), want)


@pytest.mark.parametrize("padding", FILTER_PADDINGS)
@pytest.mark.parametrize("radius", [1, 3])
@pytest.mark.parametrize("size", [(5, 6), (1, 1), (2, 3)])
def test_padding_for_any_size_is_padding(
    padding: FilterPadding, radius: int, size: tuple[int, int]
) -> None:
    x = torch.rand(2, 3, *size)

    with tracing():
        padded = pad_cells(x, radius, padding)

    assert torch.equal(padded, pad_cells(x, radius, padding))


@pytest.mark.parametrize(
    "arguments",
    [
        {"use_alive_mask": True, "filter_padding": "zero"},
        {
            "num_learned_filters": 2,
            "kernel_size": 5,
            "filter_padding": "circular",
            "use_temporal_encoding": True,
            "rule_args": {"nonlinearity": torch.nn.GELU},
        },
        {"use_laplace": True, "filter_padding": "replicate", "rule_type": BoundedRule},
        {"immutable_image_channels": False, "num_output_channels": 0},
    ],
    ids=["alive", "learned", "laplace", "mutable"],
)
def test_a_file_predicts_what_the_model_predicts(
    make_model: MakeModel, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    model = make_model(**arguments)

    export_onnx(model, tmp_path / "model.onnx")

    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    channels = 4 if model.immutable_image_channels else model.num_channels
    for shape, steps in zip(SHAPES, (96, 7, 1), strict=True):
        image = torch.rand(shape[0], channels, *shape[1:])
        want = model.predict(image, steps, seed=11)
        found = run(tmp_path / "model.onnx", image, steps=steps, seed=11)
        scale = max(1.0, want.output_image.abs().max().item())
        torch.testing.assert_close(found["state"], want.output_image, atol=1e-5 * scale, rtol=0)
        torch.testing.assert_close(found["logits"], want.logits, atol=1e-5 * scale, rtol=0)


def test_what_may_be_left_out_has_the_models_steps_and_seed_0(
    make_model: MakeModel, tmp_path: Path, image: Tensor
) -> None:
    model = make_model(inference_timesteps=5)
    model.preparation = Preparation(channels=4, normalize="range", resize=(8, 6))
    export_onnx(model, tmp_path / "model.onnx")

    found = run(tmp_path / "model.onnx", image)

    want = model.predict(image, 5, seed=0)
    torch.testing.assert_close(found["state"], want.output_image, atol=1e-5, rtol=0)
    file = onnx.load(tmp_path / "model.onnx")
    about = {entry.key: entry.value for entry in file.metadata_props}
    assert json.loads(about["ncalab.config"]) == model.to_dict()
    assert Preparation.from_dict(json.loads(about["ncalab.preparation"])) == model.preparation
    assert about["ncalab.class"] == "TinyModel" and json.loads(about["ncalab.steps"]) == 5
    assert json.loads(about["ncalab.channels"])[-1] == "output_1"
    sizes = file.graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in sizes] == ["batch", 4, "width", "height"]
    assert str(Path(__file__).parent).encode() not in (tmp_path / "model.onnx").read_bytes()


def test_an_export_leaves_the_model_and_the_registries_as_they_are(
    make_model: MakeModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = make_model().train()
    weights = {name: value.clone() for name, value in model.state_dict().items()}

    export_onnx(model, tmp_path / "model.onnx", steps=2, fire_rate=1.0)

    assert model.training and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert AbstractNCARule.registry["MLPNCARule"] is MLPNCARule
    assert SavableModel.registry["TinyModel"] is TinyModel
    assert capfd.readouterr() == ("", "")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    inputs = [*session.get_inputs(), *session.get_overridable_initializers()]
    assert [value.name for value in inputs] == ["image"]


def test_a_program_is_the_same_after_it_was_written_and_read(make_model: MakeModel) -> None:
    model = make_model(filter_padding="reflect")
    file = io.BytesIO()

    torch.export.save(export_program(model), file)
    file.seek(0)
    program = torch.export.load(file).module()

    for shape in SHAPES:
        image = torch.rand(shape[0], 4, *shape[1:])
        found = program(image=image, steps=torch.tensor(5), seed=torch.tensor(3))
        want = model.predict(image, 5, seed=3)
        torch.testing.assert_close(found["state"], want.output_image, atol=1e-5, rtol=0)


def test_a_step_that_asks_for_its_number_can_be_unrolled(image: Tensor) -> None:
    model = OddStep(torch.device("cpu"), 4, 3, 2, hidden_size=8, fire_rate=1.0)

    with pytest.raises(ValueError, match="number of the step .*unroll=True"):
        export_program(model)
    program = export_program(model, steps=3, unroll=True).module()

    want = model.predict(image, 3).output_image
    torch.testing.assert_close(program(image=image)["state"], want, atol=1e-6, rtol=0)


def test_a_failure_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    model = OddStep(torch.device("cpu"), 4, 3, 2, hidden_size=8)
    (tmp_path / "model.onnx").write_bytes(b"mine")

    with pytest.raises(ValueError, match="number of the step"):
        export_onnx(model, tmp_path / "model.onnx")

    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ({"pad_noise": True}, {"start": "image"}, "start must be 'state' .* got 'image'"),
        ({}, {"start": "seed"}, "start must be one of image, state, got 'seed'"),
        ({}, {"steps": 0}, "steps must be at least 1, got 0"),
        ({}, {"fire_rate": 2.0}, r"fire_rate must be in \[0, 1\], got 2.0"),
        ({}, {"unroll": True}, "steps must be a number where they are unrolled, got None"),
    ],
)
def test_bad_arguments_are_named(
    make_model: MakeModel,
    tmp_path: Path,
    arguments: dict[str, Any],
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        export_onnx(make_model(**arguments), tmp_path / "model.onnx", **options)


def test_a_missing_package_is_named_with_its_extra(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)

    with pytest.raises(ImportError, match=r"onnxscript is not .*ncalab-core\[onnx\]"):
        export_onnx(make_model(), tmp_path / "model.onnx")


@pytest.mark.parametrize("dims", [1, 3])
def test_grids_of_any_number_of_axes_are_exported(dims: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    views = {"views": [(LearnedView, {"dilation": 2}), AttentionView]}
    arguments: dict[str, Any] = {
        "spatial_dims": dims,
        "perception_type": ViewsNCAPerception,
        "perception_args": views,
        "rule_type": GatedNCARule,
        "use_alive_mask": True,
    }
    model = TinyModel(torch.device("cpu"), 4, 3, 2, hidden_size=8, **arguments)
    torch.nn.init.normal_(model.rule.get_parameter("gain"))

    export_onnx(model, tmp_path / "model.onnx")

    for grid in ((7, 5, 4), (3, 1, 6)):
        image = torch.rand(2, 4, *grid[:dims])
        want = model.predict(image, 3, seed=5)
        found = run(tmp_path / "model.onnx", image, steps=3, seed=5)
        torch.testing.assert_close(found["state"], want.output_image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("num_goals", [None, 3])
def test_a_file_takes_the_goal_of_every_sample(num_goals: int | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"goal_size": 4, "num_goals": num_goals, "rule_type": GatedNCARule}
    model = TinyModel(torch.device("cpu"), 4, 3, 2, hidden_size=8, **options)
    torch.nn.init.normal_(model.rule.get_parameter("gain"))

    export_onnx(model, tmp_path / "model.onnx")

    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    for batch, width, height in ((3, 6, 5), (2, 1, 7)):
        image = torch.rand(batch, 4, width, height)
        goals = [torch.arange(batch), torch.arange(batch).flip(0)]
        vectors = [torch.rand(batch, 4), torch.rand(batch, 4)]
        found = []
        for goal in goals if num_goals else vectors:
            want = model.predict(image, 4, seed=5, goal=goal)
            state = run(tmp_path / "model.onnx", image, steps=4, seed=5, goal=goal)["state"]
            torch.testing.assert_close(state, want.output_image, atol=1e-5, rtol=0)
            found.append(state)
        assert not torch.allclose(*found)
