"""Train cells to agree on which digit they are a part of.

    python examples/selfclass_mnist/train.py
    python examples/selfclass_mnist/train.py --data MNIST/raw --epochs 2 --output runs/mnist

Every pixel of a digit is a cell that sees its neighbours only, and has to name the whole. Writes
the run folder (weights and history), a picture and an animation, and prints the figures on test
digits that it has never seen.
"""

import argparse
import time
from pathlib import Path

import torch
from digits import (
    Continued,
    HalfKept,
    animate,
    examples_of_each,
    free_folder,
    load_digits,
    measure,
    show,
)
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader

from ncalab.core import fix_random_seed, get_compute_device, unwrap
from ncalab.core.saving import check_writable_folder
from ncalab.tasks import ClassificationNCAModel
from ncalab.train import BasicNCATrainer

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", type=Path, help="folder with MNIST's IDX files; else 5,000 digits")
parser.add_argument("--epochs", type=int, default=20, help="each shows every digit twice")
parser.add_argument("--batch-size", type=int, default=16, help="even")
parser.add_argument("--hidden-channels", type=int, default=12)
parser.add_argument("--lr", type=float, default=1e-2, help="learning rate; falls to zero")
parser.add_argument("--max-steps", type=int, default=6, help="a rollout takes 2/3 to all of them")
parser.add_argument("--weights", type=Path, help="trained weights to start from")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
parser.add_argument("--seed", type=int, default=1337)
parser.add_argument("--output", type=Path, help="run folder; default: runs/selfclass_mnist")
parser.add_argument("--short", action="store_true", help="a few digits, one epoch: does it run?")
arguments = parser.parse_args()
if arguments.batch_size < 4 or arguments.batch_size % 2:
    parser.error(f"--batch-size must be even and at least 4, got {arguments.batch_size}")

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
    hidden_size=64,
    kernel_size=9,  # a word travels four cells a step
    lambda_hidden=1e-2,
    training_timesteps=(arguments.max_steps * 2 // 3, arguments.max_steps + 1),
    # Validation takes four times as many, so that the best weights are those that last.
    inference_timesteps=4 * arguments.max_steps,
)
# From zero, where rules start otherwise, it takes a hundred batches to learn anything at all.
torch.nn.init.normal_(nca.rule.get_parameter("network.2.weight"), std=0.2)
if arguments.weights is not None:
    nca.load(nca, arguments.weights)
batches = HalfKept(len(train), arguments.batch_size)
trainer = BasicNCATrainer(
    nca,
    output,
    lr=arguments.lr,
    lr_scheduler=lambda adam: CosineAnnealingLR(adam, arguments.epochs * len(batches)),
    scheduler_interval="batch",
    adam_betas=(0.9, 0.99),
    batch_repeat=1,
    max_epochs=arguments.epochs,
    pool=Continued(),
    gradient_normalization=True,
)
started, cpu = time.perf_counter(), time.process_time()
history = trainer.train(DataLoader(train, batch_sampler=batches), DataLoader(val, 100))
minutes, cpu_minutes = (time.perf_counter() - started) / 60, (time.process_time() - cpu) / 60
print(f"training: {minutes:.1f} minutes, {cpu_minutes:.1f} of them on the CPU")
print(f"parameters={nca.num_trainable_parameters()} best_epoch={history.best_epoch}")

nca.load_state_dict(unwrap(history.best_model).state_dict())
nca.inference_timesteps = arguments.max_steps
for steps in (arguments.max_steps, 4 * arguments.max_steps):
    print(f"{len(test)} test digits after {steps} steps")
    for name, value in measure(nca, test, steps).items():
        print(f"  {name}={value:.4f}")

examples = examples_of_each(test)
show(nca, examples, 4 * arguments.max_steps, output / "digits.png")
animate(nca, examples, 4 * arguments.max_steps, output / "digits.gif")
nca.save_pretrained(output / "pretrained")
print(f"model, history, digits.png and digits.gif: {output}")
