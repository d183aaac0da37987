"""Write the classes of images to a table."""

import numpy as np

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.task import PredictionWriter, ResultFiles, ValueFormat


class ClassWriter(PredictionWriter):
    """Writes the class and the probabilities of each image into one table."""

    table = "classes.csv"

    def __init__(self, model: AbstractNCAModel, values: ValueFormat) -> None:
        super().__init__(model, values)
        known: list[str] | None = getattr(model, "class_names", None)
        self.names = known or [str(k) for k in range(getattr(model, "num_classes", 0))]
        self.columns = ("class", "name", *(f"p_{name}" for name in self.names))

    def write(self, prediction: Prediction, files: ResultFiles) -> str:
        """Add a row to the table; return the three most likely classes."""
        probabilities: np.ndarray = self.model.class_probabilities(prediction)[0].cpu().numpy()  # type: ignore[operator]  # of models of this task
        best = int(probabilities.argmax())
        files.add_row([str(best), self.names[best], *(f"{p:.6f}" for p in probabilities)])
        order = np.argsort(-probabilities)[:3]
        return "  ".join(f"{self.names[k]} {probabilities[k]:.1%}" for k in order)
