"""Every argument of every public function and class of core, against values of every other type.

What is refused is a TypeError or a ValueError that names the argument. A value that is of the
right type by chance is left out where the argument is listed.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from core_models import TinyModel, awaken

from ncalab import core
from ncalab.core.export.program import as_rollout
from ncalab.core.rollout import rollout, tiled_rollout

CPU = torch.device("cpu")
WRONG: dict[str, Any] = {
    "None": None,
    "object": object(),
    "class": object,
    "function": lambda: 3,
    "text": "seven",
    "bytes": b"7",
    "whole": 7,
    "negative": -7,
    "huge": 10**30,
    "true": True,
    "half": 0.5,
    "nan": float("nan"),
    "complex": 1j,
    "list": [],
    "pair": (3, 5),
    "dict": {},
    "keyed": {3: 5},
    "tensor": torch.zeros(2),
}
ALL = frozenset(WRONG)
NOTHING: frozenset[str] = frozenset()
COUNT = frozenset({"whole"})
SEED = frozenset({"whole", "None"})
STEPS = frozenset({"whole", "pair"})
FLAG = frozenset({"true"})
FRACTION = frozenset({"half"})
# torch.device takes the number of an accelerator.
DEVICE = frozenset({"whole"})


def model() -> TinyModel:
    torch.manual_seed(0)
    made = TinyModel(CPU, 4, 3, 2, hidden_size=8)
    awaken(made)
    return made


def build(**change: Any) -> TinyModel:
    sizes = {"num_image_channels": 4, "num_hidden_channels": 3, "num_output_channels": 2}
    return TinyModel(**{"device": CPU, **sizes, "num_learned_filters": 1, **change})


def rule(**change: Any) -> core.MLPNCARule:
    sizes = {"input_size": 8, "hidden_size": 4, "output_size": 2}
    return core.MLPNCARule(**{"device": CPU, **sizes, **change})


def predict(**change: Any) -> Any:
    return model().predict(**{"image": torch.rand(1, 4, 5, 4), "steps": 2, **change})


def run(**change: Any) -> Any:
    return rollout(**{"model": model(), "x": torch.rand(1, 9, 5, 4), "steps": 2, **change})


def run_tiled(**change: Any) -> Any:
    arguments = {"model": model(), "x": torch.rand(1, 9, 5, 4), "steps": 2, "progress": False}
    return tiled_rollout(**{**arguments, **change})


def pad(**change: Any) -> Any:
    return core.pad_input(**{"x": torch.rand(1, 4, 5, 4), "nca": model(), **change})


def predicted(**change: Any) -> Any:
    state = torch.rand(1, 9, 5, 4)
    arguments = {"model": model(), "steps": 2, "output_image": state, "logits": state}
    return core.Prediction(**{**arguments, **change})


def step_alone(**change: Any) -> Any:
    stepper = core.AutoStepper(1, 4)
    return stepper.run(**{"nca": model(), "x": torch.rand(1, 4, 5, 4), **change})


def exported(**change: Any) -> Any:
    arguments = {"model": model(), "steps": 2, "start": None, "fire_rate": 1.0, "unroll": True}
    return as_rollout(**{**arguments, **change})


RUNNING = {
    "steps": COUNT,
    "seed": SEED,
    "samples": frozenset({"None"}),
    "engine": NOTHING,
}
ARGUMENTS: dict[Callable[..., Any], dict[str, frozenset[str]]] = {
    build: {
        "device": DEVICE,
        "num_image_channels": COUNT,
        "num_hidden_channels": COUNT,
        "num_output_channels": COUNT,
        "plot_function": frozenset({"None"}),
        "validation_metric": frozenset({"None", "text"}),
        "fire_rate": FRACTION,
        "hidden_size": COUNT,
        "use_alive_mask": FLAG,
        "immutable_image_channels": FLAG,
        "num_learned_filters": COUNT,
        "filter_padding": NOTHING,
        "use_laplace": NOTHING,  # of learned filters it must be False
        "kernel_size": COUNT,
        "pad_noise": FLAG,
        "use_temporal_encoding": FLAG,
        "rule_type": NOTHING,
        "rule_args": frozenset({"None", "dict"}),
        "training_timesteps": STEPS,
        "inference_timesteps": STEPS,
        "dt": frozenset({"whole", "half", "huge"}),
        "spatial_dims": NOTHING,
        "perception_type": NOTHING,
        "perception_args": frozenset({"None", "dict"}),
        "goal_size": COUNT,
        "num_goals": frozenset({"None"}),  # a number needs a goal_size, too
    },
    rule: {
        "device": DEVICE,
        "input_size": COUNT,
        "hidden_size": COUNT,
        "output_size": COUNT,
        "nonlinearity": NOTHING,
        "hidden_layers": frozenset({"whole"}),
        "normalization": frozenset({"None"}),
    },
    core.AutoStepper: {
        "min_steps": COUNT,
        "max_steps": ALL,  # below, as it must be more than min_steps
        "plateau": COUNT,
        "verbose": FLAG,
        "threshold": frozenset({"half", "whole", "huge"}),
    },
    core.BasicNCAPerception: {"nca": NOTHING},
    predicted: {
        "steps": COUNT,
        "output_image": frozenset({"tensor"}),
        "logits": frozenset({"tensor"}),
        "head_prediction": frozenset({"None", "tensor"}),
    },
    predict: {
        "image": NOTHING,
        **RUNNING,
        "steps": STEPS | {"None"},
        "on_step": frozenset({"None", "class", "function"}),
        "tile": frozenset({"None", "whole"}),
    },
    run: {
        "model": NOTHING,
        "x": NOTHING,
        **RUNNING,
        "start": COUNT,
        "on_step": frozenset({"None", "class", "function"}),
        "checkpoint": frozenset({"None", "whole"}),
    },
    run_tiled: {
        "model": NOTHING,
        "x": NOTHING,
        **RUNNING,
        "start": COUNT,
        "tile": frozenset({"None", "whole"}),
        "reach": frozenset({"None", "whole"}),
        "out": frozenset({"None"}),
        "progress": FLAG,
    },
    step_alone: {"nca": NOTHING, "x": NOTHING, "seed": SEED},
    pad: {
        "x": NOTHING,
        "nca": NOTHING,
        "noise": FLAG,
        "mean": frozenset({"whole", "negative", "half", "huge"}),
        "std": frozenset({"whole", "half", "huge"}),
    },
    exported: {
        "model": NOTHING,
        "steps": COUNT,
        "start": frozenset({"None"}),
        "fire_rate": FRACTION | {"None"},
        "unroll": FLAG,
    },
    core.fix_random_seed: {"seed": COUNT},
    core.get_compute_device: {"device": NOTHING},
    core.print_mascot: {"message": frozenset({"text"})},
    core.interpret_range_parameter: {"x": STEPS},
}
CASES = [
    pytest.param(function, name, kind, id=f"{function.__name__}-{name}-{kind}")
    for function, names in ARGUMENTS.items()
    for name, right in names.items()
    for kind in sorted(ALL - right)
]


@pytest.mark.parametrize(("function", "name", "kind"), CASES)
def test_a_value_of_a_wrong_type_is_refused_by_name(
    function: Callable[..., Any], name: str, kind: str
) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        function(**{name: WRONG[kind]})

    said = "steps" if function is core.interpret_range_parameter else name
    assert str(refused.value).startswith(said), refused.value


@pytest.mark.parametrize("kind", sorted(ALL - {"whole"}))
def test_the_most_steps_must_be_a_number(kind: str) -> None:
    with pytest.raises((TypeError, ValueError), match="max_steps must be"):
        core.AutoStepper(min_steps=5, max_steps=WRONG[kind])
