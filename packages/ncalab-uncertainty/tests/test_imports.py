import subprocess
import sys

from ncalab import uncertainty


def test_all_that_is_public_is_listed_and_there() -> None:
    assert all(hasattr(uncertainty, name) for name in uncertainty.__all__)
    assert {"UncertaintyEstimator", "NQM", "MCMC"} <= set(uncertainty.__all__)


def test_importing_it_imports_no_metrics_and_no_plots() -> None:
    script = (
        "import sys, ncalab.uncertainty; "
        "print(sorted({'matplotlib', 'sklearn', 'torchmetrics'} & sys.modules.keys()))"
    )

    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert found.stdout == "[]\n", found.stderr
