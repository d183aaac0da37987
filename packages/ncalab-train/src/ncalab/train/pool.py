"""The sample pool: training starts from what earlier rollouts left, not always from the seed."""

from typing import Any

import torch
from torch import Tensor

from ncalab.core.checks import check_batch, check_flag, check_fraction, check_int

# How many of the best samples of a batch may be damaged, as in the paper's batches of eight.
_NUM_DAMAGED = 3


def circle_masks(
    count: int, width: int, height: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """Draw circles on a grid, each at a place and of a size of its own.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023, experiment 3: centres in the middle half of the grid, radii of 0.1
    to 0.4 of half its size. Deviation: a circle between the cells of a small grid covers the
    nearest one, so that none is empty.

    Args:
        count: Number of circles N.
        width: Grid width W.
        height: Grid height H.
        generator: CPU generator, torch's default one if None.

    Returns:
        Masks, shape ``(N, 1, W, H)``, bool, true inside the circle.

    >>> circle_masks(5, 9, 3).flatten(1).any(dim=1).all().item()
    True
    """
    draws = torch.rand(3, count, 1, 1, 1, generator=generator)
    along_w = torch.linspace(-1, 1, width)[:, None] if width > 1 else torch.zeros(1, 1)
    along_h = torch.linspace(-1, 1, height)[None, :] if height > 1 else torch.zeros(1, 1)
    radius = 0.1 + 0.3 * draws[2]
    distance = torch.hypot(along_w - (draws[0] - 0.5), along_h - (draws[1] - 0.5))
    return (distance < radius) | (distance == distance.amin(dim=(2, 3), keepdim=True))


class Pool:
    """Pool of states from which batches are drawn and to which their rollouts return.

    A batch is drawn uniformly. Its ``n_seed`` worst samples are replaced by the seed, so that
    growing is not forgotten; its best ones are damaged, so that repairing is learned.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023, experiments 2 and 3.

    Args:
        n_seed: Number of samples of a batch to replace by the seed, at least 0.
        damage: Whether to cut circles out of the best samples of a batch.
        p_damage: Probability that each of those is damaged, in [0, 1].
        size: Number of slots, at least 1. A slot takes memory once it has been used.
        num_damaged: How many of the best samples may be damaged, at least 0.
        generator: CPU generator of all draws, torch's default one if None.

    Raises:
        TypeError: If a number is no integer.
        ValueError: If one is out of its range.

    >>> pool = Pool(size=4)
    >>> seed = torch.zeros(2, 16, 5, 5)
    >>> pool.sample(seed).shape
    torch.Size([2, 16, 5, 5])
    >>> pool.update(seed + 1, losses=torch.tensor([0.1, 0.2]))
    """

    def __init__(
        self,
        n_seed: int = 1,
        damage: bool = False,
        p_damage: float = 0.2,
        *,
        size: int = 1024,
        num_damaged: int = _NUM_DAMAGED,
        generator: torch.Generator | None = None,
    ) -> None:
        self.n_seed = check_int("n_seed", n_seed, minimum=0)
        self.damage = check_flag("damage", damage)
        check_fraction("p_damage", p_damage)
        self.p_damage = p_damage
        self.size = check_int("size", size, minimum=1)
        self.num_damaged = check_int("num_damaged", num_damaged, minimum=0)
        self.generator = generator
        self.batch: Tensor | None = None
        self.states: list[Tensor | None] = [None] * size
        # The seed is the worst state there is: nothing has grown yet.
        self.losses = torch.full((size,), torch.inf)
        self._slots: Tensor | None = None

    def clone(self) -> "Pool":
        """Return an empty pool with the same settings and a generator in the same state."""
        generator = None
        if self.generator is not None:
            generator = torch.Generator()
            generator.set_state(self.generator.get_state())
        return type(self)(
            self.n_seed,
            self.damage,
            self.p_damage,
            size=self.size,
            num_damaged=self.num_damaged,
            generator=generator,
        )

    def __repr__(self) -> str:
        arguments = f"n_seed={self.n_seed}, damage={self.damage}, p_damage={self.p_damage}"
        return f"Pool({arguments}, size={self.size}, num_damaged={self.num_damaged})"

    def state_dict(self) -> dict[str, Any]:
        """Return states and losses of all slots, without the last batch."""
        return {"states": list(self.states), "losses": self.losses}

    def load_state_dict(self, state: dict[str, Any], *, device: torch.device | None = None) -> None:
        """Fill the slots with what :meth:`state_dict` returned.

        Args:
            state: States and losses.
            device: Where to keep them; where they are if None.

        Raises:
            ValueError: If the pool has another number of slots.
        """
        states, losses = state["states"], state["losses"]
        if len(states) != self.size or losses.shape != (self.size,):
            raise ValueError(f"state must be that of {self.size} slots, got {len(states)}")
        self.states = [None if state is None else state.to(device) for state in states]
        self.losses = losses.to(device, copy=True)
        self.batch = self._slots = None

    def sample(self, seed: Tensor) -> Tensor:
        """Draw a batch.

        Args:
            seed: Seed states, shape ``(B, C, W, H)``; unused slots hold them.

        Returns:
            States, shape ``(B, C, W, H)``, on the device of the seed. If B exceeds the size of
            the pool, slots are drawn more than once.

        Raises:
            ValueError: If the seed is not 4-D, or of another shape than the states in the pool.
        """
        check_batch("seed", seed)
        self._slots = self._draw(seed.shape[0])
        batch = torch.stack([self._state(i, own) for i, own in zip(self._slots, seed, strict=True)])
        ranks = self._worst_first(seed.device)
        worst, others = ranks[: self.n_seed], ranks[self.n_seed :]
        batch[worst] = seed[worst]
        if self.damage and len(others):
            self._cut_circles(
                batch, others[-self.num_damaged :] if self.num_damaged else others[:0]
            )
        self.batch = batch
        return batch

    def _draw(self, count: int) -> Tensor:
        if count > self.size:
            return torch.randint(self.size, (count,), generator=self.generator)
        return torch.randperm(self.size, generator=self.generator)[:count]

    def _state(self, slot: Tensor, seed: Tensor) -> Tensor:
        state = self.states[int(slot)]
        if state is None:
            return seed
        if state.shape != seed.shape:
            raise ValueError(
                f"seed must have the shape of the pool's states {tuple(state.shape)}, "
                f"got {tuple(seed.shape)}"
            )
        return state.to(seed)

    def _worst_first(self, device: torch.device) -> Tensor:
        """Return the places of the batch by loss, ties and unknown losses in random order."""
        shuffled = torch.randperm(len(self._drawn()), generator=self.generator).to(device)
        # Losses stay where the states are: to read them would make the host wait at every batch.
        self.losses = self.losses.to(device)
        losses = self.losses[self._drawn().to(device)][shuffled]
        return shuffled[losses.argsort(descending=True, stable=True)]

    def _drawn(self) -> Tensor:
        if self._slots is None:
            raise RuntimeError("sample must be called before update")
        return self._slots

    def _cut_circles(self, batch: Tensor, places: Tensor) -> None:
        # Indices from the CPU: a mask on the device would have to be read to know how many it hits.
        hit = (torch.rand(len(places), generator=self.generator) < self.p_damage).nonzero()[:, 0]
        width, height = batch.shape[2:]
        holes = circle_masks(len(places), width, height, generator=self.generator)[hit]
        damaged = places[hit.to(places.device)]
        batch[damaged] = batch[damaged].masked_fill(holes.to(batch.device), 0)

    def update(self, batch: Tensor, *, losses: Tensor | None = None) -> None:
        """Put the states that grew from the last batch back into its slots.

        Args:
            batch: States, shape ``(B, C, W, H)``, B as in the last :meth:`sample`.
            losses: Loss of each state, shape ``(B,)``. Without them all count as alike, and the
                samples to replace are drawn at random.

        Raises:
            RuntimeError: If nothing has been sampled.
            ValueError: If there are other than B states or losses.
        """
        slots = self._drawn()
        for name, values in (("batch", batch), ("losses", losses)):
            if values is not None and len(values) != len(slots):
                raise ValueError(f"{name} must have {len(slots)} samples, got {len(values)}")
        for slot, state in zip(slots.tolist(), batch.detach(), strict=True):
            # A copy of each: a view would keep the memory of its whole batch.
            self.states[slot] = state.clone()
        known = torch.zeros(len(slots)) if losses is None else losses.detach().float()
        # A state that went astray is the first to be replaced.
        known = known.nan_to_num(nan=torch.inf, posinf=torch.inf).to(self.losses.device)
        self.losses[slots.to(known.device)] = known
