"""Measure the pretrained models on the right half of the nuclei, which training never saw.

    python examples/segmentation_nuclei/evaluate.py
    python examples/segmentation_nuclei/evaluate.py --model runs/mine/best_model.safetensors

Prints Dice and IoU, and writes a picture and an animation of each model's prediction.
"""

import argparse
from pathlib import Path

from nuclei import Whole, draw, load_nuclei, show
from torch.utils.data import DataLoader

from ncalab.core import fix_random_seed, get_compute_device
from ncalab.tasks import SegmentationNCAModel

HERE = Path(__file__).parent
PRETRAINED = [HERE / "pretrained" / "nucleus", HERE / "pretrained" / "border"]

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--model", type=Path, nargs="+", default=PRETRAINED, help="weights or folders")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
parser.add_argument("--seed", type=int, default=0, help="decides which cells fire")
parser.add_argument("--output", type=Path, default=Path("runs/evaluation"), help="folder")
arguments = parser.parse_args()

for path in arguments.model:
    name = path.name if path.is_dir() else path.parent.name
    nca = SegmentationNCAModel.from_pretrained(path, device=get_compute_device(arguments.device))
    right = load_nuclei(nca.num_classes)[2]
    fix_random_seed(arguments.seed)
    metrics, _ = nca.validate(DataLoader(Whole(right)), keep_predictions=False)
    print(f"{name}: {nca.num_trainable_parameters()} parameters, {show(metrics)}")
    draw(nca, *right, arguments.output / name)
print(f"pictures and animations: {arguments.output}")
