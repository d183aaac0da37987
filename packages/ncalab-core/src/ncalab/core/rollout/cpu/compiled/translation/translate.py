"""From what a rule does with tensors to operations on rows of cells."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ncalab.core.rollout.cpu.compiled.program import Program
from ncalab.core.rollout.cpu.compiled.trace import Call, Trace, tensors_in, trace
from ncalab.core.rollout.cpu.compiled.translation.cells import UnknownOperationError
from ncalab.core.rollout.cpu.compiled.translation.check import agrees
from ncalab.core.rollout.cpu.compiled.translation.elementwise import FUNCTIONS, Elementwise
from ncalab.core.rollout.cpu.compiled.translation.layers import Layers
from ncalab.core.rollout.cpu.compiled.translation.placing import PLACING
from ncalab.core.rollout.cpu.compiled.translation.sums import Sums


def translate(rule: nn.Module, inputs: int, dtype: torch.dtype, dt: float) -> Program | None:
    """Return a rule as a program; None if it consists of other operations, or has other gradients.

    Args:
        rule: Maps ``(1, inputs, N, 1)`` to updates ``(1, outputs, N, 1)``, cell by cell.
        inputs: Numbers that it gets for every cell.
        dtype: Floating-point type of its parameters.
        dt: What updates are multiplied by.
    """
    try:
        traced = trace(rule, inputs, dtype)
        if traced is None:
            return None
        program = _Translator(rule, traced, dt).program
        return program if agrees(program, rule, inputs, dt, dtype) else None
    except Exception:  # a rule may take anything amiss; it is called as it is, then
        return None


class _Translator(Elementwise, Sums, Layers):
    """Translates a trace; the operation ``name`` by the method ``_take_name``."""

    def __init__(self, rule: nn.Module, traced: Trace, dt: float) -> None:
        super().__init__(rule, traced)
        for call in traced.calls:
            self._take(call)
        updates = self._cells(traced.result)
        if updates.shape != (1, updates.width, None, 1):
            raise UnknownOperationError(updates.shape)
        self.program.finish(updates.ref, updates.width, dt)

    def _take(self, call: Call) -> None:
        inputs = list(tensors_in((call.arguments, call.options)))
        if not any(id(t) in self.known for t in inputs):
            self._take_fixed(call, inputs)
            return
        method = getattr(self, f"_take_{call.name.removesuffix('_')}", None)
        is_in_place = call.name.endswith("_") and not call.name.startswith("_")
        if is_in_place:
            self._check_alone(call.arguments[0])
        if call.name in PLACING:
            self._place(call)
            return
        if call.name.removesuffix("_") in FUNCTIONS:
            self._define(call, self._apply(call.name.removesuffix("_"), call.arguments[0]))
            return
        if method is None:
            raise UnknownOperationError(call.name)
        self._define(call, method(*call.arguments, **call.options))

    def _take_fixed(self, call: Call, inputs: Sequence[Tensor]) -> None:
        """Leave an operation on parameters to the prelude."""
        name = call.name
        has_numbers = any(t.is_floating_point() for t in tensors_in((inputs, call.result)))
        if not has_numbers and not any(id(t) in self.fixed for t in inputs):
            return  # indices, which are the same for all parameters and buffers
        known = all(id(t) in self.fixed for t in inputs)
        if not known or name.endswith("_") or name == "_local_scalar_dense":
            raise UnknownOperationError(name)
        # Which numbers are left depends on the values of parameters; indices are always the same.
        chosen = name == "index" and not any(t.dtype == torch.bool for t in inputs)
        if torch.Tag.dynamic_output_shape in call.function.tags and not chosen:
            raise UnknownOperationError(name)
        results = list(tensors_in(call.result))
        if not results or any(self.cells in t.shape for t in results):
            raise UnknownOperationError(name)
        self.program.prelude.calls.append(call)
        self.fixed |= {id(t): t for t in results}

    def _check_alone(self, changed: Tensor) -> None:
        """Raise for a change of a tensor that others may see."""
        memory = changed.untyped_storage().data_ptr()
        if sum(t.untyped_storage().data_ptr() == memory for t in self.tensors) != 1:
            raise UnknownOperationError("a change in place")
