"""Mirror images at random, as a settings file asks for."""

from typing import Any

import numpy as np
import torch

from ncalab.cli.config.sections import Changes


class Mirrored:
    """Transform that mirrors images at random, and masks or depths with them."""

    augments_only = True

    def __call__(self, *, image: np.ndarray, mask: np.ndarray | None = None) -> dict[str, Any]:
        """Transform an image ``(W, H, C)`` and what goes with it ``(W, H)``.

        Returns:
            "image" and, if given, "mask", of the same shapes and dtypes.
        """
        for axis in (0, 1):
            if torch.rand(()) < 0.5:
                image = np.flip(image, axis)
                mask = None if mask is None else np.flip(mask, axis)
        return {"image": image} if mask is None else {"image": image, "mask": mask}


def transform_of(changes: Changes) -> Mirrored | None:
    """Return the transform of images to train on; None if they are not to be mirrored."""
    return Mirrored() if changes.flip else None
