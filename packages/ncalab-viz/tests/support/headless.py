"""Chromium without a window, for tests of web pages."""

import base64
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
CHROMIUM = next((found for found in map(shutil.which, _NAMES) if found), None)
WHY_NOT = f"needs Chromium: none of {', '.join(_NAMES)} is installed"

_OPTIONS = (
    "--headless",
    "--no-sandbox",  # which does not run as root, as containers do
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no network
    "--dump-dom",
)
# WebGPU on the processor, and the milliseconds of the page's clock after which the page is read.
WEBGPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
_PATIENCE = "--virtual-time-budget=1000000"
# What a script calls its results with; floats travel in base64.
_REPORT = """<pre id="result"></pre><script>
function encode(floats) {
  let text = "";
  for (const byte of new Uint8Array(floats.buffer)) text += String.fromCharCode(byte);
  return btoa(text);
}
// While nothing else happens, the page's clock would run out before the GPU has answered.
let idle = 0;
const awake = setInterval(() => { for (let i = 0; i < 1e5; i++) idle += Math.random(); }, 1);
const report = result => {
  clearInterval(awake);
  document.getElementById("result").textContent = JSON.stringify(result);
};
const fail = error => report({error: String(error.stack)});
try {
  const result = (() => { SCRIPT })();
  if (result instanceof Promise) result.then(report, fail);
  else report(result);
} catch (error) {
  fail(error);
}
</script>
</body>"""


def run_in_page(
    page: str,
    script: str,
    folder: Path,
    *,
    fragment: str = "",
    options: tuple[str, ...] = (),
    wait: bool = False,
) -> Any:
    """Open a page, run a script in it and return what that returns, through JSON.

    Args:
        page: HTML.
        script: Body of a JavaScript function, with ``encode`` for Float32Array.
        folder: For the page and the browser's profile.
        fragment: What stands behind the # of the page's address.
        options: Further options of the browser.
        wait: Whether the script returns a promise, to be waited for.
    """
    file = folder / "driven.html"
    file.write_text(page.replace("</body>", _REPORT.replace("SCRIPT", script)), encoding="utf-8")
    options = (*_OPTIONS, *options, *([_PATIENCE] if wait else []))
    command = [str(CHROMIUM), *options, f"--user-data-dir={folder / 'profile'}"]
    address = f"{file.as_uri()}#{fragment}"
    done = subprocess.run([*command, address], capture_output=True, text=True, timeout=240)
    match = re.search(r'<pre id="result">(.+?)</pre>', done.stdout, re.DOTALL)
    assert match is not None, done.stderr[-2000:]
    result = json.loads(html.unescape(match[1]))
    assert not (isinstance(result, dict) and "error" in result), result
    return result


def decode(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the floats that ``encode`` wrote."""
    return np.frombuffer(base64.b64decode(text), dtype="<f4").reshape(shape)
