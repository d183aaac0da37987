import subprocess
import sys


def test_importing_the_part_loads_no_library_that_only_some_of_it_needs() -> None:
    script = (
        "import sys, ncalab.train;"
        "slow = {'pandas', 'sklearn', 'scipy', 'optuna', 'distributed', 'tensorboard'};"
        "assert not slow & set(sys.modules), slow & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
