"""Models that save themselves, and are loaded from what was saved."""

import logging
from pathlib import Path
from typing import Self, TypeVar

import torch

from ncalab.core import saving
from ncalab.core.checks import check_device
from ncalab.core.config_edits import describe_edits
from ncalab.core.described import DescribedModel

_EDITED = (
    "%s; that counts, if it was edited by hand. If not, the file is damaged: read the model from "
    "%s, which has a copy of what it was saved with"
)

Model = TypeVar("Model", bound="SavableModel")

logger = logging.getLogger(__name__)


class SavableModel(DescribedModel):
    """A described model that is written to files, and read from them."""

    def save(self, path: saving.PathLike) -> None:
        """Write weights and configuration to one safetensors file, in whole or not at all."""
        saving.save_weights(self, path)

    @staticmethod
    def load(model: Model, path: saving.PathLike) -> Model:
        """Copy saved weights into ``model``, and how their training prepared images.

        Args:
            model: Model of the class and configuration that was saved.
            path: File written by :meth:`save` or by a training.

        Returns:
            ``model``.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If the file is broken or holds other weights; the model is unchanged.
        """
        saving.load_weights(model, path)
        return model

    def save_pretrained(self, folder: saving.PathLike) -> None:
        """Write ``model.safetensors`` and ``config.json`` into a folder, created if missing."""
        saving.save_pretrained(self, folder)

    @classmethod
    def from_pretrained(cls, path: saving.PathLike, *, device: torch.device | str = "cpu") -> Self:
        """Rebuild a saved model: class, configuration and weights.

        A ``config.json`` that has been edited counts, with a warning in the log of what is not as
        the model was saved; the weights file has a copy of that, and can be read on its own.

        Args:
            path: Folder of :meth:`save_pretrained`, or one file of :meth:`save`.
            device: Where to create it.

        Returns:
            The model, in evaluation mode.

        Raises:
            FileNotFoundError: If the file or folder does not exist.
            ValueError: If a file is broken or the class is not known.
        """
        place = check_device("device", device)
        config, weights = saving.read_config(path)
        named = weights if weights == Path(path) else Path(path) / saving.CONFIG_NAME
        try:
            model = cls.from_dict(config)
        except Exception as error:  # a constructor may stumble over what it reads in any way
            reason = error if isinstance(error, TypeError | ValueError) else repr(error)
            raise ValueError(f"{named}: {reason}") from error
        # After the class: a configuration may name none that is known, and have no weights.
        edits = describe_edits(named, config, saving.read_saved_config(weights) or config)
        own = model.preparation
        try:
            saving.load_weights(model, weights)
        except ValueError as error:
            if not edits:
                raise
            raise ValueError(f"{error}; {edits}") from error
        if edits:
            logger.warning(_EDITED, edits, weights)
        model.preparation = own  # the configuration counts, not what the weights repeat of it
        return model.to(place).eval()
