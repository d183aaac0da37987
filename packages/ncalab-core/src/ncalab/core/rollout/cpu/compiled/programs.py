"""Cells whose rule is a program: all of a step is compiled, as for a perceptron."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ncalab.core.automaton import Automaton
from ncalab.core.fire import FireClock
from ncalab.core.rollout.cpu.compiled.bands import divided_groups
from ncalab.core.rollout.cpu.compiled.batch import Sums
from ncalab.core.rollout.cpu.compiled.division import Division, divide
from ncalab.core.rollout.cpu.compiled.freshness import fingerprint, is_closed, signature
from ncalab.core.rollout.cpu.compiled.group import Group
from ncalab.core.rollout.cpu.compiled.library import Library
from ncalab.core.rollout.cpu.compiled.packed_program import Layout, PackedProgram, ProgramSums
from ncalab.core.rollout.cpu.compiled.parameters import context_of, read_cells
from ncalab.core.rollout.cpu.compiled.program import Program
from ncalab.core.rollout.cpu.compiled.row_rule import function_of_cells
from ncalab.core.rollout.cpu.compiled.rows import RowCells
from ncalab.core.rollout.cpu.compiled.spec import TapSpec
from ncalab.core.rollout.cpu.compiled.trace import Trace, tensors_of, trace
from ncalab.core.rollout.cpu.compiled.translation import translate


class _Known(NamedTuple):
    """A program, and what it was made of.

    Attributes:
        key: Parts of the model.
        signature: Operations of its rule; None for a rule that cannot be traced.
        program: The program; None if the rule consists of other operations.
    """

    key: tuple[Any, ...]
    signature: tuple[Any, ...] | None
    program: Program | None


# As long as a model computes the same, its program stays.
_programs: "WeakKeyDictionary[nn.Module, _Known]" = WeakKeyDictionary()


def program_of(model: Automaton, rule: nn.Module, inputs: int) -> Program | None:
    """Return the program of a model's rule; None if it consists of other operations.

    Args:
        model: The model.
        rule: Its rule and views, as :func:`function_of_cells` returns them.
        inputs: Numbers that the rule gets for every cell.
    """
    parts = [model.rule] if rule is model.rule else [model.rule, model.perception]
    shown = tuple(fingerprint(part, model.dtype) for part in parts)
    key = (shown, model.dt, inputs, torch.is_autocast_enabled("cpu"))
    known = _programs.get(model)
    if known is not None and known.key != key:
        known = None
    # A rule that is called as it is cannot be out of date.
    if known is not None and (known.program is None or all(map(is_closed, parts))):
        return known.program
    traced = _trace(rule, inputs, model.dtype)
    found = None if traced is None else signature(traced, tensors_of(rule))
    if known is not None and known.signature == found:
        return known.program
    # What gradients do within a function of the rule's own, no trace shows.
    is_shown = traced is not None and not any(call.is_hidden for call in traced.calls)
    program = translate(rule, inputs, model.dtype, model.dt) if is_shown else None
    _programs[model] = _Known(key, found, program)
    return program


def _trace(rule: nn.Module, inputs: int, dtype: torch.dtype) -> Trace | None:
    """Call a rule on some cells; None for one that takes that amiss."""
    try:
        return trace(rule, inputs, dtype, with_gradients=True)
    except Exception:  # a rule may raise anything
        return None


def read_program(model: Automaton, clock: FireClock) -> tuple[RowCells, list[Tensor]]:
    """Collect what a rollout of a model with a pointwise rule needs, differentiably.

    The rule becomes a program if it can; else it is called on rows.
    """
    spec, factors = read_cells(model, clock)
    context = context_of(model, clock)
    rule = function_of_cells(model)
    seen = model.num_channels * (1 + spec.views.count) + context.shape[2]
    program = program_of(model, rule, seen)
    parameters = [factors, context, *tensors_of(rule)]
    if program is None:
        return RowCells(spec, rule, model.dt), parameters
    return ProgramCells(spec, rule, model.dt, program), parameters


class ProgramCells(RowCells):
    """Cells with a pointwise rule that is a program.

    Args:
        spec: The rollout.
        rule: Rule and views as :func:`function_of_cells` returns them.
        dt: What its updates are multiplied by.
        program: The same as a program.
    """

    def __init__(self, spec: TapSpec, rule: nn.Module, dt: float, program: Program) -> None:
        super().__init__(spec, rule, dt)
        self.program = program

    def divide(self, x: Tensor) -> Division:
        """Divide a batch into groups, and into bands what is left over."""
        return divide(self.spec, x, self.cells_at_work(x))

    def groups(
        self, library: Library, x: Tensor, parameters: Sequence[Tensor], division: Division
    ) -> tuple[list[Group], list[Group]]:
        """Return groups; those that all threads step are cut into bands."""
        factors, context, *tensors = (p.detach() for p in parameters)
        with torch.no_grad():
            results = self.program.prelude.run(tensors)
        packed = PackedProgram(
            self.program, factors, context, results, library.lanes, self.spec.first_mutable
        )
        return divided_groups(library, self.spec, packed, x, division)

    def sums(self, library: Library, parameters: Sequence[Tensor], tasks: int) -> Sums:
        """Return new sums of gradients."""
        return ProgramSums(self.program, Layout(self.program, library.lanes), parameters, tasks)
