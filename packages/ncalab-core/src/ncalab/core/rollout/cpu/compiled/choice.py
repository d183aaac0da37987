"""Choice of the models that the compiled engine serves."""

import math

from torch import Tensor

from ncalab.core.automaton import Automaton
from ncalab.core.rollout.cpu.compiled.library import library
from ncalab.core.rollout.cpu.compiled.row_rule import why_no_rows
from ncalab.core.rollout.cpu.compiled.spec import ACTIVATIONS
from ncalab.core.rollout.spec import perceptron_of
from ncalab.core.rollout.standard import why_not_perceptron, why_not_standard_parts
from ncalab.core.rollout.view_functions import nonlinear_views

# Cells of the batch with their frames are counted in 32 bits.
MOST_CELLS = 2**31


def why_not_compiled(model: Automaton, x: Tensor) -> str | None:
    """Say why the compiled engine cannot run a model on these states; None if it can.

    Args:
        model: Model that :func:`ncalab.core.rollout.standard.why_unknown_step` accepts.
        x: States, shape ``(B, C, W, H)``, on the CPU.
    """
    found = library(x.dtype)
    if isinstance(found, str):
        return found
    if reason := _why_other_rule(model, x):
        return reason
    if model.immutable_image_channels and model.num_channels == model.num_image_channels:
        return "no channel may change"
    radius = model.perception.radius
    cells = math.prod(size + 2 * radius for size in x.shape[2:])
    if max(cells, x.shape[0] * math.prod(x.shape[2:])) >= MOST_CELLS:
        return f"there are {MOST_CELLS} cells or more"
    return None


def is_perceptron(model: Automaton) -> bool:
    """Return whether cells have linear views and the usual rule, which has functions of its own."""
    if why_not_perceptron(model.rule) is not None or nonlinear_views(model):
        return False
    return type(perceptron_of(model).activation) in ACTIVATIONS


def _why_other_rule(model: Automaton, x: Tensor) -> str | None:
    if is_perceptron(model):
        return None
    if why_not_standard_parts(model) is None:  # the engine of operations serves it
        return f"it does not know {type(perceptron_of(model).activation).__name__}"
    return why_no_rows(model, x.dtype)
