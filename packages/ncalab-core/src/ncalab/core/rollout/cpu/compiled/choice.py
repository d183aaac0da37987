"""Which models the compiled engine serves."""

from torch import Tensor

from ncalab.core.automaton import Automaton
from ncalab.core.rollout.cpu.compiled.library import library
from ncalab.core.rollout.cpu.compiled.spec import ACTIVATIONS
from ncalab.core.rollout.standard import why_not_perceptron
from ncalab.core.rule import why_not_pointwise

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
    cells = (x.shape[2] + 2 * radius) * (x.shape[3] + 2 * radius)
    if max(cells, x.shape[0] * x.shape[2] * x.shape[3]) >= MOST_CELLS:
        return f"there are {MOST_CELLS} cells or more"
    return None


def _why_other_rule(model: Automaton, x: Tensor) -> str | None:
    if why_not_perceptron(model.rule) is not None:
        return why_not_pointwise(model.rule, x.dtype)
    activation = model.rule.get_submodule("network.1")
    if type(activation) not in ACTIVATIONS:
        return f"it does not know {type(activation).__name__}"
    return None
