"""Goals of models whose cells perceive one."""

import math

import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel


def goal_of(model: AbstractNCAModel, text: str | None) -> Tensor | None:
    """Return the goal that ``--goal`` names, for a batch of one; None for a model without.

    Args:
        model: The model.
        text: A whole number for a model with ``num_goals``, else the numbers of a vector, with
            commas in between; None if the option was left out.

    Raises:
        ValueError: If the model has no goals, or others than that.
    """
    if not model.goal_size:
        if text is not None:
            raise ValueError(f"--goal must be left out for a model without goals, got {text}")
        return None
    rule = describe_goals(model)
    if text is None:
        raise ValueError(f"--goal must be given for this model: {rule}")
    try:
        if model.num_goals:
            number = int(text)
            if 0 <= number < model.num_goals:
                return torch.tensor([number])
        else:
            numbers = [float(part) for part in text.split(",")]
            if len(numbers) == model.goal_size and all(map(math.isfinite, numbers)):
                return torch.tensor([numbers])
    except ValueError:
        pass  # said below
    raise ValueError(f"--goal must be {rule}, got {text!r:.80}")


def describe_goals(model: AbstractNCAModel) -> str:
    """Say what ``--goal`` is for a model that has goals."""
    if model.num_goals:
        return f"a whole number from 0 to {model.num_goals - 1}"
    if model.goal_size == 1:
        return "a number"
    return f"{model.goal_size} numbers with commas in between, such as {any_goal(model)}"


def any_goal(model: AbstractNCAModel) -> str:
    """Return a goal that a model takes, as ``--goal`` does."""
    return "0" if model.num_goals else ",".join(["0"] * model.goal_size)
