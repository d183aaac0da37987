"""Weights that torch computes anew from other tensors: pruned, normalised or parametrised ones.

Such a layer has no parameter ``weight`` any more, but sources of it (``weight_orig`` and
``weight_mask`` where it is pruned, for example). A saved file holds both: the weight as it is, with
which any model of the same configuration predicts the same, and the sources, which a model with
such a layer loads.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ncalab.core.evaluation import evaluating

SOURCE = "source:"
"""Prefix of the names of sources in a file."""


class Recomputed(NamedTuple):
    """A tensor that a state dict lacks, because it is computed from others.

    Attributes:
        module: Module that has it as an attribute.
        path: Name of that module in the model, with a dot at the end; empty for the whole model.
        attribute: Name of the tensor in its module.
        sources: Names, in the module's state dict, of what it is computed from.
        value: Computes it.
    """

    module: nn.Module
    path: str
    attribute: str
    sources: tuple[str, ...]
    value: Callable[[], Tensor]

    @property
    def name(self) -> str:
        """Name of the tensor in a model whose layers are plain."""
        return self.path + self.attribute


def find_recomputed(model: nn.Module) -> list[Recomputed]:
    """Find all tensors of a model that are computed from others.

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> [(found.name, len(found.sources)) for found in find_recomputed(layer)]
    [('weight', 2)]
    """
    # A module that has several names is under all of them in a state dict.
    modules = model.named_modules(remove_duplicate=False)
    return [
        Recomputed(module, f"{path}." if path else "", *found)
        for path, module in modules
        for found in (*_parametrised(module), *_hooked(module))
    ]


Found = tuple[str, tuple[str, ...], Callable[[], Tensor]]


def _parametrised(module: nn.Module) -> Iterator[Found]:
    if not parametrize.is_parametrized(module):
        return
    parametrizations: Any = module.parametrizations
    for name, chain in parametrizations.items():
        sources = (f"parametrizations.{name}.{key}" for key in chain.state_dict())
        yield name, tuple(sources), partial(_evaluate, chain)


def _evaluate(chain: nn.Module) -> Tensor:
    # In training mode, to look at a spectral norm changes it.
    with evaluating(chain):
        value: Tensor = chain()
    return value


def _hooked(module: nn.Module) -> Iterator[Found]:
    """Find what torch's older functions compute in a hook before each forward pass."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, BasePruningMethod):
            name = hook._tensor_name
            yield name, (f"{name}_orig", f"{name}_mask"), partial(hook.apply_mask, module)
        elif isinstance(hook, WeightNorm):
            name = hook.name
            yield name, (f"{name}_g", f"{name}_v"), partial(hook.compute_weight, module)
        elif isinstance(hook, SpectralNorm):
            name = hook.name
            compute = partial(hook.compute_weight, module, do_power_iteration=False)
            yield name, (f"{name}_orig", f"{name}_u", f"{name}_v"), compute


def to_stored(model: nn.Module, weights: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Return the tensors of a model as a file has them.

    Args:
        model: Model to save.
        weights: Other weights of it, named as in its state dict; its current ones if None.

    Returns:
        Tensors under the names that they have where layers are plain, and sources, with a prefix.
    """
    found = find_recomputed(model)
    if found and weights is not None:
        model = deepcopy(model)
        model.load_state_dict(weights)
        found = find_recomputed(model)
    state = dict(model.state_dict()) if weights is None else dict(weights)
    sources = {each.path + source for each in found for source in each.sources}
    stored = {name: value for name, value in state.items() if name not in sources}
    stored.update({each.name: each.value() for each in found})
    stored.update({SOURCE + name: state[name] for name in state if name in sources})
    return stored


def from_stored(model: nn.Module, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file under the names of a model's state dict.

    Args:
        model: Model to load them into.
        stored: Tensors as :func:`to_stored` returned them.

    Returns:
        Tensors for the model. Its sources are among them if the file has them; a model whose
        layers are plain needs none.
    """
    computed = {each.name for each in find_recomputed(model)}
    wanted = model.state_dict().keys()
    tensors = {}
    for name, value in stored.items():
        if not name.startswith(SOURCE):
            if name not in computed:
                tensors[name] = value
        elif (source := name.removeprefix(SOURCE)) in wanted:
            tensors[source] = value
    return tensors


def detach_recomputed(model: nn.Module) -> None:
    """Detach what a hook has left behind, so that the model can be copied and pickled.

    The next forward pass computes it anew.
    """
    for each in find_recomputed(model):
        left = vars(each.module).get(each.attribute)
        if isinstance(left, Tensor):
            vars(each.module)[each.attribute] = left.detach()
