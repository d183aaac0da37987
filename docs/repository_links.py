"""The examples' pages and the models' cards as pages of the documentation, and links to them.

In a clone they lie beside what they are about, with links that hold there. A build copies them to
``docs/example_pages`` and turns the links: to such a page, to a page below ``docs``, or to a
download.
"""

import os
import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent
COPIES = DOCS / "example_pages"
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n+", re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:|#)(?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def copy_of(readme: Path) -> Path:
    """Return where a README below examples/ is copied to.

    >>> copy_of(ROOT / "examples/kfold_nuclei/pretrained/fold_00/README.md").name
    'kfold_nuclei-pretrained-fold_00.md'
    """
    return COPIES / ("-".join(readme.relative_to(ROOT / "examples").parts[:-1]) + ".md")


def turn_links(text: str, here: Path, folder: Path) -> str:
    """Rewrite the relative links of a page.

    Args:
        text: The page.
        here: Folder that its links start from.
        folder: Folder of the page in the documentation.
    """

    def turn(match: re.Match[str]) -> str:
        file = Path(os.path.normpath(here / match["target"]))
        if not file.is_file():
            return match[0]
        if file.is_relative_to(ROOT / "examples") and file.name == "README.md":
            file = copy_of(file)
        inside = file.is_relative_to(DOCS) or file.suffix in (".png", ".gif")
        path = Path(os.path.relpath(file, folder)).as_posix()
        return f"]({'' if inside else 'path:'}{path}{match['anchor'] or ''})"

    return LINK.sub(turn, text)


def copy_pages(_app: Sphinx) -> None:
    """Write the copies anew."""
    shutil.rmtree(COPIES, ignore_errors=True)
    COPIES.mkdir()
    for readme in (ROOT / "examples").rglob("README.md"):
        text = FRONT_MATTER.sub("", readme.read_text(encoding="utf-8"))
        copy_of(readme).write_text(turn_links(text, readme.parent, COPIES), encoding="utf-8")


def turn_links_of_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Turn the links of the documentation's own pages; those of the copies are turned already."""
    page = Path(app.env.doc2path(docname))
    if page.suffix == ".md" and page.parent != COPIES:
        source[0] = turn_links(source[0], page.parent, page.parent)


def setup(app: Sphinx) -> None:
    """Copy at the start of a build, and turn links whenever a page is read."""
    app.connect("builder-inited", copy_pages)
    app.connect("source-read", turn_links_of_page)
