"""When rollouts are recorded as CUDA graphs, and, on a GPU, that recordings change no result."""

import threading
from collections.abc import Callable

import pytest
import torch
from core_models import MakeModel
from torch import Tensor

from ncalab.core.rollout import clear_cuda_graphs, rollout, without_cuda_graphs
from ncalab.core.rollout.cuda import graph as cuda_graph

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class FakeRecording:
    """Remembers that it was made, in place of a CUDA graph."""

    def __init__(self, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].isnan().any():
            raise RuntimeError("capture failed")


def test_a_rollout_is_recorded_when_it_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graph, "Recording", FakeRecording)
    monkeypatch.setattr(cuda_graph, "MOST_GRAPHS", 2)
    cache, x = cuda_graph.Cache(), (torch.zeros(1),)

    def get(key: str) -> object:
        return cache.get(key, torch.clone, x)

    first, second, third = get("a"), get("a"), get("a")

    assert first is None
    assert isinstance(second, FakeRecording)
    assert third is second
    for key in "bbcc":
        get(key)
    assert get("a") is None  # the least recently used has gone


def test_a_failed_recording_is_logged_and_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cuda_graph, "Recording", FakeRecording)
    cache, x = cuda_graph.Cache(), (torch.tensor([float("nan")]),)

    assert [cache.get("a", torch.clone, x) for _ in range(3)] == [None] * 3

    assert [record.getMessage().split(", ")[0] for record in caplog.records] == [
        "a rollout runs without a CUDA graph"
    ]


def test_nothing_is_recorded_on_the_cpu_and_the_function_is_called() -> None:
    x = torch.rand(3)

    after = [cuda_graph.run("key", torch.square, (x,), cells=3) for _ in range(3)]

    assert all(torch.equal(a, x.square()) for a in after)


@needs_gpu
@pytest.mark.parametrize("alive", [False, True])
def test_a_cuda_graph_gives_the_same_states_to_the_bit(make_model: MakeModel, alive: bool) -> None:
    model = make_model(use_alive_mask=alive, use_temporal_encoding=True).cuda()
    x = torch.rand(3, 9, 13, 11, device="cuda")

    with torch.no_grad():
        for seed in range(4):  # plain, recorded, replayed, with other weights
            if seed == 3:
                model.rule.get_parameter("network.2.weight").mul_(0.5)
            after = rollout(model, x + seed, 5, seed=seed, start=seed)
            with without_cuda_graphs():
                assert torch.equal(after, rollout(model, x + seed, 5, seed=seed, start=seed))


@needs_gpu
def test_two_threads_do_not_disturb_each_other(make_model: MakeModel) -> None:
    model = make_model().cuda()
    x = torch.rand(2, 9, 16, 16, device="cuda")
    got: dict[int, Tensor] = {}

    def run(seed: int) -> None:
        with torch.no_grad(), torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(5):
                got[seed] = rollout(model, x, 8, seed=seed)
            torch.cuda.current_stream().synchronize()

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with torch.no_grad(), without_cuda_graphs():
        for seed in range(4):
            assert torch.equal(got[seed], rollout(model, x, 8, seed=seed))


@needs_gpu
def test_clearing_gives_the_memory_back(make_model: MakeModel) -> None:
    model = make_model().cuda()
    x = torch.rand(2, 9, 64, 64, device="cuda")
    clear_cuda_graphs()
    with torch.no_grad():
        rollout(model, x, 4, seed=1)
        before = torch.cuda.memory_allocated()
        rollout(model, x, 4, seed=1)
        recorded = torch.cuda.memory_allocated()

    clear_cuda_graphs()

    assert torch.cuda.memory_allocated() <= before < recorded
