import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
from tqdm import tqdm
from tqdm.notebook import tqdm_notebook

from ncalab.core import progress
from ncalab.core.progress import bar_rows, in_notebook, progress_bar


def pretend_a_kernel(monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]) -> None:
    shell = SimpleNamespace(config=config)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def test_a_script_and_a_terminal_with_ipython_are_not_notebooks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not in_notebook()

    pretend_a_kernel(monkeypatch, {"TerminalIPythonApp": {}})

    assert not in_notebook()


def test_a_kernel_is_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_a_kernel(monkeypatch, {"IPKernelApp": {}})

    assert in_notebook()


def test_a_file_has_room_for_no_bar_and_a_terminal_for_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert bar_rows() == 0

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    assert bar_rows() == 2


@pytest.mark.parametrize(("kind", "rows"), [(tqdm, 1), (tqdm_notebook, 2)])
def test_a_notebook_has_room_for_several_bars_if_it_has_widgets(
    monkeypatch: pytest.MonkeyPatch, kind: type, rows: int
) -> None:
    pretend_a_kernel(monkeypatch, {"IPKernelApp": {}})
    monkeypatch.setattr(progress, "_bar_class", lambda: kind)

    assert bar_rows() == rows


def test_a_notebook_without_widgets_gets_a_bar_of_text_and_no_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_a_kernel(monkeypatch, {"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    for name in [name for name in sys.modules if name.startswith("tqdm.")]:
        if name.rpartition(".")[2] in ("auto", "autonotebook", "notebook"):
            monkeypatch.delitem(sys.modules, name)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with progress_bar(total=2) as bar:
            bar.update()

    assert "1/2" in capsys.readouterr().err
