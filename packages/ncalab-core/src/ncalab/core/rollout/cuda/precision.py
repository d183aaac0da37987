"""Precision of the CUDA engine's matrix products, and the device that it launches on."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["float32", "tf32x3", "tf32", "bfloat16"]

AMPERE = (8, 0)
"""Compute capability that multiplies bfloat16 and TF32."""


def precision_of(x: Tensor) -> Precision:
    """Return how exactly matrix products are to be computed, as torch's settings ask for.

    Full float32 is the default. TF32 is used if torch's own matrix products may use it
    (``torch.set_float32_matmul_precision("high")``), bfloat16 factors under ``torch.autocast`` to
    bfloat16 and for bfloat16 states. Sums are float32 in each case.
    """
    if x.dtype == torch.bfloat16 or torch.is_autocast_enabled(x.device.type):
        return "bfloat16"
    can_tf32 = not x.is_cuda or torch.cuda.get_device_capability(x.device) >= AMPERE
    return "tf32" if can_tf32 and _torch_uses_tf32() else "float32"


def _torch_uses_tf32() -> bool:
    settings = torch.backends.cuda.matmul
    # torch before 2.9 has only the latter, a newer one may refuse it.
    if hasattr(settings, "fp32_precision"):
        return bool(settings.fp32_precision == "tf32")
    return bool(settings.allow_tf32)


def on_device(x: Tensor) -> AbstractContextManager[object]:
    """Make the device of ``x`` the current one, where Triton launches."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
