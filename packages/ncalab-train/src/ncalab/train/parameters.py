"""Parameters of which some are given as a choice of values: a grid to search."""

import math
from collections.abc import Iterator
from typing import Any


class ParameterSet:
    """Named parameters; those whose value is a list are searched, each over its values.

    A list is an axis of the grid. Everything else stays a value, tuples such as
    ``training_timesteps=(30, 40)`` included. To fix a parameter to a list, wrap it in another one:
    ``scales=[[4, 2, 1]]``.

    Args:
        **kwargs: The parameters.

    Attributes:
        params: The parameters as given.
        mutable: Names of those that are searched.
        index: Number of combinations that :meth:`next` has returned. Set it to 0 to start over.

    Raises:
        ValueError: If a list is empty.

    >>> grid = ParameterSet(lr=[0.1, 0.01], training_timesteps=(30, 40))
    >>> for combination in grid:
    ...     print(combination)
    {'lr': 0.1, 'training_timesteps': (30, 40)}
    {'lr': 0.01, 'training_timesteps': (30, 40)}
    """

    def __init__(self, **kwargs: Any) -> None:
        for name, value in kwargs.items():
            if isinstance(value, list) and not value:
                raise ValueError(
                    f"{name} must hold at least one value to search, got an empty list"
                )
        self.params = kwargs
        self.mutable = [name for name, value in kwargs.items() if isinstance(value, list)]
        self.index = 0

    @property
    def combinations(self) -> list[dict[str, Any]]:
        """All combinations, as a new list on each access."""
        return list(self)

    def is_mutable(self, key: str) -> bool:
        """Return whether a parameter is searched.

        Raises:
            KeyError: If no parameter has that name.
        """
        if key not in self.params:
            raise KeyError(f"key must be one of {', '.join(self.params)}, got {key!r}")
        return key in self.mutable

    def num_combinations(self) -> int:
        """Return the product of the numbers of values: 1 if nothing is searched."""
        return math.prod(len(self.params[name]) for name in self.mutable)

    def __len__(self) -> int:
        return self.num_combinations()

    def __bool__(self) -> bool:
        # More combinations than a length can express must not be an error here.
        return True

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one combination without making the others; the last parameter changes fastest."""
        count = self.num_combinations()
        if not -count <= index < count:
            raise IndexError(f"index must be in [{-count}, {count}), got {index}")
        rest = index % count
        chosen: dict[str, Any] = {}
        for name in reversed(self.mutable):
            rest, position = divmod(rest, len(self.params[name]))
            chosen[name] = self.params[name][position]
        return {name: chosen.get(name, value) for name, value in self.params.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Walk all combinations from the first one; each walk is independent of all others."""
        return (self[index] for index in range(self.num_combinations()))

    def __next__(self) -> dict[str, Any]:
        if self.index >= self.num_combinations():
            raise StopIteration
        self.index += 1
        return self[self.index - 1]

    def next(self) -> dict[str, Any]:
        """Return the next combination, counted by ``index``.

        Raises:
            StopIteration: After the last one.
        """
        return next(self)

    def info(self) -> str:
        """Describe the parameters in Markdown.

        Returns:
            Number of combinations, and a table of the parameters with their values.

        >>> print(ParameterSet(lr=[0.1, 0.01], max_epochs=5).info())
        2 combinations
        <BLANKLINE>
        | parameter | kind | values |
        |---|---|---|
        | lr | searched | 0.1, 0.01 |
        | max_epochs | fixed | 5 |
        """
        rows = [f"| {name} | {self._kind_and_values(name)} |" for name in self.params]
        count = self.num_combinations()
        title = f"{count} combination{'s' if count != 1 else ''}"
        return "\n".join([title, "", "| parameter | kind | values |", "|---|---|---|", *rows])

    def _kind_and_values(self, name: str) -> str:
        value = self.params[name]
        if name not in self.mutable:
            return f"fixed | {value}"
        return f"searched | {', '.join(map(str, value))}"
