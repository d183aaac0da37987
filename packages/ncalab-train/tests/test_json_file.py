import json
import math
from pathlib import Path

import pytest

from ncalab.train.json_file import read_json, with_nan, write_json


def test_numbers_that_json_does_not_know_are_null_and_come_back_as_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"curve": [0.1, math.nan, -math.inf], "best": {"mse": math.nan}})

    assert json.loads((tmp_path / "a").read_text()) == {
        "curve": [0.1, None, None],
        "best": {"mse": None},
    }
    again = with_nan(read_json(tmp_path / "a"))
    assert again["curve"][0] == 0.1
    assert all(map(math.isnan, [*again["curve"][1:], again["best"]["mse"]]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"metric": "mse', "must be JSON in UTF-8"),
        (b"", "must be JSON in UTF-8"),
        (b"\x80\x04\x95\xff", "must be JSON in UTF-8"),
        (b"[" * 100_000, "must be JSON in UTF-8"),
        (b"[1, 2]", r"must hold a JSON object, got \[1, 2\]"),
    ],
)
def test_what_is_no_json_object_is_refused_by_name(
    tmp_path: Path, data: bytes, message: str
) -> None:
    (tmp_path / "result.json").write_bytes(data)

    with pytest.raises(ValueError, match=f"result.json {message}"):
        read_json(tmp_path / "result.json")
