import json
import random
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    MultiStepLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from torch.utils.data import DataLoader, Dataset
from train_models import EchoModel, equal, loader, make_tiny, same, weights

from ncalab.core import Prediction
from ncalab.core.testing import MeanHead, awaken
from ncalab.train import BasicNCATrainer, EarlyStopping, Pool, TrainingHistory
from ncalab.train.checkpoint import read_checkpoint


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Images that tell their index in one corner, with noise from three random generators."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        noise = random.random() + np.random.rand() + torch.rand(1, 5, 4)
        image = noise / 30
        image[0, 0, 0] = index
        return image / 7, image / 7


class Seen(EchoModel):
    """Takes note of the order of the samples and what was added to them."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.seen: list[list[float]] = []

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        if torch.is_grad_enabled():
            self.seen.append(label[:, 0, 0, :2].flatten().tolist())
        return super().loss(pred, label)


def run(
    folder: Path | None,
    epochs: int,
    *,
    seed: int = 1,
    workers: int = 0,
    val: bool = False,
    model: dict[str, Any] | None = None,
    resume: bool = True,
    **arguments: Any,
) -> tuple[Seen, TrainingHistory]:
    """Train as a process of its own would: with objects and random states of its own."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    nca = Seen(**{"validation_metric": "negative", **(model or {})})
    awaken(nca, 0.1)
    pool = arguments.pop("pool", lambda: None)()
    scheduler = arguments.pop("scheduler", None)
    trainer = BasicNCATrainer(
        nca,
        folder,
        max_epochs=epochs,
        progress=False,
        pool=pool,
        lr_scheduler=scheduler,
        **arguments,
    )
    data = DataLoader(Augmented(), batch_size=3, shuffle=True, num_workers=workers)
    checks = DataLoader(Augmented(), batch_size=4, shuffle=True) if val else None
    history = trainer.train(
        data, checks, save_every=4, resume=resume, earlystopping=EarlyStopping(50)
    )
    return nca, history


def assert_resumes_to_the_bit(folder: Path, **arguments: Any) -> None:
    whole, _ = run(folder / "whole", 12, **arguments)
    first, _ = run(folder / "parts", 5, **arguments)
    second, history = run(folder / "parts", 12, seed=99, **arguments)

    assert len(history.loss) == history.current_epoch == 12
    assert first.seen + second.seen == whole.seen  # order of batches, and what was drawn for them
    same(
        read_checkpoint(folder / "whole" / "checkpoint.safetensors"),
        read_checkpoint(folder / "parts" / "checkpoint.safetensors"),
    )
    stored = [
        json.loads((folder / name / "history.json").read_text()) for name in ("whole", "parts")
    ]
    same(stored[0], stored[1])
    for name in ("last_model.safetensors", "best_model.safetensors"):
        same(load_file(folder / "whole" / name), load_file(folder / "parts" / name))


def warm_then_cosine(optimizer: torch.optim.Optimizer) -> Any:
    parts = [LinearLR(optimizer, 0.1, total_iters=4), CosineAnnealingLR(optimizer, 20)]
    return SequentialLR(optimizer, parts, milestones=[4])


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "pool": {"pool": lambda: Pool(damage=True, p_damage=0.5, size=6)},
    "pool with generator": {
        "pool": lambda: Pool(size=9, generator=torch.Generator().manual_seed(4))
    },
    "validation": {"val": True},
    "average": {"ema_decay": 0.9, "val": True},
    "milestones": {"scheduler": lambda o: MultiStepLR(o, [2, 7], 0.5)},
    "per batch": {"scheduler": warm_then_cosine, "scheduler_interval": "batch"},
    "plateau": {"scheduler": lambda o: ReduceLROnPlateau(o, "max", patience=0), "val": True},
    "warm-up": {"warmup_steps": 20},
    "noise and accumulation": {"model": {"pad_noise": True}, "accumulate": 2},
    "momentum": {"optimizer_method": "sgd", "gradient_clipping": True},
    "muon": {
        "optimizer_method": "muon",
        "scheduler": lambda o: CosineAnnealingLR(o, 40, 1e-3),
        "scheduler_interval": "batch",
        "warmup_steps": 5,
        "gradient_clipping": True,
        "ema_decay": 0.9,
        "ema_warmup": True,
        "pool": lambda: Pool(size=6),
        "accumulate": 2,
    },
    "half precision": {"precision": "bf16", "checkpoint": "auto"},
    "all": {
        "pool": lambda: Pool(damage=True, size=6),
        "scheduler": lambda o: StepLR(o, 3, 0.5),
        "ema_decay": 0.99,
        "val": True,
        "gradient_normalization": True,
    },
}


@pytest.mark.parametrize("name", OPTIONS)
def test_five_epochs_and_seven_equal_twelve_to_the_bit(tmp_path: Path, name: str) -> None:
    assert_resumes_to_the_bit(tmp_path, **OPTIONS[name])


@pytest.mark.parametrize("name", ["plain", "all"])
def test_so_do_they_with_worker_processes(tmp_path: Path, name: str) -> None:
    assert_resumes_to_the_bit(tmp_path, workers=2, **OPTIONS[name])


def test_a_loader_with_a_generator_goes_on_in_its_order(tmp_path: Path) -> None:
    orders = []
    for name, lengths in (("whole", [6]), ("parts", [2, 6])):
        seen: list[Any] = []
        for length in lengths:
            torch.manual_seed(length)
            nca = Seen()
            data = DataLoader(
                Augmented(), 3, shuffle=True, generator=torch.Generator().manual_seed(length)
            )
            if length == 6 and name == "whole":
                torch.manual_seed(2)
                data.generator.manual_seed(2)
            trainer = BasicNCATrainer(nca, tmp_path / name, max_epochs=length, progress=False)
            trainer.train(data, resume=True)
            seen += [[round(v * 7) for v in batch[::2]] for batch in nca.seen]
        orders.append(seen)

    assert orders[0] == orders[1]


def test_resuming_in_an_empty_folder_starts_a_run(tmp_path: Path) -> None:
    _, history = run(tmp_path / "new", 2)

    assert history.current_epoch == 2
    assert (tmp_path / "new" / "checkpoint.safetensors").exists()


def test_resuming_a_finished_run_returns_its_history(tmp_path: Path) -> None:
    nca, history = run(tmp_path, 3)
    again, same_history = run(tmp_path, 3, seed=5)

    assert again.seen == []
    assert equal(weights(nca), weights(again))
    assert same_history.loss == history.loss
    assert same_history.best_model is not None and history.best_model is not None
    assert equal(weights(same_history.best_model), weights(history.best_model))


def test_files_that_a_kill_left_behind_the_checkpoint_are_written_anew(tmp_path: Path) -> None:
    run(tmp_path, 4)
    want = load_file(tmp_path / "best_model.safetensors")
    (tmp_path / "best_model.safetensors").unlink()
    (tmp_path / "history.json").write_text("{}")
    (tmp_path / ".history.json.x1y2z3.tmp").write_bytes(b"half")

    run(tmp_path, 4, seed=5)

    same(load_file(tmp_path / "best_model.safetensors"), want)
    assert json.loads((tmp_path / "history.json").read_text())["current_epoch"] == 4
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": 0.5}, "trainer.lr was 0.0016, is 0.5"),
        ({"model": {"hidden_size": 9}}, "model.hidden_size was 8, is 9"),
        ({"model": {"fire_rate": 0.25}}, "model.fire_rate was 0.5, is 0.25"),
        ({"pool": lambda: Pool(size=3)}, "trainer.pool was None, is 'Pool.n_seed=1, .*size=3"),
        ({"scheduler": lambda o: StepLR(o, 3)}, "lr_scheduler was 'ExponentialLR', is 'StepLR'"),
        ({"optimizer_method": "sgd"}, "optimizer was 'Adam', is 'SGD'"),
        ({"val": True}, "data.validated was False, is True"),
        ({"ema_decay": 0.5, "accumulate": 2}, "accumulate was 1, is 2"),
    ],
)
def test_a_run_of_another_configuration_is_refused_with_the_differences(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    run(tmp_path, 1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    with pytest.raises(ValueError, match="model_path must hold a run of the same.*" + message):
        run(tmp_path, 2, **arguments)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_differences_of_a_schedule_are_its_constants_not_its_state(tmp_path: Path) -> None:
    run(tmp_path, 3, scheduler=lambda o: StepLR(o, 2))

    with pytest.raises(ValueError, match=r"with others \(lr_scheduler.step_size was 2, is 5\)"):
        run(tmp_path, 4, scheduler=lambda o: StepLR(o, 5))


def freeze(nca: Seen) -> Seen:
    nca.rule.freeze()
    return nca


def test_a_layer_that_was_frozen_since_is_named(tmp_path: Path) -> None:
    def train(nca: Seen, folder: Path) -> None:
        BasicNCATrainer(nca, folder, max_epochs=1, progress=False).train(loader(), resume=True)

    train(Seen(), tmp_path / "free")
    train(freeze(Seen()), tmp_path / "frozen")

    for nca, name, was, now in (
        (freeze(Seen()), "free", "trained", "frozen"),
        (Seen(), "frozen", "frozen", "trained"),
    ):
        parameter = r"model.parameters.rule.network.0.weight"
        with pytest.raises(ValueError, match=rf"with others .{parameter} was '{was}', is '{now}'"):
            train(nca, tmp_path / name)


def test_a_parameter_that_the_optimiser_leaves_out_since_is_named(tmp_path: Path) -> None:
    def train(count: int) -> None:
        nca = Seen()
        optimizer = torch.optim.Adam([*nca.parameters()][:count])
        schedule = StepLR(optimizer, 1)
        trainer = BasicNCATrainer(
            nca, tmp_path, max_epochs=1, lr_scheduler=schedule, progress=False
        )
        trainer.train(loader(), resume=True)

    train(3)

    with pytest.raises(ValueError, match="network.2.weight was 'trained', is 'in no optimizer'"):
        train(2)


def test_the_same_trainer_object_may_go_on_for_longer(tmp_path: Path) -> None:
    nca = make_tiny()
    optimizer = torch.optim.Adam(nca.parameters(), lr=0.1)
    trainer = BasicNCATrainer(
        nca, tmp_path, max_epochs=2, lr_scheduler=StepLR(optimizer, 2, 0.5), progress=False
    )
    trainer.train(loader())
    trainer.max_epochs = 5

    assert trainer.train(loader(), resume=True).lr == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])


def test_other_generators_are_refused_and_not_called_damage(tmp_path: Path) -> None:
    run(tmp_path, 1)
    generator = torch.Generator()
    trainer = BasicNCATrainer(Seen(validation_metric="negative"), tmp_path, progress=False)

    with pytest.raises(ValueError, match="generators of their own .* 0, to resume, got 1"):
        trainer.train(DataLoader(Augmented(), 3, shuffle=True, generator=generator), resume=True)


def test_other_validation_data_are_refused(tmp_path: Path) -> None:
    trainer = BasicNCATrainer(
        make_tiny(validation_metric="mse"), tmp_path, max_epochs=1, progress=False
    )
    trainer.train(loader(), loader())

    with pytest.raises(ValueError, match="data.val_samples was 4, is 6"):
        trainer.train(loader(), loader(6), resume=True)


class WeightedTrainer(BasicNCATrainer):
    """A trainer with a setting that is a function."""

    def __init__(self, nca: Any, model_path: Any, *, weighting: Any, max_epochs: int) -> None:
        super().__init__(nca, model_path, max_epochs=max_epochs, progress=False)
        self.weighting = weighting


def test_a_function_among_the_settings_is_known_by_its_name(tmp_path: Path) -> None:
    def make() -> Any:
        def weighting() -> None: ...

        return weighting

    for epochs in (1, 2):  # another function object each time, as in another process
        trainer = WeightedTrainer(make_tiny(), tmp_path, weighting=make(), max_epochs=epochs)
        history = trainer.train(loader(), resume=True)

    assert history.current_epoch == 2
    with pytest.raises(
        ValueError, match="trainer.weighting was .*test_resume.*, is 'builtins.len'"
    ):
        WeightedTrainer(make_tiny(), tmp_path, weighting=len, max_epochs=3).train(
            loader(), resume=True
        )


def test_a_run_goes_on_with_another_number_of_loading_processes(tmp_path: Path) -> None:
    def train(folder: Path, epochs: int, workers: int) -> None:
        torch.manual_seed(epochs)
        nca = make_tiny()
        trainer = BasicNCATrainer(nca, folder, max_epochs=epochs, progress=False)
        trainer.train(loader(shuffle=True, num_workers=workers), resume=True)

    for folder, workers in ((tmp_path / "a", (0, 0)), (tmp_path / "b", (0, 2))):
        train(folder, 1, workers[0])
        train(folder, 2, workers[1])

    first, second = (read_checkpoint(tmp_path / name / "checkpoint.safetensors") for name in "ab")
    same(first, second)


def test_another_model_class_is_refused(tmp_path: Path) -> None:
    run(tmp_path, 1)
    trainer = BasicNCATrainer(make_tiny(validation_metric="negative"), tmp_path, progress=False)

    with pytest.raises(ValueError, match="model.class was 'Seen', is 'EchoModel'"):
        trainer.train(DataLoader(Augmented(), 3, shuffle=True), resume=True)


def test_a_folder_with_a_run_is_refused_without_resume_and_named(tmp_path: Path) -> None:
    run(tmp_path, 1)
    (tmp_path / "history.json").unlink()

    ways_out = r"overwrite=True .*, resume=True .*, or choose another folder"
    message = rf"must not hold a finished run \(pass {ways_out}\), got .*checkpoint.safetensors"
    with pytest.raises(ValueError, match=message):
        run(tmp_path, 1, resume=False)


def test_a_run_without_a_checkpoint_cannot_be_resumed(tmp_path: Path) -> None:
    run(tmp_path, 1)
    (tmp_path / "checkpoint.safetensors").unlink()

    with pytest.raises(ValueError, match="must hold a checkpoint.safetensors to resume, got"):
        run(tmp_path, 2)


def test_to_resume_and_to_overwrite_is_a_contradiction(tmp_path: Path) -> None:
    trainer = BasicNCATrainer(make_tiny(), tmp_path, progress=False)

    with pytest.raises(ValueError, match="resume and overwrite must not both be True"):
        trainer.train(loader(), resume=True, overwrite=True)


@pytest.mark.parametrize("flag", ["resume", "overwrite"])
def test_a_word_is_no_flag(flag: str, tmp_path: Path) -> None:
    trainer = BasicNCATrainer(make_tiny(), tmp_path, progress=False)
    arguments: dict[str, Any] = {flag: "no"}

    with pytest.raises(TypeError, match=f"{flag} must be True or False, got 'no'"):
        trainer.train(loader(), **arguments)


def test_resuming_needs_a_folder() -> None:
    with pytest.raises(ValueError, match="model_path must be a run folder to resume, got None"):
        BasicNCATrainer(make_tiny(), None, progress=False).train(loader(), resume=True)


def test_early_stopping_goes_on_counting(tmp_path: Path) -> None:
    def stop(epochs: int) -> TrainingHistory:
        nca = make_tiny(fire_rate=0.0)  # nothing can be learned
        trainer = BasicNCATrainer(nca, tmp_path, max_epochs=epochs, progress=False)
        return trainer.train(loader(), earlystopping=EarlyStopping(4), resume=True)

    stop(3)
    history = stop(50)

    assert history.current_epoch == 5  # the first, and four without improvement
    assert stop(50).current_epoch == 5


class PressingModel(Seen):
    """Presses Ctrl-C within its n-th rollout."""

    presses = 4

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        losses = super().loss(pred, label)
        if len(self.seen) == self.presses and torch.is_grad_enabled():
            signal.raise_signal(signal.SIGINT)
        return losses


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("presses", [4, 6])
def test_ctrl_c_within_an_epoch_goes_on_to_the_bit(
    tmp_path: Path, workers: int, presses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert threading.current_thread() is threading.main_thread()

    def train(name: str, presses: int, seed: int = 1) -> tuple[PressingModel, TrainingHistory]:
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        nca = PressingModel()
        nca.presses = presses
        trainer = BasicNCATrainer(
            nca, tmp_path / name, max_epochs=4, progress=False, pool=Pool(size=5)
        )
        data = DataLoader(Augmented(), 3, shuffle=True, num_workers=workers)
        return nca, trainer.train(data, save_every=100, resume=True)

    whole, _ = train("whole", -1)
    first, stopped = train("parts", presses)
    second, history = train("parts", -1, seed=7)

    assert stopped.interrupted and stopped.current_epoch == (presses - 1) // 3
    assert not history.interrupted
    assert first.seen + second.seen == whole.seen
    same(
        read_checkpoint(tmp_path / "whole" / "checkpoint.safetensors"),
        read_checkpoint(tmp_path / "parts" / "checkpoint.safetensors"),
    )


def test_ctrl_c_works_as_before_once_the_training_has_ended() -> None:
    BasicNCATrainer(make_tiny(), None, max_epochs=1, progress=False).train(loader())

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_head_with_an_optimiser_of_its_own_is_resumed(tmp_path: Path) -> None:
    def train(name: str, epochs: int) -> EchoModel:
        nca = make_tiny()
        nca.head = head = MeanHead()
        head.optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
        nca.loss = lambda pred, label: {  # type: ignore[method-assign]  # for this head
            "total": (pred.logits.mean() - label.mean()).square()
        }
        trainer = BasicNCATrainer(nca, tmp_path / name, max_epochs=epochs, progress=False)
        trainer.train(loader(), resume=True)
        return nca

    whole = train("whole", 4)
    train("parts", 2)

    assert equal(weights(whole), weights(train("parts", 4)))
