import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from distributed_script import SCENARIOS, train
from torch.utils.data import DataLoader, IterableDataset
from train_models import loader, make_tiny

import ncalab.train.distributed
from ncalab.train import BasicNCATrainer
from ncalab.train.distributed import BatchShard, ManyProcesses, SingleProcess, find_processes

SCRIPT = Path(__file__).parent / "support" / "distributed_script.py"
# "multi_gpu" is the launcher's word for several processes of one machine; without GPUs they meet
# through gloo.
LAUNCHERS = {
    "accelerate": "accelerate.commands.accelerate_cli launch --multi_gpu --num_processes=2 "
    "--num_machines=1 --mixed_precision=no --dynamo_backend=no --main_process_port=0",
    "torchrun": "torch.distributed.run --standalone --nproc-per-node=2",
}
SHARED = {"accelerate": ["plain"], "torchrun": [*SCENARIOS]}
CASES = [(launcher, name) for launcher, names in SHARED.items() for name in names]


def launch(launcher: str, folder: Path) -> subprocess.Popen[str]:
    """Start two processes that train together on the CPU, through gloo."""
    command = [sys.executable, "-m", *LAUNCHERS[launcher].split(), str(SCRIPT), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parent)}
    return subprocess.Popen(
        [*command, *SHARED[launcher]],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Any]:
    """Results of every scenario: by one process, and by each of two.

    Takes longer than all other tests: both launchers and the four processes that they start import
    torch and Accelerate anew. So each launcher is started once, for all of its scenarios.
    """
    pytest.importorskip("accelerate", reason="the extra `distributed` is not installed")
    folder = tmp_path_factory.mktemp("distributed")
    started = {launcher: launch(launcher, folder / launcher) for launcher in LAUNCHERS}
    found: dict[Any, Any] = {}
    (folder / "one").mkdir()
    for name in SCENARIOS:
        found["one", name] = train(folder / "one" / name, name)
        found["one", name, "log"] = (folder / "one" / f"{name}.log").read_text()
    for launcher, process in started.items():
        output, _ = process.communicate(timeout=400)
        assert process.returncode == 0, output
        for name in SHARED[launcher]:
            for rank in (0, 1):
                text = (folder / launcher / f"{name}.{rank}.json").read_text()
                found[launcher, name, rank] = json.loads(text)
            found[launcher, name, "log"] = (folder / launcher / f"{name}.log").read_text()
            found[launcher, name, "files"] = sorted(
                path.name for path in (folder / launcher / name).iterdir()
            )
    return found


@pytest.mark.parametrize(("launcher", "name"), CASES)
def test_both_processes_end_with_the_same_weights(
    results: dict[Any, Any], launcher: str, name: str
) -> None:
    assert results[launcher, name, 0] == results[launcher, name, 1]


@pytest.mark.parametrize(("launcher", "name"), CASES)
def test_two_processes_train_what_one_does(
    results: dict[Any, Any], launcher: str, name: str
) -> None:
    one, two = results["one", name], results[launcher, name, 0]

    assert two["loss"] == pytest.approx(one["loss"], abs=1e-4)
    for key, curve in one["metrics"].items():
        assert two["metrics"][key] == pytest.approx(curve, abs=1e-4)
    assert two["test"] == pytest.approx(one["test"], abs=1e-4)
    for ours, theirs in zip(two["weights"], one["weights"], strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("launcher", "name"), CASES)
def test_one_process_writes(results: dict[Any, Any], launcher: str, name: str) -> None:
    one, two = (results[key, name, "log"].splitlines() for key in ("one", launcher))

    assert [line.split()[:2] for line in two if "add_scalar" in line] == [
        line.split()[:2] for line in one if "add_scalar" in line
    ]
    assert len(two) == len(one)
    assert not [file for file in results[launcher, name, "files"] if file.endswith(".tmp")]
    assert "checkpoint.safetensors" in results[launcher, name, "files"]


class FakeAccelerator:
    """One of three processes, the others of which are silent."""

    mixed_precision = "no"
    num_processes = 3
    is_main_process = False
    device = torch.device("cpu")

    def __init__(self, rank: int) -> None:
        self.process_index = rank

    def reduce(self, tensor: torch.Tensor, reduction: str) -> torch.Tensor:
        return tensor


def parts_of(rank: int, data: DataLoader[Any]) -> list[BatchShard]:
    torch.manual_seed(5)
    return list(ManyProcesses(FakeAccelerator(rank)).shards(data))


@pytest.mark.parametrize("workers", [0, 2])
def test_every_sample_of_a_batch_belongs_to_one_process(workers: int) -> None:
    data: DataLoader[Any] = DataLoader(range(10), batch_size=4, shuffle=True, num_workers=workers)  # type: ignore[arg-type]  # a sequence
    torch.manual_seed(5)
    whole = [batch.tolist() for batch in data]
    parts = [parts_of(rank, data) for rank in range(3)]

    for batch, *shares in zip(whole, *parts, strict=True):
        rows = [row for share in shares for row in share.rows or ()]
        assert rows == list(range(len(batch)))
        for share in shares:
            assert share.total == len(batch)
            if share.rows:
                assert share.batch.tolist() == [batch[row] for row in share.rows]
            else:
                assert share.batch.tolist() == batch[:1]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int16, torch.int64, torch.float32])
def test_labels_of_all_processes_are_put_together(dtype: torch.dtype) -> None:
    labels = torch.tensor([[1, 0], [0, 1], [1, 1]]).to(dtype)
    processes = [ManyProcesses(FakeAccelerator(rank)) for rank in range(3)]
    rows = [processes[rank]._rows(3) for rank in range(3)]

    parts = [
        each.collect(labels[own.start : own.stop], BatchShard(None, own, 3))
        for each, own in zip(processes, rows, strict=True)
    ]

    assert all(part.dtype == dtype for part in parts)
    assert torch.equal(torch.stack([part.long() for part in parts]).sum(dim=0), labels.long())


def test_loading_in_one_process_does_not_advance_what_all_draw() -> None:
    class Random(torch.utils.data.Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.rand(index + 1).sum()

    states = []
    for rank in range(3):
        parts_of(rank, DataLoader(Random(), batch_size=3, shuffle=True))
        states.append(torch.get_rng_state())

    assert torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])


def test_data_without_indices_cannot_be_shared() -> None:
    class Stream(IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            return iter(range(5))

    with pytest.raises(ValueError, match="data set with indices .* 3 processes, got Stream"):
        parts_of(0, DataLoader(Stream(), batch_size=2))


def test_one_process_needs_no_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)

    BasicNCATrainer(make_tiny(), None, max_epochs=1, progress=False).train(loader())

    assert type(find_processes(None, torch.device("cpu"))) is SingleProcess


def test_several_processes_without_accelerate_are_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ImportError, match=r"install ncalab-train\[distributed\]"):
        BasicNCATrainer(make_tiny(), None, progress=False).train(loader())


def test_half_precision_that_needs_scaling_is_refused() -> None:
    accelerator: Any = FakeAccelerator(0)
    accelerator.mixed_precision = "fp16"

    with pytest.raises(ValueError, match="mixed_precision must be 'no' or 'bf16', got 'fp16'"):
        find_processes(accelerator, torch.device("cpu"))


def test_importing_the_package_does_not_import_accelerate() -> None:
    script = "import sys, ncalab.train; assert 'accelerate' not in sys.modules"

    subprocess.run([sys.executable, "-c", script], check=True)
    assert ncalab.train.distributed.__name__ == "ncalab.train.distributed"


def test_a_precision_that_a_launcher_sets_is_used_in_one_process_too() -> None:
    accelerator: Any = FakeAccelerator(0)
    accelerator.mixed_precision, accelerator.num_processes = "bf16", 1

    processes = find_processes(accelerator, torch.device("cpu"))

    assert processes.bf16 and processes.count == 1 and processes.is_main
