"""Pretrained models in their web pages: they compute what Python does, and the lizard heals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from headless import CHROMIUM, WHY_NOT, decode, run_in_page

from ncalab.tasks import CascadeNCA, GrowingNCAModel
from ncalab.viz import export_html

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPT = """
ncalab.play(false);
ncalab.reset();
ncalab.step(64);
const grown = encode(ncalab.state());
ncalab.step(32);
const before = encode(ncalab.state());
ncalab.erase(24, 24, 5);
const erased = encode(ncalab.state());
ncalab.step(100);
return {backend: ncalab.backend, grown, before, erased, healed: encode(ncalab.state())};
"""


@pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)
@pytest.mark.parametrize("backend", ["JavaScript", "WebGL2"])
def test_the_lizard_grows_as_in_python_and_heals(tmp_path: Path, backend: str) -> None:
    nca = GrowingNCAModel.from_pretrained(EXAMPLES / "growing_emoji" / "pretrained")
    export_html(nca, tmp_path / "lizard.html", size=(48, 48), seed=11)
    page = (tmp_path / "lizard.html").read_text(encoding="utf-8")

    found: dict[str, Any] = run_in_page(
        page, SCRIPT, tmp_path, fragment=f"backend={backend.lower()}"
    )

    expected = nca.predict(nca.make_seed(48, 48), 64, seed=11).output_array[0]
    grown, before, erased, healed = (
        decode(found[name], expected.shape) for name in ("grown", "before", "erased", "healed")
    )
    assert found["backend"] == backend
    np.testing.assert_allclose(grown, expected, atol=1e-3, rtol=0)
    cut, left = (np.square(state - before)[:4].mean() for state in (erased, healed))
    assert cut > 0.005 and left < 0.1 * cut


@pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)
@pytest.mark.parametrize(
    ("example", "channels"),
    [("selfclass_mnist/pretrained", 1), ("segmentation_nuclei/pretrained/cascade", 2)],
)
def test_a_cascade_runs_as_in_python_at_every_scale(
    tmp_path: Path, example: str, channels: int
) -> None:
    nca = CascadeNCA.from_pretrained(EXAMPLES / example)
    image = torch.rand(1, channels, 28, 26, generator=torch.Generator().manual_seed(0))
    export_html(nca, tmp_path / "cascade.html", image, seed=5)
    page = (tmp_path / "cascade.html").read_text(encoding="utf-8")
    first, second, last = nca.runner.share(sum(nca.steps))
    script = f"""
    ncalab.play(false);
    ncalab.reset();
    return [{first}, {second}, {last}].map(steps => {{
      ncalab.step(steps);
      return encode(ncalab.state());
    }});
    """

    found = run_in_page(page, script, tmp_path, fragment="backend=javascript")

    recorded = nca.record(image, sum(nca.steps), seed=5)
    for text, taken in zip(found, (first, first + second, sum(nca.steps)), strict=True):
        expected = recorded[taken - 1].output_array[0]
        np.testing.assert_allclose(decode(text, expected.shape), expected, atol=1e-3, rtol=1e-3)
