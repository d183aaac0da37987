"""Compile all that rollouts would launch on a GPU that need not be there; launch nothing.

For a process of its own, without Triton's interpreter: the interpreter accepts what the compiler
does not, and the two exclude each other. Prints a line for each compiled kernel: its name and its
shared memory in bytes.
"""

import sys
from typing import Any

import torch
from core_models import TinyModel, awaken
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from ncalab.core.fire import FireClock
from ncalab.core.rollout.cuda import engine as cuda
from ncalab.core.rollout.cuda.precision import Precision

# Compute capability 8.0: the oldest with TF32 and bfloat16.
TARGET = GPUTarget("cuda", 80, 32)


class NoDriver:
    """A driver that knows what to compile for."""

    def get_current_target(self) -> GPUTarget:
        return TARGET

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_instead(kernel: Any, grid: tuple[int, ...]) -> Any:
    """Return what compiles a kernel for its arguments, in place of what launches it."""

    def compile_for(*arguments: Any, **constants: Any) -> None:
        compiled = kernel.run(*arguments, grid=grid, warmup=True, **constants)
        sys.stdout.write(f"{kernel.__name__} {compiled.metadata.shared}\n")

    return compile_for


def compile_rollout(
    shape: tuple[int, int, int], precision: Precision, dtype: torch.dtype, **arguments: Any
) -> None:
    """Go through a rollout and its backward pass; ``shape`` is that of the batch, without C."""
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    model = TinyModel(cpu, 4, num_output_channels=0, **arguments).to(dtype)
    awaken(model)
    batch, width, height = shape
    x = torch.zeros(batch, model.num_channels, width, height, dtype=dtype, requires_grad=True)
    clock = FireClock(0, 0.5, range(batch), 0, 2, cpu)
    cuda.run(model, x, clock, precision=precision).sum().backward()


if __name__ == "__main__":
    driver.set_active(NoDriver())
    JITFunction.__getitem__ = compile_instead
    alive = {"use_alive_mask": True, "immutable_image_channels": False}
    common = {"num_hidden_channels": 12, "num_learned_filters": 2, **alive}
    compile_rollout((2, 7, 5), "float32", torch.float32, **common)
    # Sizes of 1 are constants of the compiled kernels.
    compile_rollout((1, 1, 1), "float32", torch.float32, num_hidden_channels=2, hidden_size=16)
    compile_rollout((1, 3, 2), "bfloat16", torch.bfloat16, num_hidden_channels=2, hidden_size=16)
