"""Neural cellular automata: every public name of the ncalab parts, imported on first use.

The parts are distributions of their own, but for ``estimators``, which comes with this one: it
needs several of them.
"""

import pkgutil
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ncalab.__about__ import __version__

# The parts are namespace packages that may be installed elsewhere, for example as editable ones.
__path__ = pkgutil.extend_path(__path__, __name__)

if TYPE_CHECKING:
    from ncalab.core import DEFAULT_RANDOM_SEED as DEFAULT_RANDOM_SEED
    from ncalab.core import ROOT_PATH as ROOT_PATH
    from ncalab.core import TASK_PATH as TASK_PATH
    from ncalab.core import WEIGHTS_PATH as WEIGHTS_PATH
    from ncalab.core import AbstractNCAHead as AbstractNCAHead
    from ncalab.core import AbstractNCAModel as AbstractNCAModel
    from ncalab.core import AbstractNCARule as AbstractNCARule
    from ncalab.core import AutoStepper as AutoStepper
    from ncalab.core import BasicNCAPerception as BasicNCAPerception
    from ncalab.core import GatedNCARule as GatedNCARule
    from ncalab.core import MLPNCARule as MLPNCARule
    from ncalab.core import Prediction as Prediction
    from ncalab.core import Preparation as Preparation
    from ncalab.core import export_onnx as export_onnx
    from ncalab.core import export_program as export_program
    from ncalab.core import fix_random_seed as fix_random_seed
    from ncalab.core import get_compute_device as get_compute_device
    from ncalab.core import intepret_range_parameter as intepret_range_parameter
    from ncalab.core import interpret_range_parameter as interpret_range_parameter
    from ncalab.core import pad_input as pad_input
    from ncalab.core import print_mascot as print_mascot
    from ncalab.core import print_NCALab_banner as print_NCALab_banner
    from ncalab.core import unwrap as unwrap
    from ncalab.estimators import NCAClassifier as NCAClassifier
    from ncalab.estimators import NCASegmenter as NCASegmenter
    from ncalab.tasks import CascadeNCA as CascadeNCA
    from ncalab.tasks import ClassificationDataset as ClassificationDataset
    from ncalab.tasks import ClassificationNCAHead as ClassificationNCAHead
    from ncalab.tasks import ClassificationNCAModel as ClassificationNCAModel
    from ncalab.tasks import DepthDataset as DepthDataset
    from ncalab.tasks import DepthNCAModel as DepthNCAModel
    from ncalab.tasks import DiceBCELoss as DiceBCELoss
    from ncalab.tasks import DiceLoss as DiceLoss
    from ncalab.tasks import DiceScore as DiceScore
    from ncalab.tasks import FocalLoss as FocalLoss
    from ncalab.tasks import GrowingNCADataset as GrowingNCADataset
    from ncalab.tasks import GrowingNCAModel as GrowingNCAModel
    from ncalab.tasks import IDXDataset as IDXDataset
    from ncalab.tasks import MedMNISTDataset as MedMNISTDataset
    from ncalab.tasks import RandomAffine as RandomAffine
    from ncalab.tasks import RandomPatches as RandomPatches
    from ncalab.tasks import SegmentationNCADataset as SegmentationNCADataset
    from ncalab.tasks import SegmentationNCAModel as SegmentationNCAModel
    from ncalab.tasks import SegmentationPrediction as SegmentationPrediction
    from ncalab.tasks import read_idx as read_idx
    from ncalab.tasks import read_image as read_image
    from ncalab.tasks import read_images as read_images
    from ncalab.tasks import read_labels as read_labels
    from ncalab.tasks import read_mask as read_mask
    from ncalab.tasks import recommended_model as recommended_model
    from ncalab.train import RECOMMENDED as RECOMMENDED
    from ncalab.train import BasicNCATrainer as BasicNCATrainer
    from ncalab.train import BatchResult as BatchResult
    from ncalab.train import Callback as Callback
    from ncalab.train import CrossValidation as CrossValidation
    from ncalab.train import CrossValidationError as CrossValidationError
    from ncalab.train import EarlyStopping as EarlyStopping
    from ncalab.train import EpochResult as EpochResult
    from ncalab.train import KFoldCrossValidationTrainer as KFoldCrossValidationTrainer
    from ncalab.train import OptunaObjective as OptunaObjective
    from ncalab.train import ParameterSearch as ParameterSearch
    from ncalab.train import ParameterSet as ParameterSet
    from ncalab.train import Pool as Pool
    from ncalab.train import Recipe as Recipe
    from ncalab.train import SplitDefinition as SplitDefinition
    from ncalab.train import Training as Training
    from ncalab.train import TrainingHistory as TrainingHistory
    from ncalab.train import TrainValRecord as TrainValRecord
    from ncalab.uncertainty import MCMC as MCMC
    from ncalab.uncertainty import NQM as NQM
    from ncalab.uncertainty import Perturbation as Perturbation
    from ncalab.uncertainty import SamplingEstimator as SamplingEstimator
    from ncalab.uncertainty import Spread as Spread
    from ncalab.uncertainty import TestTimeAugmentation as TestTimeAugmentation
    from ncalab.uncertainty import UncertaintyEstimator as UncertaintyEstimator
    from ncalab.uncertainty import aurc as aurc
    from ncalab.uncertainty import excess_aurc as excess_aurc
    from ncalab.uncertainty import expected_calibration_error as expected_calibration_error
    from ncalab.uncertainty import failure_auroc as failure_auroc
    from ncalab.uncertainty import mutual_information as mutual_information
    from ncalab.uncertainty import nqm_score as nqm_score
    from ncalab.uncertainty import predictive_entropy as predictive_entropy
    from ncalab.uncertainty import reduce_heatmap as reduce_heatmap
    from ncalab.uncertainty import risk_coverage_curve as risk_coverage_curve
    from ncalab.viz import Animator as Animator
    from ncalab.viz import AnimatorStyle as AnimatorStyle
    from ncalab.viz import Visual as Visual
    from ncalab.viz import VisualBinaryImageClassification as VisualBinaryImageClassification
    from ncalab.viz import VisualBinaryImageSegmentation as VisualBinaryImageSegmentation
    from ncalab.viz import VisualDepthEstimation as VisualDepthEstimation
    from ncalab.viz import VisualGrowing as VisualGrowing
    from ncalab.viz import VisualImageClassification as VisualImageClassification
    from ncalab.viz import VisualMultiImageClassification as VisualMultiImageClassification
    from ncalab.viz import VisualRGBImageClassification as VisualRGBImageClassification
    from ncalab.viz import abbreviate_label as abbreviate_label
    from ncalab.viz import animator_style_dark as animator_style_dark
    from ncalab.viz import animator_styles as animator_styles
    from ncalab.viz import draw_segmentation_overlay as draw_segmentation_overlay
    from ncalab.viz import export_html as export_html
    from ncalab.viz import plot_confusion_matrix as plot_confusion_matrix
    from ncalab.viz import plot_filters as plot_filters
    from ncalab.viz import plot_hidden_channels as plot_hidden_channels
    from ncalab.viz import plot_history as plot_history
    from ncalab.viz import plot_risk_coverage as plot_risk_coverage
    from ncalab.viz import plot_rollout as plot_rollout
    from ncalab.viz import plot_uncertainty as plot_uncertainty
    from ncalab.viz import show_image_row as show_image_row

_NAMES: dict[str, tuple[str, ...]] = {
    "core": (
        "DEFAULT_RANDOM_SEED",
        "ROOT_PATH",
        "TASK_PATH",
        "WEIGHTS_PATH",
        "AbstractNCAHead",
        "AbstractNCAModel",
        "AbstractNCARule",
        "AutoStepper",
        "BasicNCAPerception",
        "GatedNCARule",
        "MLPNCARule",
        "Prediction",
        "Preparation",
        "export_onnx",
        "export_program",
        "fix_random_seed",
        "get_compute_device",
        "intepret_range_parameter",
        "interpret_range_parameter",
        "pad_input",
        "print_NCALab_banner",
        "print_mascot",
        "unwrap",
    ),
    "estimators": (
        "NCAClassifier",
        "NCASegmenter",
    ),
    "tasks": (
        "CascadeNCA",
        "ClassificationDataset",
        "ClassificationNCAHead",
        "ClassificationNCAModel",
        "DepthDataset",
        "DepthNCAModel",
        "DiceBCELoss",
        "DiceLoss",
        "DiceScore",
        "FocalLoss",
        "GrowingNCADataset",
        "GrowingNCAModel",
        "IDXDataset",
        "MedMNISTDataset",
        "RandomAffine",
        "RandomPatches",
        "SegmentationNCADataset",
        "SegmentationNCAModel",
        "SegmentationPrediction",
        "read_idx",
        "read_image",
        "read_images",
        "read_labels",
        "read_mask",
        "recommended_model",
    ),
    "train": (
        "BasicNCATrainer",
        "BatchResult",
        "Callback",
        "CrossValidation",
        "CrossValidationError",
        "EarlyStopping",
        "EpochResult",
        "KFoldCrossValidationTrainer",
        "OptunaObjective",
        "ParameterSearch",
        "ParameterSet",
        "Pool",
        "RECOMMENDED",
        "Recipe",
        "SplitDefinition",
        "TrainValRecord",
        "Training",
        "TrainingHistory",
    ),
    "uncertainty": (
        "MCMC",
        "NQM",
        "Perturbation",
        "SamplingEstimator",
        "Spread",
        "TestTimeAugmentation",
        "UncertaintyEstimator",
        "aurc",
        "excess_aurc",
        "expected_calibration_error",
        "failure_auroc",
        "mutual_information",
        "nqm_score",
        "predictive_entropy",
        "reduce_heatmap",
        "risk_coverage_curve",
    ),
    "viz": (
        "Animator",
        "AnimatorStyle",
        "Visual",
        "VisualBinaryImageClassification",
        "VisualBinaryImageSegmentation",
        "VisualDepthEstimation",
        "VisualGrowing",
        "VisualImageClassification",
        "VisualMultiImageClassification",
        "VisualRGBImageClassification",
        "abbreviate_label",
        "animator_style_dark",
        "animator_styles",
        "draw_segmentation_overlay",
        "export_html",
        "plot_confusion_matrix",
        "plot_filters",
        "plot_hidden_channels",
        "plot_history",
        "plot_risk_coverage",
        "plot_rollout",
        "plot_uncertainty",
        "show_image_row",
    ),
}

_PARTS = {name: part for part, names in _NAMES.items() for name in names}

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]  # a test holds it to the imports above
    "__version__",
    *_PARTS,
]


def __getattr__(name: str) -> Any:
    """Import the part that holds ``name``.

    Raises:
        AttributeError: If no part holds it.
        ImportError: If that part is not installed.
    """
    part = _PARTS.get(name)
    if part is None:
        raise AttributeError(f"module 'ncalab' has no attribute {name!r}")
    if find_spec(f"ncalab.{part}") is None:
        raise ImportError(
            f"{name} is part of the distribution ncalab-{part}, which is not installed; "
            f"from a clone: pip install ./packages/ncalab-core ./packages/ncalab-{part}"
        )
    value = getattr(import_module(f"ncalab.{part}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
