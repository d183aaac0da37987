"""Each piece that only looks at a training is made to fail, at each of its calls."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from train_models import EchoModel, loader, make_tiny, same

import ncalab.train.callbacks.figures
import ncalab.train.preflight
from ncalab.core import AbstractNCAModel, Prediction
from ncalab.train import BasicNCATrainer, Pool, TrainingHistory
from ncalab.train.checkpoint import read_checkpoint
from ncalab.train.executors import run_all
from ncalab.train.planned_training import PlannedTraining
from ncalab.train.run_one import RunOptions, train_one

EPOCHS = 2
ALWAYS = -1
MOST = 12  # of each piece's calls; only bars have more, which are alike


class Fault:
    """Counts calls, and raises at one of them, or at all."""

    def __init__(self, at: int | None = None, error: type[BaseException] = RuntimeError) -> None:
        self.at, self.error = at, error
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.at in (ALWAYS, self.calls):
            raise self.error("this was to be expected")


class Writer:
    """A TensorBoard writer, one method of which fails."""

    def __init__(self, method: str = "", fault: Fault | None = None) -> None:
        self.method, self.fault = method, fault

    def __getattr__(self, name: str) -> Callable[..., None]:
        def write(*_: Any, **__: Any) -> None:
            if name == self.method and self.fault is not None:
                self.fault()

        return write


class Drawing:
    """A visual, an estimator and a plot, one of which fails."""

    def __init__(self, nca: AbstractNCAModel, method: str, fault: Fault) -> None:
        self.nca, self.method, self.fault = nca, method, fault

    def _call(self, method: str) -> None:
        torch.rand(3)  # figures may draw what they like
        if method == self.method:
            self.fault()

    def show(self, *_: Any) -> str:
        self._call("show")
        return "figure"

    def estimate(self, image: Tensor) -> tuple[Tensor, list[Prediction], Tensor]:
        self._call("estimate")
        prediction = self.nca.predict(image)
        return prediction.logits, [prediction], prediction.logits

    def plot(self, *_: Any) -> str:
        self._call("plot")
        return "figure"


class Screen(io.StringIO):
    """A standard error that fails."""

    def __init__(self, fault: Fault, *, terminal: bool) -> None:
        super().__init__()
        self.fault, self.terminal = fault, terminal

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        self.fault()
        return super().write(text)


# What fails, and how the warning calls it.
PIECES = {
    "add_text": "summary_writer.add_text failed",
    "add_scalar": "summary_writer.add_scalar failed",
    "add_figure": "summary_writer.add_figure failed",
    "add_hparams": "summary_writer.add_hparams failed",
    "show": "plot_function Drawing failed",
    "estimate": "uncertainty Drawing failed",
    "plot": "uncertainty Drawing failed",
    "lines": "progress display failed",
    "bars": "progress display failed",
}


def train(
    folder: Path | None, piece: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> TrainingHistory:
    """Train with everything that can look at a training."""
    nca = make_tiny(validation_metric="mse")
    drawing: Any = Drawing(nca, piece, fault)
    for module in (ncalab.train.callbacks.figures, ncalab.train.preflight):
        monkeypatch.setattr(module, "find_plot", lambda _: drawing.plot)
    writer: Any = Writer(piece, fault)
    shown = piece in ("lines", "bars")
    with monkeypatch.context() as patch:
        if shown:
            patch.setattr(sys, "stderr", Screen(fault, terminal=piece == "bars"))
        trainer = BasicNCATrainer(
            nca, folder, max_epochs=EPOCHS, pool=Pool(size=4), batch_repeat=1, progress=shown
        )
        data = loader(shuffle=True)
        return trainer.train(
            data,
            loader(2),
            loader(2),
            save_every=1,
            summary_writer=writer,
            plot_function=drawing,
            uncertainty=drawing,
        )


def assert_whole(folder: Path, like: Path) -> None:
    for name in ("last_model", "best_model"):
        EchoModel.from_pretrained(folder / f"{name}.safetensors")
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in like.iterdir())
    own, other = (read_checkpoint(each / "checkpoint.safetensors") for each in (folder, like))
    assert own["epoch"] == EPOCHS
    same(own, other)


@pytest.mark.parametrize("piece", PIECES)
def test_no_failure_of_what_looks_at_a_training_changes_it(
    piece: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    counting = Fault()
    train(tmp_path / "whole", piece, counting, monkeypatch)
    assert counting.calls and not caplog.records

    for at in (ALWAYS, *range(1, min(counting.calls, MOST) + 1)):
        caplog.clear()
        fault = Fault(at)
        history = train(tmp_path / str(at), piece, fault, monkeypatch)

        assert history.current_epoch == EPOCHS and history.test_metrics
        assert_whole(tmp_path / str(at), tmp_path / "whole")
        if at > fault.calls:
            continue  # how often bars are drawn anew depends on the time
        [record] = caplog.records
        assert record.levelname == "WARNING"
        assert record.getMessage().startswith(
            f"{PIECES[piece]}; the training continues (RuntimeErr"
        )


@pytest.mark.parametrize("piece", ["show", "estimate", "add_figure"])
def test_ctrl_c_while_it_is_looked_at_ends_a_training_in_good_order(
    piece: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = train(tmp_path, piece, Fault(1, KeyboardInterrupt), monkeypatch)

    assert history.interrupted and history.current_epoch == 1
    assert read_checkpoint(tmp_path / "checkpoint.safetensors")["epoch"] == 1


def test_a_program_without_standard_error_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    trainer = BasicNCATrainer(make_tiny(), tmp_path, max_epochs=EPOCHS)

    assert trainer.train(loader()).current_epoch == EPOCHS


def test_a_visual_that_cannot_be_found_ends_no_training(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: Any) -> Any:
        raise ImportError("libfreetype is gone")

    monkeypatch.setattr(ncalab.train.visuals, "entry_points", broken)
    writer: Any = Writer()
    trainer = BasicNCATrainer(make_tiny(), None, max_epochs=EPOCHS, progress=False)

    assert trainer.train(loader(), summary_writer=writer).current_epoch == EPOCHS
    assert "the visual of task 'tiny' failed; the training continues (ImportError" in caplog.text


def test_a_failure_of_drawing_is_told_once_and_it_is_drawn_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nca = make_tiny()
    fault = Fault(1)
    writer: Any = Writer()
    visual: Any = Drawing(nca, "show", fault)

    BasicNCATrainer(nca, None, max_epochs=5, progress=False).train(
        loader(), summary_writer=writer, plot_function=visual, save_every=1
    )

    assert fault.calls == 5
    assert len(caplog.records) == 1 and "test_faults.py, line" in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("summary_writer", "runs/1", "summary_writer must be a SummaryWriter .* got str"),
        (
            "summary_writer",
            Writer,
            "summary_writer must be a SummaryWriter .* got the class Writer",
        ),
        ("plot_function", print, "plot_function must be a Visual .* a method show, got builtin"),
        ("plot_function", Drawing, "plot_function must be a Visual .* got the class Drawing"),
        ("uncertainty", "NQM", "uncertainty must be a UncertaintyEstimator .* got str"),
        ("earlystopping", 3, "earlystopping must be an EarlyStopping, got int"),
        ("save_every", "often", "save_every must be an integer, got 'often'"),
        ("save_every", True, "save_every must be an integer, got True"),
    ],
)
def test_what_cannot_look_at_a_training_is_refused_before_it(
    name: str, value: Any, message: str
) -> None:
    nca = make_tiny()
    before = [p.clone() for p in nca.parameters()]

    with pytest.raises(TypeError, match=message):
        BasicNCATrainer(nca, None, progress=False).train(loader(), **{name: value})

    assert all(torch.equal(a, b) for a, b in zip(before, nca.parameters(), strict=True))


def test_the_models_own_visual_is_looked_at_before_training_as_well() -> None:
    nca = make_tiny()
    nca.plot_function = "figure.png"
    trainer = BasicNCATrainer(nca, None, max_epochs=1, progress=False)
    writer: Any = Writer()

    with pytest.raises(TypeError, match="plot_function must be a Visual .* got str"):
        trainer.train(loader(), summary_writer=writer)
    assert trainer.train(loader()).current_epoch == 1  # nothing is to be drawn


def test_an_estimator_that_could_not_estimate_is_refused_before_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nca = make_tiny(validation_metric="mse")
    estimator: Any = Drawing(nca, "", Fault())
    estimator.check = Fault(1, ValueError)
    monkeypatch.setattr(ncalab.train.preflight, "find_plot", lambda _: print)
    writer: Any = Writer()

    with pytest.raises(ValueError, match="this was to be expected"):
        BasicNCATrainer(nca, None, progress=False).train(
            loader(), loader(), summary_writer=writer, uncertainty=estimator
        )


@pytest.mark.parametrize("terminal", [False, True])
def test_no_failing_display_stops_one_of_many_tasks(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stderr", Screen(Fault(ALWAYS), terminal=terminal))

    outcomes = [*run_all(pow, 2, [3, 4, 5])]

    assert [outcome.result for outcome in outcomes] == [8, 16, 32]
    assert len(caplog.records) == 1 and "progress display failed" in caplog.text


@pytest.mark.parametrize("method", ["__init__", "close"])
def test_no_failing_log_stops_one_of_many_trainings(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space")

    monkeypatch.setattr(SummaryWriter, method, fail)
    trainer = BasicNCATrainer(make_tiny(), tmp_path, max_epochs=EPOCHS, progress=False)
    plan = PlannedTraining(0, 0, tmp_path, {}, {})

    result, _ = train_one(trainer, (loader(), None, None), plan, RunOptions(tensorboard=True))

    assert result.epochs == EPOCHS and (tmp_path / "result.json").exists()
    assert "TensorBoard log failed; the training continues (OSError: no space" in caplog.text
