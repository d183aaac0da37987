"""Entropies of class probabilities: how sure a prediction is, and how much predictions disagree."""

import torch
from torch import Tensor

# Sums of float16 probabilities are off by that much.
_TOLERANCE = 1e-2


def predictive_entropy(probabilities: Tensor) -> Tensor:
    """Measure, in nats, how spread out class probabilities are.

    Args:
        probabilities: Shape ``(B, K, ...)``, floating point, in [0, 1]: of K classes, which sum
            to 1; or, with K = 1, of the foreground.

    Returns:
        Entropy, shape ``(B, 1, ...)``: from 0 (sure) to ``log(K)`` (all classes alike), or to
        ``log(2)`` if there is only a foreground.

    Raises:
        ValueError: If they are not probabilities.

    >>> predictive_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]])).squeeze(1).tolist()
    [0.6931471824645996, 0.0]
    """
    _check_probabilities(probabilities)
    if probabilities.shape[1] == 1:
        probabilities = torch.cat([probabilities, 1 - probabilities], dim=1)
    # A probability a rounding error above 1 would give less than 0.
    terms: Tensor = torch.special.entr(probabilities)
    return terms.sum(dim=1, keepdim=True).clamp(min=0)


def mutual_information(probabilities: Tensor) -> Tensor:
    """Measure, in nats, how much several predictions differ beyond what each is unsure of.

    The entropy of their mean, less the mean of their entropies: high where each prediction is
    sure of another class, zero where all agree, however unsure.

    Source: Houlsby et al., Bayesian Active Learning for Classification and Preference Learning,
    2011, arXiv:1112.5745, equation 2, with predictions in place of draws of parameters.

    Args:
        probabilities: Of N predictions, shape ``(N, B, K, ...)``; see :func:`predictive_entropy`.

    Returns:
        Mutual information, shape ``(B, 1, ...)``, at least 0.

    Raises:
        ValueError: If they are not probabilities.

    >>> agree = torch.tensor([[[0.5, 0.5]], [[0.5, 0.5]]])
    >>> differ = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    >>> mutual_information(agree).item(), mutual_information(differ).item()
    (0.0, 0.6931471824645996)
    """
    single = torch.stack([predictive_entropy(p) for p in probabilities])
    joint = predictive_entropy(probabilities.mean(dim=0))
    return (joint - single.mean(dim=0)).clamp(min=0)


def _check_probabilities(p: Tensor) -> None:
    """Raise unless these are probabilities; NaN is left to be seen in what comes of it."""
    if p.ndim < 2 or not p.is_floating_point():
        raise ValueError(
            "probabilities must be floating point, of shape (B, K, ...), "
            f"got {p.dtype} of shape {tuple(p.shape)}"
        )
    total = p.sum(dim=1)
    out_of_range = (p < 0).any() | (p > 1 + _TOLERANCE).any()
    if out_of_range or (p.shape[1] > 1 and ((total - 1).abs() > _TOLERANCE).any()):
        raise ValueError(
            "probabilities must be in [0, 1] and sum to 1 over several classes, "
            f"got values from {p.min().item():.4g} to {p.max().item():.4g} "
            f"and sums from {total.min().item():.4g} to {total.max().item():.4g}"
        )
