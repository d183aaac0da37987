"""Which modules have doctests to run: not those that import Triton, where that is missing."""

from importlib.util import find_spec

collect_ignore_glob = ["*/tests/support/*"]
if find_spec("triton") is None:
    collect_ignore_glob += ["*/rollout/cuda/*"]
