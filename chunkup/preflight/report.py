"""What a file is checked for, and what came of it."""

from bisect import insort
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chunkup.models import Limits, Piece, Split
from chunkup.providers import Provider
from chunkup.records import Finding

_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Wish:
    """What a file is meant for, and who has to take it.

    Without ``check`` the content may be anything, and is read only to be cut. Without ``split``
    it is not cut.
    """

    purpose: str
    filename: str
    mime_type: str
    limits: Limits
    provider: Provider
    check: bool = True
    split: Split | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a survey found.

    Attributes:
        size: Bytes of the file.
        lines: Lines of it, blank ones too; None if it was not read.
        findings: The first twenty by line; errors go before warnings where there are more.
        counts: How many there are of each code, errors (True) and warnings apart.
        pieces: How to cut it, without a gap from its first byte to its last; empty if that was
            not asked for, or cannot be done.
    """

    size: int
    lines: int | None
    findings: tuple[Finding, ...]
    counts: dict[tuple[str, bool], int]
    pieces: tuple[Piece, ...]

    @property
    def errors(self) -> int:
        """How many findings the server would surely refuse."""
        return sum(count for (_, error), count in self.counts.items() if error)

    @property
    def warnings(self) -> int:
        """How many findings are worth a look."""
        return sum(count for (_, error), count in self.counts.items() if not error)


class Tally:
    """Counts findings as they come, keeps the first of them, and tells ``tell`` of all."""

    def __init__(self, tell: Callable[[Finding], None] | None = None) -> None:
        self._tell = tell
        self._first: dict[bool, list[Finding]] = {True: [], False: []}
        self.counts: Counter[tuple[str, bool]] = Counter()

    def add(self, finding: Finding) -> None:
        """Take one more, in whatever order."""
        self.counts[finding.code, finding.error] += 1
        first = self._first[finding.error]
        if len(first) < _SHOWN or _place(finding) < _place(first[-1]):
            insort(first, finding, key=_place)
            del first[_SHOWN:]
        if self._tell is not None:
            self._tell(finding)

    @property
    def first(self) -> tuple[Finding, ...]:
        """As many as are shown, by line."""
        shown = [*self._first[True], *self._first[False]][:_SHOWN]
        return tuple(sorted(shown, key=_place))


def _place(finding: Finding) -> tuple[int, str]:
    return finding.line or 0, finding.code
