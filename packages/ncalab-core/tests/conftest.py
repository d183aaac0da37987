"""A factory of small models, and images for them."""

import os
from typing import Any

import pytest
import torch
from core_models import MakeModel, TinyModel, awaken
from torch import Tensor

# Without a GPU, the CUDA engine's kernels run in Triton's interpreter, which must be asked for
# before Triton is imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture
def make_model() -> MakeModel:
    """Return a factory of awake models; its arguments replace the defaults here."""

    def make(*, awake: bool = True, **arguments: Any) -> TinyModel:
        torch.manual_seed(1)
        defaults: dict[str, Any] = {
            "device": torch.device("cpu"),
            "num_image_channels": 4,
            "num_hidden_channels": 3,
            "num_output_channels": 2,
            "hidden_size": 16,
        }
        model = TinyModel(**{**defaults, **arguments})
        if awake:
            awaken(model)
        return model

    return make


@pytest.fixture
def image() -> Tensor:
    """Two images, shape ``(2, 4, 6, 9)``, range [0, 1]."""
    return torch.rand(2, 4, 6, 9, generator=torch.Generator().manual_seed(3))
