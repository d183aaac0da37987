"""Print how the code is built: import circles, lengths of classes and functions, places of a name.

`python packaging-checks/structure.py` prints a table with one row for each part; then, for one
task, optimiser, padding and command, the files that name it: what adding another one may touch.
With `--strict` it fails if any modules import each other in a circle, imports for typing included.
With `--step` it trains a small model, and prints the files of ncalab.train that one training step
passes through.
"""

import argparse
import ast
import re
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parent.parent
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

Graph = dict[str, set[str]]

# One of each kind that users add to, whose name stands for nothing else.
EXAMPLES = {
    "task": "classification",
    "optimiser": "adamw",
    "padding": "replicate",
    "command": "ncalab.cli.commands.doctor",
}


@dataclass
class Module:
    """A module of the library: its name, whether it is a package, and its syntax tree."""

    name: str
    is_package: bool
    tree: ast.Module


def read_modules(source: Path) -> list[Module]:
    """Parse every module below a folder that is on the path of imports."""
    modules = []
    for path in sorted(source.rglob("*.py")):
        names = path.relative_to(source).with_suffix("").parts
        is_package = names[-1] == "__init__"
        name = ".".join(names[:-1] if is_package else names)
        modules.append(Module(name, is_package, ast.parse(path.read_text(encoding="utf-8"))))
    return modules


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Yield the dotted name of everything that is imported, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def import_graph(modules: list[Module]) -> Graph:
    """Return which modules each module imports, typing and late imports included."""
    known = {module.name for module in modules}
    graph: Graph = {}
    for module in modules:
        found = set()
        for name in imported_names(module.tree):
            target = name if name in known else name.rpartition(".")[0]
            if target in known and target != module.name:
                found.add(target)
        graph[module.name] = found
    return graph


def circles(graph: Graph) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others.

    Source: Tarjan, Depth-first search and linear graph algorithms, 1972, doi:10.1137/0201010.

    >>> circles({"a": {"b"}, "b": {"c"}, "c": {"b"}})
    [['b', 'c']]
    """
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_nodes: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = lowest[node] = len(order)
        open_nodes.append(node)
        for target in sorted(graph[node]):
            if target not in order:
                visit(target)
            if target in open_nodes:
                lowest[node] = min(lowest[node], lowest[target])
        if lowest[node] == order[node]:
            place = open_nodes.index(node)
            groups.append(sorted(open_nodes[place:]))
            del open_nodes[place:]

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return [group for group in groups if len(group) > 1]


def named_in(tree: ast.Module) -> set[str]:
    """Return the text constants of a module that are not docstrings, and the names it imports."""
    owners = (ast.Module, ast.ClassDef, *FUNCTIONS)
    docstrings = {
        id(node.body[0].value)  # type: ignore[attr-defined]  # an expression
        for node in ast.walk(tree)
        if isinstance(node, owners) and ast.get_docstring(node, clean=False) is not None
    }
    constants = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and id(node) not in docstrings
    }
    parents = {name.rpartition(".")[0] for name in imported_names(tree)}
    return {name for name in constants if isinstance(name, str)} | parents


def places_of(name: str, root: Path) -> list[str]:
    """Return where a name stands in the packages: modules, scripts, lines of entry points.

    A folder of that name, as a task has one, is one place.
    """
    found = []
    for path in sorted(root.glob("packages/*/src/**/*.py")):
        module = ".".join(path.relative_to(root).with_suffix("").parts[3:])
        if name == module or name in named_in(ast.parse(path.read_text(encoding="utf-8"))):
            found.append(path)
    text = re.escape(name)
    # As a string or a key of JavaScript, and as a key of TOML.
    for pattern, written in (
        ("packages/*/src/**/*.js", rf"""["'`]{text}["'`]|^\s*{text}:"""),
        ("packages/*/pyproject.toml", rf"^{text} = "),
    ):
        stands = re.compile(written, re.MULTILINE)
        found += [path for path in sorted(root.glob(pattern)) if stands.search(path.read_text())]
    return list(dict.fromkeys(_place(path.relative_to(root), name) for path in found))


def _place(path: Path, name: str) -> str:
    folder = next((parent for parent in path.parents if parent.name == name), path)
    return folder.as_posix()


def lines(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a class or function, without its docstring."""
    total = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    has_docstring = ast.get_docstring(node, clean=False) is not None
    return total - ((first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0)


def documented_lines(node: ast.AST) -> int:
    """Count the lines of a class body whose methods count without their docstrings."""
    inner = sum(
        (child.body[0].end_lineno or 0) - child.body[0].lineno + 1
        for child in ast.walk(node)
        if isinstance(child, (*FUNCTIONS, ast.ClassDef)) and ast.get_docstring(child, clean=False)
    )
    total = (getattr(node, "end_lineno", 0) or 0) - getattr(node, "lineno", 0) + 1
    return int(total - inner)


@dataclass
class Summary:
    """The figures of one part."""

    part: str
    modules: int
    circles: list[list[str]]
    longest_class: tuple[int, str]
    functions: list[int]

    def row(self) -> str:
        """Return the figures as a row of the table."""
        tied = sum(map(len, self.circles))
        ninth = statistics.quantiles(self.functions, n=10)[-1]
        size, name = self.longest_class
        return (
            f"{self.part:12} {self.modules:7} {tied:9} {statistics.median(self.functions):6.0f} "
            f"{ninth:9.0f} {size:6}  {name}"
        )


def summarise(part: str, source: Path) -> Summary:
    """Measure the code of one part."""
    modules = read_modules(source)
    classes, functions = [], []
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                classes.append((documented_lines(node), node.name))
            elif isinstance(node, FUNCTIONS):
                functions.append(lines(node))
    return Summary(part, len(modules), circles(import_graph(modules)), max(classes), functions)


def files_of_a_step() -> list[str]:
    """Return the files of ncalab.train that run from one batch's loss to the next one's.

    They are those of the second and third batch of an epoch, with nothing that only shows it.
    """
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from ncalab.core import AbstractNCAModel, Prediction
    from ncalab.train import BasicNCATrainer

    found: set[str] = set()
    losses: list[int] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.parts[-3:-1] == ("ncalab", "train"):
            found.add(path.name)
        elif event == "call" and path.parts[-4:-2] == ("ncalab", "train"):
            found.add("/".join(path.parts[-2:]))

    class Watched(AbstractNCAModel):
        def loss(self, pred: Prediction, label: torch.Tensor) -> dict[str, torch.Tensor]:
            losses.append(1)
            if len(losses) in (2, 3):
                sys.setprofile(note if len(losses) == 2 else None)
            return {"total": (pred.logits - label).square().mean()}

    model = Watched(
        torch.device("cpu"),
        num_image_channels=1,
        num_hidden_channels=1,
        num_output_channels=1,
        training_timesteps=2,
    )
    images = torch.rand(4, 1, 5, 4)
    loader = DataLoader(TensorDataset(images, images), batch_size=1)
    BasicNCATrainer(model, None, max_epochs=1, progress=False).train(loader)
    return sorted(found)


def main() -> int:
    """Print the table; return 1 if circles are asked about and there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="fail if modules form a circle")
    parser.add_argument("--step", action="store_true", help="files that a training step runs")
    parser.add_argument("parts", nargs="*", help="names of parts; all of them if none is given")
    options = parser.parse_args()
    folders = sorted(ROOT.glob("packages/ncalab*/src"))
    names = {folder: folder.parent.name.removeprefix("ncalab-") for folder in folders}
    chosen = [folder for folder in folders if not options.parts or names[folder] in options.parts]
    summaries = [summarise(names[folder], folder) for folder in chosen]
    print("lines of functions and classes count without docstrings")
    print("part         modules in circle median 9 in 10  longest class")
    for summary in summaries:
        print(summary.row())
    for summary in summaries:
        for group in summary.circles:
            print(f"circle of {len(group)} in {summary.part}: {', '.join(group)}")
    print("places that name one of a kind: what adding another may touch")
    for kind, name in EXAMPLES.items():
        places = places_of(name, ROOT)
        print(f"{kind:12} {len(places):2}  ({name.rpartition('.')[2]}) {', '.join(places)}")
    if options.step:
        files = files_of_a_step()
        print(f"{len(files)} files in a training step: {', '.join(files)}")
    return int(options.strict and any(summary.circles for summary in summaries))


if __name__ == "__main__":
    sys.exit(main())
