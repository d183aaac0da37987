from importlib.metadata import entry_points

import pytest

from ncalab.viz import Visual, plot_history, plot_uncertainty


@pytest.mark.parametrize("task", ["growing", "classification", "segmentation", "depth"])
def test_every_task_has_a_default_visual(task: str) -> None:
    (entry_point,) = entry_points(group="ncalab.visuals", name=task)

    assert isinstance(entry_point.load()(), Visual)


def test_other_parts_find_plots_by_name() -> None:
    found = {point.name: point.load() for point in entry_points(group="ncalab.plots")}

    assert found == {"history": plot_history, "uncertainty": plot_uncertainty}
