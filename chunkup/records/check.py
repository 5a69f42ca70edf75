"""One pass over a file's lines: what is wrong with them, and where they may be cut."""

from collections.abc import Sequence
from typing import Final, Protocol

from chunkup.models import Limits, Piece, Split
from chunkup.providers import Provider
from chunkup.records.batch import Batch, Seen
from chunkup.records.cutter import Cutter
from chunkup.records.finding import Finding
from chunkup.records.finetune import FineTune
from chunkup.records.lines import BLANK, Block
from chunkup.records.plain import Plain
from chunkup.text import size_text

_MARK: Final = b"\xef\xbb\xbf"


class _Rules(Protocol):
    def block(self, block: Block) -> tuple[list[Finding], Sequence[int] | None]:
        """What is wrong in some lines, in any order, and how many inputs each asks for."""

    def close(self) -> list[Finding]:
        """What is wrong with the file, now that all of it was seen."""


class Check:
    """What is fed its lines, once and in order.

    ``seen`` is told every ``custom_id`` of a batch. Without ``check`` nothing is found but what
    cannot be cut, and nothing is known of inputs. With ``split`` the file is cut within what it
    wishes and what the provider takes, whichever is less; without, more than that is a finding.

    Attributes:
        lines: So far, blank ones too.
        records: Lines so far that are not blank.
        pieces: Once it is closed; none without ``split``.
    """

    def __init__(  # noqa: PLR0913  (all that a file is judged by)
        self,
        purpose: str,
        limits: Limits,
        provider: Provider,
        *,
        seen: Seen | None = None,
        check: bool = True,
        split: Split | None = None,
    ) -> None:
        self.lines = 0
        self.records = 0
        self.pieces: tuple[Piece, ...] = ()
        self._offset = 0
        self._crlf = False
        most = dict(limits.records).get(purpose)
        # What is cut is within the limits.
        whole = split is None
        self._most = most if whole and most is not None else float("inf")
        self._rules: _Rules | None = None
        if check:
            self._rules = _rules(purpose, provider, seen, limits.inputs if whole else None)
        self._cutter: Cutter | None = None
        if split is not None:
            self._cutter = Cutter(
                _least(split.size, limits.largest(purpose)),
                _least(split.lines, most),
                limits.inputs if purpose == "batch" else None,
            )

    def feed(self, data: bytes) -> list[Finding]:
        """Take whole lines, at least one; only the file's last may lack its newline.

        Returns:
            What is wrong in them, by line.
        """
        block = Block(data, self.lines + 1, self._offset)
        findings: list[Finding] = []
        inputs: Sequence[int] | None = None
        if self._rules is not None:
            findings, inputs = self._judge(self._rules, block)
        if self._cutter is not None:
            findings += self._cutter.feed(block, inputs)
        self.lines += block.count
        self._offset += len(data)
        return sorted(findings, key=_line)

    def skip(self, size: int) -> list[Finding]:
        """Pass over one line that is too long to be held: so many bytes, with its end."""
        place = self.lines + 1, self._offset
        findings: list[Finding] = []
        if self._rules is not None:
            said = f"this line has {size_text(size)}, and is too long to be checked"
            findings.append(Finding("line_too_long", said, *place, error=False))
            findings += self._counted(*place)
        if self._cutter is not None:
            findings += self._cutter.skip(*place)
        self.lines += 1
        self._offset += size
        return findings

    def close(self) -> list[Finding]:
        """End.

        Returns:
            What can be said only now.
        """
        findings: list[Finding] = []
        if self._rules is not None:
            findings += self._rules.close()
            if not self.records:
                findings.append(Finding("empty_file", "there is no record in this file"))
        if self._cutter is not None:
            self.pieces, uncut = self._cutter.close(self.lines, self._offset)
            findings += uncut
        return findings

    def _judge(self, rules: _Rules, block: Block) -> tuple[list[Finding], Sequence[int] | None]:
        findings: list[Finding] = []
        if block.offset == 0 and block.data.startswith(_MARK):
            said = "the file begins with a byte order mark, which is no JSON"
            findings.append(Finding("byte_order_mark", said, 1, 0))
            block = Block(block.data[len(_MARK) :], 1, len(_MARK))
        found, inputs = rules.block(block)
        findings += found
        # A search for one byte is far faster than one for two, and CR is rare.
        if not self._crlf and b"\r" in block.data and b"\r\n" in block.data:
            self._crlf = True
            at = block.data.count(b"\n", 0, block.data.index(b"\r\n"))
            said = "the line ends with CR LF, and others may as well"
            place = block.first + at, block.start(at)
            findings.append(Finding("crlf", said, *place, error=False))
        if block.full and self.records + block.count <= self._most:
            self.records += block.count
            return findings, inputs
        for at, line in enumerate(block.lines):
            if line.strip(BLANK):
                findings += self._counted(block.first + at, block.start(at))
        return findings, inputs

    def _counted(self, line: int, offset: int) -> list[Finding]:
        """One record more, which may be the first that is too much."""
        self.records += 1
        if self.records - 1 != self._most:
            return []
        said = f"up to this line there are more than the {self._most:,} requests of one file"
        return [Finding("too_many_tasks", said, line, offset)]


def _rules(
    purpose: str, provider: Provider, seen: Seen | None, inputs: int | None
) -> _Rules | None:
    match purpose:
        case "batch":
            return Batch(provider, seen, inputs)
        case "fine-tune":
            return FineTune()
        case "evals":
            return Plain()
        case _:
            return None


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _line(finding: Finding) -> int:
    return finding.line or 0
