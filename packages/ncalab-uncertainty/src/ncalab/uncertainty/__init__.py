"""Uncertainty of neural cellular automata, and measures of how far to trust it."""

from ncalab.uncertainty.__about__ import __version__
from ncalab.uncertainty.augmentation import TestTimeAugmentation
from ncalab.uncertainty.calibration import expected_calibration_error
from ncalab.uncertainty.entropy import mutual_information, predictive_entropy
from ncalab.uncertainty.estimator import UncertaintyEstimator, reduce_heatmap
from ncalab.uncertainty.mcmc import MCMC
from ncalab.uncertainty.nqm import NQM
from ncalab.uncertainty.perturbation import Perturbation
from ncalab.uncertainty.sampling import SamplingEstimator
from ncalab.uncertainty.selective import aurc, excess_aurc, failure_auroc, risk_coverage_curve
from ncalab.uncertainty.spread import Spread, nqm_score

__all__ = [
    "MCMC",
    "NQM",
    "Perturbation",
    "SamplingEstimator",
    "Spread",
    "TestTimeAugmentation",
    "UncertaintyEstimator",
    "__version__",
    "aurc",
    "excess_aurc",
    "expected_calibration_error",
    "failure_auroc",
    "mutual_information",
    "nqm_score",
    "predictive_entropy",
    "reduce_heatmap",
    "risk_coverage_curve",
]
