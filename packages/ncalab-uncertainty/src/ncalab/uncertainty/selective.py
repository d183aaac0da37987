"""Selective prediction: do the errors go, if the predictions go that the model is unsure of?"""

import torch
from torch import Tensor

from ncalab.core.selective import selective_risks


def risk_coverage_curve(uncertainty: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean error of the samples that a model is surest of, over their share of all.

    Samples of equal uncertainty come in random order: the curve is the expected one.

    Source: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, NeurIPS 2017,
    arXiv:1705.08500, equations 1 and 2.

    Args:
        uncertainty: Score of each sample, high where unsure, shape ``(N,)``, N at least 1, real.
        errors: Error of each sample, such as 1 - Dice, or whether it is wrong; shape ``(N,)``.

    Returns:
        Coverages 1/N, 2/N, ..., 1 and the risk at each, both of shape ``(N,)``, float64.

    Raises:
        ValueError: If shapes are others, or a value is not finite.

    >>> coverage, risk = risk_coverage_curve(torch.tensor([0.9, 0.1]), torch.tensor([1.0, 0.0]))
    >>> coverage.tolist(), risk.tolist()
    ([0.5, 1.0], [0.0, 0.5])
    """
    uncertainty, errors = check_scores(uncertainty), check_scores(errors, "errors")
    _check_same_length(uncertainty, errors)
    counts = torch.arange(1, len(errors) + 1, dtype=errors.dtype, device=errors.device)
    return counts / len(errors), selective_risks(errors, uncertainty)


def aurc(uncertainty: Tensor, errors: Tensor) -> float:
    """Return the area under the risk-coverage curve: the mean risk over all coverages.

    Lower is better. What a random ranking reaches on average is ``errors.mean()``; the best there
    is, ``aurc(errors, errors)``.

    Source: Geifman, Uziel and El-Yaniv, Bias-Reduced Uncertainty Estimation for Deep Neural
    Classifiers, ICLR 2019, arXiv:1805.08206, section 3.

    Args:
        uncertainty: As in :func:`risk_coverage_curve`.
        errors: As in :func:`risk_coverage_curve`.

    Returns:
        Area, in the unit of the errors.

    Raises:
        ValueError: If shapes are others, or a value is not finite.

    >>> aurc(torch.tensor([0.9, 0.1]), torch.tensor([1.0, 0.0]))
    0.25
    >>> aurc(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]))  # says nothing: as random
    0.5
    """
    return float(risk_coverage_curve(uncertainty, errors)[1].mean())


def excess_aurc(uncertainty: Tensor, errors: Tensor) -> float:
    """Return how far the AURC is above that of the best ranking (E-AURC).

    Source: Geifman, Uziel and El-Yaniv 2019, arXiv:1805.08206, section 3.

    Args:
        uncertainty: As in :func:`risk_coverage_curve`.
        errors: As in :func:`risk_coverage_curve`.

    Returns:
        Difference, at least 0, in the unit of the errors.

    Raises:
        ValueError: If shapes are others, or a value is not finite.

    >>> excess_aurc(torch.tensor([0.1, 0.9]), torch.tensor([1.0, 0.0]))
    0.5
    """
    return aurc(uncertainty, errors) - aurc(errors, errors)


def failure_auroc(uncertainty: Tensor, failed: Tensor) -> float:
    """Return how well uncertainty separates failures from the rest: the area under the ROC curve.

    It is the probability that a failure is found more uncertain than a success, where a tie
    counts as half: 1 is perfect, 0.5 is chance.

    Source: Hendrycks and Gimpel, A Baseline for Detecting Misclassified and Out-of-Distribution
    Examples in Neural Networks, ICLR 2017, arXiv:1610.02136.

    Args:
        uncertainty: Score of each sample, high where unsure, shape ``(N,)``, real.
        failed: Which predictions are wrong, such as ``dice < 0.8``; shape ``(N,)``, bool.

    Returns:
        Area in [0, 1].

    Raises:
        TypeError: If ``failed`` is not bool.
        ValueError: If shapes are others, a score is not finite, or all or none have failed.

    >>> failure_auroc(torch.tensor([0.9, 0.2, 0.4]), torch.tensor([True, False, True]))
    1.0
    """
    # Takes half a second to import.
    from sklearn.metrics import roc_auc_score

    uncertainty = check_scores(uncertainty)
    if not isinstance(failed, Tensor) or failed.dtype != torch.bool:
        kind = failed.dtype if isinstance(failed, Tensor) else type(failed).__name__
        raise TypeError(f"failed must be a tensor of bool, got {kind}; compare with a threshold")
    _check_same_length(uncertainty, failed, "failed")
    if failed.all() or not failed.any():
        raise ValueError(
            f"failed must hold both failures and successes, got {int(failed.sum())} failures "
            f"of {len(failed)}"
        )
    return float(roc_auc_score(failed.cpu().numpy(), uncertainty.cpu().numpy()))


def check_scores(scores: Tensor, name: str = "uncertainty") -> Tensor:
    """Return one number for each sample as float64.

    Raises:
        TypeError: If it is not a tensor.
        ValueError: If it has another shape, or a value is not finite.
    """
    if not isinstance(scores, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(scores).__name__}")
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"{name} must have shape (N,), N at least 1, got {tuple(scores.shape)}")
    if not scores.isfinite().all():
        raise ValueError(
            f"{name} must be finite, got {int((~scores.isfinite()).sum())} that is not"
        )
    return scores.detach().double()


def _check_same_length(uncertainty: Tensor, other: Tensor, name: str = "errors") -> None:
    if other.shape != uncertainty.shape:
        raise ValueError(
            f"{name} must have the shape of uncertainty, {tuple(uncertainty.shape)}, "
            f"got {tuple(other.shape)}"
        )
