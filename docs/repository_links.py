"""Links from pages to files of the repository: those of a clone, in the build downloads."""

import re

from sphinx.application import Sphinx

# Such a file is no page, and MyST would look for the page of that name.
LINK = re.compile(r"\]\((?=(?:\.\./)+examples/\S+\.md\))")


def to_downloads(_app: Sphinx, _docname: str, source: list[str]) -> None:
    """Mark links to files below examples/ as paths."""
    source[0] = LINK.sub("](path:", source[0])


def setup(app: Sphinx) -> None:
    """Do so whenever a page is read."""
    app.connect("source-read", to_downloads)
