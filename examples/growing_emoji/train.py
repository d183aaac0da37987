"""Train a cellular automaton to grow an emoji from a single cell.

    python examples/growing_emoji/train.py
    python examples/growing_emoji/train.py --image cat.png --epochs 800 --output runs/cat

Writes the run folder (weights and history), an animation and a web page in which the model lives.
Prints as its last line the mean squared error of 8 images that were grown from the seed in 64
steps.
"""

import argparse
from pathlib import Path

from figures import EVAL_STEPS, mse_from_seed
from picture import load_emoji
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from ncalab.core import fix_random_seed, get_compute_device
from ncalab.core.saving import check_writable_folder, free_folder
from ncalab.tasks import GrowingNCADataset, GrowingNCAModel
from ncalab.train import BasicNCATrainer, Pool
from ncalab.viz import Animator, export_html

HERE = Path(__file__).parent

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--image", type=Path, default=HERE / "lizard.png", help="picture to grow")
parser.add_argument("--size", type=int, default=40, help="its longer side in cells")
parser.add_argument("--padding", type=int, default=4, help="empty cells around it")
parser.add_argument("--epochs", type=int, default=800, help="number of optimiser steps")
parser.add_argument("--batch-size", type=int, default=4)
parser.add_argument("--hidden-channels", type=int, default=12)
parser.add_argument("--lr", type=float, default=8e-3, help="learning rate; a tenth at the end")
parser.add_argument("--max-steps", type=int, default=64, help="a rollout takes 3/4 to all of them")
parser.add_argument("--n-seed", type=int, default=2, help="seeds in each batch; the rest: the pool")
parser.add_argument("--damage", type=int, default=0, help="samples of each batch to cut circles in")
parser.add_argument("--weights", type=Path, help="trained weights to start from")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
parser.add_argument("--seed", type=int, default=1337)
parser.add_argument("--output", type=Path, help="run folder; default: runs/<image name>")
parser.add_argument("--short", action="store_true", help="two steps on a tiny grid: does it run?")
arguments = parser.parse_args()
if arguments.short:
    arguments.epochs, arguments.size = 2, 12

target = load_emoji(arguments.image, arguments.size, arguments.padding)  # (W, H, 4)
output = arguments.output or free_folder(Path("runs") / arguments.image.stem)
try:
    check_writable_folder(output, name="--output")
except ValueError as error:
    parser.error(str(error))
fix_random_seed(arguments.seed)

nca = GrowingNCAModel(
    get_compute_device(arguments.device),
    num_hidden_channels=arguments.hidden_channels,
    use_alive_mask=True,
    training_timesteps=(arguments.max_steps * 3 // 4, arguments.max_steps + 1),
    inference_timesteps=EVAL_STEPS,
)
if arguments.weights is not None:
    nca.load(nca, arguments.weights)
dataset = GrowingNCADataset(target, nca.num_channels, arguments.batch_size)
trainer = BasicNCATrainer(
    nca,
    output,
    lr=arguments.lr,
    lr_gamma=0.1 ** (1 / arguments.epochs),
    adam_betas=(0.9, 0.999),
    batch_repeat=1,
    max_epochs=arguments.epochs,
    pool=Pool(
        arguments.n_seed,
        damage=arguments.damage > 0,
        p_damage=1.0,
        num_damaged=arguments.damage,
    ),
    gradient_normalization=True,
)
with SummaryWriter(str(output / "tensorboard")) as writer:
    history = trainer.train(
        DataLoader(dataset, arguments.batch_size), save_every=100, summary_writer=writer
    )

nca.save_pretrained(output / "pretrained")
animation = output / f"{arguments.image.stem}.gif"
Animator(nca, nca.make_seed(*target.shape[:2]), steps=96, interval=50).save(animation)
page = animation.with_suffix(".html")
export_html(nca, page, size=target.shape[:2], title=f"Growing {arguments.image.stem}")
print(f"model, history and TensorBoard log: {output}")
print(f"animation: {animation}")
print(f"web page: {page}")
print(f"mse_from_seed={mse_from_seed(nca, dataset.image):.6f}")
