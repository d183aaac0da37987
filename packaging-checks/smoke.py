"""Use what is installed as a newcomer would: train, predict, save, reload, draw, ask `ncalab`."""

import subprocess
import sys
import tempfile
from importlib.metadata import entry_points, version
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import ncalab
from ncalab import (
    Animator,
    BasicNCATrainer,
    GrowingNCADataset,
    GrowingNCAModel,
    Pool,
    VisualGrowing,
)


def train(folder: Path) -> GrowingNCAModel:
    """Train a growing model for two epochs on a picture that is drawn here."""
    picture = torch.zeros(12, 12, 4)
    picture[3:9, 4:8] = 1
    model = GrowingNCAModel(torch.device("cpu"), training_timesteps=6, inference_timesteps=6)
    data = GrowingNCADataset(picture.numpy(), model.num_channels, batch_size=4)
    trainer = BasicNCATrainer(model, folder / "run", max_epochs=2, pool=Pool(), progress=False)
    history = trainer.train(DataLoader(data, batch_size=4))
    assert len(history.loss) == 2
    return model


def draw(model: GrowingNCAModel, folder: Path) -> None:
    """Draw an animation and a figure."""
    Animator(model, model.make_seed(12, 12), steps=4).save(folder / "growth.gif")
    prediction = model.predict(model.make_seed(12, 12), seed=1)
    image = prediction.image_channels
    figure = VisualGrowing().show(model, image.numpy(), prediction, image.numpy())
    figure.savefig(folder / "figure.png")
    assert (folder / "growth.gif").stat().st_size and (folder / "figure.png").stat().st_size


def reload(model: GrowingNCAModel, folder: Path) -> None:
    """Check that a saved model predicts the same to the bit."""
    model.save_pretrained(folder / "saved")
    twin = GrowingNCAModel.from_pretrained(folder / "saved")
    seed = model.make_seed(12, 12)
    want = model.predict(seed, seed=1).output_image
    assert torch.equal(twin.predict(seed, seed=1).output_image, want)


def ask_command(folder: Path) -> None:
    """Run the `ncalab` command, if this version has one."""
    if not entry_points(group="console_scripts", name="ncalab"):
        return
    command = str(Path(sys.executable).with_name("ncalab"))
    weights = str(folder / "run" / "last_model.safetensors")
    for arguments, expected in ((["--version"], version("ncalab")), (["info", weights], "Growing")):
        done = subprocess.run([command, *arguments], capture_output=True, text=True, check=True)
        assert expected in done.stdout, done.stdout


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        model = train(Path(name))
        reload(model, Path(name))
        draw(model, Path(name))
        ask_command(Path(name))
    print(f"ncalab {ncalab.__version__} works on Python {sys.version.partition(' ')[0]}")
