"""Names of classes in saved models are those of one class each."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from core_models import TinyModel

from ncalab.core import AbstractNCAModel, AbstractNCARule, BasicNCAPerception, MLPNCARule
from ncalab.core.described import DescribedModel
from ncalab.core.perception import AbstractNCAPerception, SobelView, View


class Segmenter(AbstractNCAModel):
    """Stands for a model of the library."""

    __module__ = "ncalab.tasks.segmenter"


def define(base: type, name: str, module: str = __name__) -> Any:
    return type(base)(name, (base,), {"__module__": module, "__qualname__": name})


@pytest.mark.parametrize(
    ("base", "registry"),
    [
        (SobelView, View.registry),
        (MLPNCARule, AbstractNCARule.registry),
        (BasicNCAPerception, AbstractNCAPerception.registry),
        (Segmenter, DescribedModel.registry),
    ],
)
def test_a_class_cannot_take_the_name_of_one_of_the_library(
    base: type, registry: dict[str, type]
) -> None:
    with pytest.raises(ValueError, match=f"{base.__name__} of {__name__}, and {base.__module__} "):
        define(base, base.__name__)

    assert registry[base.__name__] is base


def test_a_view_cannot_take_the_name_of_one_of_another_module() -> None:
    first = define(View, "ProjectView", "one.project")

    with pytest.raises(
        ValueError, match="name of a class must be its own, got view ProjectView of"
    ):
        define(View, "ProjectView", "another.project")

    assert View.registry["ProjectView"] is first


@pytest.mark.parametrize(
    ("base", "registry"), [(View, View.registry), (TinyModel, DescribedModel.registry)]
)
def test_a_notebook_may_define_its_class_again(base: type, registry: dict[str, type]) -> None:
    define(base, "Again", "__main__")

    second = define(base, "Again", "__main__")

    assert registry["Again"] is second


def test_a_script_that_is_imported_too_defines_its_class_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("run_script", "imported_script"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(__file__="script.py"))
    define(View, "ScriptView", "run_script")

    second = define(View, "ScriptView", "imported_script")

    assert View.registry["ScriptView"] is second


def test_models_of_ones_own_may_share_a_name() -> None:
    define(TinyModel, "SharedModel", "tests.one")

    second = define(TinyModel, "SharedModel", "tests.another")

    assert DescribedModel.registry["SharedModel"] is second
