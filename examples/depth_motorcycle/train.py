"""Train a cellular automaton to estimate depth from one image.

    python examples/depth_motorcycle/train.py
    python examples/depth_motorcycle/train.py --data FOLDER --scale 0.001 --output runs/mine

Without --data, it learns from the left 60 % of one scene, the Middlebury motorcycle, and is tested
on the right 40 %: that shows the workflow, and is not a benchmark. Writes the run folder, pictures
and an animation, and prints the metrics beside those of a constant depth.
"""

import argparse
from pathlib import Path

from figures import FACTOR, comparison, draw
from scene import Crops, folder_parts, known_depths, loader, motorcycle_parts
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from torch.utils.data import DataLoader

from ncalab.core import fix_random_seed, get_compute_device
from ncalab.core.saving import check_writable_folder, free_folder
from ncalab.tasks import DepthNCAModel
from ncalab.train import BasicNCATrainer

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", type=Path, help="folder of your own with images/ and depths/")
parser.add_argument("--scale", type=float, default=1.0, help="depth of one count in integer files")
parser.add_argument("--factor", type=int, default=FACTOR, help="images are shrunk by it")
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--crops", type=int, default=100, help="random crops in an epoch")
parser.add_argument("--batch-size", type=int, default=4)
parser.add_argument("--crop-size", type=int, nargs=2, default=(48, 34), metavar=("W", "H"))
parser.add_argument("--hidden-channels", type=int, default=10)
parser.add_argument("--steps", type=int, default=16, help="of a prediction")
parser.add_argument("--lr", type=float, default=6e-3, help="largest learning rate")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
parser.add_argument("--seed", type=int, default=1337)
parser.add_argument("--output", type=Path, help="run folder; default: runs/depth_motorcycle")
parser.add_argument("--short", action="store_true", help="a few steps on tiny images: does it run?")
arguments = parser.parse_args()
if arguments.short:
    arguments.factor, arguments.epochs, arguments.crops, arguments.steps = 12, 2, 8, 6

for name in ("factor", "epochs", "crops", "batch_size", "steps"):
    if (value := getattr(arguments, name)) < 1:
        parser.error(f"--{name.replace('_', '-')} must be at least 1, got {value}")

output = arguments.output or free_folder(Path("runs/depth_motorcycle"))
try:
    if arguments.data is None:
        train, val, test = motorcycle_parts(arguments.factor)
    else:
        train, val, test = folder_parts(arguments.data, arguments.scale, arguments.factor)
    check_writable_folder(output, name="--output")
    crops = Crops(train, arguments.crops, tuple(arguments.crop_size))
except (ValueError, FileNotFoundError) as error:
    parser.error(str(error))
fix_random_seed(arguments.seed)

largest = float(known_depths(train).max())
nca = DepthNCAModel(
    get_compute_device(arguments.device),
    num_image_channels=4,  # red, green, blue, and how far down
    num_hidden_channels=arguments.hidden_channels,
    hidden_size=48,
    kernel_size=5,  # sees twice as far at each step
    filter_padding="replicate",
    lambda_gradient=1.0,
    lambda_ssim=1.0,
    depth_scale=largest,
    data_range=largest,
    training_timesteps=(arguments.steps * 9 // 10, arguments.steps * 11 // 10 + 1),
    inference_timesteps=arguments.steps,
)
loader_train = DataLoader(crops, arguments.batch_size, drop_last=True)


def warm_up(optimizer: Optimizer) -> LRScheduler:
    """Raise the learning rate at first, and lower it for the rest of the training."""
    # One more than it takes, and at least 6, of which a fifth is more than the first one.
    steps = max(6, arguments.epochs * len(loader_train) + 1)
    return OneCycleLR(optimizer, arguments.lr, total_steps=steps, pct_start=0.2)


trainer = BasicNCATrainer(
    nca,
    output,
    optimizer_method="adamw",
    lr_scheduler=warm_up,
    scheduler_interval="batch",
    gradient_clipping=True,
    batch_repeat=1,
    max_epochs=arguments.epochs,
)
history = trainer.train(loader_train, loader(val), loader(test))
best = DepthNCAModel.from_pretrained(output / "best_model.safetensors", device=nca.device)

draw(best, test, output)
best.save_pretrained(output / "pretrained")
print(f"model, history and pictures: {output} (best epoch: {history.best_epoch})")
print(comparison(best, train, test))
