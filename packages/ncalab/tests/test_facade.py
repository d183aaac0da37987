import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import ncalab

NAMES = sorted(set(ncalab.__all__) - {"__version__"})


def names_for_type_checkers() -> dict[str, str]:
    """Read the imports under TYPE_CHECKING: name to module."""
    tree = ast.parse(Path(ncalab.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module)
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


def test_table_and_type_checkers_know_the_same_names() -> None:
    want = {name: f"ncalab.{part}" for name, part in ncalab._PARTS.items()}

    assert names_for_type_checkers() == want
    assert sorted(want) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_its_parts(name: str) -> None:
    part = import_module(f"ncalab.{ncalab._PARTS[name]}")

    assert name in part.__all__
    assert getattr(ncalab, name) is getattr(part, name)


def test_the_folders_are_where_scripts_of_the_monolith_import_them_from() -> None:
    paths = import_module("ncalab.paths")

    assert paths.ROOT_PATH is ncalab.ROOT_PATH
    assert paths.WEIGHTS_PATH is ncalab.WEIGHTS_PATH
    assert paths.TASK_PATH is ncalab.TASK_PATH
    assert vars(paths)["__CURRENT_PATH"] is ncalab.ROOT_PATH


def test_every_public_name_of_a_part_is_here() -> None:
    for part, names in ncalab._NAMES.items():
        own = set(import_module(f"ncalab.{part}").__all__) - {"__version__"}
        assert own == set(names)


def test_importing_the_facade_imports_no_part() -> None:
    script = (
        "import sys, ncalab;"
        "assert 'torch' not in sys.modules;"
        "assert not [m for m in sys.modules if m.startswith('ncalab.') and 'about' not in m]"
    )

    assert run(script).returncode == 0


def test_dir_lists_all_names() -> None:
    assert set(NAMES) <= set(dir(ncalab))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Butterfly'"):
        ncalab.Butterfly  # noqa: B018 - the access is what is tested


def test_a_missing_part_is_named_with_its_distribution() -> None:
    script = (
        "import importlib.util as util; find = util.find_spec;"
        "util.find_spec = lambda name, *rest: None if name == 'ncalab.viz' else find(name, *rest);"
        "import ncalab;"
        "ncalab.Animator"
    )

    error = run(script).stderr

    assert "ImportError: Animator is part of the distribution ncalab-viz" in error
    assert "pip install ./packages/ncalab-core ./packages/ncalab-viz" in error


def test_an_error_inside_a_part_is_not_hidden() -> None:
    script = "import sys; sys.modules['safetensors'] = None;import ncalab;ncalab.AutoStepper"

    assert "safetensors" in run(script).stderr.splitlines()[-1]
