"""Recipes: options of a trainer that were found to go together, under a name."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from ncalab.core.argument_types import check_positive
from ncalab.core.task import all_tasks, find_task
from ncalab.train.budget import Decay
from ncalab.train.config import RULES

RecipeName = Literal["documented", "recommended"]

RECIPE_NAMES = ("documented", "recommended")

_OF_THE_OPTIMIZER = frozenset({"lr", "adam_lr", "adam_betas", "gradient_normalization"})
_OF_THE_SCHEDULE = frozenset({"decay", "final_lr", "warmup_steps"})
# Of the other options, None is a value: no average, for example.
_LEFT_OPEN_BY_NONE = frozenset({"lr", "lr_scheduler"})

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Recipe:
    """Options of a trainer; each is the argument of its name of BasicNCATrainer.

    The defaults are what ``benchmarks/task_recipes.py`` found best for segmentation.

    Raises:
        TypeError: If an option has another type.
        ValueError: If one is out of its range.

    >>> Recipe(lr=0.01).optimizer_method
    'muon'
    """

    optimizer_method: str = "muon"
    lr: float = 0.05
    adam_lr: float = 0.02
    adam_betas: tuple[float, float] = (0.9, 0.99)
    batch_repeat: int = 1
    decay: Decay = "cosine"
    final_lr: float = 0.05
    warmup_steps: int = 0
    ema_decay: float | None = 0.98
    ema_warmup: bool = True
    first_steps: float = 1.0
    gradient_clipping: bool = True
    gradient_normalization: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            RULES[field.name](field.name, getattr(self, field.name))

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that are left to the recipe.

        Args:
            given: Arguments that were passed to the trainer. Rates go with an optimiser, and
                warm-up and decay with a schedule: they are left out with what they go with, if
                another one was passed. Where ``lr`` is given, ``adam_lr`` keeps its ratio to it.
                A rate or schedule of None leaves it to the recipe.
        """
        passed = {n: v for n, v in given.items() if v is not None or n not in _LEFT_OPEN_BY_NONE}
        names = {field.name for field in fields(self)} - set(passed)
        method = passed.get("optimizer_method", self.optimizer_method)
        if str(method).lower() != self.optimizer_method:
            names -= _OF_THE_OPTIMIZER
        if {"lr_scheduler", "lr_gamma"} & set(passed):
            names -= _OF_THE_SCHEDULE
        options = {name: getattr(self, name) for name in sorted(names)}
        if "adam_lr" in options and "lr" in passed:
            options["adam_lr"] *= check_positive("lr", passed["lr"]) / self.lr
        return options


class TaskRecipes(Mapping[str, Recipe]):
    """The recipe that each installed task recommends, by the task's name.

    A task states its options in its description, ``TaskSpec.recipe``.
    """

    def __getitem__(self, task: str) -> Recipe:
        """Return the recipe of a task; that of :class:`Recipe` if the task states none."""
        spec = find_task(task)
        if spec is None:
            raise KeyError(task)
        return Recipe(**spec.recipe)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the installed tasks."""
        return iter(all_tasks())

    def __len__(self) -> int:
        """Return the number of installed tasks."""
        return len(all_tasks())

    def __repr__(self) -> str:
        return repr(dict(self))


RECOMMENDED: Mapping[str, Recipe] = TaskRecipes()
"""Recipe of each installed task; ``benchmarks/task_recipes.py`` compares them at equal time."""


def find_recipe(recipe: RecipeName | Recipe, task: str) -> Recipe | None:
    """Return the recipe of a name for a task.

    Args:
        recipe: "documented" for none, "recommended" for that of the task, or a Recipe.
        task: Task of the model; one that states no recipe gets the options of :class:`Recipe`.

    Raises:
        TypeError: If it is neither a name nor a recipe.
        ValueError: If the name is not known.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if not isinstance(recipe, str):
        raise TypeError(f"recipe must be a name or a Recipe, got {recipe!r}")
    if recipe not in RECIPE_NAMES:
        raise ValueError(f"recipe must be one of {', '.join(RECIPE_NAMES)}, got {recipe!r}")
    return None if recipe == "documented" else RECOMMENDED.get(task, Recipe())


def filled_by_recipe(
    constructor: Callable[Concatenate[T, P], None],
) -> Callable[Concatenate[T, P], None]:
    """Let a trainer's constructor take what it was not given from its ``recipe``.

    A wrapper sees which arguments were passed; the constructor cannot distinguish a default from
    the same value passed.

    Args:
        constructor: Constructor of a trainer, with the arguments ``nca`` and ``recipe``.
    """
    signature = inspect.signature(constructor)

    @functools.wraps(constructor)
    def filled(self: T, /, *args: P.args, **kwargs: P.kwargs) -> None:
        bound = signature.bind(self, *args, **kwargs)
        given = bound.arguments
        task = str(getattr(given["nca"], "task", ""))
        recipe = find_recipe(given.get("recipe", "documented"), task)
        given.update({} if recipe is None else recipe.options(given))
        constructor(*bound.args, **bound.kwargs)

    return filled
