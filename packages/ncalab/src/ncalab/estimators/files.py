"""Estimators as folders of data: weights as safetensors, all else as JSON."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ncalab.core import AbstractNCAModel, Preparation, get_compute_device
from ncalab.core.json_file import COUNT, OBJECT, TEXT, Rule, check_fields, read_json
from ncalab.core.saving import atomic_write
from ncalab.tasks import CascadeNCA
from ncalab.train import Recipe

ESTIMATOR_NAME = "estimator.json"
CHECKSUM_KEY = "sha256"

logger = logging.getLogger(__name__)


class FittedEstimator(Protocol):
    """A fitted estimator as a folder holds it; :class:`ncalab.estimators.base.NCAEstimator` is one.

    Args:
        **parameters: What ``get_params`` returned.
    """

    _model_class: ClassVar[type[AbstractNCAModel]]
    model_: AbstractNCAModel
    classes_: NDArray[Any]
    image_shape_: tuple[int, ...]
    mean_: NDArray[np.float64]
    scale_: NDArray[np.float64]
    seed_: int
    n_features_in_: int
    device: str

    def __init__(self, **parameters: Any) -> None: ...

    def get_params(self, deep: bool = ...) -> dict[str, Any]:
        """Return the parameters of the constructor."""

    def _check_parameters(self) -> None:
        """Raise for parameters that nothing can be fitted with."""


Estimator = TypeVar("Estimator", bound=FittedEstimator)


def _plain(value: Any) -> Any:
    """Return numpy's numbers and arrays as Python's, for JSON."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"cannot be written as JSON: {value!r}")


def write_estimator(estimator: FittedEstimator, folder: Path) -> None:
    """Write a fitted estimator into a folder.

    Raises:
        TypeError: If a parameter is not data that JSON can hold; nothing is written then.
    """
    parameters = estimator.get_params(deep=False)
    if isinstance(weights := parameters.get("class_weight"), Mapping):
        # The keys of JSON are words, those of a class weight any labels.
        parameters["class_weight"] = list(weights.items())
    if isinstance(recipe := parameters.get("recipe"), Recipe):
        parameters["recipe"] = asdict(recipe)
    for name, value in parameters.items():
        try:
            json.dumps(value, default=_plain)
        except TypeError as error:
            raise TypeError(f"{name} must be data that JSON can hold, got {value!r}") from error
    description = {
        "class": type(estimator).__name__,
        "parameters": parameters,
        "classes": estimator.classes_,
        "classes_dtype": estimator.classes_.dtype.str,
        "image_shape": estimator.image_shape_,
        "mean": estimator.mean_,
        "scale": estimator.scale_,
        "seed": estimator.seed_,
    }
    # Through JSON once, so that the checksum is that of what will be read.
    plain = json.loads(json.dumps(description, default=_plain))
    text = json.dumps({**plain, CHECKSUM_KEY: _checksum(plain)}, indent=2) + "\n"
    estimator.model_.save_pretrained(folder)
    atomic_write(folder / ESTIMATOR_NAME, text.encode())


def _checksum(description: Mapping[str, Any]) -> str:
    """Return a checksum of all values, however the file is laid out."""
    values = {key: value for key, value in description.items() if key != CHECKSUM_KEY}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _read_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return parameters as they were given: JSON knows neither tuples nor keys that are numbers."""
    read = _with_tuples(parameters)
    if isinstance(read.get("class_weight"), tuple):
        read["class_weight"] = dict(read["class_weight"])
    if isinstance(read.get("recipe"), dict):
        read["recipe"] = Recipe(**_with_tuples(read["recipe"]))
    return read


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}


_NUMBERS = Rule(
    "a list of numbers",
    lambda value: isinstance(value, list) and all(isinstance(item, int | float) for item in value),
)
_RULES = {
    "class": TEXT,
    "parameters": OBJECT,
    "classes": Rule("a list", lambda value: isinstance(value, list)),
    "classes_dtype": TEXT,
    "image_shape": Rule(
        "a list of 3 whole numbers of at least 1",
        lambda value: (
            isinstance(value, list)
            and len(value) == 3
            and all(COUNT.holds(side) and side > 0 for side in value)
        ),
    ),
    "mean": _NUMBERS,
    "scale": _NUMBERS,
    "seed": Rule(
        "a whole number in [0, 2**63)", lambda value: COUNT.holds(value) and value < 2**63
    ),
}


def read_estimator(cls: type[Estimator], folder: Path) -> Estimator:
    """Rebuild an estimator from a folder.

    Raises:
        FileNotFoundError: If the folder lacks a file.
        ValueError: If one is broken, or the estimator is of another class.
    """
    path = folder / ESTIMATOR_NAME
    if not path.is_file():
        raise FileNotFoundError(f"folder must hold {ESTIMATOR_NAME}, got {folder}")
    description = read_json(path)
    check_fields(path, description, _RULES)
    if description["class"] != cls.__name__:
        raise ValueError(f"{path} must describe a {cls.__name__}, got {description['class']!r:.80}")
    if description.get(CHECKSUM_KEY) not in (None, _checksum(description)):
        logger.warning(
            "%s is not what was saved; that counts, if it was edited by hand (delete %r from it "
            "then). If not, the file is damaged",
            path,
            CHECKSUM_KEY,
        )
    try:
        estimator = cls(**_read_parameters(description["parameters"]))
        estimator._check_parameters()
        classes = np.array(description["classes"], dtype=np.dtype(description["classes_dtype"]))
        mean, scale = (np.array(description[name], dtype=float) for name in ("mean", "scale"))
        device = get_compute_device(estimator.device)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} must describe a {cls.__name__}: {error}") from error
    estimator.classes_ = classes
    estimator.image_shape_ = tuple(description["image_shape"])
    estimator.mean_, estimator.scale_ = mean, scale
    estimator.seed_ = description["seed"]
    estimator.n_features_in_ = int(np.prod(estimator.image_shape_))
    estimator.model_ = AbstractNCAModel.from_pretrained(folder, device=device)
    _check_model(path, estimator)
    if estimator.model_.preparation is None:
        # Written before models knew of it.
        statistics = {"mean": estimator.mean_.tolist(), "scale": estimator.scale_.tolist()}
        estimator.model_.preparation = Preparation(raw=True, **statistics)
    return estimator


def _check_model(path: Path, estimator: FittedEstimator) -> None:
    """Raise unless the model in the folder is one that the estimator could have fitted."""
    model, channels = estimator.model_, estimator.image_shape_[-1]
    wrapped = model.wrapped if isinstance(model, CascadeNCA) else model
    if not isinstance(wrapped, estimator._model_class) or model.num_image_channels != channels:
        raise ValueError(
            f"{path} must describe the {type(model).__name__} of {model.num_image_channels} "
            f"channels beside it, got image_shape {estimator.image_shape_} of a "
            f"{type(estimator).__name__}"
        )
    if len(estimator.classes_) != (known := max(2, int(getattr(model, "num_classes", 2)))):
        raise ValueError(f"{path}: classes must be {known}, got {len(estimator.classes_)}")
