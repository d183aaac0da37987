import pytest

from ncalab.viz import abbreviate_label
from ncalab.viz.labels import class_labels


@pytest.mark.parametrize("length", [1, 2, 5, 8, 30])
def test_a_name_is_at_most_as_long_as_asked_for(length: int) -> None:
    short = abbreviate_label("ankle boot", length)

    assert len(short) <= length
    assert "ankle boot".startswith(short.rstrip("…"))


def test_a_short_name_stays_and_a_long_one_shows_that_it_was_cut() -> None:
    assert abbreviate_label("trousers") == "trousers"
    assert abbreviate_label("pullovers") == "pullove…"
    assert abbreviate_label(7) == "7"


def test_classes_without_a_name_are_numbered() -> None:
    assert class_labels(None, 3) == ["0", "1", "2"]
    assert class_labels(["a"], 2) == ["a", "1"]


def test_no_characters_are_too_few() -> None:
    with pytest.raises(ValueError, match="max_len must be at least 1, got 0"):
        abbreviate_label("a", 0)
