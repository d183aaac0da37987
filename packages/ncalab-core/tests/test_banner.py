import pytest

from ncalab.core import print_mascot, print_NCALab_banner


def test_the_banner_says_what_this_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_NCALab_banner()

    assert "Neural Cellular Automata" in capsys.readouterr().out


def test_the_mascot_says_the_whole_message(capsys: pytest.CaptureFixture[str]) -> None:
    message = "word " * 40

    print_mascot(message)

    out = capsys.readouterr().out
    assert out.count("word") == 40
    assert max(len(line) for line in out.splitlines()) <= 64
