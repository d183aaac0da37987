"""The slots of a pool: states, and with each of them what belongs to it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ncalab.train.sample_keys import standing

STATE = "state"

Entry = dict[str, Tensor]
"""A state, and by name the tensors that belong to it, such as its label."""


class Rows(NamedTuple):
    """A batch of entries.

    Attributes:
        values: States and, by name, what belongs to them, batch first.
        keys: Of which sample each is, shape ``(B,)``, int64; see
            :func:`ncalab.train.sample_keys.sample_keys`.
    """

    values: dict[str, Tensor]
    keys: Tensor

    @property
    def states(self) -> Tensor:
        """The states, shape ``(B, C, W, H)``."""
        return self.values[STATE]


def where_rows(condition: Tensor, rows: Rows, others: Rows) -> Rows:
    """Choose, row by row, from two batches of the same names and shapes.

    Args:
        condition: Whether to take each row from the first batch, shape ``(B,)``, bool.
        rows: The first batch.
        others: The second batch.
    """
    values = {
        name: torch.where(condition.view(-1, *[1] * (own.ndim - 1)), own, others.values[name])
        for name, own in rows.values.items()
    }
    return Rows(values, torch.where(condition, rows.keys, others.keys))


class Slots:
    """Entries of one kind, the loss of each, and the key of its sample.

    Losses and keys are on the device of the entries: to read them would make the host wait.

    Args:
        size: Number of slots.

    >>> slots = Slots(3)
    >>> rows = Rows({"state": torch.ones(1, 4, 2, 2)}, keys=torch.tensor([7]))
    >>> slots.put(torch.tensor([2]), rows, torch.tensor([0.5]))
    >>> slots.losses.tolist()
    [inf, inf, 0.5]
    """

    def __init__(self, size: int) -> None:
        self.entries: list[Entry | None] = [None] * size
        # The seed is the worst state there is: nothing has grown yet.
        self.losses = torch.full((size,), torch.inf, dtype=torch.float32)
        self.keys = torch.zeros(size, dtype=torch.int64)

    def state_dict(self) -> dict[str, Any]:
        """Return what all slots hold."""
        return {"records": list(self.entries), "losses": self.losses, "keys": self.keys}

    def load_state_dict(self, state: dict[str, Any], *, device: torch.device | None = None) -> None:
        """Fill the slots with what :meth:`state_dict` returned.

        Args:
            state: What they held.
            device: Where to keep it; where it is if None.

        Raises:
            ValueError: If there is another number of slots.
        """
        records, losses, keys = state["records"], state["losses"], state["keys"]
        size = len(self.entries)
        if len(records) != size or {losses.shape, keys.shape} != {(size,)}:
            raise ValueError(f"state must be that of {size} slots, got {len(records)}")
        self.entries = [
            None if entry is None else {name: row.to(device) for name, row in entry.items()}
            for entry in records
        ]
        self.losses, self.keys = losses.to(device, copy=True), keys.to(device, copy=True)

    def matching(self, order: Tensor, keys: Sequence[int]) -> Tensor:
        """Choose a slot for each key: an unused one, or one of the same key; else any.

        Args:
            order: All slots in the order in which they are offered, shape ``(N,)``, int64.
            keys: The keys, at most N.

        Returns:
            Slots, each once, shape ``(number of keys,)``, int64.
        """
        held = self.keys.tolist()
        offered, chosen = order.tolist(), []
        for key in keys:
            fits = (s for s in offered if self.entries[s] is None or held[s] == key)
            chosen.append(next(fits, offered[0]))
            offered.remove(chosen[-1])
        return torch.tensor(chosen)

    def check(self, values: Mapping[str, Tensor]) -> None:
        """Raise unless a batch is such as the slots hold.

        Args:
            values: States and, by name, what belongs to them, batch first.

        Raises:
            ValueError: If names, shapes or numbers of samples differ.
        """
        count = len(values[STATE])
        for name, rows in values.items():
            if len(rows) != count:
                raise ValueError(f"{name} must have {count} samples, got {len(rows)}")
        held = next((entry for entry in self.entries if entry is not None), None)
        if held is None:
            return
        if held.keys() != values.keys():
            kept, got = (", ".join(sorted(names.keys() - {STATE})) for names in (held, values))
            raise ValueError(
                f"fields must be what the pool keeps with its states, {kept or 'nothing'}, "
                f"got {got or 'nothing'}"
            )
        for name, rows in values.items():
            if held[name].shape != rows.shape[1:]:
                subject = "seed" if name == STATE else name
                raise ValueError(
                    f"{subject} must have the shape of the pool's {name}s "
                    f"{tuple(held[name].shape)}, got {tuple(rows.shape[1:])}"
                )

    def get(self, places: Tensor, unused: Rows) -> Rows:
        """Return copies of what slots hold.

        Args:
            places: The slots, shape ``(B,)``, int64, on the CPU.
            unused: What to return of slots that have not been used, B of it.

        Returns:
            Entries, on the device of the given ones.
        """
        entries = [self.entries[place] for place in places.tolist()]
        held = {
            name: torch.stack(
                [
                    row if entry is None else entry[name].to(row)
                    for entry, row in zip(entries, rows, strict=True)
                ]
            )
            for name, rows in unused.values.items()
        }
        device = unused.keys.device
        self.losses, self.keys = self.losses.to(device), self.keys.to(device)
        used = torch.tensor([entry is not None for entry in entries]).to(device)
        return Rows(held, torch.where(used, self.keys[places.to(device)], unused.keys))

    def standing(self, places: Tensor) -> Tensor:
        """Return how bad each slot's state is among those of its sample, shape ``(B,)``."""
        losses, keys = self.losses, self.keys
        places = places.to(losses.device)
        return standing(losses[places], keys[places], losses, keys)

    def put(self, places: Tensor, rows: Rows, losses: Tensor) -> None:
        """Replace what slots hold by copies of rows; of a slot named twice, the last one counts.

        Args:
            places: The slots, shape ``(B,)``, int64, on the CPU.
            rows: The entries.
            losses: Their losses, shape ``(B,)``; NaN counts as infinite.
        """
        last = {place: row for row, place in enumerate(places.tolist())}
        for place, row in last.items():
            # A copy of each: a view would keep the memory of its whole batch.
            self.entries[place] = {name: each[row].clone() for name, each in rows.values.items()}
        device = self.losses.device
        there, chosen = (torch.tensor([*numbers]).to(device) for numbers in (last, last.values()))
        known = losses.to(device, torch.float32).nan_to_num(nan=torch.inf, posinf=torch.inf)
        self.losses[there], self.keys[there] = known[chosen], rows.keys.to(device)[chosen]
