"""Operations that torch's ONNX exporter does not translate for grids of any size."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ncalab.core.extras import require


def adaptive_avg_pool2d(image: Any, size: Sequence[Any]) -> Any:
    """Average over areas, whatever their number: a product with a matrix on each side.

    Args:
        image: Value, shape ``(B, C, W, H)``.
        size: Number of areas along W and H.

    Returns:
        Value, shape ``(B, C, *size)``.
    """
    op = _opset()
    along_w = _areas(op.Shape(image, start=2, end=3), size[0], image)
    along_h = _areas(op.Shape(image, start=3, end=4), size[1], image)
    return op.MatMul(op.MatMul(along_w, image), op.Transpose(along_h, perm=[1, 0]))


def _areas(length: Any, count: Any, image: Any) -> Any:
    """Return the share that each cell of an axis has in each area, shape ``(areas, cells)``."""
    op = _opset()
    count = op.Constant(value_int=count) if isinstance(count, int) else op.Squeeze(count)
    length, one, zero = op.Squeeze(length), op.Constant(value_int=1), op.Constant(value_int=0)
    area = op.Unsqueeze(op.Range(zero, count, one), op.Constant(value_ints=[1]))
    cell = op.Unsqueeze(op.Range(zero, length, one), op.Constant(value_ints=[0]))
    # torch's areas: from floor(i L / n) up to, without it, ceil((i + 1) L / n).
    first = op.Div(op.Mul(area, length), count)
    last = op.Div(op.Sub(op.Add(op.Mul(op.Add(area, one), length), count), one), count)
    inside = op.And(op.GreaterOrEqual(cell, first), op.Less(cell, last))
    return op.Div(op.CastLike(inside, image), op.CastLike(op.Sub(last, first), image))


def _opset() -> Any:
    return require("onnxscript", "onnx").opset18


def translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return the translations, as torch.onnx.export takes them."""
    return {torch.ops.aten.adaptive_avg_pool2d.default: adaptive_avg_pool2d}
