"""What became of the weights of a monolithic file."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MonolithReport:
    """What was read from a file of the monolithic ncalab, and what nobody could read from it.

    Print it: it is text to act on.

    Attributes:
        path: The file.
        model: Class of the model that now has the weights.
        read: The monolith's names of the tensors that were read.
        converted: What was changed so that the model computes the same.
        unused: Names of tensors in the file that nothing needs.
        lacks: What the monolith does not save.
        differs: Where the model computes something else than the monolith did.
        needed: What only the user can know, and must have given to the model.
    """

    path: str
    model: str
    read: tuple[str, ...] = ()
    converted: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the report as lines of text, without empty sections."""
        sections = {
            "Read": self.read,
            "Converted": self.converted,
            "Not needed": self.unused,
            "Not in the file": self.lacks,
            "Differs": self.differs,
            "For you to check": self.needed,
        }
        lines = [f"{self.path} -> {self.model}"]
        for title, items in sections.items():
            lines += [f"{title}:", *(f"  - {item}" for item in items)] if items else []
        return "\n".join(lines)
