"""One step of a model, recorded once and run as often as an exported model needs it."""

import io
import itertools
import logging
import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind

from ncalab.core.automaton import Automaton
from ncalab.core.export.fire import TracedClock
from ncalab.core.tracing import tracing

# Sizes of the example that is recorded: no two alike, and none that a scale divides.
BATCH, GRID = 3, (37, 41, 29)


def open_sizes(axes: int) -> dict[int, Any]:
    """Say that batch and grid of a tensor of so many axes are open; of a number, nothing is."""
    return {axis: Dim.DYNAMIC(min=1) for axis in range(axes) if axis != 1}


@contextmanager
def quietly() -> Iterator[None]:
    """Keep from the user what torch's exporters say about themselves; errors pass."""
    loggers = [logging.getLogger(f"torch.{name}") for name in ("export", "fx", "onnx")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def record(module: nn.Module, inputs: dict[str, Tensor], *, smallest: int = 2) -> ExportedProgram:
    """Record a module, for any batch and any size of the inputs that are grids.

    Args:
        module: Module to record.
        inputs: Examples of its arguments.
        smallest: Size along each axis from which on all sizes must take the same way through it.

    Returns:
        Program without conditions on sizes.

    Raises:
        ValueError: If what it does depends on values in a way that cannot be recorded.
    """
    shapes = {name: open_sizes(x.ndim) for name, x in inputs.items()}
    # Oblivious to sizes: a grid of one cell is not a special case.
    settings: Any = torch.fx.experimental._config
    oblivious = settings.patch(backed_size_oblivious=True)
    try:
        with torch.no_grad(), quietly(), oblivious:
            program = torch.export.export(module, (), inputs, dynamic_shapes=shapes, strict=False)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise ValueError(
            "model must be made of operations on tensors, and must not decide by Python's if or "
            "for on values, the size of the grid or the number of the step (for the latter, give "
            f"steps and unroll=True), got: {error}"
        ) from error
    _drop_conditions(program, smallest, max(x.ndim for x in inputs.values()) - 2)
    for part in program.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            _spell_out_sums(part)
            for node in part.graph.nodes:
                node.meta.pop("stack_trace", None)  # names files of this machine
    return program


def _drop_conditions(program: ExportedProgram, smallest: int, spatial_dims: int) -> None:
    """Remove what torch asks of sizes, after a check that it does so for the smallest ones only.

    It notes each question that it asked itself, such as whether memory is contiguous, which has
    another answer where a size is 1, and would refuse those sizes.

    Raises:
        ValueError: If a condition does not hold for other sizes: then the model asked.
    """
    sizes = [smallest, smallest + 1, 2 * smallest + 3, 37 * smallest, 1024 * smallest]
    for condition in program._guards_code:
        for grid in itertools.product(sizes, repeat=spatial_dims):
            grids = {name: torch.empty(2, 1, *grid, device="meta") for name in ("image", "x")}
            grids["goal"] = torch.empty(2, 1, device="meta")
            # Written by torch, in terms of L['image'].size() alone.
            if "size()" in condition and not eval(condition, {"L": grids}):
                raise ValueError(
                    "model must treat grids of all sizes alike, got one that decides on "
                    f"{condition.replace('L', '')}"
                )
    program._guards_code = []


def _spell_out_sums(part: torch.fx.GraphModule) -> None:
    """Replace the sums of sizes that torch made, but cannot write to a file."""
    for node in list(part.graph.nodes):
        if node.op == "call_function" and node.target is torch.sym_sum:
            total = node.args[0][0]
            for term in node.args[0][1:]:
                with part.graph.inserting_before(node):
                    total = part.graph.call_function(operator.add, (total, term))
                total.meta = dict(node.meta)
            node.replace_all_uses_with(total)
            part.graph.erase_node(node)
    part.recompile()


class Step(nn.Module):
    """A step as a function of (state, step, seed, goal).

    Args:
        model: Model that takes it.
        fire_rate: Probability that a cell fires.
    """

    def __init__(self, model: Automaton, fire_rate: float) -> None:
        super().__init__()
        self.model = model
        self.fire_rate = fire_rate

    def forward(
        self,
        x: Tensor,
        step: Tensor | int,
        seed: Tensor | None = None,
        goal: Tensor | None = None,
    ) -> Tensor:
        """Take the step; without a seed, all cells fire, or none.

        Args:
            x: States, shape ``(B, C, W, H)``.
            step: Number of the step, shape ``()``, int64.
            seed: Seed, shape ``()``, int64.
            goal: Encoded goal of each sample, shape ``(B, G)``.

        Returns:
            Next states, shape ``(B, C, W, H)``.
        """
        number: Any = step  # where it is a number, steps are recorded one by one
        clock = TracedClock(
            0, self.fire_rate, (), 0, 1, x.device, seed_input=seed, batch=x.shape[0], goal=goal
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
        size = (BATCH, model.num_channels, *GRID[: model.spatial_dims])
        number = torch.zeros((), dtype=torch.int64, device=model.device)
        inputs = {"x": torch.zeros(size, device=model.device, dtype=model.dtype), "step": number}
        if is_random:
            inputs["seed"] = number.clone()
        if model.goal_size:
            inputs["goal"] = inputs["x"].new_zeros(BATCH, model.goal_size)
        program = record(step, inputs)
        signature = program.graph_signature
        if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
            raise ValueError("model must not change its buffers or its input in a step")
        # A method, not the module: it would be registered, and its weights are those of the step.
        self._operations: Callable[..., tuple[Tensor]] = program.graph_module.forward
        self._names: list[str] = []
        for spec in signature.input_specs:
            if spec.kind is InputKind.CONSTANT_TENSOR and spec.target is not None:
                name = f"constant_{len(self._names)}"
                self.register_buffer(name, program.constants[spec.target], persistent=False)
                self._names.append(name)
            elif spec.target is not None:
                self._names.append(spec.target)

    def weights(self, step: Step) -> list[Tensor]:
        """Return parameters, buffers and constants in the order of :meth:`run`."""
        return [
            operator.attrgetter(name)(self if name.startswith("constant_") else step)
            for name in self._names
        ]

    def run(self, weights: Sequence[Tensor], *inputs: Tensor) -> Tensor:
        """Take the step with the given weights; ``inputs`` are state, step, seed and goal."""
        (state,) = self._operations(*weights, *inputs)
        return state
