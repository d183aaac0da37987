"""Report of a conversion of an old file of weights."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ncalab.core.monolith.differences import Difference


@dataclass(frozen=True)
class MonolithReport:
    """Report of :func:`ncalab.core.monolith.load_monolith_weights`. Print it.

    Attributes:
        path: File that was read.
        loaded: Names of the model's tensors that were read from the file.
        converted: What was changed on the way, so that the equations of today give the same.
        given: What the file lacks, and where it was taken from.
        accepted: Differences that the caller accepted: the model acts otherwise than it did.
        ignored: What the file holds and nothing needs.
        to_check: What the file cannot say, and the model must have been made with.
    """

    path: Path
    loaded: tuple[str, ...]
    converted: tuple[str, ...]
    given: tuple[str, ...]
    accepted: tuple[Difference, ...]
    ignored: tuple[str, ...]
    to_check: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether the model takes the same steps as it did, if it was made as it was then."""
        return not self.accepted

    def __str__(self) -> str:
        accepted = [str(each) for each in self.accepted]
        return "\n".join(
            [
                f"{self.path}: {len(self.loaded)} tensors loaded",
                *_section("converted", self.converted),
                *_section("not in the file", self.given),
                *_section("different from the monolith, as accepted", accepted),
                *_section("ignored", self.ignored),
                *_section("check that the model was made with the right", self.to_check),
            ]
        )


def _section(title: str, lines: Iterable[str]) -> list[str]:
    listed = [f"    - {line}" for line in lines]
    return [f"  {title}:", *listed] if listed else []
