"""Recipes: options of a trainer that were found to go together, under a name."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from ncalab.core.argument_types import check_positive
from ncalab.core.task import find_task
from ncalab.train.budget import Decay
from ncalab.train.config import RULES
from ncalab.train.optimizers import default_lr

RecipeName = Literal["documented", "recommended"]

RECIPE_NAMES = ("documented", "recommended")

_OF_THE_OPTIMIZER = frozenset({"lr", "adam_lr", "adam_betas", "gradient_normalization"})
_OF_THE_SCHEDULE = frozenset({"decay", "final_lr", "warmup_steps"})

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Recipe:
    """Options of a trainer; each is the argument of its name of BasicNCATrainer.

    Raises:
        TypeError: If an option has another type.
        ValueError: If one is out of its range.

    >>> RECOMMENDED["segmentation"].optimizer_method
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
                warm-up and decay with a schedule: they are left out with what they go with. Where
                ``lr`` is given, ``adam_lr`` keeps its ratio to it.
        """
        names = {field.name for field in fields(self)} - set(given)
        if "optimizer_method" in given:
            names -= _OF_THE_OPTIMIZER
        if {"lr_scheduler", "lr_gamma"} & set(given):
            names -= _OF_THE_SCHEDULE
        options = {name: getattr(self, name) for name in sorted(names)}
        if "adam_lr" in options and given.get("lr") is not None:
            options["adam_lr"] *= check_positive("lr", given["lr"]) / self.lr
        return options


RECOMMENDED: dict[str, Recipe] = {
    "segmentation": Recipe(),
    # At 0.05, digits stay below 0.62 in a time in which they reach 0.92 at 0.02.
    "classification": Recipe(lr=0.02, adam_lr=0.008, ema_decay=0.99),
    "depth": Recipe(),
    # Rates and gradients as in ncalab.tasks.growing.growing_preset, which this part cannot import.
    "growing": Recipe(
        lr=0.02,
        adam_lr=default_lr("adam"),
        adam_betas=(0.9, 0.999),
        final_lr=0.1,
        ema_decay=None,
        gradient_clipping=False,
        gradient_normalization=True,
    ),
}
"""Recipe of each task; ``benchmarks/task_recipes.py`` compares them with others at equal time."""


def find_recipe(recipe: RecipeName | Recipe, task: str) -> Recipe | None:
    """Return the recipe of a name for a task.

    Args:
        recipe: "documented" for none, "recommended" for that of the task, or a Recipe.
        task: Task of the model; one that neither this part nor the task's own package has a recipe
            for gets the options of :class:`Recipe`.

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
    return None if recipe == "documented" else _recipe_of(task)


def _recipe_of(task: str) -> Recipe:
    """Return the recipe that the package of a task offers, otherwise that of this part."""
    spec = find_task(task)
    return Recipe(**spec.recipe) if spec and spec.recipe else RECOMMENDED.get(task, Recipe())


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
        given = signature.bind(self, *args, **kwargs).arguments
        task = str(getattr(given["nca"], "task", ""))
        recipe = find_recipe(given.get("recipe", "documented"), task)
        kwargs.update({} if recipe is None else recipe.options(given))
        constructor(self, *args, **kwargs)

    return filled
