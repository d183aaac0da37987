"""A perception that is a list of views."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ncalab.core.perception.base import AbstractNCAPerception, FilterBank, PerceivingCells
from ncalab.core.perception.view_checks import check_view
from ncalab.core.perception.views import View

ViewSpec = type[View] | tuple[type[View], Mapping[str, Any]]


class ViewsNCAPerception(AbstractNCAPerception):
    """Perceive the neighbourhood through any list of views.

    The perception vector of a cell is ``[x, view 1, ..., view n]`` and its context. A model's
    arguments of filters (``num_learned_filters``, ``kernel_size``, ``use_laplace``) are those of
    :class:`BasicNCAPerception` and have no effect here.

    Args:
        nca: Automaton whose cells perceive; its channels, padding and axes are read here.
        views: Classes of views, or pairs (class, its further arguments).

    Raises:
        TypeError: If ``views`` is not such a list, a view does not take its arguments, or has no
            filters.
        ValueError: If filters have another shape than documented, or the output size is not theirs.
    """

    def __init__(self, nca: PerceivingCells, views: Sequence[ViewSpec]) -> None:
        super().__init__(nca)
        if isinstance(views, str) or not isinstance(views, Sequence):
            raise TypeError(f"views must be a list of views, got {views!r:.80}")
        self.views = nn.ModuleList(_build(spec, nca) for spec in views)

    @property
    def listed(self) -> list[View]:
        """The views in their order, typed as what they are."""
        return [view for view in self.views if isinstance(view, View)]

    @property
    def output_size(self) -> int:
        """Length of the perception vector of a cell."""
        seen = sum(view.output_size for view in self.listed)
        return self.nca.num_channels + seen + self.context_size

    @property
    def radius(self) -> int:
        """Number of cells that a cell sees in every direction."""
        return max((view.radius for view in self.listed), default=0)

    def filter_banks(self) -> list[FilterBank]:
        """Return the filters of all views."""
        return [view.bank for view in self.listed]

    def perceive(self, x: Tensor, step: int) -> Tensor:
        """Compute what every cell perceives; see :meth:`AbstractNCAPerception.perceive`."""
        seen = [x, *(view(x, self.nca.filter_padding) for view in self.views)]
        return self.with_context(seen, step)


def _build(spec: Any, nca: PerceivingCells) -> View:
    kind, arguments = spec if isinstance(spec, Sequence) and len(spec) == 2 else (spec, {})
    if not (isinstance(kind, type) and issubclass(kind, View) and isinstance(arguments, Mapping)):
        raise TypeError(
            "views must be classes of views, or pairs of a class and a dict of its arguments, "
            f"got {spec!r:.80}"
        )
    own = (nca.num_channels, nca.spatial_dims)
    try:
        inspect.signature(kind).bind(*own, **arguments)
    except TypeError as error:
        raise TypeError(f"views must have arguments of {kind.__name__}: {error}") from error
    view = kind(*own, **arguments)
    check_view(view)
    return view
