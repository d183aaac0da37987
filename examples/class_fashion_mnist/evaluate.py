"""Measure the image classifier on test images, class by class.

    python examples/class_fashion_mnist/evaluate.py
    python examples/class_fashion_mnist/evaluate.py --model runs/blood/pretrained \\
        --medmnist bloodmnist.npz

Without options, it measures the pretrained model on Fashion-MNIST's 10,000 test images, which
Debian's package dataset-fashion-mnist has, or which --data names.
"""

import argparse
from pathlib import Path

from figures import check_classes, measure, recognised
from images import load_images

from ncalab.core import get_compute_device
from ncalab.tasks import ClassificationNCAModel

HERE = Path(__file__).parent

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--model", type=Path, default=HERE / "pretrained", help="weights or folder")
parser.add_argument("--data", type=Path, help="folder with IDX files, such as Fashion-MNIST's")
parser.add_argument("--medmnist", type=Path, help="file of MedMNIST (.npz)")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
arguments = parser.parse_args()

nca = ClassificationNCAModel.from_pretrained(
    arguments.model, device=get_compute_device(arguments.device)
)
images = load_images(arguments.data, arguments.medmnist, 10_000)
check_classes(nca, images)
print(f"{images.name}: {len(images.test)} test images, {nca.num_trainable_parameters()} parameters")
for name, value in measure(nca, images.test).items():
    print(f"{name}={value:.4f}")
for class_name, share in zip(images.class_names, recognised(nca, images.test), strict=True):
    print(f"  {class_name:>12}: {share:.1%} recognised")
