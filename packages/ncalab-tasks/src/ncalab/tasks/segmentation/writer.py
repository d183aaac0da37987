"""Write masks to files."""

import numpy as np
from torch import Tensor

from ncalab.core import Prediction
from ncalab.core.task import PredictionWriter, ResultFiles


class MaskWriter(PredictionWriter):
    """Writes the class of each pixel."""

    endings = ("_mask.png",)

    def write(self, prediction: Prediction, files: ResultFiles) -> str:
        """Write the mask; return the share of each class, or of the foreground."""
        found: Tensor = getattr(prediction, "mask")[0]  # noqa: B009 - of its subclass
        mask = files.restored(found.cpu().numpy())
        classes = max(2, self.model.num_output_channels)
        files.save_mask("_mask.png", mask, classes)
        shares = np.bincount(mask.ravel(), minlength=classes) / mask.size
        if self.model.num_output_channels == 1:
            return f"foreground {shares[1]:.1%}"
        return ", ".join(f"class {k} {share:.1%}" for k, share in enumerate(shares))
