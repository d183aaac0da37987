"""Compile the CUDA engine's kernels for a GPU that need not be there; print their shared memory.

Run in a process of its own, without Triton's interpreter: the interpreter accepts what the compiler
does not, and the two exclude each other.
"""

import sys
from typing import Any

import torch
import triton
from core_models import TinyModel
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ncalab.core.fire import FireClock
from ncalab.core.rollout import triton_reverse, triton_step
from ncalab.core.rollout.cuda import Precision
from ncalab.core.rollout.cuda_plan import Plan
from ncalab.core.rollout.job import Job, parameters_of

_NAMES = {torch.float32: "*fp32", torch.bfloat16: "*bf16"}
_STATES = {"x", "y", "opacity"}
_PRODUCTS = {"into_own", "into_seen", "out"}
_INTEGERS = {"keys", "columns", "lines"}
_SCALARS = {"step", "batch", "width", "height"}
_OPTIONS = {"num_warps", "num_stages", "enable_fp_fusion"}


def plan_of(precision: Precision = "float32", **arguments: Any) -> Plan:
    """Plan a rollout of a model of the common size: 16 channels, 128 hidden neurons."""
    cpu = torch.device("cpu")
    defaults: dict[str, Any] = {"num_hidden_channels": 12, "num_output_channels": 0}
    model = TinyModel(cpu, 4, **{**defaults, **arguments})
    x = torch.zeros(2, model.num_channels, 8, 8)
    job = Job.of(model, FireClock(0, 0.5, range(2), 0, 1, cpu))
    return Plan.of(job, precision, x, parameters_of(model))


def kind_of(name: str, plan: Plan) -> str:
    """Return the type of a kernel's argument, as Triton writes it."""
    if name in _SCALARS:
        return "i32"
    if name in _INTEGERS:
        return "*i32"
    if name == "alive":
        return "*i8"
    if name in _STATES:
        return _NAMES[plan.dtype]
    return _NAMES[plan.product_dtype if name in _PRODUCTS else plan.sum_dtype]


def compile_kernel(kernel: Any, constants: dict[str, Any], plan: Plan, capability: int) -> Any:
    """Compile a kernel; ``constants`` may hold options and more than it takes."""
    options = {name: value for name, value in constants.items() if name in _OPTIONS}
    names = kernel.arg_names
    taken = {name: value for name, value in constants.items() if name in names}
    kinds = {name: "constexpr" if name in taken else kind_of(name, plan) for name in names}
    # Tensors of torch start at multiples of 16 bytes, which lets the compiler load four at once.
    aligned = {
        (i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if kinds[name][0] == "*"
    }
    source = ASTSource(kernel, kinds, taken, aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def kernels_of(plan: Plan) -> list[tuple[Any, dict[str, Any]]]:
    """Return all kernels with their constants."""
    rule, plain = plan.rule, plan.plain_tile
    return [
        (triton_step.step_kernel, {**rule, **plan.forward_tile}),
        (triton_step.clear_kernel, {**rule, **plain}),
        (triton_reverse.reverse_kernel, {**rule, "INTO": 1, "OUT": 1, **plan.reverse_tile}),
        (triton_reverse.gather_kernel, {**rule, "MW": 3, "MH": 3, **plain}),
        (triton_reverse.filter_kernel, {**rule, "KP": 16, **plan.filter_tile}),
    ]


if __name__ == "__main__":
    capability = int(sys.argv[1])
    plan = plan_of(use_alive_mask=True, immutable_image_channels=False)
    for kernel, constants in kernels_of(plan):
        compiled = compile_kernel(kernel, constants, plan, capability)
        sys.stdout.write(f"{kernel.__name__} {compiled.metadata.shared}\n")
