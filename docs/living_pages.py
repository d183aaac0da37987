"""Write the pages that run pretrained models, anew for every build."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

from ncalab.tasks import CascadeNCA, GrowingNCAModel, SegmentationNCAModel
from ncalab.viz import export_html

EXAMPLES = Path(__file__).parent.parent / "examples"
# Cells of the lower half of a 4 and a 9 look alike, so that they have to ask the others.
DIGIT = 4
# Those of the zoo that the first page shows.
EMOJI = ("butterfly", "octopus", "tokyo_tower", "dragon")


def write_pages(app: Sphinx) -> None:
    """Write the pages into the folder of static files."""
    folder = Path(app.srcdir) / "_static" / "living"
    _write_lizard(folder / "lizard.html")
    _write_zoo(folder)
    _write_nuclei(folder / "nuclei.html")
    _write_digit(folder / "digit.html")


def _write_lizard(path: Path) -> None:
    lizard = GrowingNCAModel.from_pretrained(EXAMPLES / "growing_emoji" / "pretrained")
    export_html(lizard, path, size=(64, 64), title="A lizard")


def _write_zoo(folder: Path) -> None:
    for name in EMOJI:
        nca = GrowingNCAModel.from_pretrained(EXAMPLES / "growing_zoo" / "pretrained" / name)
        title = name.replace("_", " ").capitalize()
        export_html(nca, folder / f"{name}.html", size=(96, 96), title=title)


def _write_nuclei(path: Path) -> None:
    sys.path.append(str(EXAMPLES / "segmentation_nuclei"))
    from nuclei import load_nuclei

    model = SegmentationNCAModel.from_pretrained(
        EXAMPLES / "segmentation_nuclei" / "pretrained" / "border"
    )
    # A part of the half of the picture that the model was not trained on.
    image = load_nuclei(classes=3)[2][0][None, :, 128:224, 64:160]
    names = ["background", "interior", "border"]
    export_html(model, path, image, title="Nuclei under a microscope", class_names=names)


def _write_digit(path: Path) -> None:
    sys.path.append(str(EXAMPLES / "selfclass_mnist"))
    from digits import examples_of_each, load_digits

    cascade = CascadeNCA.from_pretrained(EXAMPLES / "selfclass_mnist" / "pretrained")
    # One that the model was not trained on.
    image = examples_of_each(load_digits(None)[1])[DIGIT][None]
    names = [str(digit) for digit in range(10)]
    export_html(cascade, path, image, title="A handwritten digit", class_names=names)


def setup(app: Sphinx) -> None:
    """Do so at the start of a build."""
    app.connect("builder-inited", write_pages)
