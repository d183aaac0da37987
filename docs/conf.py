"""Settings of the documentation."""

import sys
from importlib import import_module
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.logging import getLogger

# The extensions that are not installed are beside this file.
sys.path.append(str(Path(__file__).parent))

project = "ncalab"
author = "The ncalab authors"
copyright = "2026, the ncalab authors"
release = version_of("ncalab")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "colab_links",
    "living_pages",
    "mathml",
    "repository_links",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "ncalab"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Notebooks have no outputs in git: every build runs them, and ends if one fails.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
# Widgets would come from the network.
nb_ipywidgets_js = {}

# Names of other libraries are not linked: that would need the network. Ours must be there.
nitpick_ignore_regex = [("py:.*", r"(?!ncalab\b).*")]
# Type variables, protocols and base classes without a page to link to.
nitpick_ignore = [
    ("py:class", f"ncalab.{name}")
    for name in (
        "core.automaton.Automaton",
        "core.described.DescribedModel",
        "core.model.RolloutStart",
        "core.multiscale.runner.MultiScale",
        "core.perception.base.FilterBank",
        "core.perception.base.PerceivingCells",
        "core.options.RunsSteps",
        "core.prediction.PredictingAutomaton",
        "core.rollout.tiled.States",
        "core.rule.cell_layers.CellNorm",
        "core.runner.Runner",
        "core.savable.Model",
        "tasks.cascade.delegation.Delegation",
        "tasks.file_pairs.FilePairs",
        "tasks.recommend.Advice",
        "tasks.recommend.Recommendation",
    )
]

PARTS = ("core", "estimators", "tasks", "train", "uncertainty", "viz")


def warn_of_missing_names(_: Sphinx, env: BuildEnvironment) -> None:
    """Warn, which ends the build, of public names that the reference lacks."""
    documented = {name for name, *_ in env.get_domain("py").get_objects()}
    public = {
        f"ncalab.{part}.{name}"
        for part in PARTS
        for name in import_module(f"ncalab.{part}").__all__
        if name != "__version__"
    }
    # The umbrella's names are those of the parts, or of modules of its own.
    short = {name.rpartition(".")[2] for name in documented}
    public |= {f"ncalab.{name}" for name in import_module("ncalab").__all__ if name not in short}
    for name in sorted(public - documented - {"ncalab.__version__"}):
        getLogger(__name__).warning("%s is public, and not in the reference", name)


def setup(app: Sphinx) -> None:
    """Check the reference whenever the documentation is built."""
    # Not "env-check-consistency": a build in which no page has changed would skip it.
    app.connect("env-updated", warn_of_missing_names)
