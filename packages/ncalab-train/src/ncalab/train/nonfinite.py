"""Find the first step whose loss or gradient is not finite, without waiting for the device."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class NonFiniteMonitor:
    """Remember, on the device, the first step that was not finite.

    Reading a loss after every step would make the host wait for the device. This keeps the
    numbers there, to be read together with what is shown.

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
