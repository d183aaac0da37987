"""The number of threads that torch's operations use in a training, beside its rollouts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ncalab.core import AbstractNCAModel
from ncalab.core.rollout import ThreadUse, one_thread_for_operations

# Beyond that many multiplications and additions in products and convolutions, head and loss of a
# batch take milliseconds: then a second thread is worth more than it costs on a busy machine.
HEAVY = 200_000_000


class CountFlops(TorchDispatchMode):
    """Count the floating-point operations of products and convolutions, whoever calls them.

    Unlike torch's ``FlopCounterMode``, it installs no hook for all modules, which would keep
    rollouts from their fast engine.

    >>> with CountFlops() as counter:
    ...     _ = torch.ones(2, 3) @ torch.ones(3, 4)
    >>> counter.total
    48
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.total = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call an operation, and count what it computes."""
        del types
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


class OperationThreads:
    """One thread for the operations of a training, where they are small beside its rollouts.

    A context. What the first batch does decides, and it does the same whenever a training is
    repeated: the number of threads may change the last digits of a sum.

    Args:
        nca: Model.
    """

    def __init__(self, nca: AbstractNCAModel) -> None:
        self._nca = nca
        self._stack = ExitStack()
        self._use: ThreadUse | None = None

    def __enter__(self) -> Self:
        # What torch compiles is not looked into: it would run uncompiled meanwhile.
        is_plain = self._nca._compiled_call_impl is None
        if self._nca.device.type == "cpu" and is_plain and torch.get_num_threads() > 1:
            self._use = self._stack.enter_context(one_thread_for_operations())
        return self

    def __exit__(self, *error: object) -> None:
        self._use = None
        self._stack.close()

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Decide by what a block does, which computes the loss of the first batch."""
        if self._use is None:
            yield
            return
        use, self._use = self._use, None
        with CountFlops() as counter:
            yield
        if use.operations_need_threads or counter.total > HEAVY:
            self._stack.close()
