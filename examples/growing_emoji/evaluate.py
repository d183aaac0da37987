"""Measure a growing emoji: how it grows, whether it lasts, and whether it heals.

    python examples/growing_emoji/evaluate.py
    python examples/growing_emoji/evaluate.py --model model.safetensors --image cat.png

Without options, it shows the pretrained lizard. Writes three animations (growth, 500 steps of
persistence, regrowth after a circle is cut out), a web page that runs the model, and prints
the mean squared errors.
"""

import argparse
from pathlib import Path

from figures import damaged, measure
from picture import load_emoji

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

print(f"mean squared errors from the seed; a circle is cut out at step {arguments.cut_at}")
values = measure(nca, target, cut_at=arguments.cut_at)
for name, value in values.items():
    ratio = f" ({value / values['mse_before_cut']:.2f} times that before)"
    print(f"  {name}={value:.6f}" + ratio * name.endswith("later"))

seed = nca.make_seed(*target.shape[1:])  # (1, C, W, H)
Animator(nca, seed, 96, interval=50, rollout_seed=0).save(arguments.output / "growth.gif")
Animator(nca, seed, 500, interval=50, every=5, rollout_seed=0).save(
    arguments.output / "persistence.gif"
)
hurt = damaged(nca, target, arguments.cut_at)[:1]  # (1, C, W, H)
Animator(nca, hurt, 100, interval=50, rollout_seed=1).save(arguments.output / "regrowth.gif")
export_html(nca, arguments.output / "living.html", size=target.shape[1:], title="A living picture")
print(f"animations, and a web page to play with, living.html: {arguments.output}")
