"""Train a cellular automaton to find the nuclei in the right half of a picture from its left half.

    python examples/segmentation_nuclei/train.py
    python examples/segmentation_nuclei/train.py --classes 3 --output runs/borders
    python examples/segmentation_nuclei/train.py --cascade --output runs/cascade
    python examples/segmentation_nuclei/train.py --data Kvasir-SEG --size 128

Writes the run folder (weights and history), a picture and an animation of the prediction, and
prints, as its last line, the metrics of the part that training never saw.
"""

import argparse
from pathlib import Path
from typing import Any

from figures import Segmentation, draw, show
from folder import folder_splits
from nuclei import Crops, Whole, load_nuclei
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

from ncalab.core import fix_random_seed, get_compute_device
from ncalab.core.saving import check_writable_folder, free_folder
from ncalab.tasks import CascadeNCA, SegmentationNCAModel
from ncalab.train import BasicNCATrainer

SCALES = [4, 2, 1]  # of the cascade: sizes of a cell in pixels

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--classes", type=int, default=1, help="1: nucleus; 3: with borders")
parser.add_argument("--data", type=Path, help="a folder of images/ and masks/ instead")
parser.add_argument("--size", type=int, default=128, help="side that those are resized to")
parser.add_argument("--crop", type=int, help="side of the crops; default: 64, for a cascade 96")
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--batches", type=int, default=40, help="batches of crops in an epoch")
parser.add_argument("--batch-size", type=int, default=2)
parser.add_argument("--hidden-channels", type=int, default=12)
parser.add_argument("--hidden-size", type=int, default=48, help="neurons of the rule")
parser.add_argument("--steps", type=int, default=16, help="of a prediction; trained around it")
parser.add_argument("--cascade", action="store_true", help="predict from coarse to fine")
parser.add_argument(
    "--cascade-steps", type=int, nargs=3, default=[8, 6, 3], help="at scales 4, 2, 1"
)
parser.add_argument("--lr", type=float, default=6e-3, help="highest learning rate of the cycle")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
parser.add_argument("--seed", type=int, default=1337)
parser.add_argument("--output", type=Path, help="run folder; default: runs/segmentation_nuclei")
parser.add_argument("--short", action="store_true", help="a few tiny batches: does it run?")
arguments = parser.parse_args()
if arguments.data is None and arguments.classes not in (1, 3):
    parser.error(f"--classes must be 1 or 3 for the nuclei, got {arguments.classes}")
arguments.crop = arguments.crop or (96 if arguments.cascade else 64)
if min(arguments.cascade_steps) < 1:
    parser.error(f"--cascade-steps must be at least 1 each, got {arguments.cascade_steps}")
if arguments.short:
    arguments.epochs, arguments.batches, arguments.crop, arguments.size = 2, 3, 32, 32
output = arguments.output or free_folder(Path("runs/segmentation_nuclei"))
try:
    check_writable_folder(output, name="--output")
except ValueError as error:
    parser.error(str(error))
fix_random_seed(arguments.seed)

train_set: Dataset[Any]
val_set: Dataset[Any]
test_set: Dataset[Any]
if arguments.data is None:
    upper_left, lower_left, right = load_nuclei(arguments.classes)
    train_set = Crops(upper_left, arguments.crop, arguments.batches * arguments.batch_size)
    val_set, test_set = Whole(lower_left), Whole(right)
else:
    try:
        train_set, val_set, test_set = folder_splits(
            arguments.data, arguments.classes, arguments.size
        )
    except (FileNotFoundError, ValueError) as error:
        parser.error(f"--data: {error}")
train = DataLoader(train_set, arguments.batch_size, shuffle=True)
val, test = DataLoader(val_set), DataLoader(test_set)

nca: Segmentation = SegmentationNCAModel(
    get_compute_device(arguments.device),
    num_image_channels=val_set[0][0].shape[0],
    num_hidden_channels=arguments.hidden_channels,
    num_classes=arguments.classes,
    fire_rate=0.5,
    hidden_size=arguments.hidden_size,
    filter_padding="reflect",
    training_timesteps=(arguments.steps * 3 // 4, arguments.steps * 5 // 4),
    inference_timesteps=arguments.steps,
)
if arguments.cascade:
    # Each scale has weights of its own: what a step does at one, it need not do at another.
    nca = CascadeNCA(nca, SCALES, arguments.cascade_steps, single_model=False)


def one_cycle(optimizer: Optimizer) -> OneCycleLR:
    """Warm up for a tenth of the batches, then cool down along a cosine."""
    steps = arguments.epochs * len(train)
    return OneCycleLR(optimizer, arguments.lr, total_steps=steps, pct_start=0.1)


trainer = BasicNCATrainer(
    nca,
    output,
    gradient_clipping=True,
    lr=arguments.lr,
    adam_betas=(0.9, 0.99),
    batch_repeat=1,
    max_epochs=arguments.epochs,
    optimizer_method="adamw",
    lr_scheduler=one_cycle,
    scheduler_interval="batch",
)
with SummaryWriter(str(output / "tensorboard")) as writer:
    history = trainer.train(train, val, save_every=5, summary_writer=writer)

best = history.best_model
assert isinstance(best, Segmentation)
image, labels = test_set[0]
draw(best, image, labels, output / "prediction")
best.save_pretrained(output / "pretrained")
fix_random_seed(arguments.seed)
metrics, _ = best.validate(test, keep_predictions=False)
print(f"model, history, picture and animation: {output}")
print(f"parameters: {best.num_trainable_parameters()}, best epoch: {history.best_epoch}")
print(f"validation: dice={history.best_accuracy:.4f}")
print(f"test: {show(metrics)}")
