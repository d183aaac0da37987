"""The data of a task, as the section ``[data]`` of a settings file names them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from ncalab.core.model import AbstractNCAModel

Transform = Callable[..., Mapping[str, Any]]
"""Called as ``transform(image=array)``, with ``mask=array`` where labels are images, too; returns
a mapping of the same names."""


@dataclass(frozen=True)
class DataRequest:
    """The data that a settings file asks for.

    Attributes:
        settings: Settings of the section ``[data]``, checked, by name.
        model: Model to train: it has the number of channels and classes.
        batch_size: Number of samples in a batch.
        augment: Transform of the samples to train on; None for none. A source whose data are
            divided afterwards leaves it to ``subset``.
        say: Called with a line of text for the user.
    """

    settings: Mapping[str, Any]
    model: AbstractNCAModel
    batch_size: int
    augment: Transform | None
    say: Callable[[str], None]


@dataclass(frozen=True)
class DataParts:
    """Samples to train, validate and test on: pairs of an image and a label."""

    train: Dataset[Any]
    val: Dataset[Any] | None = None
    test: Dataset[Any] | None = None


@dataclass(frozen=True)
class DataSource:
    """A kind of data that ``data.class`` of a settings file can name.

    The section ``[split]`` divides ``train`` of what ``read`` returns. The data set may offer

    - ``subset(places, transform)``: some of its samples, with a transform of their own; without
      this method they cannot be mirrored;
    - ``strata``: labels, shape ``(N,)``, whose shares each part keeps;
    - ``places_of(names)``: the places of samples by the names that a file of splits has for them,
      None for a name that is not known; without this method the names are numbers.

    Attributes:
        name: Name in the settings file.
        settings: Class or function whose arguments are the settings. A dataclass is made of them
            before anything is read, so that it can check them.
        read: Reads the data.
        without: Arguments of ``settings`` that the file cannot give.
        paths: Settings that are paths; ``~`` at their beginning is replaced by the home folder.
        flips: Whether images to train on can be mirrored (``flip = true``).
        divided: Whether ``[split]`` divides the data; otherwise they have parts of their own.
        states: Whether samples are states with all channels of a cell, not images.
        distortion: Called as ``distortion(samples, **settings)`` with the samples to train on;
            returns a data set of distorted ones. Its other arguments are the settings of the table
            ``[data.distort]``. None: they cannot be distorted.
        patches: Called as ``patches(samples, size)`` with the samples to train on; returns a data
            set of patches of that side (``data.patch_size``). None: they are not cut.
        check: Called with each part; raises a ValueError for data that would end a training.
    """

    name: str
    settings: Callable[..., Any]
    read: Callable[[DataRequest], DataParts]
    without: tuple[str, ...] = ("files", "transform", "split")
    paths: tuple[str, ...] = ("path",)
    flips: bool = True
    divided: bool = True
    states: bool = False
    distortion: Callable[..., Dataset[Any]] | None = None
    check: Callable[[Any, DataRequest], None] | None = None
    patches: Callable[[Any, int], Dataset[Any]] | None = None
