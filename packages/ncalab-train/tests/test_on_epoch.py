import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from train_models import EchoModel, loader

from ncalab.train import BasicNCATrainer


def test_a_function_sees_the_values_of_every_epoch(tmp_path: Path) -> None:
    seen: list[tuple[int, dict[str, float]]] = []

    def note(epoch: int, values: Mapping[str, float]) -> None:
        seen.append((epoch, dict(values)))

    trainer = BasicNCATrainer(EchoModel(), tmp_path / "run", max_epochs=2, progress=False)
    history = trainer.train(loader(), on_epoch=note)
    trainer.max_epochs = 3
    trainer.train(loader(), on_epoch=note, resume=True)

    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert [values["total"] for _, values in seen][:2] == history.loss[:2]
    assert [values["lr"] for _, values in seen][:2] == history.lr[:2]


def test_a_function_that_fails_ends_no_training(caplog: pytest.LogCaptureFixture) -> None:
    def fail(epoch: int, values: Mapping[str, float]) -> None:
        raise OSError(f"no room for {epoch} {sorted(values)}")

    trainer = BasicNCATrainer(EchoModel(), None, max_epochs=2, progress=False)
    with caplog.at_level(logging.WARNING):
        history = trainer.train(loader(), on_epoch=fail)

    assert history.current_epoch == 2
    assert len([r for r in caplog.records if "on_epoch failed" in r.message]) == 1


def test_what_is_no_function_is_refused_before_training() -> None:
    trainer = BasicNCATrainer(EchoModel(), None, max_epochs=1, progress=False)

    with pytest.raises(TypeError, match="on_epoch must be a function, got str"):
        trainer.train(loader(), on_epoch="print")  # type: ignore[arg-type]  # of a wrong type
