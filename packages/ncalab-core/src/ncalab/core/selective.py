"""Selective prediction: the errors that remain among what a model is surest of."""

import torch
from torch import Tensor


def selective_risks(errors: Tensor, scores: Tensor) -> Tensor:
    """Return the mean error of the k samples with the lowest scores, for each k.

    Samples of equal score come in no order: each is given the mean error of all of them.

    Source: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, NeurIPS 2017,
    arXiv:1705.08500, equation 2.

    Args:
        errors: Error of each sample, shape ``(N,)``, N at least 1, floating point.
        scores: Uncertainty of each sample, high where unsure, shape ``(N,)``.

    Returns:
        Risks at coverages 1/N, 2/N, ... 1, shape ``(N,)``. Their mean is the area under the
        risk-coverage curve (AURC).

    >>> selective_risks(torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.9, 0.1, 0.2])).tolist()
    [0.0, 0.0, 1.0]
    """
    _, place, sizes = scores.unique(return_inverse=True, return_counts=True)
    # Sorted by score; each of a tie stands for the mean of the tie.
    means = torch.zeros_like(sizes, dtype=errors.dtype).index_add_(0, place, errors) / sizes
    counts = torch.arange(1, len(errors) + 1, dtype=errors.dtype, device=errors.device)
    risks: Tensor = means.repeat_interleave(sizes).cumsum(0) / counts
    return risks
