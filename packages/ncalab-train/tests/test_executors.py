from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from image_files import ImageFiles, file_images
from train_models import EchoModel, equal, loader, make_tiny, weights
from worker_tasks import Task, square

from ncalab.core import unwrap
from ncalab.train import (
    BasicNCATrainer,
    KFoldCrossValidationTrainer,
    ParameterSearch,
    ParameterSet,
    Pool,
    SplitDefinition,
)
from ncalab.train.executors import run_all


@pytest.fixture(scope="module")
def dask() -> Iterator[Executor]:
    distributed = pytest.importorskip("distributed", reason="needs dask's package distributed")
    # Two threads of one process: the case in which trainings could disturb each other.
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(3) as pool:
        yield pool


@pytest.fixture(params=["processes", "dask", "threads"])
def executor(request: pytest.FixtureRequest) -> Executor:
    found: Executor = request.getfixturevalue(request.param)
    return found


def grid(path: Path | None = None) -> ParameterSearch:
    model = ParameterSet(hidden_size=[4, 8], validation_metric="mse")
    trainer = ParameterSet(
        lr=[0.05, 0.01, 0.002], max_epochs=2, pool=Pool(damage=True), model_path=path
    )
    return ParameterSearch("cpu", EchoModel, model, trainer)


def search(path: Path | None = None, executor: Executor | None = None) -> pd.DataFrame:
    return grid(path).search(loader(shuffle=True), loader(), executor=executor, progress=False)


def test_a_search_gives_the_same_table_to_the_bit_wherever_it_runs(executor: Executor) -> None:
    pd.testing.assert_frame_equal(search(executor=executor), search(), check_exact=True)


def test_trials_of_a_pool_are_not_run_again(tmp_path: Path, processes: Executor) -> None:
    table = search(tmp_path, processes)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")}

    pd.testing.assert_frame_equal(search(tmp_path, processes), table, check_exact=True)
    assert len(before) >= 6 * 5
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")}


def test_a_cross_validation_gives_the_same_folds_to_the_bit_wherever_it_runs(
    tmp_path: Path, executor: Executor
) -> None:
    split = SplitDefinition.kfold(file_images(tmp_path), 3)
    results = []
    for path, where in ((tmp_path / "here", None), (tmp_path / "there", executor)):
        trainer = BasicNCATrainer(make_tiny(validation_metric="mse"), path, max_epochs=2)
        cross = KFoldCrossValidationTrainer(trainer, split)
        results.append(cross.train(ImageFiles, tmp_path, None, executor=where, progress=False))
        assert equal(weights(trainer.nca), weights(make_tiny()))

    here, there = results
    assert here.values == there.values and here.mean == there.mean
    for a, b in zip(here, there, strict=True):
        assert equal(weights(a.current_model), weights(b.current_model))
        assert equal(weights(unwrap(a.best_model)), weights(unwrap(b.best_model)))
        assert a.loss == b.loss


def tasks(count: int) -> list[Task]:
    return [Task(number) for number in range(count)]


def test_a_task_that_fails_is_reported_and_stops_no_other(executor: Executor) -> None:
    for where in (None, executor):
        outcomes = list(run_all(square, Task(10), tasks(5), executor=where, progress=False))

        by_index = {outcome.index: outcome for outcome in outcomes}
        assert len(outcomes) == 5
        assert {i: by_index[i].result for i in (0, 1, 2, 4)} == {
            0: (0, 1),
            1: (10, 1),
            2: (40, 1),
            4: (160, 1),
        }
        failure = by_index[3].failure
        assert failure is not None and failure.error == "ArithmeticError: three is unlucky"
        assert "in square" in failure.details


def test_the_number_of_threads_is_that_asked_for_and_put_back() -> None:
    before = torch.get_num_threads()

    (outcome,) = run_all(square, Task(1), tasks(1), threads=3, progress=False)

    assert outcome.result == (0, 3)
    assert torch.get_num_threads() == before


class DeadWorkers(Executor):
    """An executor of whose workers none is left."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_exception(BrokenProcessPool("a worker died"))
        return future


def test_a_worker_that_dies_is_reported_for_its_task() -> None:
    outcomes = list(run_all(square, Task(0), tasks(2), executor=DeadWorkers(), progress=False))

    errors = [outcome.failure.error for outcome in outcomes if outcome.failure is not None]
    assert errors == ["BrokenProcessPool: a worker died"] * 2


class Closed(DeadWorkers):
    """An executor that takes no tasks any more."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        raise RuntimeError("cannot schedule new futures after shutdown")


def test_a_task_that_is_not_taken_is_reported() -> None:
    (outcome,) = run_all(square, Task(0), tasks(1), executor=Closed(), progress=False)

    assert outcome.failure is not None and "after shutdown" in outcome.failure.error


def local(shared: Task, task: Task) -> int:
    """Return a number; no worker process can import this module."""
    return task.number


def test_what_a_worker_cannot_import_fails_and_leaves_the_workers_alive(
    processes: Executor,
) -> None:
    (outcome,) = run_all(local, Task(0), tasks(1), executor=processes, progress=False)
    (after,) = run_all(square, Task(0), tasks(1), executor=processes, progress=False)

    assert outcome.failure is not None and "ModuleNotFoundError" in outcome.failure.error
    assert after.failure is None


def test_what_cannot_be_sent_is_named_before_anything_is_run(
    tmp_path: Path, processes: Executor
) -> None:
    with pytest.raises(TypeError, match="shared.extra.key must be picklable to be sent to another"):
        run_all(square, Task(1, {"key": lambda: 0}), tasks(2), executor=processes)

    bad = ParameterSearch(
        "cpu", EchoModel, ParameterSet(), ParameterSet(lr_scheduler=lambda o: None, max_epochs=1)
    )
    with pytest.raises(TypeError, match="trial.arguments.trainer_params.lr_scheduler must be pick"):
        bad.search(loader(), executor=processes)

    trainer = BasicNCATrainer(make_tiny(validation_metric="mse"), tmp_path / "run")
    names = file_images(tmp_path)
    cross = KFoldCrossValidationTrainer(trainer, SplitDefinition.kfold(names, 3))
    with pytest.raises(TypeError, match="shared.transforms.train must be picklable"):
        cross.train(ImageFiles, tmp_path, lambda image: image, executor=processes)
    assert not list((tmp_path / "run").glob("*"))


def test_a_log_file_has_a_line_for_each_task(capsys: pytest.CaptureFixture[str]) -> None:
    list(run_all(square, Task(1), tasks(4), label="trial"))

    assert capsys.readouterr().err.splitlines() == [
        "trial 1/4 done",
        "trial 2/4 done",
        "trial 3/4 done",
        "trial 4/4 failed: ArithmeticError: three is unlucky",
    ]
