import pytest

from ncalab.viz import abbreviate_label
from ncalab.viz.labels import class_labels


@pytest.mark.parametrize("name", ["ankle boot", "trousers", "a_b_c_d_e_f_g", "  ", "__"])
@pytest.mark.parametrize("length", [1, 2, 5, 8, 30])
def test_a_name_is_at_most_as_long_as_asked_for(name: str, length: int) -> None:
    short = abbreviate_label(name, length)

    assert len(short) <= length
    assert (short == name) == (len(name) <= length)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("hello world", "HW"),
        ("left_ventricle", "LV"),
        ("long  name of_it", "LNO"),
        ("_private", "_priva…"),
        ("one two three four five six seven eight", "OTTFFS…"),
    ],
)
def test_a_name_of_several_words_is_its_initials(name: str, short: str) -> None:
    assert abbreviate_label(name, 7) == short


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
