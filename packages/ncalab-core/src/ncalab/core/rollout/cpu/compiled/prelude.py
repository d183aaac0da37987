"""What a rule computes from its parameters alone, once for all cells and steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ncalab.core.rollout.cpu.compiled.trace import Call, replaced, tensors_in


@dataclass
class Prelude:
    """Operations on parameters whose results a program reads.

    Attributes:
        sources: Ids, in the trace, of the tensors of the rule.
        calls: The operations.
        results: From the traced tensors that the program reads to what it reads of them.
        shapes: Shapes of the results, whatever the values of the rule's tensors.
    """

    sources: list[int]
    calls: list[Call] = field(default_factory=list)
    results: list[tuple[int, Callable[[Tensor], Tensor]]] = field(default_factory=list)
    shapes: list[torch.Size] = field(default_factory=list)

    def ask(self, traced: Tensor, read: Callable[[Tensor], Tensor]) -> int:
        """Return the number of a new result."""
        self.results.append((id(traced), read))
        self.shapes.append(read(traced).shape)
        return len(self.results) - 1

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Compute the results from other values of the rule's tensors."""
        known = dict(zip(self.sources, tensors, strict=True))
        for call in self.calls:
            result = call.function(
                *replaced(call.arguments, known), **replaced(call.options, known)
            )
            known |= {
                id(old): new
                for old, new in zip(tensors_in(call.result), tensors_in(result), strict=True)
            }
        return [read(known[traced]) for traced, read in self.results]

    def take_back(self, tensors: Sequence[Tensor], slopes: Sequence[Tensor]) -> list[Tensor]:
        """Return the gradients of the rule's tensors from those of the results."""
        leaves = [t.detach().requires_grad_(t.is_floating_point()) for t in tensors]
        with torch.enable_grad():
            results = self.run(leaves)
        pairs = [(r, s) for r, s in zip(results, slopes, strict=True) if r.requires_grad]
        trained = [leaf for leaf in leaves if leaf.requires_grad]
        if not pairs or not trained:
            return [torch.zeros_like(leaf) for leaf in leaves]
        found = iter(
            torch.autograd.grad(
                [result for result, _ in pairs],
                trained,
                [slope for _, slope in pairs],
                allow_unused=True,
                materialize_grads=True,
            )
        )
        return [next(found) if leaf.requires_grad else torch.zeros_like(leaf) for leaf in leaves]
