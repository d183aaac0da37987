import json
from pathlib import Path

import pytest
from core_models import MakeModel

from ncalab.core import Preparation
from ncalab.core.model_card import card_fields, front_matter, model_card, write_card


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run folder of three epochs, of which the second is best."""
    history = {
        "current_epoch": 3,
        "best_epoch": 2,
        "test_metrics": {},
        "curves": {
            "metrics": {"dice": [0.5, 0.75, 0.7], "auroc": [None, None, None]},
            "seconds": [1.0, 2.0, 3.0],
        },
    }
    (tmp_path / "history.json").write_text(json.dumps(history))
    return tmp_path


def test_a_card_states_the_figures_of_the_best_epoch(make_model: MakeModel, run: Path) -> None:
    text = model_card(make_model(), run, data="Nuclei of 2018", command="python train.py", seed=4)

    fields = card_fields(text)
    assert fields["license"] == "mit" and fields["library_name"] == "ncalab"
    assert fields["datasets"] == ["nuclei-of-2018"]
    (result,) = fields["model-index"][0]["results"]
    assert result["dataset"]["split"] == "validation"
    assert result["metrics"] == [{"type": "dice", "name": "dice", "value": 0.75}]
    assert "| `auroc` | undefined |" in text
    assert "| `dice` | 0.75 |" in text and "The epoch was chosen by these data." in text
    assert "Seed 4. 3 epochs, the best after 2. 6 seconds." in text
    assert "```bash\npython train.py\n```" in text


def test_test_data_count_more_than_validation_data(make_model: MakeModel, run: Path) -> None:
    history = json.loads((run / "history.json").read_text())
    history["test_metrics"] = {"accuracy_micro": 0.9}
    (run / "history.json").write_text(json.dumps(history))

    (result,) = card_fields(model_card(make_model(), run, data="Digits"))["model-index"][0][
        "results"
    ]

    assert result["dataset"]["split"] == "test"
    assert result["metrics"] == [{"type": "accuracy", "name": "accuracy_micro", "value": 0.9}]


def test_what_is_not_known_is_left_out(make_model: MakeModel) -> None:
    text = model_card(make_model())

    assert "model-index" not in card_fields(text)
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Licence"]


def test_figures_need_the_data_that_they_were_measured_on(make_model: MakeModel) -> None:
    with pytest.raises(ValueError, match="data must be named where metrics are, got None"):
        front_matter(make_model(), title="Tiny", metrics={"dice": 0.5})


def test_a_card_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    write_card("first", tmp_path)

    with pytest.raises(FileExistsError, match="folder must hold no card yet"):
        write_card("second", tmp_path)

    assert (tmp_path / "README.md").read_text() == "first"


def test_what_is_no_run_is_named(make_model: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run must be a folder with a history\.json"):
        model_card(make_model(), tmp_path)
    (tmp_path / "history.json").write_text('{"best_epoch": 1}')
    with pytest.raises(ValueError, match=r"history\.json: current_epoch must be"):
        model_card(make_model(), tmp_path)


def test_a_card_says_how_images_are_prepared(make_model: MakeModel) -> None:
    model = make_model()
    assert "## Images" not in model_card(model)
    model.preparation = Preparation(channels=1, normalize="percentile", resize=(24, 32))

    text = model_card(model)

    assert "## Images\n\nPrepared as in training: 1 channel, each image by its perc" in text
    assert "resized to 24 x 32" in text and "`model.preparation.apply(image)`" in text


def test_a_run_without_a_best_epoch_states_what_is_defined(
    make_model: MakeModel, run: Path
) -> None:
    history = json.loads((run / "history.json").read_text())
    (run / "history.json").write_text(json.dumps({**history, "best_epoch": 0}))

    text = model_card(make_model(), run, data="Digits")

    assert "3 epochs. 6 seconds." in text and "chosen by these data" not in text
    assert "| `auroc` | undefined |" in text
    (result,) = card_fields(text)["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "dice", "name": "dice", "value": 0.7}]
