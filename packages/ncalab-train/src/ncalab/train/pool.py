"""The sample pool: training starts from what earlier rollouts left, not always from the seed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ncalab.core.checks import check_flag, check_fraction, check_grids, check_int, check_type
from ncalab.train.damage import SPREAD, cut_circles
from ncalab.train.sample_keys import sample_keys
from ncalab.train.slots import STATE, Rows, Slots, where_rows

# How many of the best samples of a batch may be damaged, as in the paper's batches of eight.
_NUM_DAMAGED = 3


class _Drawn(NamedTuple):
    """The last batch: its slots, and what was drawn."""

    places: Tensor
    rows: Rows


class Pool:
    """Pool of states from which batches are drawn and to which their rollouts return.

    A batch is drawn uniformly. Its ``n_seed`` worst samples are replaced by the seed, so that
    growing is not forgotten; its best ones are damaged, so that repairing is learned.

    A state comes back with what it was put in with: its label, and whatever else belongs to it. In
    a training on several images, the images of the loader's batch replace samples, with their
    labels, and at least a share of ``fresh_fraction``, so that starting is learned as without a
    pool. States then compete with others of the same image and label only: hard images stay as long
    as easy ones.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023, experiments 2 and 3; with labels, Randazzo et al.,
    Self-classifying MNIST Digits, Distill 2020, doi:10.23915/distill.00027.002.

    Args:
        n_seed: Number of samples of a batch to replace by the seed, at least 0.
        damage: Whether to cut circles out of the best samples of a batch.
        p_damage: Probability that each of those is damaged, in [0, 1].
        size: Number of slots, at least 1. A slot takes memory once it has been used.
        num_damaged: How many of the best samples may be damaged, at least 0.
        fresh_fraction: Share of a batch, in [0, 1], that at least starts from the seed where
            samples differ.
        rollouts: Number of rollouts in a row, at least 1, that a batch is drawn for: all but the
            first continue from the states that the one before it has left. Longer growth is then
            learned sooner, for no more memory.
        switch_goals: Share of the pooled states, in [0, 1], that get another goal and continue
            towards that: goal and label (all that belongs to a sample) of a sample of the loader's
            batch, which may happen to be the same. One model then learns to turn one thing into
            another. For models with a goal whose image channels may change.
        damage_spread: Share of each side of the grid, around its middle, that circles have their
            centres in, in [0, 1]. What is cut out farther from the middle than in training may not
            grow back.
        generator: CPU generator of all draws, torch's default one if None.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If one is out of its range.

    >>> pool = Pool(size=4)
    >>> images, labels = torch.rand(2, 16, 5, 5), torch.tensor([3, 1])
    >>> states, fields = pool.draw(images, {"label": labels})
    >>> states.shape, fields["label"].tolist()
    (torch.Size([2, 16, 5, 5]), [3, 1])
    >>> pool.update(states + 1, losses=torch.tensor([0.1, 0.2]))
    """

    def __init__(
        self,
        n_seed: int = 1,
        damage: bool = False,
        p_damage: float = 0.2,
        *,
        size: int = 1024,
        num_damaged: int = _NUM_DAMAGED,
        fresh_fraction: float = 0.5,
        rollouts: int = 1,
        switch_goals: float = 0.0,
        damage_spread: float = SPREAD,
        generator: torch.Generator | None = None,
    ) -> None:
        self.n_seed = check_int("n_seed", n_seed, minimum=0)
        self.damage = check_flag("damage", damage)
        check_fraction("p_damage", p_damage)
        self.p_damage = p_damage
        self.size = check_int("size", size, minimum=1)
        self.num_damaged = check_int("num_damaged", num_damaged, minimum=0)
        check_fraction("fresh_fraction", fresh_fraction)
        self.fresh_fraction = fresh_fraction
        self.rollouts = check_int("rollouts", rollouts, minimum=1)
        check_fraction("switch_goals", switch_goals)
        self.switch_goals = switch_goals
        check_fraction("damage_spread", damage_spread)
        self.damage_spread = damage_spread
        check_type("generator", generator, torch.Generator, optional=True)
        self.generator = generator
        self.batch: Tensor | None = None
        self._slots = Slots(size)
        self._drawn: _Drawn | None = None
        # Slots of the batch that is drawn again, and how many times.
        self._kept: Tensor | None = None
        self._remaining = 0

    @property
    def states(self) -> list[Tensor | None]:
        """The state in each slot, shape ``(C, W, H)``; None in one that has not been used."""
        return [None if entry is None else entry[STATE] for entry in self._slots.entries]

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
            fresh_fraction=self.fresh_fraction,
            rollouts=self.rollouts,
            switch_goals=self.switch_goals,
            damage_spread=self.damage_spread,
            generator=generator,
        )

    def __repr__(self) -> str:
        arguments = f"n_seed={self.n_seed}, damage={self.damage}, p_damage={self.p_damage}"
        more = f"num_damaged={self.num_damaged}, fresh_fraction={self.fresh_fraction}"
        if self.rollouts > 1:
            more += f", rollouts={self.rollouts}"
        if self.switch_goals:
            more += f", switch_goals={self.switch_goals}"
        if self.damage_spread != SPREAD:
            more += f", damage_spread={self.damage_spread}"
        return f"Pool({arguments}, size={self.size}, {more})"

    def state_dict(self) -> dict[str, Any]:
        """Return what all slots hold, and which of them are to be drawn again."""
        state = self._slots.state_dict()
        if self._remaining:
            state |= {"kept": self._kept, "remaining": self._remaining}
        return state

    def load_state_dict(self, state: dict[str, Any], *, device: torch.device | None = None) -> None:
        """Fill the slots with what :meth:`state_dict` returned.

        Args:
            state: What they held.
            device: Where to keep it; where it is if None.

        Raises:
            ValueError: If the pool has another number of slots.
        """
        self._slots.load_state_dict(state, device=device)
        self.batch = self._drawn = None
        self._kept, self._remaining = state.get("kept"), int(state.get("remaining", 0))

    def sample(self, seed: Tensor) -> Tensor:
        """Draw a batch of states, each in the place of the seed that it grew from.

        So whatever the caller knows of a seed, such as its label, holds for the state as well. A
        seed of which the pool has no state starts from itself. Samples that are never alike, such
        as randomly augmented images, have to be drawn with what belongs to them: see :meth:`draw`.

        Args:
            seed: Seed states, shape ``(B, C, W, H)``; unused slots hold them.

        Returns:
            States, shape ``(B, C, W, H)``, on the device of the seed. If B exceeds the size of
            the pool, slots are drawn more than once.

        Raises:
            ValueError: If the seed is not 4-D, or of another shape than the states in the pool.
        """
        check_grids("seed", seed)
        self._check_goals({}, 0)
        self._slots.check({STATE: seed})
        own = Rows({STATE: seed}, sample_keys(seed))
        if (places := self._continued(len(seed))) is not None:
            held = self._slots.get(places, own)
            return self._note(places, where_rows(held.keys == own.keys, held, own))[0]
        places = self._choose(len(seed), own.keys.tolist())
        held = self._slots.get(places, own)
        return self._finish(places, where_rows(held.keys == own.keys, held, own), own)[0]

    def draw(
        self,
        seed: Tensor,
        fields: Mapping[str, Tensor],
        *,
        image_channels: int | None = None,
        fixed_channels: int = 0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Draw a batch of states, each with what belongs to it.

        Args:
            seed: Seed states or padded images, shape ``(B, C, W, H)``; unused slots hold them.
            fields: By name, what belongs to each of them, such as its label; tensors of any dtype,
                batch first.
            image_channels: Number of channels, the first ones, that distinguish samples;
                all if None. Hidden channels that begin as noise do not.
            fixed_channels: Number of channels, the first ones, that no damage is done to, because
                no step could repair it.

        Returns:
            States, shape ``(B, C, W, H)``, on the device of the seed, and the fields of the same
            samples in the same order. If B exceeds the size of the pool, slots are drawn more than
            once.

        Raises:
            ValueError: If the seed is not 4-D, or names and shapes are not those that the pool
                holds; or goals are to be switched, and there are none or channels are fixed.
        """
        check_grids("seed", seed)
        self._check_goals(fields, fixed_channels)
        values = {STATE: seed, **fields}
        self._slots.check(values)
        own = Rows(values, sample_keys(seed[:, :image_channels], *fields.values()))
        if (places := self._continued(len(seed))) is not None:
            return self._note(places, self._slots.get(places, own))
        places = self._choose(len(seed))
        return self._finish(places, self._slots.get(places, own), own, fixed_channels)

    def _check_goals(self, fields: Mapping[str, Tensor], fixed_channels: int) -> None:
        """Raise if goals are to be switched where they cannot be."""
        if self.switch_goals and "goal" not in fields:
            raise ValueError(
                f"switch_goals must be 0 for samples without a goal, got {self.switch_goals}"
            )
        if self.switch_goals and fixed_channels:
            # Another sample's label does not belong to this sample's image.
            raise ValueError(
                "switch_goals must be 0 where the image channels are fixed, "
                f"got {self.switch_goals}"
            )

    def _continued(self, count: int) -> Tensor | None:
        """Return the slots of the last batch if its states are to continue, None otherwise."""
        if self._remaining and self._kept is not None and len(self._kept) == count:
            self._remaining -= 1
            return self._kept
        return None

    def _choose(self, count: int, keys: Sequence[int] | None = None) -> Tensor:
        """Choose slots at random; with keys, unused ones or those of the same key, if there are."""
        if count > self.size:
            return torch.randint(self.size, (count,), generator=self.generator)
        order = torch.randperm(self.size, generator=self.generator)
        return order[:count] if keys is None else self._slots.matching(order, keys)

    def _finish(
        self, places: Tensor, drawn: Rows, own: Rows, fixed_channels: int = 0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Damage the best samples of a batch and replace the worst by the seed."""
        ranks = self._worst_first(places)
        others = ranks[self.n_seed :]
        if self.damage and len(others):
            best = others[-self.num_damaged :] if self.num_damaged else others[:0]
            chance, generator = self.p_damage, self.generator
            cut_circles(
                drawn.states,
                best,
                chance,
                fixed_channels,
                spread=self.damage_spread,
                generator=generator,
            )
        if self.switch_goals:
            switches = torch.rand(len(places), generator=self.generator) < self.switch_goals
            switched = Rows({**own.values, STATE: drawn.states}, own.keys)
            drawn = where_rows(switches.to(drawn.states.device), switched, drawn)
        anew = self._starts_anew(ranks, drawn.keys, own.keys)
        # A seed is not cut: what has not grown could not be distinguished from what cannot grow.
        anew = anew | self._slots.losses[places.to(anew.device)].isinf()
        self._kept, self._remaining = places, self.rollouts - 1
        return self._note(places, where_rows(anew, own, drawn))

    def _note(self, places: Tensor, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        """Note which batch was drawn, and return its states and fields."""
        self.batch, self._drawn = rows.states, _Drawn(places, rows)
        return rows.states, {n: each.clone() for n, each in rows.values.items() if n != STATE}

    def _starts_anew(self, ranks: Tensor, keys: Tensor, own_keys: Tensor) -> Tensor:
        """Mark the rows of a batch that the seed replaces, shape ``(B,)``, bool."""
        count = len(ranks)
        several = (torch.cat([keys, own_keys]) != own_keys[0]).any()
        most = max(self.n_seed, math.ceil(self.fresh_fraction * count))
        replaced = torch.arange(count, device=ranks.device) < torch.where(
            several, most, self.n_seed
        )
        # Not on the host, which would have to wait to learn whether samples differ.
        return torch.empty_like(replaced).scatter_(0, ranks, replaced)

    def _worst_first(self, places: Tensor) -> Tensor:
        """Return the rows of the batch by their standing, ties in random order."""
        ranks = self._slots.standing(places)
        shuffled = torch.randperm(len(places), generator=self.generator).to(ranks.device)
        return shuffled[ranks[shuffled].argsort(descending=True, stable=True)]

    def update(self, batch: Tensor, *, losses: Tensor | None = None) -> None:
        """Put the states that grew from the last batch back into its slots.

        Args:
            batch: States, shape ``(B, C, W, H)``, B as in the last :meth:`sample` or :meth:`draw`.
            losses: Loss of each state, shape ``(B,)``. Without them all count as alike, and the
                samples to replace are drawn at random.

        Raises:
            RuntimeError: If nothing has been sampled.
            ValueError: If there are other than B states or losses.
        """
        if self._drawn is None:
            raise RuntimeError("sample must be called before update")
        places, rows = self._drawn
        for name, values in (("batch", batch), ("losses", losses)):
            if values is not None and len(values) != len(places):
                raise ValueError(f"{name} must have {len(places)} samples, got {len(values)}")
        known = torch.zeros(len(places)) if losses is None else losses.detach()
        grown = Rows({**rows.values, STATE: batch.detach()}, rows.keys)
        self._slots.put(places, grown, known)
