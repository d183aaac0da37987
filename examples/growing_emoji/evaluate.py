"""Measure a growing emoji: how it grows, whether it lasts, and whether it heals.

    python examples/growing_emoji/evaluate.py
    python examples/growing_emoji/evaluate.py --model model.safetensors --image cat.png

Without options, it shows the pretrained lizard. Writes three animations (growth, 500 steps of
persistence, regrowth after a circle is cut out), a web page in which the model lives, and prints
the mean squared errors.
"""

import argparse
from pathlib import Path

import torch
from picture import EVAL_ROLLOUTS, load_emoji, mse, mse_from_seed
from torch import Tensor

from ncalab.core import get_compute_device
from ncalab.tasks import GrowingNCADataset, GrowingNCAModel
from ncalab.viz import Animator, export_html

HERE = Path(__file__).parent

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--model", type=Path, default=HERE / "pretrained", help="weights or folder")
parser.add_argument("--image", type=Path, default=HERE / "lizard.png", help="what it should grow")
parser.add_argument("--size", type=int, default=40, help="its longer side in cells, as trained")
parser.add_argument("--padding", type=int, default=4, help="empty cells around it, as trained")
parser.add_argument("--cut-at", type=int, default=96, help="step at which the circle is cut out")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
parser.add_argument("--output", type=Path, default=Path("runs/evaluation"), help="folder")
arguments = parser.parse_args()

nca = GrowingNCAModel.from_pretrained(arguments.model, device=get_compute_device(arguments.device))
picture = load_emoji(arguments.image, arguments.size, arguments.padding)
target = GrowingNCADataset(picture, nca.num_channels).image  # (4, W, H), premultiplied
seed = nca.make_seed(*target.shape[1:])  # (1, C, W, H)


def cut_circle(states: Tensor) -> Tensor:
    """Clear a circle in the middle whose diameter is a quarter of the grid's width."""
    width, height = states.shape[2:]
    along_w = torch.arange(width)[:, None] - (width - 1) / 2
    along_h = torch.arange(height)[None, :] - (height - 1) / 2
    hole = torch.hypot(along_w, along_h) <= width / 8
    return states.masked_fill(hole.to(states.device), 0)


print("growth from the seed")
for steps in (64, 80, 96):
    print(f"  mse_step_{steps}={mse_from_seed(nca, target, steps):.6f}")
Animator(nca, seed, 96, interval=50, rollout_seed=0).save(arguments.output / "growth.gif")

print("persistence")
print(f"  mse_step_500={mse_from_seed(nca, target, 500):.6f}")
Animator(nca, seed, 500, interval=50, every=5, rollout_seed=0).save(
    arguments.output / "persistence.gif"
)

print(f"regrowth after a circle is cut out at step {arguments.cut_at}")
grown = nca.predict(seed.repeat(EVAL_ROLLOUTS, 1, 1, 1), arguments.cut_at, seed=0).output_image
damaged = cut_circle(grown)  # (8, C, W, H)
before = mse(grown, target)
print(f"  mse_before_cut={before:.6f}")
print(f"  mse_after_cut={mse(damaged, target):.6f}")
for steps in (50, 100):
    healed = mse(nca.predict(damaged, steps, seed=1).output_image, target)
    print(f"  mse_{steps}_steps_later={healed:.6f} ({healed / before:.2f} times that before)")
Animator(nca, damaged[:1], 100, interval=50, rollout_seed=1).save(arguments.output / "regrowth.gif")
export_html(nca, arguments.output / "living.html", size=target.shape[1:], title="A living picture")
print(f"animations, and a web page to play with, living.html: {arguments.output}")
