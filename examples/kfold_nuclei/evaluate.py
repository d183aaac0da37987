"""Measure the models of a cross-validation, each on the crops that its weights have not seen.

    python examples/kfold_nuclei/evaluate.py
    python examples/kfold_nuclei/evaluate.py --models runs/five/pretrained --folds 5

Prints Dice and IoU of every fold, and their mean and standard deviation.
"""

import argparse
from pathlib import Path
from statistics import mean, stdev

from crops import load_crops
from figures import FOLDS, measure

from ncalab.core import get_compute_device
from ncalab.tasks import SegmentationNCAModel

HERE = Path(__file__).parent

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--models", type=Path, default=HERE / "pretrained", help="has fold_00/ ...")
parser.add_argument("--folds", type=int, default=FOLDS, help="as in training")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
arguments = parser.parse_args()
if arguments.folds < 2:
    parser.error(f"--folds must be at least 2, got {arguments.folds}")

crops = load_crops()
values = []
for number, fold in enumerate(crops.split(arguments.folds)):
    path = arguments.models / f"fold_{number:02d}"
    try:
        nca = SegmentationNCAModel.from_pretrained(
            path, device=get_compute_device(arguments.device)
        )
    except (FileNotFoundError, ValueError) as error:
        parser.error(f"--models: {error}")
    values.append(measure(nca, crops, fold.val))
    print(f"{path.name}: " + " ".join(f"{name}={value:.4f}" for name, value in values[-1].items()))
for name in values[0]:
    column = [one[name] for one in values]
    print(f"{name}={mean(column):.4f} std={stdev(column):.4f}")
