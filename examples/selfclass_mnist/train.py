"""Train cells to agree on which digit they are a part of.

    python examples/selfclass_mnist/train.py
    python examples/selfclass_mnist/train.py --data MNIST/raw --epochs 4 --output runs/mnist

Every pixel of a digit is a cell that sees its neighbours only, and has to name the whole. They do
so at three scales: first every 4x4 pixels are one cell, then every 2x2, at last each for itself.
Writes the run folder (weights and history), two pictures and an animation, and prints the figures
on test digits that it has never seen.
"""

import argparse
import math
import time
from pathlib import Path

import torch
from digits import load_digits
from figures import draw, measure
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader

from ncalab.core import fix_random_seed, get_compute_device
from ncalab.core.saving import check_writable_folder, free_folder
from ncalab.tasks import CascadeNCA, ClassificationNCAModel, RandomAffine
from ncalab.train import BasicNCATrainer

SCALES, STEPS = [4, 2, 1], [12, 6, 2]
TRAINED = sum(STEPS)

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", type=Path, help="folder with MNIST's IDX files; else 5,000 digits")
parser.add_argument("--epochs", type=int, default=40, help="each shows every digit once")
parser.add_argument("--batch-size", type=int, default=48)
parser.add_argument("--hidden-channels", type=int, default=12)
parser.add_argument("--hidden-size", type=int, default=80, help="neurons of each scale's rule")
parser.add_argument("--lr", type=float, default=5e-3, help="learning rate; falls to zero")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
parser.add_argument("--seed", type=int, default=1337)
parser.add_argument("--output", type=Path, help="run folder; default: runs/selfclass_mnist")
parser.add_argument("--short", action="store_true", help="a few digits, one epoch: does it run?")
arguments = parser.parse_args()

train, test = load_digits(arguments.data)
if arguments.short:
    arguments.epochs = 2
    train, test = train.split_off(64, seed=0)[1], test.split_off(20, seed=0)[1]
train, val = train.split_off(len(train) // 10, seed=1)
output = arguments.output or free_folder(Path("runs") / "selfclass_mnist")
try:
    check_writable_folder(output, name="--output")
except ValueError as error:
    parser.error(str(error))
fix_random_seed(arguments.seed)

nca = ClassificationNCAModel(
    get_compute_device(arguments.device),
    num_image_channels=1,
    num_hidden_channels=arguments.hidden_channels,
    num_classes=10,
    pixel_wise_loss=True,
    hidden_size=arguments.hidden_size,
)
# From zero, where rules start otherwise, it takes a hundred batches to learn anything at all.
torch.nn.init.normal_(nca.rule.get_parameter("network.2.weight"), std=0.05)
cascade = CascadeNCA(
    nca,
    SCALES,
    STEPS,
    single_model=False,
    training_timesteps=(TRAINED * 4 // 5, TRAINED * 8 // 5 + 1),
    # Validation takes twice as many, to see whether votes last.
    inference_timesteps=2 * TRAINED,
)
batches = math.ceil(len(train) / arguments.batch_size)
trainer = BasicNCATrainer(
    cascade,
    output,
    optimizer_method="adamw",
    lr=arguments.lr,
    lr_scheduler=lambda adam: CosineAnnealingLR(adam, arguments.epochs * batches),
    scheduler_interval="batch",
    warmup_steps=100,
    adam_betas=(0.9, 0.98),
    batch_repeat=1,
    max_epochs=arguments.epochs,
    gradient_normalization=True,
    ema_decay=0.995,
)
# By up to 0.2 radians, an eighth in size, 2.5 pixels; digits lie before black.
distorted = RandomAffine(
    train, degrees=math.degrees(0.2), scale=0.125, shear=0.15, shift=2.5 / 28, padding_mode="zeros"
)
loader = DataLoader(distorted, arguments.batch_size, shuffle=True)
started, cpu = time.perf_counter(), time.process_time()
history = trainer.train(loader, DataLoader(val, 100))
minutes, cpu_minutes = (time.perf_counter() - started) / 60, (time.process_time() - cpu) / 60
print(f"training: {minutes:.1f} minutes, {cpu_minutes:.1f} of them on the CPU")
print(f"parameters={cascade.num_trainable_parameters()} best_epoch={history.best_epoch}")

# Not the best epoch: 400 digits tell epochs apart to one percent only, and the learning rate has
# fallen to zero.
cascade = CascadeNCA.from_pretrained(output / "average_model.safetensors", device=nca.device)
cascade.inference_timesteps = TRAINED
print(f"{len(test)} test digits")
for name, value in measure(cascade, test, times=(1, 4)).items():
    print(f"  {name}={value:.4f}")
draw(cascade, test, output)
cascade.save_pretrained(output / "pretrained")
print(f"model, history, rollout.png, digits.png and digits.gif: {output}")
