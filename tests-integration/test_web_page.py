"""The pretrained lizard in its web page: grows as in Python, and heals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from headless import CHROMIUM, WHY_NOT, decode, run_in_page

from ncalab.tasks import GrowingNCAModel
from ncalab.viz import export_html

PRETRAINED = Path(__file__).parent.parent / "examples" / "growing_emoji" / "pretrained"
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
    nca = GrowingNCAModel.from_pretrained(PRETRAINED)
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
