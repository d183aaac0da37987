"""The one reader of image files: of every task, the command line and the estimators.

- :func:`read_image`: an image, upright, by one table of depths and channels (``pixels``)
- :func:`read_mask`: foreground and background, as a viewer shows them; :func:`read_labels`: classes
- :func:`list_images`, :class:`FileNames`: the images of a folder, and one of them by its name
- :func:`image_to_tensor`: what a model takes
"""

from ncalab.core.intensities import to_unit_range, with_channels
from ncalab.tasks.images.decoding import MAX_PIXELS, check_reading, image_size
from ncalab.tasks.images.folders import FileNames, list_images
from ncalab.tasks.images.formats import how_to_convert, image_suffixes, is_hidden
from ncalab.tasks.images.masks import binary_labels, read_labels, read_mask
from ncalab.tasks.images.pixels import read_image, read_images
from ncalab.tasks.images.tensors import image_to_tensor

__all__ = [
    "MAX_PIXELS",
    "FileNames",
    "binary_labels",
    "check_reading",
    "how_to_convert",
    "image_size",
    "image_suffixes",
    "image_to_tensor",
    "is_hidden",
    "list_images",
    "read_image",
    "read_images",
    "read_labels",
    "read_mask",
    "to_unit_range",
    "with_channels",
]
