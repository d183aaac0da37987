"""Measure the pretrained models on the right half of the nuclei, which training never saw.

    python examples/segmentation_nuclei/evaluate.py
    python examples/segmentation_nuclei/evaluate.py --model runs/mine/best_model.safetensors

Prints Dice and IoU, and writes a picture and an animation of each model's prediction. A cascade is
set against the plain model with the same classes on the whole picture, 512x512 pixels of which the
left half was trained on: Dice, and its share of the plain model's time.
"""

import argparse
import statistics
import time
from itertools import product
from pathlib import Path

from figures import Segmentation, draw, measure, show
from nuclei import Pair, load_nuclei, whole_nuclei
from torch import Tensor

from ncalab.core import AbstractNCAModel, get_compute_device
from ncalab.tasks import CascadeNCA

HERE = Path(__file__).parent
PRETRAINED = [HERE / "pretrained" / name for name in ("nucleus", "border", "cascade")]

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--model", type=Path, nargs="+", default=PRETRAINED, help="weights or folders")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
parser.add_argument("--rounds", type=int, default=9, help="measurements of each model's time")
parser.add_argument("--seed", type=int, default=0, help="decides which cells fire")
parser.add_argument("--output", type=Path, default=Path("runs/evaluation"), help="folder")
arguments = parser.parse_args()
if arguments.rounds < 1:
    parser.error(f"--rounds must be at least 1, got {arguments.rounds}")


def seconds(nca: Segmentation, image: Tensor) -> float:
    """Time one prediction, until its probabilities are on the CPU."""
    start = time.perf_counter()
    nca.interpret(nca.predict(image[None], seed=arguments.seed)).cpu()
    return time.perf_counter() - start


def figures(nca: Segmentation, pair: Pair) -> str:
    """Return the metrics of one image and its labels, as text."""
    return show(measure(nca, pair, seed=arguments.seed))


models: list[tuple[str, Segmentation]] = []
for path in arguments.model:
    try:
        nca = AbstractNCAModel.from_pretrained(path, device=get_compute_device(arguments.device))
    except (FileNotFoundError, ValueError) as error:
        parser.error(f"--model: {error}")
    if nca.task != "segmentation":
        parser.error(f"--model must be a segmentation, got {nca.task} in {path}")
    assert isinstance(nca, Segmentation)
    models.append((path.name if path.is_dir() else path.parent.name, nca))

for name, nca in models:
    right = load_nuclei(nca.num_classes)[2]
    print(f"{name}: {nca.num_trainable_parameters()} parameters, {figures(nca, right)}")
    draw(nca, *right, arguments.output / name)
print(f"pictures and animations: {arguments.output}")

plain_models = [(name, nca) for name, nca in models if not isinstance(nca, CascadeNCA)]
cascades = [(name, nca) for name, nca in models if isinstance(nca, CascadeNCA)]
for (name, plain), (coarse, cascade) in product(plain_models, cascades):
    if plain.num_classes != cascade.num_classes:
        continue  # another question: neither is the better answer
    picture = whole_nuclei(plain.num_classes)
    # In turn, and neighbours divided: a machine whose speed drifts then distorts nothing.
    times = [
        (seconds(plain, picture[0]), seconds(cascade, picture[0])) for _ in range(arguments.rounds)
    ]
    ratio = statistics.median(of_cascade / of_plain for of_plain, of_cascade in times)
    print(f"whole picture, {name}: {figures(plain, picture)}")
    print(f"whole picture, {coarse}: {figures(cascade, picture)}, {ratio:.2f} of its time")
