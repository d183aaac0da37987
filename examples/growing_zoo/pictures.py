"""The pictures of the zoo, and how each is grown."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ncalab.tasks import GrowingNCADataset, GrowingNCAModel
from ncalab.tasks.growing.picture import load_target

HERE = Path(__file__).parent
PADDING = 4


@dataclass(frozen=True)
class Emoji:
    """An emoji of Noto Color Emoji.

    Attributes:
        code: Its code point in Unicode.
        kind: Why it is in the zoo.
        size: Its longer side in cells.
    """

    code: str
    kind: str
    size: int = 40


ZOO = {
    "butterfly": Emoji("U+1F98B", "an animal, in even colours and fine borders"),
    "octopus": Emoji("U+1F419", "an animal, with shades and many arms"),
    "man_in_tuxedo": Emoji("U+1F935", "a face, and much black"),
    "tokyo_tower": Emoji("U+1F5FC", "a lattice of fine lines"),
    "french_fries": Emoji("U+1F35F", "many edges side by side"),
    "motor_scooter": Emoji("U+1F6F5", "fine lines, and holes between them"),
    "rose": Emoji("U+1F339", "a thin stem, and shades"),
    "crown": Emoji("U+1F451", "even areas, and small stones"),
    "sparkles": Emoji("U+2728", "pieces that stand apart"),
    "dragon": Emoji("U+1F409", "an animal of fine lines, at 64 cells", size=64),
    "peacock": Emoji("U+1F99A", "many eyes and colours, at 64 cells", size=64),
}


def picture_of(name: str) -> Path:
    """Return the file of an emoji, 136 x 128 pixels, RGBA."""
    return HERE / "pictures" / f"{name}.png"


def target_of(name: str, model: GrowingNCAModel) -> Tensor:
    """Return what a model is to grow, shape ``(4, W, H)``, premultiplied, range [0, 1]."""
    pixels = load_target(picture_of(name), ZOO[name].size, PADDING)
    return GrowingNCADataset(pixels, model.num_channels).image
