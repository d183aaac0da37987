"""The code of the documentation runs as it stands, block after block."""

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def run(page: str) -> dict[str, Any]:
    """Run the Python blocks of a page in one namespace, and return it."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"__name__": page.replace("/", "_")}
    exec(compile("\n".join(blocks), f"{page}.md", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_depth_tutorial_ends_with_depth_in_metres() -> None:
    names = run("tutorials/depth")

    assert names["depth"].shape == (1, 1, 24, 32)
    assert sorted(names["metrics"]) == ["abs_rel", "delta1", "mae", "rmse", "ssim"]
    assert names["history"].losses["total"][-1] < names["history"].losses["total"][0]


def test_a_task_of_ones_own_learns_and_is_rebuilt() -> None:
    names = run("tutorials/own_task")

    assert names["history"].metrics["mae"] < 0.5
    image, nca, twin = names["image"], names["nca"], names["twin"]
    want = nca.predict(image, seed=0).logits
    assert twin.predict(image, seed=0).logits.tolist() == want.tolist()


def test_the_page_on_speed_runs_on_the_fast_engine_and_in_bands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = run("howto/speed_and_memory")

    assert capsys.readouterr().out == "None\n"
    whole = names["model"].predict(names["image"], steps=16, seed=1)
    assert names["prediction"].output_image.shape == whole.output_image.shape
