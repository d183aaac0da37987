"""Checks of a view of one's own, when it has been made."""

from torch import Tensor

from ncalab.core.checks import check_int, read_attribute
from ncalab.core.perception.filters import check_shape_of_filters
from ncalab.core.perception.views import View


def check_view(view: View) -> None:
    """Raise unless a view has filters, and an output size that goes with them.

    Whether ``combine`` returns as many values shows when it is called.

    Args:
        view: View; not changed.

    Raises:
        TypeError: If it has no filters, or no output size.
        ValueError: If one of them is of another shape or value than documented.
    """
    name, filters = type(view).__name__, read_attribute(view, "filters")
    if not isinstance(filters, Tensor):
        raise TypeError(f"filters of {name} must be a tensor, got {type(filters).__name__}")
    check_shape_of_filters(name, filters.shape, view.spatial_dims, view.channels)
    size = check_int(f"output_size of {name}", read_attribute(view, "output_size"), minimum=0)
    if view.is_linear and type(view).forward is View.forward:
        values = len(filters) * view.channels
        if size != values:
            raise ValueError(
                f"output_size of {name} must be {values}, for {len(filters)} filters of "
                f"{view.channels} channels and no combine of its own, got {size}"
            )
