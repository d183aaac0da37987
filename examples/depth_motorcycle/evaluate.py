"""Measure a trained depth model beside a constant depth, and draw what it sees.

    python examples/depth_motorcycle/evaluate.py
    python examples/depth_motorcycle/evaluate.py --model best_model.safetensors --data FOLDER

Without options, it shows the pretrained model on the right 40 % of the scene.
"""

import argparse
from pathlib import Path

from figures import FACTOR, comparison, draw
from scene import folder_parts, motorcycle_parts

from ncalab.core import get_compute_device
from ncalab.core.saving import check_writable_folder
from ncalab.tasks import DepthNCAModel

HERE = Path(__file__).parent

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--model", type=Path, default=HERE / "pretrained", help="weights or folder")
parser.add_argument("--data", type=Path, help="folder of your own with images/ and depths/")
parser.add_argument("--scale", type=float, default=1.0, help="depth of one count in integer files")
parser.add_argument("--factor", type=int, default=FACTOR, help="as in training")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
parser.add_argument("--output", type=Path, default=Path("runs/depth_evaluation"), help="folder")
arguments = parser.parse_args()
if arguments.factor < 1:
    parser.error(f"--factor must be at least 1, got {arguments.factor}")

try:
    nca = DepthNCAModel.from_pretrained(
        arguments.model, device=get_compute_device(arguments.device)
    )
    if arguments.data is None:
        train, _, test = motorcycle_parts(arguments.factor)
    else:
        train, _, test = folder_parts(arguments.data, arguments.scale, arguments.factor)
    check_writable_folder(arguments.output, name="--output")
except (ValueError, FileNotFoundError) as error:
    parser.error(str(error))

print(comparison(nca, train, test))
draw(nca, test, arguments.output)
print(f"pictures and animation: {arguments.output}")
