from pathlib import Path

import numpy as np
import pytest
import torch
from cli_models import Run, Save, noise

from ncalab.core.rule import GatedNCARule
from ncalab.tasks import CascadeNCA, GrowingNCAModel, SegmentationNCAModel


def test_a_page_runs_the_model_from_its_seed(
    run: Run, save: Save, growing: GrowingNCAModel
) -> None:
    result = run(
        "export", save(growing), "--output", "a.html", "--size", 9, 7, "--title", "Lizard & co"
    )

    assert result.exit_code == 0, result.output
    page = Path("a.html").read_text(encoding="utf-8")
    assert "Lizard &amp; co" in page
    assert '"rows": 9, "columns": 7' in page


def test_a_page_looks_at_an_image(run: Run, save: Save, segmentation: SegmentationNCAModel) -> None:
    noise(Path("a.png"), 8, 8, 3)
    weights = save(segmentation)

    assert run("export", weights, "--output", "a.html").exit_code == 2
    assert run("export", weights, "--output", "a.html", "--image", "a.png").exit_code == 0
    assert Path("a.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "a.zip"], "--format must be given for a file that ends in none of"),
        (["--format", "onnx", "--output", "a.html"], "--output must end in .onnx, got a.html"),
        (["--output", "there.html"], "--output must not hold results yet"),
        (["--output", "a.html", "--steps", "3"], "--steps must be left out for the format html"),
        (["--output", "a.onnx", "--title", "A"], "--title must be left out for the format onnx"),
        (["--format", "exe", "--output", "a"], "'exe' is not one of"),
    ],
)
def test_what_cannot_be_exported_is_said(
    run: Run, save: Save, growing: GrowingNCAModel, arguments: list[str], message: str
) -> None:
    Path("there.html").write_text("precious")

    result = run("export", save(growing), *arguments)

    assert result.exit_code == 2 and message in result.stderr
    assert Path("there.html").read_text() == "precious"


def test_a_model_that_no_page_can_run_is_refused_with_the_reason(run: Run, save: Save) -> None:
    gated = GrowingNCAModel(torch.device("cpu"), 3, rule_type=GatedNCARule)

    result = run("export", save(gated), "--output", "a.html")

    assert result.exit_code == 2 and "GatedNCARule" in result.stderr
    assert not Path("a.html").exists()


def test_a_page_runs_a_cascade(run: Run, save: Save, growing: GrowingNCAModel) -> None:
    cascade = save(CascadeNCA(growing, [2, 1], [2, 1]))

    result = run("export", cascade, "--output", "a.html", "--size", 8, 6)

    assert result.exit_code == 0, result.output
    page = Path("a.html").read_text(encoding="utf-8")
    assert '"rows": 8, "columns": 6' in page
    assert '"scale": 2, "steps"' in page and '"scale": 1, "steps"' in page


def first_image() -> torch.Tensor:
    return torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(5))


def test_a_torch_program_computes_what_the_model_does(
    run: Run, save: Save, segmentation: SegmentationNCAModel
) -> None:
    result = run("export", save(segmentation), "--output", "a.pt2", "--steps", 3)

    assert result.exit_code == 0, result.output
    program = torch.export.load("a.pt2").module()
    outputs = program(image=first_image(), seed=torch.tensor(7))
    want = segmentation.predict(first_image(), 3, seed=7).logits
    torch.testing.assert_close(outputs["logits"], want, rtol=0, atol=1e-5)


def test_an_onnx_file_computes_what_the_model_does(
    run: Run, save: Save, segmentation: SegmentationNCAModel
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")

    result = run("export", save(segmentation), "--output", "a.onnx", "--fire-rate", 1)

    assert result.exit_code == 0, result.output
    session = onnxruntime.InferenceSession("a.onnx")
    names = [output.name for output in session.get_outputs()]
    feed = {"image": first_image().numpy(), "steps": np.array(3)}
    outputs = dict(zip(names, session.run(None, feed), strict=True))
    segmentation.fire_rate = 1.0
    want = segmentation.predict(first_image(), 3).logits
    np.testing.assert_allclose(outputs["logits"], want, rtol=0, atol=1e-5)


def test_a_missing_extra_is_one_line_with_what_to_type(
    run: Run, save: Save, growing: GrowingNCAModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)

    result = run("export", save(growing), "--output", "a.onnx")

    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert 'pip install "./packages/ncalab-core[onnx]"' in result.stderr
    assert not Path("a.onnx").exists()
