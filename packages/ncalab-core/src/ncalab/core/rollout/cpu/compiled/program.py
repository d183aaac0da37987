"""Rules as lists of operations on rows: ``native/program.h`` runs them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from torch import Tensor

from ncalab.core.rollout.cpu.compiled.prelude import Prelude

# The order of ``OperationKind`` in native/program.h.
KINDS = (
    "sum",
    "product",
    "quotient",
    "leak",
    "scale",
    "clamp",
    "copy",
    "gather",
    "collect",
    "centred",
    "scaled",
    "shares",
    "layer",
)
# The order of ``Activation`` in native/activations.h: operations beyond ``KINDS``.
FUNCTIONS = (
    "relu",
    "identity",
    "leaky_relu",
    "tanh",
    "sigmoid",
    "elu",
    "silu",
    "exp",
    "square",
    "sqrt",
    "reciprocal",
    "rsqrt",
    "abs",
    "sin",
    "cos",
    "softplus",
    "gelu",
)
# What leaves a number behind each row of its result.
NORMS = ("centred", "scaled")


class Ref(NamedTuple):
    """Columns that an operation reads or writes.

    Attributes:
        slot: The slot; None for a constant.
        constant: The number, among the results of the prelude, of a vector that is the same for
            all cells; None for a slot.
        first: The first of the columns.
        wide: Whether one column stands for all.
    """

    slot: int | None
    constant: int | None = None
    first: int = 0
    wide: bool = False


FIRST = Ref(0)
"""What cells perceive."""


@dataclass(frozen=True)
class Operation:
    """An operation on the rows of a block of cells.

    Attributes:
        kind: One of ``KINDS`` or ``FUNCTIONS``.
        width: Columns of the result.
        out: Where the result is written.
        a: What it is computed from.
        b: What else; of a layer, its bias.
        inner: Columns of ``a`` where they are not as many as those of the result.
        matrix: Of a layer, the number of its matrix among the results of the prelude.
        table: Columns that are gathered, or collected into.
        x: A number that it depends on.
        y: Another one; of a layer, 1 if a ReLU follows.
    """

    kind: str
    width: int
    out: Ref
    a: Ref
    b: Ref | None = None
    inner: int = 0
    matrix: int | None = None
    table: tuple[int, ...] | None = None
    x: float = 0.0
    y: float = 0.0

    @property
    def columns(self) -> int:
        """Number of columns of ``a``."""
        return self.inner or self.width


@dataclass
class Program:
    """A rule.

    Attributes:
        prelude: What is computed from the parameters alone.
        slots: Columns of each slot; the first one holds what cells perceive.
        operations: What is done with a block of cells.
        result: Where the updates are in the end.
        outputs: How many there are.
    """

    prelude: Prelude
    slots: list[int]
    operations: list[Operation] = field(default_factory=list)
    result: Ref = FIRST
    outputs: int = 0

    def new_slot(self, width: int) -> Ref:
        """Make room for a result."""
        self.slots.append(width)
        return Ref(len(self.slots) - 1)

    def do(
        self,
        kind: str,
        width: int,
        a: Ref,
        b: Ref | None = None,
        *,
        inner: int = 0,
        matrix: int | None = None,
        table: tuple[int, ...] | None = None,
        x: float = 0.0,
        y: float = 0.0,
    ) -> Ref:
        """Add an operation with a new result; return that. Arguments are those of Operation."""
        out = self.new_slot(width)
        self.operations.append(Operation(kind, width, out, a, b, inner, matrix, table, x, y))
        return out

    def finish(self, result: Ref, outputs: int, dt: float) -> None:
        """State where the updates are, to be multiplied by ``dt``; leave out what nobody reads."""
        if dt != 1 or result.wide or result.slot is None:
            result = self.do("scale", outputs, result, x=dt)
        self.result, self.outputs = result, outputs
        self._fuse()
        used, kept = {result.slot}, []
        for operation in reversed(self.operations):
            if operation.out.slot in used:
                kept.append(operation)
                used |= {ref.slot for ref in (operation.a, operation.b) if ref is not None}
        self.operations = kept[::-1]

    def _fuse(self) -> None:
        """Let layers do the ReLU that follows, where nobody else reads what it is computed of."""
        refs = [r for o in self.operations for r in (o.a, o.b) if r is not None]
        readers = [ref.slot for ref in (*refs, self.result)]
        layers = {o.out.slot: n for n, o in enumerate(self.operations) if o.kind == "layer"}
        for n, operation in enumerate(self.operations):
            source = operation.a.slot
            if operation.kind != "relu" or source is None or source not in layers:
                continue
            if readers.count(source) > 1 or operation.width != self.slots[source]:
                continue
            layer = self.operations[layers[source]]
            self.operations[n] = replace(layer, out=operation.out, y=1.0)
            # What computed it before is read by nobody now.

    def ways(self) -> tuple[list[tuple[bool, bool]], list[int]]:
        """Work out which gradients are the first of their slot, on the way back.

        Returns:
            For every operation, whether the gradients of its operands are added to what is there;
            and the slots that must begin at zero.
        """
        begun: set[int] = set()
        cleared: list[int] = []

        def is_added(ref: Ref | None, width: int, *, always: bool = False) -> bool:
            if ref is None or ref.slot is None or ref.slot in begun:
                return True
            begun.add(ref.slot)
            is_whole = not (ref.wide or ref.first or always) and width == self.slots[ref.slot]
            if not is_whole:
                cleared.append(ref.slot)
            return not is_whole

        # The gradient of channels that may not change is never written.
        is_added(self.result, self.outputs, always=True)
        found = [
            (
                is_added(o.a, o.columns, always=o.kind == "gather"),
                is_added(o.b, o.width),
            )
            for o in reversed(self.operations)
        ]
        if 0 not in begun:
            cleared.append(0)
        return found[::-1], cleared


def constant(program: Program, traced: Tensor, read: Callable[[Tensor], Tensor]) -> Ref:
    """Return a vector that is computed from a traced tensor, as an operand."""
    return Ref(None, program.prelude.ask(traced, read))
