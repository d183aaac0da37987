"""Every task's model predicts in onnxruntime what it predicts in torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

from ncalab.core import AbstractNCAModel, export_onnx
from ncalab.tasks import (
    CascadeNCA,
    ClassificationNCAModel,
    DepthNCAModel,
    GrowingNCAModel,
    SegmentationNCAModel,
)

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"num_hidden_channels": 4, "hidden_size": 8}
CLASSES: dict[str, Any] = {"num_image_channels": 1, "num_classes": 3, **SMALL}
# (B, W, H) and steps: the first two of other sizes than the example, then as small as it gets.
RUNS = [((2, 18, 11), 7), ((1, 30, 31), 12), ((1, 1, 2), 4)]

Make = Callable[[], AbstractNCAModel]


def segmentation(**options: Any) -> AbstractNCAModel:
    return SegmentationNCAModel(CPU, **SMALL, **options)


MODELS: dict[str, Make] = {
    "growing": lambda: GrowingNCAModel(CPU, use_alive_mask=True, **SMALL),
    "segmentation": segmentation,
    "segmentation-3": lambda: segmentation(num_classes=3),
    "head": lambda: ClassificationNCAModel(CPU, avg_pool_size=3, **CLASSES),
    "pooled": lambda: ClassificationNCAModel(CPU, use_classifier=False, **CLASSES),
    "pixel-wise": lambda: ClassificationNCAModel(CPU, pixel_wise_loss=True, **CLASSES),
    "depth": lambda: DepthNCAModel(CPU, depth_scale=2.0, **SMALL),
    "cascade": lambda: CascadeNCA(segmentation(use_temporal_encoding=True), [4, 2], [4, 3]),
    "cascade-of-copies": lambda: CascadeNCA(
        ClassificationNCAModel(CPU, avg_pool_size=2, **CLASSES), [3, 1], [2, 2], single_model=False
    ),
    "growing-cascade": lambda: CascadeNCA(GrowingNCAModel(CPU, **SMALL), [2, 1], [3, 2]),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_file_predicts_what_the_model_predicts(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MODELS[name]()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)

    export_onnx(model, tmp_path / "model.onnx")

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of inputs that may be left out
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", options)
    channels = session.get_inputs()[0].shape[1]
    names = [output.name for output in session.get_outputs()]
    for (batch, *size), steps in RUNS:
        image = torch.rand(batch, channels, *size) * (torch.rand(batch, 1, *size) > 0.5)
        prediction = model.predict(image, steps, seed=3)
        numbers = {"steps": torch.tensor(steps).numpy(), "seed": torch.tensor(3).numpy()}
        values = session.run(None, {"image": image.numpy(), **numbers})
        want = {"logits": prediction.logits, "state": prediction.output_image}
        want.update(model.export_outputs(prediction))
        assert names == list(want)
        for value, expected in zip(values, want.values(), strict=True):
            torch.testing.assert_close(torch.from_numpy(value), expected, atol=1e-5, rtol=0)
