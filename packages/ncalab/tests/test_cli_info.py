import json
from pathlib import Path

import pytest
import torch
from cli_models import Run, Save

from ncalab.cli.jobs.info import receptive_field
from ncalab.core import AbstractNCAModel
from ncalab.tasks import CascadeNCA, GrowingNCAModel, SegmentationNCAModel


def test_a_model_is_described(run: Run, save: Save, growing: GrowingNCAModel) -> None:
    weights = save(growing)

    result = run("info", weights)

    assert result.exit_code == 0, result.output
    lines = [line.split(maxsplit=1) for line in result.output.splitlines() if line.strip()]
    said = {words[0]: words[-1] for words in lines}
    assert said["class"] == "GrowingNCAModel" and said["task"] == "growing"
    count = sum(p.numel() for p in growing.parameters())
    assert said["parameters"].startswith(f"{count:,} (")
    assert said["steps"] == "5"
    assert "field  11 x 11 pixels" in result.output
    assert f"ncalab animate {weights} --output growing.gif" in result.output


def test_as_json_it_is_data(run: Run, save: Save, segmentation: SegmentationNCAModel) -> None:
    data = json.loads(run("info", save(segmentation), "--json").output)

    assert data["class"] == "SegmentationNCAModel" and data["steps"] == 4
    assert data["configuration"]["num_hidden_channels"] == 3
    assert data["history"] is None
    rebuilt = AbstractNCAModel.from_dict({"class": data["class"], **data["configuration"]})
    assert sum(p.numel() for p in rebuilt.parameters()) == data["parameters"]


def test_a_run_says_how_its_training_went(run: Run, picture: Path) -> None:
    small = ["--size", 6, "--padding", 1, "--hidden", 2, "--max-steps", 4, "--epochs", 3]
    assert run("grow", picture, *small, "--output", "run").exit_code == 0
    history = json.loads(Path("run/history.json").read_text())

    for weights in ("run", "run/pretrained", "run/last_model.safetensors"):
        told = json.loads(run("info", weights, "--json").output)["history"]
        assert told["epochs"] == 3 and told["decided_by"] == "loss"
        assert told["best"] == min(history["curves"]["losses"]["total"])
        assert told["last_loss"] == history["curves"]["losses"]["total"][-1]
    assert f"best loss  {history['best_accuracy']:.6g}" in run("info", "run").output


@pytest.mark.parametrize("steps", [1, 3])
def test_the_receptive_field_is_what_a_cell_can_feel(steps: int) -> None:
    model = GrowingNCAModel(
        torch.device("cpu"), num_hidden_channels=2, fire_rate=1.0, inference_timesteps=steps
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    side = receptive_field(model)
    x = torch.zeros(1, 6, 15, 15)
    touched = x.clone()
    touched[0, :, 7, 7] = 1

    changed = model.predict(touched).output_image != model.predict(x).output_image

    rows = changed[0].any(dim=0).any(dim=1).nonzero().flatten()
    assert side == 2 * steps + 1 == int(rows[-1] - rows[0]) + 1


def test_a_cascade_sees_as_far_as_its_coarse_steps(segmentation: SegmentationNCAModel) -> None:
    assert receptive_field(CascadeNCA(segmentation, [4, 1], [3, 2])) == 2 * (4 * 3 + 2) + 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.safetensors", b"foreign", "a.safetensors is not a whole safetensors file"),
        ("config.json", b"{", "must be JSON in UTF-8"),
        ("config.json", b'{"class": "Butterfly"}', "'Butterfly' is not known"),
        ("notes.txt", b"", "WEIGHTS must be a weights file, or a folder with config.json"),
    ],
)
def test_foreign_files_are_named(
    run: Run, workplace: Path, name: str, content: bytes, message: str
) -> None:
    Path("folder").mkdir()
    path = Path("folder", name)
    path.write_bytes(content)

    result = run("info", path if name.startswith("a.") else "folder")

    assert result.exit_code == 2 and message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_broken_history_is_named(run: Run, workplace: Path, growing: GrowingNCAModel) -> None:
    growing.save("run/last_model.safetensors")
    Path("run/history.json").write_text('{"curves": 3}')

    result = run("info", "run")

    assert result.exit_code == 2 and "run/history.json: created must be a string" in result.stderr


def test_a_run_that_was_stopped_is_told_how_to_go_on(run: Run, picture: Path) -> None:
    small = ["--size", 6, "--padding", 1, "--hidden", 2, "--max-steps", 4, "--epochs", 1]
    assert run("grow", picture, *small, "--output", "run").exit_code == 0
    history = json.loads(Path("run/history.json").read_text())
    Path("run/history.json").write_text(json.dumps({**history, "interrupted": True}))

    first = json.loads(run("info", "run", "--json").output)["next"][0]

    assert first == f"ncalab grow {picture} --output run --resume"
