import subprocess
import sys

import pytest
from train_models import EchoModel, loader

from ncalab.train import OptunaObjective


def test_importing_the_part_loads_no_library_that_only_some_of_it_needs() -> None:
    script = (
        "import sys, ncalab.train;"
        "slow = {'pandas', 'sklearn', 'scipy', 'optuna', 'distributed', 'tensorboard'};"
        "assert not slow & set(sys.modules), slow & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_objective_of_a_study_names_the_extra_that_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(ImportError, match=r'pip install "ncalab-train\[optuna\]"'):
        OptunaObjective("cpu", EchoModel, lambda trial: ({}, {}), loader())
