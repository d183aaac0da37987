"""Evaluation mode of one model, shared by several threads that predict or validate."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import nn


@dataclass
class _Mode:
    """A module that predictions are using.

    Attributes:
        module: The module.
        training: Its mode before the first of them began.
        users: How many predictions use it.
    """

    module: nn.Module
    training: bool
    users: int = 0


_lock = threading.Lock()
_in_use: dict[int, _Mode] = {}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a while; every module then has its own mode again.

    Several threads may do so at the same time, also with models that share modules: the first one
    changes the mode of a module, and the last one changes it back. Where another thread calls
    ``train`` meanwhile, that holds.

    >>> model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    >>> with evaluating(model), evaluating(model):
    ...     model.training
    False
    >>> [module.training for module in model.modules()]
    [True, True, False]
    """
    modules = list(model.modules())
    try:
        with _lock:
            _enter(model, modules)
        yield
    finally:
        with _lock:
            _leave(model, modules)


def _enter(model: nn.Module, modules: list[nn.Module]) -> None:
    for module in modules:
        mode = _in_use.setdefault(id(module), _Mode(module, module.training))
        # Another thread may have called ``train`` since the first of them began.
        mode.training |= module.training
        mode.users += 1
    if any(module.training for module in modules):
        model.eval()


def _leave(model: nn.Module, modules: list[nn.Module]) -> None:
    for module in modules:
        _in_use[id(module)].users -= 1
    done = [_in_use.pop(id(module)) for module in modules if not _in_use[id(module)].users]
    for mode in done:
        mode.training |= mode.module.training
    if len(done) == len(modules) and any(mode.training for mode in done):
        # For modules that do something in ``train``, such as to merge their weights.
        model.train(done[0].training)
    for mode in done:
        mode.module.training = mode.training


_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()


@contextmanager
def alone_with(module: nn.Module) -> Iterator[None]:
    """Wait until no other thread is in such a block with the same module.

    For modules that gather what they see, as metrics do.

    >>> with alone_with(nn.ModuleDict()):
    ...     pass
    """
    with _lock:
        own = _locks.setdefault(module, threading.RLock())
    with own:
        yield
