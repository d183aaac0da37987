"""All parts at work, each found by the others only through what is installed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from ncalab import (
    Animator,
    AutoStepper,
    BasicNCATrainer,
    EarlyStopping,
    GrowingNCADataset,
    GrowingNCAModel,
    Pool,
    fix_random_seed,
    get_compute_device,
)


def heart() -> np.ndarray:
    """Return a red disc on nothing, ``(12, 12, 4)``, 8 bits."""
    image = np.zeros((12, 12, 4), np.uint8)
    w, h = np.mgrid[:12, :12] - 5.5
    image[np.hypot(w, h) < 4] = (255, 0, 0, 255)
    return image


def train(
    path: Path | None, *, epochs: int = 3, writer: SummaryWriter | None = None
) -> GrowingNCAModel:
    fix_random_seed(1)
    nca = GrowingNCAModel(
        get_compute_device("cpu"),
        num_hidden_channels=4,
        hidden_size=16,
        use_alive_mask=True,
        training_timesteps=(8, 12),
    )
    data = DataLoader(GrowingNCADataset(heart(), nca.num_channels, batch_size=4), batch_size=4)
    trainer = BasicNCATrainer(
        nca, path, max_epochs=epochs, pool=Pool(damage=True), lr=1e-2, progress=False
    )
    trainer.train(
        data, data, data, summary_writer=writer, save_every=2, earlystopping=EarlyStopping(50)
    )
    return nca


def test_two_trainings_of_20_iterations_give_the_same_weights_to_the_bit() -> None:
    first, second = (train(None, epochs=20).state_dict() for _ in range(2))

    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_model_is_trained_watched_saved_reloaded_and_animated(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "log")) as writer:
        nca = train(tmp_path / "run", writer=writer)

    log = EventAccumulator(str(tmp_path / "log")).Reload()
    assert {"Loss/train_total", "LR", "Metric/val_mse"} <= set(log.Tags()["scalars"])
    # The figure is drawn by the visual that ncalab-viz offers: nobody imported it here.
    assert log.Tags()["images"] == ["Training batch"]

    twin = GrowingNCAModel.from_pretrained(tmp_path / "run" / "last_model.safetensors")
    seed = nca.make_seed(12, 12)
    want = nca.predict(seed, 20, seed=3).output_image
    assert torch.equal(twin.predict(seed, 20, seed=3).output_image, want)
    assert torch.equal(twin.record(seed, 20, seed=3)[-1].output_image, want)
    assert 10 <= AutoStepper(max_steps=30).run(twin, seed).steps <= 30

    Animator(twin, seed, 5, hidden=True).save(tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert len(list(ImageSequence.Iterator(gif))) == 6


@pytest.mark.parametrize("part", ["core", "tasks"])
def test_the_lower_parts_load_neither_matplotlib_nor_tensorboard(part: str) -> None:
    script = (
        f"import sys, ncalab.{part};"
        "loaded = {'matplotlib', 'tensorboard'} & set(sys.modules);"
        "assert not loaded, loaded"
    )

    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_wheels_are_installed_and_not_the_checkout() -> None:
    import ncalab.core

    assert "site-packages" in str(ncalab.core.__file__)
