"""The picture of nuclei, cut into crops, and which of them are kept together."""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ncalab.train import SplitDefinition

HERE = Path(__file__).parent
CROP, REGION = 64, 128  # sides in pixels; crops of one region are kept in one fold


class Crops(NamedTuple):
    """Crops of one picture.

    Attributes:
        names: File name of each.
        regions: Place of the region that each is a part of.
        images: Square roots of fluorescence, shape ``(n, 64, 64)``, uint8.
        masks: Where the nuclei are, ``(n, 64, 64)``, bool.
    """

    names: list[str]
    regions: list[tuple[int, int]]
    images: np.ndarray
    masks: np.ndarray

    def write(self, folder: Path) -> None:
        """Write pictures into ``images/`` and ``masks/``."""
        for kind, pictures in (("images", self.images), ("masks", self.masks)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            for name, picture in zip(self.names, pictures, strict=True):
                Image.fromarray(picture).save(folder / kind / name)

    def split(self, folds: int) -> SplitDefinition:
        """Share the regions among folds.

        Neighbouring crops share nuclei: a random split would validate on what it has seen.
        """
        return SplitDefinition.group(self.names, self.regions, folds)


def load_crops() -> Crops:
    """Cut the picture that comes with the package stardist, 512x512 pixels, into 64 crops."""
    package = find_spec("stardist")  # only its pictures are needed: nothing of it is imported
    if package is None or not package.submodule_search_locations:
        raise SystemExit(
            "the picture is part of the package stardist: "
            f"python -m pip install --no-deps -r {HERE / 'data.txt'}"
        )
    folder = Path(package.submodule_search_locations[0]) / "data" / "images"
    counts = np.asarray(Image.open(folder / "img2d.tif"))  # (512, 512), uint16, up to 235
    nuclei = np.asarray(Image.open(folder / "mask2d.tif")) > 0  # (512, 512)
    # The noise of counts is that of their root: dim and bright nuclei become alike in it.
    image = (np.sqrt(counts) * 16).astype(np.uint8)
    corners = [
        (row, column)
        for row in range(0, image.shape[0], CROP)
        for column in range(0, image.shape[1], CROP)
    ]
    images, masks = (
        np.stack([picture[row : row + CROP, column : column + CROP] for row, column in corners])
        for picture in (image, nuclei)
    )
    names = [f"{row:03d}_{column:03d}.png" for row, column in corners]
    return Crops(
        names, [(row // REGION, column // REGION) for row, column in corners], images, masks
    )
