"""The CUDA engine: one fused Triton kernel per step, one autograd node per rollout.

On a GPU the arithmetic of a cell is small against its memory traffic, if every operation goes
through memory by itself. Here a step reads the states once and writes them once: halo, perception,
both matrix products, fire mask and alive mask happen in registers. This module decides whether the
engine can serve, without needing Triton; what needs it is imported when it runs.
"""

from functools import lru_cache

import torch
from torch import Tensor

from ncalab.core.automaton import Automaton
from ncalab.core.fire import FireClock
from ncalab.core.options import OnStep
from ncalab.core.rollout.cuda.activations import activation_of
from ncalab.core.rollout.cuda.precision import AMPERE, Precision, on_device, precision_of
from ncalab.core.rollout.spec import RolloutSpec, parameters_of, perceptron_of
from ncalab.core.rollout.standard import why_not_standard

_LEAST_TRITON = (3, 3)
# What Triton runs on.
_VOLTA = (7, 0)
# A program holds whole cells and what they perceive; more would not fit into shared memory.
_MOST_CHANNELS, _MOST_SEEN = 128, 256
# Rows are numbered in 32 bits.
_MOST_CELLS = 2**31 - 2**10


def why_not_cuda(model: Automaton, x: Tensor) -> str | None:
    """Say why the CUDA engine cannot run a model on states on a CUDA device; None if it can."""
    return (
        why_not_standard(model, x, autocast_to=torch.bfloat16)
        or why_no_kernel(model, x)
        or _other_hardware(x)
    )


def why_no_kernel(model: Automaton, x: Tensor) -> str | None:
    """Say why a standard model cannot be run by the kernels, on whatever device."""
    reason = why_no_triton()
    if reason is not None:
        return reason
    activation = perceptron_of(model).activation
    if activation_of(activation) is None:
        name = type(activation).__name__
        return f"the CUDA engine does not know {name} with these arguments"
    channels = model.num_channels
    seen = channels * len(parameters_of(model)[0])
    if channels > _MOST_CHANNELS or seen > _MOST_SEEN:
        most = f"{_MOST_CHANNELS} and {_MOST_SEEN}"
        return f"a cell has {channels} channels and {seen} filtered values, the most are {most}"
    cells = x.shape[0] * x.shape[2] * x.shape[3]
    if cells > _MOST_CELLS:
        return f"the batch has {cells} cells, more than {_MOST_CELLS}"
    return None


@lru_cache
def why_no_triton() -> str | None:
    """Say why Triton cannot be used; None if it can."""
    try:
        import triton
    except ImportError:
        return "Triton is not installed (torch's builds for CUDA on Linux bring it)"
    # A folder of that name is imported as a package without a version.
    version = getattr(triton, "__version__", "0.0")
    if tuple(map(int, version.split(".")[:2])) < _LEAST_TRITON:
        return f"Triton must be 3.3 or newer, this is {version}"
    return None


def _other_hardware(x: Tensor) -> str | None:
    if torch.version.hip is not None:
        return "the kernels are for CUDA, and this torch is built for ROCm"
    if x.dtype not in (torch.float32, torch.bfloat16):
        return f"the CUDA engine computes float32 and bfloat16 states, not {x.dtype}"
    capability = torch.cuda.get_device_capability(x.device)
    least = AMPERE if precision_of(x) == "bfloat16" else _VOLTA
    if capability < least:
        return f"it needs compute capability {least}, this device has {capability}"
    return None


def run(
    model: Automaton,
    x: Tensor,
    clock: FireClock,
    on_step: OnStep | None = None,
    segment: int | None = None,
    *,
    precision: Precision | None = None,
) -> Tensor:
    """Run the steps of ``clock`` for a model that :func:`why_not_cuda` accepts.

    States on the CPU are for Triton's interpreter (``TRITON_INTERPRET=1``), which the tests use.

    Args:
        model: Model whose rule all cells follow.
        x: States, shape ``(B, C, W, H)``; not changed.
        clock: Which steps to run, and which cells fire in them.
        on_step: Called with (number of steps taken so far, state); true ends the rollout. Only
            without gradients.
        segment: Steps between the states that are kept for the backward pass, which takes the
            steps again from them; None to keep the state before every step.
        precision: How matrix products are computed; as :func:`precision_of` says if None.

    Returns:
        States after the last step, shape ``(B, C, W, H)``.
    """
    from ncalab.core.rollout.cuda.backward import Rollout  # these two need Triton
    from ncalab.core.rollout.cuda.step import finish, watch

    spec, parameters = RolloutSpec.from_model(model, clock), parameters_of(model)
    precision = precision or precision_of(x)
    with on_device(x):
        if torch.is_grad_enabled() and any(p.requires_grad for p in (x, *parameters)):
            result: Tensor = Rollout.apply(spec, segment, precision, x, *parameters)  # type: ignore[no-untyped-call]  # torch leaves it untyped
            return result
        with torch.no_grad():
            if on_step is None:
                return finish(spec, precision, x, parameters)
            return watch(spec, precision, x, parameters, on_step)
