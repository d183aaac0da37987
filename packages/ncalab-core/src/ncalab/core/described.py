"""Models that describe themselves as data, and are rebuilt from it."""

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import nn

from ncalab.core.checks import check_type
from ncalab.core.config import decode_config, encode_config
from ncalab.core.preparation import PREPARATION_KEY, Preparation, read_preparation
from ncalab.core.recomputed import detach_recomputed
from ncalab.core.registering import register_class

# Where a model runs and how it is drawn does not belong to its configuration.
_NOT_SAVED = frozenset({"device", "plot_function"})


def _is_ones_own(cls: type) -> bool:
    """Return whether a class is a model of the user's own, or one of the library's for tests.

    Two models of one's own may share a name, as in tests: each class reads its own files.
    """
    return not cls.__module__.startswith("ncalab.") or "testing" in cls.__module__


class DescribedModel(nn.Module):
    """A module whose constructor's arguments are attributes of the same names.

    Every subclass is registered under its class name, so that a saved file can name it.
    """

    registry: ClassVar[dict[str, type["DescribedModel"]]] = {}
    """Known model classes by name: the only ones that a saved file can name."""

    fixed_arguments: ClassVar[frozenset[str]] = frozenset()
    """Arguments of the base class that a subclass with ``**kwargs`` sets itself."""

    stands_for: ClassVar[type["DescribedModel"] | None] = None
    """Class that a file of this one names: one that does the same and needs less."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "stands_for" in vars(cls):
            return
        register_class(DescribedModel.registry, cls, kind="model", replaces=_is_ones_own)

    @property
    def preparation(self) -> Preparation | None:
        """Preparation of the images that the model was trained on, if that is known.

        It is saved along with the weights. It is for images as files hold them:
        ``model.predict(model.preparation.apply(image)[None])``; tensors that :meth:`predict` and
        its like are given are prepared already.
        """
        known: Preparation | None = self.__dict__.get("_preparation")
        return known

    @preparation.setter
    def preparation(self, value: Preparation | None) -> None:
        if not (value is None or isinstance(value, Preparation)):
            raise TypeError(f"preparation must be a Preparation or None, got {value!r:.80}")
        self.__dict__["_preparation"] = value

    def __getstate__(self) -> object:
        # What is copied and pickled; a tensor within a graph can be neither.
        detach_recomputed(self)
        return super().__getstate__()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def _to_dict(self) -> dict[str, Any]:
        """Collect the constructor's arguments from the attributes of the same names.

        Override it in a subclass that keeps an argument under another name.

        Raises:
            TypeError: If an argument has no attribute of its name.
        """
        names: list[str] = []
        for owner in type(self).__mro__:
            if "__init__" not in vars(owner):
                continue
            parameters = list(inspect.signature(owner).parameters.values())
            names += [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
            if all(p.kind is not p.VAR_KEYWORD for p in parameters):
                break  # what it takes is not passed on to its base class by name
        excluded = _NOT_SAVED | self.fixed_arguments
        wanted = [name for name in dict.fromkeys(names) if name not in excluded]
        if missing := [name for name in wanted if not hasattr(self, name)]:
            raise TypeError(
                f"{missing[0]} must be an attribute of {type(self).__name__}, of whose constructor "
                "it is an argument, so that it can be saved; set it, or override _to_dict"
            )
        return {name: getattr(self, name) for name in wanted}

    def to_dict(self) -> dict[str, Any]:
        """Describe the model as data that JSON can hold.

        Returns:
            The class name under "class", the constructor's arguments except ``device`` and
            ``plot_function``, and under "preparation" what is done to images, if it is known.

        Raises:
            TypeError: If an argument is neither data nor a class known to the library.
        """
        described = {"class": type(self).__name__, **encode_config(self._to_dict())}
        if self.preparation is not None:
            described[PREPARATION_KEY] = self.preparation.to_dict()
        return described

    @classmethod
    def from_dict(cls, d: dict[str, Any], *, device: torch.device | str = "cpu") -> Self:
        """Build a model, with fresh weights, from what :meth:`to_dict` returned.

        Args:
            d: Description of a model of this class or of a subclass.
            device: Where to create it.

        Returns:
            The model.

        Raises:
            TypeError: If ``d`` is not such a description, or an argument in it is of another type.
            ValueError: If the class is not known or not a subclass, or does not take the arguments.
        """
        check_type("d", d, Mapping)
        arguments = decode_config(d)
        preparation = read_preparation(arguments)
        arguments.pop(PREPARATION_KEY, None)
        model_class = cls._find_class(arguments.pop("class", cls.__name__))
        model = model_class._build(arguments, torch.device(device))
        model.preparation = preparation
        return model

    @classmethod
    def _build(cls, arguments: dict[str, Any], device: torch.device) -> Self:
        """Call the constructor; override it in a class whose arguments are not plain data."""
        try:
            inspect.signature(cls).bind(device, **arguments)
        except TypeError as error:
            raise ValueError(f"d must hold arguments of {cls.__name__}: {error}") from error
        build: Any = cls
        model: Self = build(device, **arguments)
        return model

    @classmethod
    def _find_class(cls, name: Any) -> type[Self]:
        if not isinstance(name, str):
            raise ValueError(f"class must be the name of a model class, got {name!r:.80}")
        found = cls if name == cls.__name__ else DescribedModel.registry.get(name)
        if found is None:
            raise ValueError(f"model class {name!r} is not known; import what defines it first")
        if not issubclass(found, cls):
            raise ValueError(f"model class must be {cls.__name__} or derived from it, got {name!r}")
        if inspect.isabstract(found):
            raise ValueError(f"model class must not be abstract, got {name!r}")
        return found
