"""Models whose cells perceive a goal, in all commands that run or write a model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_models import Run, Save

from ncalab.tasks import GrowingNCAModel

NUMBERED = {"goal_size": 3, "num_goals": 2}
VECTORS = {"goal_size": 3}
WRITE = {
    "predict": ["--output", "out", "--save-state"],
    "animate": ["--output", "out.gif"],
    "export": ["--output", "out.html"],
}


def make(**goals: Any) -> GrowingNCAModel:
    torch.manual_seed(0)
    model = GrowingNCAModel(
        torch.device("cpu"), num_hidden_channels=2, hidden_size=8, inference_timesteps=4, **goals
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(
    ("goals", "one", "other"),
    [(NUMBERED, "0", "1"), (VECTORS, "-1,0.5,0", "1,0,2e-1"), ({"goal_size": 1}, "0.5", "-0.5")],
)
def test_the_goal_decides_what_is_predicted(
    goals: dict[str, int], one: str, other: str, run: Run, save: Save
) -> None:
    model = make(**goals)
    weights = save(model)

    for name, goal in (("one", one), ("other", other)):
        result = run(
            *("predict", weights, "--size", 6, 7, "--goal", goal, "--output", name, "--save-state"),
            *("--seed", 3, "--device", "cpu"),
        )
        assert result.exit_code == 0, result.output

    states = [np.load(Path(name, "seed_state.npy")) for name in ("one", "other")]
    assert not np.array_equal(*states)
    numbers = [float(part) for part in one.split(",")]
    wanted = torch.tensor([int(one)]) if "num_goals" in goals else torch.tensor([numbers])
    known = model.predict(model.make_seed(6, 7), seed=3, goal=wanted, samples=[0]).output_array
    np.testing.assert_array_equal(states[0], known[0].transpose(1, 2, 0))


@pytest.mark.parametrize("command", ["animate", "export"])
def test_the_goal_decides_what_is_shown(command: str, run: Run, save: Save) -> None:
    weights = save(make(**NUMBERED))
    suffix = Path(WRITE[command][1]).suffix

    for goal in "01":
        file = f"{goal}{suffix}"
        result = run(command, weights, "--size", 6, 6, "--goal", goal, "--output", file)
        assert result.exit_code == 0, result.output

    assert Path(f"0{suffix}").read_bytes() != Path(f"1{suffix}").read_bytes()


@pytest.mark.parametrize("command", WRITE)
@pytest.mark.parametrize(
    ("goals", "option", "message"),
    [
        (NUMBERED, [], "--goal must be given for this model: a whole number from 0 to 1"),
        (VECTORS, [], "--goal must be given for this model: 3 numbers with commas in between"),
        (NUMBERED, ["--goal", "2"], "--goal must be a whole number from 0 to 1, got '2'"),
        (NUMBERED, ["--goal", "a"], "--goal must be a whole number from 0 to 1, got 'a'"),
        (VECTORS, ["--goal", "1,2"], "such as 0,0,0, got '1,2'"),
        (VECTORS, ["--goal", "1,nan,2"], "such as 0,0,0, got '1,nan,2'"),
        ({}, ["--goal", "0"], "--goal must be left out for a model without goals, got 0"),
    ],
)
def test_a_goal_that_a_model_does_not_have_is_an_error(
    command: str, goals: dict[str, int], option: list[str], message: str, run: Run, save: Save
) -> None:
    result = run(command, save(make(**goals)), "--size", 6, 6, *option, *WRITE[command])

    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not any(Path(name).exists() for name in ("out", "out.gif", "out.html"))


def test_a_program_has_an_input_for_the_goal(run: Run, save: Save) -> None:
    result = run("export", save(make(**VECTORS)), "--goal", "0,0,0", "--output", "out.pt2")

    assert result.exit_code == 2
    assert "--goal must be left out for the format torch" in result.stderr


def test_info_suggests_commands_with_a_goal(run: Run, save: Save) -> None:
    weights = save(make(**VECTORS))
    result = run("info", weights, "--json")

    commands = json.loads(result.stdout)["next"]
    assert commands and all(command.endswith(" --goal 0,0,0") for command in commands)
