"""Measure self-classifying digits: right away, and after a long time.

    python examples/selfclass_mnist/evaluate.py
    python examples/selfclass_mnist/evaluate.py --model runs/mnist/pretrained --data MNIST/raw

Without options, it measures the pretrained cells on the 1,000 digits that they were not trained
on, as trained and after up to ten times as many steps. Writes two pictures and an animation.
"""

import argparse
from pathlib import Path

from digits import load_digits
from figures import draw, measure

from ncalab.core import get_compute_device
from ncalab.core.saving import check_writable_folder
from ncalab.tasks import CascadeNCA

HERE = Path(__file__).parent

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--model", type=Path, default=HERE / "pretrained", help="weights or folder")
parser.add_argument("--data", type=Path, help="folder with MNIST's IDX files; else 1,000 digits")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
parser.add_argument("--output", type=Path, default=Path("runs/evaluation"), help="folder")
arguments = parser.parse_args()
try:
    check_writable_folder(arguments.output, name="--output")
except ValueError as error:
    parser.error(str(error))

nca = CascadeNCA.from_pretrained(arguments.model, device=get_compute_device(arguments.device))
_, test = load_digits(arguments.data)
print(f"{nca.num_trainable_parameters()} parameters, {len(test)} test digits")
for name, value in measure(nca, test, times=(1, 2, 4, 10)).items():
    print(f"{name}={value:.4f}")
draw(nca, test, arguments.output)
print(f"rollout.png, digits.png and digits.gif: {arguments.output}")
