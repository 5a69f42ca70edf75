"""Where a file of records may be cut: greedily, and the same way every time."""

from collections.abc import Sequence
from itertools import repeat

from chunkup.models import Piece, Span
from chunkup.records.finding import Finding
from chunkup.records.lines import BLANK, Block
from chunkup.text import size_text


class Cutter:
    """Pieces as long as the limits let them be; None is no limit.

    A blank line rides with the record before it, or with the first one: it counts as bytes, not
    as a record, and no piece is made of blank lines alone. ``inputs`` limits what the records
    themselves ask for, such as embeddings.
    """

    def __init__(
        self, size: int | None = None, records: int | None = None, inputs: int | None = None
    ) -> None:
        # A limit that nothing reaches spares every comparison its own None.
        self._size, self._records, self._inputs = (
            float("inf") if limit is None else limit for limit in (size, records, inputs)
        )
        self._pieces: list[Piece] = []
        self._start, self._line = 0, 1  # of the piece
        self._count, self._asked = 0, 0  # in the piece, without the open record
        # The open record: where it begins, on which line, what it asks for. Blank lines may
        # still follow it.
        self._open: tuple[int, int, int] | None = None

    def feed(self, block: Block, inputs: Sequence[int] | None = None) -> list[Finding]:
        """Take lines, in order. ``inputs`` are what each asks for; None is nothing.

        Returns:
            Records that no cut makes small enough.
        """
        end = block.offset + len(block.data)
        if (
            inputs is None
            and block.full
            and end - self._start <= self._size
            and self._count + 1 + block.count <= self._records
        ):
            # All of it fits, whatever its lines are: there is no need to look at them.
            findings = self._begin(block.offset, block.first, 0)
            if block.count > 1:
                last = block.offset + block.data.rfind(b"\n", 0, -1) + 1
                self._count += block.count - 1
                self._open = (last, block.first + block.count - 1, 0)
            return findings
        findings = []
        for at, (line, asked) in enumerate(zip(block.lines, inputs or repeat(0), strict=False)):
            if line.strip(BLANK):
                findings += self._begin(block.start(at), block.first + at, asked)
        return findings

    def skip(self, line: int, offset: int) -> list[Finding]:
        """Take one record of which nothing is known but where it begins."""
        return self._begin(offset, line, 0)

    def close(self, lines: int, end: int) -> tuple[tuple[Piece, ...], list[Finding]]:
        """End: the file has so many lines and bytes."""
        if self._open is None and end > self._start:
            self._open = (self._start, self._line, 0)  # nothing but blank lines
        findings = self._settle(end)
        if end > self._start:
            self._cut(end, lines + 1)
        return tuple(self._pieces), findings

    def _begin(self, at: int, line: int, asked: int) -> list[Finding]:
        findings = self._settle(at)
        # Blank lines before the first record belong to it.
        first = self._count == 0 and not self._pieces and self._open is None
        self._open = (self._start, line, asked) if first else (at, line, asked)
        return findings

    def _settle(self, end: int) -> list[Finding]:
        """The open record ends here: it goes into this piece, or begins the next one."""
        if self._open is None:
            return []
        at, line, asked = self._open
        self._open = None
        if self._count and (
            end - self._start > self._size
            or self._count + 1 > self._records
            or self._asked + asked > self._inputs
        ):
            self._cut(at, line)
        self._count += 1
        self._asked += asked
        return self._judge(at, line, end, asked)

    def _cut(self, at: int, line: int) -> None:
        self._pieces.append(Piece(Span(self._start, at), self._line, line - self._line))
        self._start, self._line = at, line
        self._count, self._asked = 0, 0

    def _judge(self, at: int, line: int, end: int, asked: int) -> list[Finding]:
        if end - at > self._size:
            said = f"this line has {size_text(end - at)}, more than the {size_text(self._size)}"
        elif asked > self._inputs:
            said = f"this line has {asked:,} inputs, more than the {self._inputs:,}"
        else:
            return []
        return [Finding("record_too_large", f"{said} that one file may have", line, at)]
