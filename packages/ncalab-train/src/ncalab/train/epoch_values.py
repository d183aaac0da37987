"""Values of an epoch that stay on the device, and are read from it once.

Reading a value after every step would make the host wait for the device.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ncalab.core import AbstractNCAModel
from ncalab.train.health import CellStatistics, measure_cells


class NonFiniteMonitor:
    """Remember, on the device, the first step that was not finite.

    Args:
        model: Model whose gradients to monitor.

    >>> layer = nn.Linear(2, 1)
    >>> monitor = NonFiniteMonitor(layer)
    >>> layer(torch.full((1, 2), torch.inf)).sum().backward()
    >>> monitor.observe(torch.tensor(1.0), step=7)
    >>> monitor.problem(monitor.report().tolist())
    'gradients must stay finite, got inf in weight (the largest, loss 1) at step 7'
    """

    def __init__(self, model: nn.Module) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self._seen: Tensor | None = None
        self._first: Tensor | None = None

    def gradient_norms(self) -> Tensor:
        """Return the norm of every parameter's gradient, shape ``(number of parameters,)``."""
        norms = [p.new_zeros(()) if p.grad is None else p.grad.norm() for p in self.parameters]
        return torch.stack([norm.float() for norm in norms])

    def observe(self, loss: Tensor, step: int) -> None:
        """Check a step before the optimiser takes it.

        Args:
            loss: Scalar loss.
            step: Number of the step.
        """
        norms = self.gradient_norms()
        numbers = torch.cat([loss.detach().float().reshape(1), norms])
        bad = ~numbers.isfinite().all()
        step_numbers = torch.cat([torch.full_like(numbers[:1], step), numbers])
        if self._seen is None or self._first is None:
            self._seen, self._first = bad, step_numbers
            return
        self._first = torch.where(self._seen, self._first, step_numbers)
        self._seen = self._seen | bad

    def report(self) -> Tensor:
        """Return what to read from the device: whether, when and what, 1-D."""
        if self._seen is None or self._first is None:
            return torch.zeros(3 + len(self.names))
        return torch.cat([self._seen.float().reshape(1), self._first])

    def weights_are_finite(self) -> Tensor:
        """Return whether all weights are finite, 1.0 or 0.0, shape ``(1,)``."""
        return (
            torch.stack([p.detach().isfinite().all() for p in self.parameters]).all()[None].float()
        )

    def problem(self, report: Sequence[float]) -> str | None:
        """Return the problem that a report describes; None if all was finite."""
        seen, step, loss, *norms = report
        if not seen:
            return None
        sizes = [math.inf if math.isnan(norm) else norm for norm in norms]
        largest = max(range(len(norms)), key=sizes.__getitem__, default=0)
        gradient = f"{norms[largest]:.6g}" if norms else "none"
        name = self.names[largest] if norms else "no parameter"
        if math.isfinite(loss):
            return (
                f"gradients must stay finite, got {gradient} in {name} "
                f"(the largest, loss {loss:.6g}) at step {step:.0f}"
            )
        return (
            f"loss must stay finite, got {loss} at step {step:.0f} "
            f"(the largest gradient has norm {gradient}, that of {name})"
        )


class LossSums:
    """Sums of an epoch's loss terms, on their device."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all terms."""
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Add the loss terms of a batch."""
        for name, value in losses.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            # A loss may have terms that come and go; the mean is that of the batches that have it.
            self.counts[name] = self.counts.get(name, 0) + 1

    def stacked(self) -> Tensor:
        """Return all sums, shape ``(number of terms,)``, float32."""
        return torch.stack([value.float() for value in self.sums.values()])

    def means(self, sums: Sequence[float]) -> dict[str, float]:
        """Return the mean of each term.

        Args:
            sums: Numbers of :meth:`stacked`, and possibly more.
        """
        totals = dict(zip(self.sums, sums, strict=False))
        return {name: total / self.counts[name] for name, total in totals.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return sums and counts as data for a checkpoint."""
        return {"sums": self.sums, "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.sums = {name: value.to(device) for name, value in state["sums"].items()}
        self.counts = dict(state["counts"])


def read_epoch(
    losses: LossSums, monitor: NonFiniteMonitor, nca: AbstractNCAModel, states: Tensor | None
) -> tuple[dict[str, float], CellStatistics]:
    """Return the mean of each loss term, and statistics of the cells.

    Args:
        losses: Loss terms of the epoch, at least one.
        monitor: Monitor of the epoch's steps.
        nca: Model that is trained.
        states: States after the last batch, shape ``(B, C, W, H)``. None: no statistics are known,
            and those of healthy cells are returned.

    Raises:
        FloatingPointError: If a loss, a gradient or a weight was not finite; says which and when.
    """
    sums = losses.stacked()
    cells = torch.ones(2) if states is None else measure_cells(nca, states)
    read = (sums, monitor.report(), cells, monitor.weights_are_finite())
    *numbers, largest, living, finite = torch.cat([t.to(sums.device) for t in read]).tolist()
    means = losses.means(numbers)
    problem = monitor.problem(numbers[len(sums) :])
    if problem is None and not all(map(math.isfinite, means.values())):
        problem = f"loss must stay finite, got {means}"
    if problem is None and not finite:
        # Finite gradients times a large learning rate: the next loss would come after a save.
        problem = "weights must stay finite, got NaN or infinite ones after the last step"
    if problem is not None:
        raise FloatingPointError(problem)
    return means, CellStatistics(largest, living)
