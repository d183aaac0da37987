"""What a program computes, by operations of torch that autograd records."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ncalab.core.rollout.cpu.compiled.program import Operation, Program, Ref

_OF_ONE: dict[str, Callable[[Tensor, Operation], Tensor]] = {
    "scale": lambda a, o: o.x * a + o.y,
    "clamp": lambda a, o: a.clamp(o.x, o.y),
    "copy": lambda a, o: a.expand(-1, o.width),
    "centred": lambda a, o: F.layer_norm(a, a.shape[1:], eps=o.x),
    "scaled": lambda a, o: F.rms_norm(a, a.shape[1:], eps=o.x),
    "shares": lambda a, _: a.softmax(dim=1),
    "identity": lambda a, _: a,
    "leaky_relu": lambda a, o: F.leaky_relu(a, o.x),
    "elu": lambda a, o: F.elu(a, o.x),
    "silu": lambda a, _: F.silu(a),
    "softplus": lambda a, _: F.softplus(a),
    "gelu": lambda a, _: F.gelu(a),
}
_OF_TWO: dict[str, Callable[[Tensor, Tensor, Operation], Tensor]] = {
    "sum": lambda a, b, o: o.x * a + o.y * b,
    "product": lambda a, b, _: a * b,
    "quotient": lambda a, b, _: a / b,
    "leak": lambda a, b, _: torch.where(a > 0, a, b * a),
}


def interpret(program: Program, tensors: Sequence[Tensor], seen: Tensor) -> Tensor:
    """Compute the updates of some cells as the compiled functions do, but slowly.

    Args:
        program: The rule.
        tensors: Its parameters and buffers.
        seen: What cells perceive, shape ``(N, P)``, of the dtype of ``tensors``.

    Returns:
        Updates, shape ``(N, C)``, differentiable with respect to ``tensors`` and ``seen``.
    """
    rows = _Rows(program.prelude.run(tensors), seen)
    for operation in program.operations:
        rows.write(operation.out, _result(operation, rows))
    return rows.read(program.result, program.outputs)


class _Rows:
    """The slots of a program for some cells, and what its prelude gives."""

    def __init__(self, constants: Sequence[Tensor], seen: Tensor) -> None:
        self.constants = constants
        # Columns of a slot that were written one after the other, by the first of them.
        self._slots: dict[int, dict[int, Tensor]] = {0: {0: seen}}

    def write(self, out: Ref, value: Tensor) -> None:
        self._slots.setdefault(out.slot or 0, {})[out.first] = value

    def read(self, ref: Ref | None, width: int | None) -> Tensor:
        """Return columns, ``width`` of them or all that follow the first."""
        if ref is None:
            raise ValueError("ref must be given for this operation, got None")
        if ref.constant is not None:
            return self.constants[ref.constant]
        slot = self._slots[ref.slot or 0]
        whole = torch.cat([slot[first] for first in sorted(slot)], dim=1)
        if ref.wide:
            return whole[:, ref.first : ref.first + 1].expand(-1, width or 1)
        return whole[:, ref.first : None if width is None else ref.first + width]


def _result(o: Operation, rows: _Rows) -> Tensor:
    if o.kind == "gather":
        return rows.read(o.a, None)[:, list(o.table or ())]
    a = rows.read(o.a, o.columns)
    if o.kind == "layer":
        return _layer(o, a, rows)
    if o.kind == "collect":
        places = torch.tensor(o.table or [0] * o.columns)
        return a.new_zeros(len(a), o.width).index_add(1, places, a)
    if o.kind in _OF_TWO:
        return _OF_TWO[o.kind](a, rows.read(o.b, o.width), o)
    if o.kind in _OF_ONE:
        return _OF_ONE[o.kind](a, o)
    # The other functions are called as torch calls them.
    result: Tensor = getattr(torch, o.kind)(a)
    return result


def _layer(o: Operation, a: Tensor, rows: _Rows) -> Tensor:
    product = a @ rows.constants[o.matrix or 0]
    if o.b is not None:
        product = product + rows.read(o.b, o.width)
    return product.relu() if o.y else product
