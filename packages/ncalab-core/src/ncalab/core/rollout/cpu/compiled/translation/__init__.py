"""Translation of what a rule does with tensors to operations on rows of cells."""

from ncalab.core.rollout.cpu.compiled.translation.translate import translate

__all__ = ["translate"]
