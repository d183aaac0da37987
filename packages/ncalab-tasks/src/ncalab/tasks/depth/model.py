"""The model that estimates depth from a single image."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.argument_types import check_positive
from ncalab.core.checks import check_non_negative
from ncalab.tasks.depth.losses import gradient_error, scale_shift_error, squared_error
from ncalab.tasks.depth.ssim import label_range, masked_ssim
from ncalab.tasks.depth.valid import valid_depth
from ncalab.tasks.depth.vignette import encode_mask, read_vignette


class DepthNCAModel(AbstractNCAModel):
    """Estimate the depth of every cell: one output channel, times ``depth_scale``.

    Labels are depth maps ``(B, W, H)`` or ``(B, 1, W, H)`` in any unit. A depth that is not finite
    or not above 0 is unknown, and counts neither in the loss nor in the metrics; nor does a cell
    outside of the ``vignette``.

    Metrics, over all known cells of a data set: "mae" and "rmse" in the unit of depth, "abs_rel"
    (mean of ``|d - d*| / d*``), "delta1" (share of cells with ``max(d/d*, d*/d) < 1.25``); and
    "ssim", the mean over images. They are NaN if nothing is known.

    Args:
        device: Where parameters are created.
        num_image_channels: Number of image channels.
        num_hidden_channels: Number of hidden channels.
        fire_rate: Probability that a cell is updated at a step, in [0, 1].
        hidden_size: Number of hidden neurons of the rule.
        num_learned_filters: Number of learned perception filters; 0 for Sobel filters.
        pad_noise: Whether hidden and output channels start as noise instead of zeros.
        lambda_mse: Weight of the mean squared error, at least 0, as all weights.
        lambda_scale_shift: Weight of the squared error that is left when each prediction is scaled
            and shifted to fit its label: relative depth only. Without ``lambda_mse``, the depth has
            no unit.
        lambda_gradient: Weight of the error of the differences between neighbours, at four scales.
        lambda_ssim: Weight of 1 - SSIM.
        depth_scale: Depth that an output of 1 stands for, in the unit of the labels, above 0. Near
            the largest depth, it makes millimetres as easy to learn as metres; the loss is
            measured in it.
        data_range: Dynamic range L of depth for SSIM, in the unit of the labels, above 0; the
            largest known depth of each label if None.
        vignette: Which cells the camera sees, shape ``(W, H)`` of all images (so crop none of
            them), bool. None: all. It can be set later, and is saved with the configuration.
        **kwargs: Further arguments of :class:`ncalab.core.AbstractNCAModel`.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If one is out of its range.

    >>> model = DepthNCAModel(torch.device("cpu"), depth_scale=5.0)
    >>> image, depth = torch.rand(1, 3, 8, 6), torch.full((1, 8, 6), 2.5)
    >>> round(model.loss(model.predict(image, steps=2), depth)["mse"].item(), 6)
    0.25
    """

    task = "depth"
    fixed_arguments = frozenset({"num_output_channels"})

    def __init__(
        self,
        device: torch.device,
        num_image_channels: int = 3,
        num_hidden_channels: int = 18,
        fire_rate: float = 0.8,
        hidden_size: int = 128,
        num_learned_filters: int = 2,
        pad_noise: bool = False,
        *,
        lambda_mse: float = 1.0,
        lambda_scale_shift: float = 1.0,
        lambda_gradient: float = 0.5,
        lambda_ssim: float = 0.5,
        depth_scale: float = 1.0,
        data_range: float | None = None,
        vignette: Tensor | np.ndarray | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        # Imported here, because torchmetrics imports matplotlib where that is installed.
        from ncalab.tasks.depth.metrics import depth_metrics

        kwargs.setdefault("validation_metric", "ssim")
        if kwargs.get("spatial_dims", 2) != 2:
            raise ValueError(
                f"spatial_dims must be 2 for a depth map, got {kwargs['spatial_dims']}"
            )
        super().__init__(
            device,
            num_image_channels,
            num_hidden_channels,
            num_output_channels=1,
            fire_rate=fire_rate,
            hidden_size=hidden_size,
            num_learned_filters=num_learned_filters,
            pad_noise=pad_noise,
            **kwargs,
        )
        self.lambda_mse = lambda_mse
        self.lambda_scale_shift = lambda_scale_shift
        self.lambda_gradient = lambda_gradient
        self.lambda_ssim = lambda_ssim
        self.depth_scale = depth_scale
        self.data_range = data_range
        self._check_numbers()
        # Follows .to(); saved with the configuration, as it is not a weight.
        self.register_buffer("_vignette", None, persistent=False)
        self.vignette = vignette
        self.metrics.update(depth_metrics(data_range))
        self.metrics.to(self.device)

    def _check_numbers(self) -> None:
        weights = self._weights()
        for name, value in weights.items():
            check_non_negative(f"lambda_{name}", value)
        if not any(weights.values()):
            raise ValueError("one of lambda_mse, _scale_shift, _gradient, _ssim must be above 0")
        for name in ("depth_scale", "data_range"):
            value = getattr(self, name)
            if value is not None or name == "depth_scale":
                check_positive(name, value)

    def _weights(self) -> dict[str, float]:
        return {
            "mse": self.lambda_mse,
            "scale_shift": self.lambda_scale_shift,
            "gradient": self.lambda_gradient,
            "ssim": self.lambda_ssim,
        }

    @property
    def vignette(self) -> Tensor | None:
        """Cells that the camera sees: a mask ``(W, H)``, bool, on the model's device, or None."""
        return self._buffers["_vignette"]

    @vignette.setter
    def vignette(self, vignette: Tensor | np.ndarray | dict[str, Any] | None) -> None:
        mask = read_vignette(vignette)
        self._buffers["_vignette"] = None if mask is None else mask.to(self.device)

    def _to_dict(self) -> dict[str, Any]:
        mask = self.vignette
        return {**super()._to_dict(), "vignette": None if mask is None else encode_mask(mask)}

    def interpret(self, prediction: Prediction) -> Tensor:
        """Return the predicted depth, shape ``(B, 1, W, H)``, in the unit of the labels."""
        return prediction.logits * self.depth_scale

    def export_outputs(self, prediction: Prediction) -> dict[str, Tensor]:
        """Return what an exported model adds to logits and state.

        Args:
            prediction: Prediction of this model.

        Returns:
            "depth", shape ``(B, 1, W, H)``, in the unit of the labels.
        """
        return {"depth": self.interpret(prediction)}

    def _compared(self, prediction: Prediction, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return predicted and known depth, shape ``(B, 1, W, H)``, NaN where it does not count."""
        depth = self.interpret(prediction)
        if depth.dtype.itemsize < 4:
            depth = depth.float()  # sums over an image need more than half precision
        batch, _, *grid = depth.shape
        if label.shape not in ((batch, *grid), depth.shape):
            raise ValueError(
                f"label must have shape {(batch, *grid)} or {tuple(depth.shape)}, "
                f"got {tuple(label.shape)}"
            )
        label = label.reshape(depth.shape).to(depth.dtype)
        counts = valid_depth(label)
        if (mask := self.vignette) is not None:
            if list(mask.shape) != grid:
                raise ValueError(
                    f"vignette must have the size of the images {tuple(grid)}, "
                    f"got {tuple(mask.shape)}"
                )
            counts = counts & mask
        return depth, torch.where(counts, label, math.nan)

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        """Compare predicted with known depth, in units of ``depth_scale``.

        Each term is computed for each image; images that know some depth are averaged. A batch
        that knows none has a loss of 0.

        Args:
            pred: Prediction.
            label: Depth, shape ``(B, W, H)`` or ``(B, 1, W, H)``, real numbers; unknown where not
                finite or not above 0.

        Returns:
            "mse", "scale_shift", "gradient" and "ssim" (which is 1 - SSIM), as far as their weight
            is above 0, and "total", their weighted sum; scalars.

        Raises:
            ValueError: If the label has another shape, or the vignette is that of another size.
        """
        depth, known = self._compared(pred, label)
        valid = valid_depth(known)
        counts = valid.flatten(1).any(dim=1)
        weights = {name: value for name, value in self._weights().items() if value > 0}
        terms = {}
        for name in weights:
            # Without a valid cell, an image would have the full 1 - SSIM.
            values = torch.where(counts, self._image_losses(name, depth, known, valid), 0)
            terms[name] = values.sum() / counts.sum().clamp(min=1)
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return {"total": total, **terms}

    def _image_losses(self, name: str, depth: Tensor, known: Tensor, valid: Tensor) -> Tensor:
        """Return one loss term of each image, shape ``(B,)``."""
        if name == "ssim":
            return 1 - masked_ssim(depth, known, valid, self._ranges(known, valid))
        errors = {
            "mse": squared_error,
            "scale_shift": scale_shift_error,
            "gradient": gradient_error,
        }
        return errors[name](depth / self.depth_scale, known / self.depth_scale, valid)

    def _ranges(self, known: Tensor, valid: Tensor) -> Tensor:
        ranges = label_range(known, valid)
        return ranges if self.data_range is None else torch.full_like(ranges, self.data_range)

    def _update_metrics(self, prediction: Prediction, label: Tensor) -> None:
        depth, known = self._compared(prediction, label)
        for metric in self.named_metrics().values():
            metric.update(depth, known)
