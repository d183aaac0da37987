"""One step of a model, recorded once and run as often as an exported model needs it."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind

from ncalab.core.export.fire import TracedClock
from ncalab.core.model import AbstractNCAModel
from ncalab.core.tracing import tracing

# Sizes of the example that is recorded: no two alike, and none that a scale divides.
BATCH, WIDTH, HEIGHT = 3, 101, 103


def open_sizes() -> dict[int, Any]:
    """Say that batch, width and height of a tensor are open."""
    return {0: Dim("batch", min=1), 2: Dim("width", min=1), 3: Dim("height", min=1)}


@contextmanager
def quietly() -> Iterator[None]:
    """Keep the warnings of torch's exporter about itself from the user; errors pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def record(module: nn.Module, inputs: dict[str, Tensor]) -> ExportedProgram:
    """Record a module, for any batch, width and height of the inputs that are grids.

    Raises:
        ValueError: If what it does depends on values in a way that cannot be recorded.
    """
    shapes = {name: open_sizes() if x.ndim == 4 else {} for name, x in inputs.items()}
    try:
        with torch.no_grad(), quietly():
            return torch.export.export(
                module,
                (),
                inputs,
                dynamic_shapes=shapes,
                strict=False,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise ValueError(
            "model must be made of operations on tensors that do not depend on the size of the "
            f"grid, or on the step, by Python's if or for, got: {error}"
        ) from error


class Step(nn.Module):
    """A step as a function of (state, step, seed).

    Args:
        model: Model that takes it.
        fire_rate: Probability that a cell fires.
    """

    def __init__(self, model: AbstractNCAModel, fire_rate: float) -> None:
        super().__init__()
        self.model = model
        self.fire_rate = fire_rate

    def forward(self, x: Tensor, step: Tensor | int, seed: Tensor | None = None) -> Tensor:
        """Take the step; without a seed, all cells fire, or none.

        Args:
            x: States, shape ``(B, C, W, H)``.
            step: Number of the step, shape ``()``, int64.
            seed: Seed, shape ``()``, int64.

        Returns:
            Next states, shape ``(B, C, W, H)``.
        """
        number: Any = step  # where it is a number, steps are recorded one by one
        clock = TracedClock(
            0, self.fire_rate, (), 0, 1, x.device, seed_input=seed, batch=x.shape[0]
        )
        with clock.running(), tracing():
            return self.model._post_forward_step(self.model._forward_step(x, number))


class RecordedStep(nn.Module):
    """The operations of a step, apart from the weights that they use.

    Args:
        step: Step to record; not a part of this module.
        is_random: Whether it needs a seed.
    """

    def __init__(self, step: Step, *, is_random: bool) -> None:
        super().__init__()
        model = step.model
        size = (BATCH, model.num_channels, WIDTH, HEIGHT)
        number = torch.zeros((), dtype=torch.int64, device=model.device)
        inputs = {"x": torch.zeros(size, device=model.device, dtype=model.dtype), "step": number}
        if is_random:
            inputs["seed"] = number.clone()
        program = record(step, inputs)
        signature = program.graph_signature
        if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
            raise ValueError("model must not change its buffers or its input in a step")
        # Past nn.Module, which would register it: its weights are those of the step.
        object.__setattr__(self, "_graph", program.graph_module)
        self._names: list[str] = []
        for spec in signature.input_specs:
            if spec.kind is InputKind.CONSTANT_TENSOR and spec.target is not None:
                name = f"constant_{len(self._names)}"
                self.register_buffer(name, program.constants[spec.target], persistent=False)
                self._names.append(name)
            elif spec.target is not None:
                self._names.append(spec.target)

    def weights(self, step: Step) -> list[Tensor]:
        """Return parameters, buffers and constants, in the order in which :meth:`run` wants them."""
        return [
            attrgetter(name)(self if name.startswith("constant_") else step) for name in self._names
        ]

    def run(self, weights: Sequence[Tensor], *inputs: Tensor) -> Tensor:
        """Take the step with the given weights; ``inputs`` are state and step, or with a seed."""
        # Past nn.Module's call, which torch's tracer of loops would look up by its path.
        (state,) = self._graph.forward(*weights, *inputs)
        recorded: Tensor = state
        return recorded
