"""Neural cellular automata: model, perception, rule, prediction and the rollout of steps."""

from ncalab.core.__about__ import __version__
from ncalab.core.autostepper import AutoStepper
from ncalab.core.banner import print_mascot, print_NCALab_banner
from ncalab.core.export import export_onnx, export_program
from ncalab.core.head import AbstractNCAHead
from ncalab.core.model import AbstractNCAModel
from ncalab.core.perception import BasicNCAPerception
from ncalab.core.prediction import Prediction
from ncalab.core.preparation import Preparation
from ncalab.core.rule import AbstractNCARule, GatedNCARule, MLPNCARule
from ncalab.core.utils import (
    DEFAULT_RANDOM_SEED,
    ROOT_PATH,
    TASK_PATH,
    WEIGHTS_PATH,
    fix_random_seed,
    get_compute_device,
    intepret_range_parameter,
    interpret_range_parameter,
    pad_input,
    unwrap,
)

__all__ = [
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
    "__version__",
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
]
