"""Models in other formats: ONNX, and programs of torch.export."""

from ncalab.core.export.onnx_file import export_onnx
from ncalab.core.export.program import export_program

__all__ = ["export_onnx", "export_program"]
