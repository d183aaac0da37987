"""The figures of the image classifier: what evaluate.py prints and the card of a model states."""

from pathlib import Path

import numpy as np
import torch
from images import Images, load_images
from torch.utils.data import DataLoader

from ncalab.tasks import ClassificationDataset, ClassificationNCAModel
from ncalab.viz import Animator, VisualImageClassification


def measure(nca: ClassificationNCAModel, test: ClassificationDataset) -> dict[str, float]:
    """Return metrics by name, the same at each call."""
    torch.manual_seed(0)
    values, _ = nca.validate(DataLoader(test, 100), keep_predictions=False)
    return values


def recognised(nca: ClassificationNCAModel, test: ClassificationDataset) -> list[float]:
    """Return the share of each class's images that are taken for it."""
    batches = DataLoader(test, 100)
    classes = [nca.classify(batch, reduce=True, seed=0).cpu() for batch, _ in batches]
    right = torch.cat(classes).numpy() == test.labels
    return [float(np.mean(right[test.labels == label])) for label in range(nca.num_classes)]


def check_classes(nca: ClassificationNCAModel, images: Images) -> None:
    """Exit unless the images are of the classes that the model was trained on."""
    if images.class_names != nca.class_names:
        raise SystemExit(
            f"the images must be of the classes that the model was trained on, {nca.class_names}, "
            f"got {images.class_names} ({images.name}); name others by --data or --medmnist"
        )


def measure_pretrained(folder: Path) -> dict[str, float]:
    """Measure a model of pretrained/, under the names of its card."""
    nca = ClassificationNCAModel.from_pretrained(folder)
    images = load_images(None, None, 10_000)
    check_classes(nca, images)
    return measure(nca, images.test)


def draw(nca: ClassificationNCAModel, test: ClassificationDataset, folder: Path) -> None:
    """Write what some images are taken for, and an animation of the hidden channels."""
    shown = [test[index] for index in range(min(8, len(test)))]
    stack = torch.stack([image for image, _ in shown])  # (8, C, W, H)
    labels = np.array([int(label) for _, label in shown])
    prediction = nca.predict(stack, seed=0)
    figure = VisualImageClassification().show(nca, stack.numpy(), prediction, labels)
    figure.savefig(folder / "predictions.png")
    Animator(nca, stack[:1], 2 * prediction.steps, hidden=True, rollout_seed=0).save(
        folder / "hidden.gif"
    )
