"""The wrapped model of a cascade, with predictions that are the cascade's."""

from functools import cache
from typing import Any

from ncalab.core import AbstractNCAModel
from ncalab.core.model import RolloutStart
from ncalab.core.runner import Runner


class AtAllScales:
    """Mixed into the class of a wrapped model: what runs steps is left to the cascade.

    All else is the wrapped class's own, so that a method that only this class defines, such as
    ``classify`` or ``grow``, predicts at all scales.
    """

    # Outside of the attributes, which are those of the wrapped model.
    __slots__ = ("_cascade",)
    _cascade: Any

    def __setattr__(self, name: str, value: Any) -> None:
        self._cascade._set_on_models(name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the cascade."""
        return self._cascade(*args, **kwargs)

    @property
    def runner(self) -> Runner | None:
        """Runner of the steps at all scales."""
        runner: Runner | None = self._cascade.runner
        return runner

    @property
    def training_timesteps(self) -> int | tuple[int, int]:
        """Number of steps of a training rollout in all, or a range."""
        steps: int | tuple[int, int] = self._cascade.training_timesteps
        return steps

    @property
    def inference_timesteps(self) -> int | tuple[int, int]:
        """Number of steps of a prediction in all, or a range."""
        steps: int | tuple[int, int] = self._cascade.inference_timesteps
        return steps

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run all scales, differentiably."""
        return self._cascade.forward(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predict at all scales."""
        return self._cascade.predict(*args, **kwargs)

    def record(self, *args: Any, **kwargs: Any) -> Any:
        """Predict at all scales, and keep every step."""
        return self._cascade.record(*args, **kwargs)

    def start(self, *args: Any, **kwargs: Any) -> RolloutStart:
        """Return where a prediction of the cascade starts."""
        start: RolloutStart = self._cascade.start(*args, **kwargs)
        return start


@cache
def _class_at_all_scales(kind: type[AbstractNCAModel]) -> type[AbstractNCAModel]:
    """Derive a class from that of a wrapped model; it is not registered as one of its own."""
    body = {"__slots__": (), "__module__": kind.__module__, "stands_for": kind}
    make_class: Any = type(kind)
    derived: type[AbstractNCAModel] = make_class(kind.__name__, (AtAllScales, kind), body)
    return derived


def at_all_scales(cascade: Any) -> Any:
    """Return the wrapped model of a cascade as one that predicts at all scales.

    It is an instance of the wrapped class, and shares all attributes with the wrapped model.

    Args:
        cascade: A cascade.
    """
    wrapped: AbstractNCAModel = cascade.wrapped
    front = object.__new__(_class_at_all_scales(type(wrapped)))
    object.__setattr__(front, "_cascade", cascade)
    object.__setattr__(front, "__dict__", wrapped.__dict__)
    return front
