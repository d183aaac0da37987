"""Muon for the matrices of update rules, Adam for all other parameters, as one optimiser."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ncalab.core.rule import AbstractNCARule


def rule_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the weight matrices of all update rules in a model, those of 1x1 convolutions too.

    Args:
        model: A model, or one that holds several, such as a cascade.

    Returns:
        Parameters of shape ``(out, in)`` or ``(out, in, 1, ...)`` with more than one row and
        column: biases, filters and scales are not among them.

    >>> layer = nn.Conv2d(3, 4, kernel_size=1)
    >>> [_is_matrix(parameter) for parameter in (layer.weight, layer.bias)]
    [True, False]
    """
    rules = [module for module in model.modules() if isinstance(module, AbstractNCARule)]
    unique = {id(p): p for rule in rules for p in rule.parameters() if _is_matrix(p)}
    return list(unique.values())


def _is_matrix(parameter: Tensor) -> bool:
    rows_and_columns, rest = parameter.shape[:2], parameter.shape[2:]
    return parameter.ndim >= 2 and min(rows_and_columns) > 1 and set(rest) <= {1}


class MuonWithAdam(Optimizer):
    """Step matrices by Muon and all other parameters by Adam.

    The first parameter group holds the matrices, the second one, if there are any, the others;
    each has a learning rate of its own, which a schedule scales alike. The steps are those of
    :class:`torch.optim.Muon` (with Nesterov momentum and without weight decay) and
    :class:`torch.optim.Adam`.

    Source: Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024,
    https://kellerjordan.github.io/posts/muon/. The update of a matrix is its momentum with all
    singular values brought near 1, so the learning rate alone decides how far a step goes.

    Args:
        matrices: Parameters ``(out, in)`` or ``(out, in, 1, ...)``, at least one.
        others: Parameters of any shape.
        lr: Learning rate of the matrices.
        adam_lr: Learning rate of the others.
        betas: Averaging coefficients of Adam.
        momentum: Momentum of the matrices, in [0, 1).
        iterations: Number of Newton-Schulz iterations that even out the singular values.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        *,
        lr: float,
        adam_lr: float,
        betas: tuple[float, float],
        momentum: float = 0.9,
        iterations: int = 5,
    ) -> None:
        groups = [
            {"params": list(matrices), "lr": lr, "momentum": momentum, "ns_steps": iterations},
            {"params": list(others), "lr": adam_lr},
        ]
        # The betas are a default of both groups, for schedules that cycle them (OneCycleLR).
        super().__init__([group for group in groups if group["params"]], {"betas": betas})
        self._views = [nn.Parameter(_as_matrix(p)) for p in self.param_groups[0]["params"]]
        self._muon = torch.optim.Muon(self._views, weight_decay=0.0)
        rest = self.param_groups[1:]
        self._adam = torch.optim.Adam(rest[0]["params"]) if rest else None

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step.

        Args:
            closure: Computes loss and gradients again, if given.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        matrices = self.param_groups[0]
        for view, parameter in zip(self._views, matrices["params"], strict=True):
            # The storage may be another one since the last step, as after model.to(device).
            view.data = _as_matrix(parameter)
            view.grad = None if parameter.grad is None else _as_matrix(parameter.grad)
        _take_over(self._muon, matrices, ("lr", "momentum", "ns_steps"))
        self._muon.step()
        self._muon.zero_grad()  # or the views would keep the memory of all gradients
        if self._adam is not None:
            _take_over(self._adam, self.param_groups[1], ("lr", "betas"))
            self._adam.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the options of both groups, and the moments of both methods."""
        adam = None if self._adam is None else self._adam.state_dict()
        return {**super().state_dict(), "muon": self._muon.state_dict(), "adam": adam}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned.

        Args:
            state_dict: State of an optimiser of as many parameters of each kind.
        """
        own = {name: state_dict[name] for name in ("state", "param_groups")}
        super().load_state_dict(own)
        self._muon.load_state_dict(state_dict["muon"])
        if self._adam is not None:
            self._adam.load_state_dict(state_dict["adam"])


def _as_matrix(parameter: Tensor) -> Tensor:
    """Return a view of two axes, never a copy: steps must reach the parameter itself."""
    return parameter.detach().view(len(parameter), -1)


def _take_over(optimizer: Optimizer, group: dict[str, Any], names: Iterable[str]) -> None:
    """Copy options that a schedule may have changed."""
    optimizer.param_groups[0].update({name: group[name] for name in names})
