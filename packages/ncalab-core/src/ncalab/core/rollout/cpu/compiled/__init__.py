"""The compiled CPU engine: whole rollouts in C++ (``packages/ncalab-core/native``).

What makes it fast, beside what the engine of PyTorch operations does
(:mod:`ncalab.core.rollout.cpu.operations.engine`):

- a block of cells is perceived, goes through both products, and is updated while all that it
  needs is in the cache;
- products are tiles held in registers, for any number of channels and neurons;
- for the backward pass, a step keeps only the states of the cells that it changed, and a rollout
  is undone step by step in one grid;
- a rollout of some samples is one call, which neither Python nor other threads interrupt.
"""

from ncalab.core.rollout.cpu.compiled.choice import why_not_compiled
from ncalab.core.rollout.cpu.compiled.engine import run

__all__ = ["run", "why_not_compiled"]
