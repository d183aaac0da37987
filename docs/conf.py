"""Settings of the documentation."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

project = "ncalab"
author = "The ncalab authors"
copyright = "2026, the ncalab authors"
release = version_of("ncalab")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "repository_links",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "ncalab"
html_static_path = ["_static"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

# Names of other libraries are not linked: that would need the network. Ours must be there.
nitpick_ignore_regex = [("py:.*", r"(?!ncalab\b).*")]
# Type variables and a base class without a page to link to.
nitpick_ignore = [
    ("py:class", "ncalab.core.savable.Model"),
    ("py:class", "ncalab.core.rollout.tiled.States"),
    ("py:class", "ncalab.tasks.cascade.delegation.Delegation"),
]
