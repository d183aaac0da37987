"""Train a cellular automaton whose head classifies images.

    python examples/class_fashion_mnist/train.py
    python examples/class_fashion_mnist/train.py --medmnist bloodmnist.npz --output runs/blood

Cells spread what they see for a few steps; a head pools their hidden channels and names the
image. Writes the run folder (weights and history), a picture and an animation, and prints the
figures on test images, measured with the weights that were best on the validation images.
"""

import argparse
import time
from pathlib import Path

import torch
from figures import draw, measure
from images import at_most, load_images
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader

from ncalab.core import fix_random_seed, get_compute_device, unwrap
from ncalab.core.saving import check_writable_folder, free_folder
from ncalab.tasks import ClassificationNCAModel
from ncalab.train import BasicNCATrainer

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", type=Path, help="folder with IDX files, such as Fashion-MNIST's")
parser.add_argument("--medmnist", type=Path, help="file of MedMNIST (.npz)")
parser.add_argument("--num-train", type=int, default=10_000, help="images, a tenth to validate")
parser.add_argument("--epochs", type=int, default=6)
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--hidden-channels", type=int, default=16)
parser.add_argument("--steps", type=int, default=5, help="of every rollout")
parser.add_argument("--lr", type=float, default=3e-3, help="learning rate; falls to zero")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
parser.add_argument("--seed", type=int, default=1337)
parser.add_argument("--output", type=Path, help="run folder; default: runs/class_fashion_mnist")
parser.add_argument("--short", action="store_true", help="a few images, one epoch: does it run?")
arguments = parser.parse_args()
if arguments.short:
    arguments.epochs, arguments.num_train = 1, 200
elif arguments.num_train < 20:
    parser.error(f"--num-train must be at least 20, got {arguments.num_train}")

images = load_images(arguments.data, arguments.medmnist, arguments.num_train)
test = at_most(100, images.test) if arguments.short else images.test
num_channels, width, height = images.train[0][0].shape
print(f"{images.name}: {len(images.train)} to train, {len(images.val)} to validate", flush=True)
output = arguments.output or free_folder(Path("runs") / "class_fashion_mnist")
try:
    check_writable_folder(output, name="--output")
except ValueError as error:
    parser.error(str(error))
fix_random_seed(arguments.seed)

nca = ClassificationNCAModel(
    get_compute_device(arguments.device),
    num_channels,
    arguments.hidden_channels,
    num_classes=len(images.class_names),
    hidden_size=64,
    class_names=images.class_names,
    avg_pool_size=7,
    training_timesteps=arguments.steps,
    inference_timesteps=arguments.steps,
)
# With a rule of zeros, where rules start otherwise, the head would see nothing at first.
torch.nn.init.normal_(nca.rule.get_parameter("network.2.weight"), std=0.1)
batches = DataLoader(images.train, arguments.batch_size, shuffle=True)
trainer = BasicNCATrainer(
    nca,
    output,
    lr=arguments.lr,
    lr_scheduler=lambda adam: CosineAnnealingLR(adam, arguments.epochs * len(batches)),
    scheduler_interval="batch",
    batch_repeat=1,
    max_epochs=arguments.epochs,
    gradient_clipping=True,
)
started, cpu = time.perf_counter(), time.process_time()
history = trainer.train(batches, DataLoader(images.val, 100))
minutes, cpu_minutes = (time.perf_counter() - started) / 60, (time.process_time() - cpu) / 60
print(f"training: {minutes:.1f} minutes, {cpu_minutes:.1f} of them on the CPU")
print(f"parameters={nca.num_trainable_parameters()} best_epoch={history.best_epoch}")

nca.load_state_dict(unwrap(history.best_model).state_dict())
print(f"{len(test)} test images")
for name, value in measure(nca, test).items():
    print(f"  {name}={value:.4f}")
draw(nca, test, output)
nca.save_pretrained(output / "pretrained")
print(f"model, history, predictions.png and hidden.gif: {output}")
