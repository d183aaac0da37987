"""A link on the page of every notebook that opens it in Colab, where the repository is known."""

import json
import os

from sphinx.application import Sphinx

# GitHub's runners set it: owner/name.
REPOSITORY = os.environ.get("GITHUB_REPOSITORY")
ADDRESS = "https://colab.research.google.com/github/{repository}/blob/main/docs/{page}.ipynb"


def add_link(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the link below the title of a notebook."""
    if REPOSITORY is None or not app.env.doc2path(docname).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    address = ADDRESS.format(repository=REPOSITORY, page=docname)
    notebook["cells"][0]["source"] = "".join(notebook["cells"][0]["source"])
    notebook["cells"][0]["source"] += f"\n\n[Open in Colab]({address})"
    source[0] = json.dumps(notebook)


def setup(app: Sphinx) -> None:
    """Do so whenever a page is read."""
    app.connect("source-read", add_link)
