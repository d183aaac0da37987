"""Derivatives of derivatives, for engines whose backward pass has no graph of its own.

An engine computes its gradients by hand, so nothing knows how these depend on states and
parameters. Where that is asked for (``create_graph=True``: a Hessian, a gradient penalty), the
rollout is run once more as operations that autograd records, and differentiated by autograd.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def must_replay(gradient: Tensor) -> bool:
    """Return whether a backward pass must be made of operations that autograd records.

    Args:
        gradient: What came into the backward pass.

    Returns:
        True if a graph of the backward pass is wanted, or if the gradient has no memory to be
        read, as where torch computes with many at once (``is_grads_batched``).

    >>> with torch.no_grad():
    ...     must_replay(torch.ones(2))
    False
    """
    return torch.is_grad_enabled() or not torch._C._has_storage(gradient)


def replay_backward(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    gradient: Tensor,
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Differentiate a function by autograd, within the backward pass of one that equals it.

    Args:
        function: From ``inputs`` to the result, made of operations that autograd records.
        inputs: Saved inputs of the forward pass: they carry their graphs.
        gradient: Gradient of the result.
        needed: Whether each of the inputs needs a gradient.

    Returns:
        Gradient of each input, None where it is not needed. If grad mode is on, they depend on
        ``inputs`` and ``gradient`` for autograd.
    """
    create_graph = torch.is_grad_enabled()
    # Autocast would change products of the backward pass, too.
    with torch.enable_grad(), torch.autocast(gradient.device.type, enabled=False):
        # Aliases: of an input that another one was computed from, only its own part is wanted.
        aliases = [x.view_as(x) if wanted else x for x, wanted in zip(inputs, needed, strict=True)]
        result = function(*aliases)
        wanted = [alias for alias, is_needed in zip(aliases, needed, strict=True) if is_needed]
        found = iter(
            torch.autograd.grad(
                result, wanted, gradient, create_graph=create_graph, materialize_grads=True
            )
        )
    return tuple(next(found) if is_needed else None for is_needed in needed)
