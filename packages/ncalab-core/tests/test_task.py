import logging
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType
from typing import Any

import pytest
from core_models import MakeModel

from ncalab.core.model_card import card_fields, model_card
from ncalab.core.task import TaskSpec, all_tasks, find_task, register_task, registry, spec_of
from ncalab.core.testing import TinyModel

PACKAGE = "package_of_somebody"
SPEC = TaskSpec("counting", TinyModel, pipeline="other-task")

Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Pretend that packages offer tasks: names and the objects that entry points name."""
    module = ModuleType(PACKAGE)
    vars(module).update(SPEC=SPEC, NO_SPEC="counting")
    monkeypatch.setitem(sys.modules, PACKAGE, module)

    def pretend(**offers: str) -> None:
        points = [EntryPoint(name, value, registry.GROUP) for name, value in offers.items()]
        monkeypatch.setattr(registry, "entry_points", lambda **_: EntryPoints(points))
        registry.installed_tasks.cache_clear()

    monkeypatch.setattr(registry, "_registered", {})
    yield pretend
    registry.installed_tasks.cache_clear()


def test_a_task_of_an_installed_package_is_found_by_its_name(install: Install) -> None:
    install(counting=f"{PACKAGE}:SPEC")

    assert find_task("counting") is SPEC
    assert all_tasks() == {"counting": SPEC}
    assert find_task("sorting") is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no_such_package.spec:SPEC", "ModuleNotFoundError"),
        (f"{PACKAGE}:MISSING", "AttributeError"),
        (f"{PACKAGE}:NO_SPEC", "it must be a TaskSpec of that name, got 'counting'"),
    ],
)
def test_a_package_that_cannot_be_used_is_named_and_the_others_are(
    install: Install, caplog: pytest.LogCaptureFixture, value: str, reason: str
) -> None:
    install(broken=value, counting=f"{PACKAGE}:SPEC")

    with caplog.at_level(logging.WARNING):
        found = all_tasks()

    assert found == {"counting": SPEC}
    assert f"the task 'broken' of {value} cannot be used: " in caplog.text
    assert reason in caplog.text


def test_a_description_under_another_name_is_refused(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install(sorting=f"{PACKAGE}:SPEC")

    assert find_task("sorting") is None
    assert "it must be a TaskSpec of that name, got TaskSpec(name='counting'" in caplog.text


def test_of_two_packages_with_one_name_the_first_is_taken(
    monkeypatch: pytest.MonkeyPatch, install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    values = [f"{PACKAGE}:SPEC", "other:SPEC"]
    points = EntryPoints(EntryPoint("counting", value, registry.GROUP) for value in values)
    install()
    monkeypatch.setattr(registry, "entry_points", lambda **_: points)
    registry.installed_tasks.cache_clear()

    assert find_task("counting") is SPEC
    assert f"{values[0]} is taken, and other:SPEC is not" in caplog.text


def test_a_task_of_this_process_goes_before_an_installed_one(install: Install) -> None:
    install(counting=f"{PACKAGE}:SPEC")
    mine = TaskSpec("counting", TinyModel)

    register_task(mine)

    assert find_task("counting") is mine
    assert all_tasks() == {"counting": mine}


def test_what_is_not_a_description_is_refused() -> None:
    wrong: Any = "counting"
    with pytest.raises(TypeError, match="spec must be a TaskSpec, got str"):
        register_task(wrong)


def test_an_unknown_task_has_the_defaults(make_model: MakeModel, install: Install) -> None:
    install()
    model = make_model()

    spec = spec_of(model)

    assert (spec.name, spec.model) == (model.task, type(model))
    assert spec.writer is None and spec.reading is None and spec.data == ()


def test_a_card_has_the_hubs_name_of_a_task(
    monkeypatch: pytest.MonkeyPatch, make_model: MakeModel, install: Install
) -> None:
    install(counting=f"{PACKAGE}:SPEC")
    model = make_model()
    unknown = card_fields(model_card(model))
    monkeypatch.setattr(type(model), "task", "counting")

    fields = card_fields(model_card(model, data="Points", metrics={"mae": 0.5}))

    assert "pipeline_tag" not in unknown
    assert fields["pipeline_tag"] == "other-task"
    assert fields["model-index"][0]["results"][0]["task"]["type"] == "other-task"
    assert "counting" in fields["tags"]
