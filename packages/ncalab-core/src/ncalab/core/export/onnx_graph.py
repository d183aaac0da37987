"""Clean up the graph that torch's ONNX exporter writes."""

import re
from typing import Any

import numpy as np

from ncalab.core.extras import require

AXES = {0: "batch", 2: "width", 3: "height", 4: "depth"}


def tidy(model: Any) -> None:
    """Remove what nothing needs: unused values, and notes on lines of code and paths of files.

    Args:
        model: Model of onnx_ir, changed in place.
    """
    passes = require("onnx_ir.passes.common", "onnx")
    for do in (passes.RemoveUnusedNodesPass(), passes.ClearMetadataAndDocStringPass()):
        do(model)
    model.metadata_props.clear()


def name_axes(graph: Any) -> None:
    """Call the open axes of inputs, outputs and loops what they are, where torch numbered them.

    What torch says of the shapes within is dropped: its translations of operations give one name
    to axes of different sizes, which makes onnxruntime share memory that it must not share.

    Args:
        graph: Graph of onnx_ir, changed in place; its input "image" has the axes.
    """
    ir = require("onnx_ir", "onnx")
    image = next(value for value in graph.inputs if value.name == "image")
    axes = {axis: name for axis, name in AXES.items() if axis < len(image.shape)}
    known = {str(image.shape[axis]): name for axis, name in axes.items()}
    symbol = re.compile("|".join(rf"\b{re.escape(old)}\b" for old in known))
    bodies = [v for n in graph.all_nodes() for a in n.attributes.values() for v in _inputs(a)]
    outside = [*graph.inputs, *graph.outputs, *bodies]
    for value in outside:
        sizes = [n if isinstance(n, int) else str(n) for n in value.shape]
        named = [n if isinstance(n, int) else symbol.sub(lambda m: known[m[0]], n) for n in sizes]
        value.shape = ir.Shape(named)
    for node in graph.all_nodes():
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None


def _inputs(attribute: Any) -> list[Any]:
    """Return the inputs of the graph that an attribute may hold, such as the body of a loop."""
    return list(attribute.value.inputs) if attribute.type.name == "GRAPH" else []


def set_defaults(graph: Any, defaults: dict[str, int]) -> None:
    """Let inputs be left out.

    Args:
        graph: Graph of onnx_ir, changed in place.
        defaults: Value of each such input, which are int64 numbers.
    """
    ir = require("onnx_ir", "onnx")
    for value in graph.inputs:
        if value.name in defaults:
            # An initializer that has the name of an input is what the input is if it is not given.
            number = np.array(defaults[value.name], dtype=np.int64)
            value.const_value = ir.tensor(number, name=value.name)
            graph.initializers[value.name] = value
