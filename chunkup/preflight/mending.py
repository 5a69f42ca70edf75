"""A new file without what can be mended mechanically and without a loss."""

import os
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import Final

import msgspec

from chunkup.models import MIB, Fingerprint
from chunkup.preflight.fresh import Fresh, free
from chunkup.preflight.interruptible import interruptible
from chunkup.preflight.reading import Block, blocks, opened
from chunkup.preflight.report import Report, Wish
from chunkup.preflight.surveyor import longest, survey, surveyed
from chunkup.records import CODES, Finding, has_records

_BOM: Final = b"\xef\xbb\xbf"
_BLANK: Final = re.compile(rb"^[ \t\r]*\n", re.MULTILINE)
_RETURNS: Final = re.compile(rb"\r+(?=\n)")
_ANEW: Final = ("missing_custom_id", "duplicate_custom_id")
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KEY: Final = rb'"custom_id"[ \t\r]*:[ \t\r]*'
# Places in one line at which the id may stand; further ones are somebody's joke.
_PLACES: Final = 100


@dataclass(frozen=True, slots=True)
class Mended:
    """What came of mending.

    Attributes:
        before: What a survey of the source found.
        after: What a survey of the new file found; None if there was nothing to mend, so that
            there is no new file.
        ids: How many lines have a new ``custom_id``; if none has, there is no mapping file.
    """

    before: Report
    after: Report | None
    ids: int


async def mend(  # noqa: PLR0913  (what is mended, for what, and where it goes)
    path: str,
    fingerprint: Fingerprint,
    wish: Wish,
    target: Path,
    mapping: Path,
    *,
    progress: Callable[[int], None] | None = None,
) -> Mended:
    """Write what ``path`` holds to ``target``, with all mended that can be, and nothing else.

    A byte order mark, the CR of line ends and blank lines go, a last newline comes, and of a
    batch every line has a ``custom_id`` of its own: ``mapping`` says in JSON Lines which one took
    the place of which. All other bytes stay. What only a person can mend stays as it is, and is
    in the report of the new file. ``progress`` hears of each of three readings.

    Raises:
        BadOption: Something is at ``target`` or ``mapping`` already, or there is no such folder.
        Busy: Another process writes the same file now.
        SourceChanged: It is not the file of the fingerprint, or was written to meanwhile.
        SourceGone: It vanished, or a read failed.
        Stopped: The disk takes no more; nothing is left behind.
    """
    free(target, mapping)
    wish = replace(wish, check=True, split=None)
    if not has_records(wish.purpose):
        return Mended(await survey(path, fingerprint, wish), None, 0)
    work = _Work(path, fingerprint, wish, progress)
    return await interruptible(partial(work.mended, target, mapping))


@dataclass(frozen=True, slots=True)
class _Work:
    path: str
    fingerprint: Fingerprint
    wish: Wish
    progress: Callable[[int], None] | None

    def mended(self, target: Path, mapping: Path, halt: Callable[[], None]) -> Mended:
        anew: array[int] = array("Q")

        def note(finding: Finding) -> None:
            if finding.code in _ANEW and finding.line is not None:
                anew.append(finding.line)

        before = self._survey(self.path, self.fingerprint, halt, note)
        ended, mode = self._seen()
        if ended and not any(CODES[code].mendable for code, _ in before.counts):
            return Mended(before, None, 0)
        lines = array("Q", sorted(anew))
        # An id that some other line has already is no new one; nobody has a random one.
        for suffix in ("", f"-{token_hex(8)}"):
            with Fresh(target) as new, Fresh(mapping) as ids:
                count, left = self._write(new, ids, iter(lines), suffix, halt)
                sealed = new.seal(mode)
                after = self._survey(new.path, sealed, halt)
                if not suffix and after.counts.get(("duplicate_custom_id", True), 0) > left:
                    continue
                _publish(new, ids if count else None, mode)
                return Mended(before, after, count)
        raise AssertionError("the second time it returns")

    def _survey(
        self,
        path: str,
        fingerprint: Fingerprint,
        halt: Callable[[], None],
        tell: Callable[[Finding], None] | None = None,
    ) -> Report:
        return surveyed(path, fingerprint, self.wish, tell=tell, progress=self.progress, halt=halt)

    def _seen(self) -> tuple[bool, int]:
        """Whether the last line has its newline, and the mode of the file."""
        with opened(self.path) as handle:
            handle.seek(max(0, self.fingerprint.size - 1))
            return handle.read(1) in {b"\n", b""}, os.fstat(handle.fileno()).st_mode

    def _write(
        self, new: Fresh, ids: Fresh, anew: Iterator[int], suffix: str, halt: Callable[[], None]
    ) -> tuple[int, int]:
        """Write both files; how many lines have a new id, and how many could not get one."""
        before = count = left = 0
        line = next(anew, None)
        for block in blocks(self.path, self.fingerprint, halt, longest=longest(self.wish)):
            if block.data is None:
                self._copy(block, new, halt)
                before += 1
                continue
            data = block.data if block.offset else block.data.removeprefix(_BOM)
            data = data if data.endswith(b"\n") else data + b"\n"
            rows = data.split(b"\n")
            while line is not None and line < before + len(rows):
                at = line - before - 1
                fresh = b'"line-%d%s"' % (line, suffix.encode())
                if (renewed := _renewed(rows[at], fresh)) is not None:
                    rows[at], was = renewed
                    ids.write(b'{"line":%d,"was":%s,"custom_id":%s}\n' % (line, was, fresh))
                    count += 1
                else:
                    left += 1
                line = next(anew, None)
            before += len(rows) - 1
            new.write(_BLANK.sub(b"", _RETURNS.sub(b"", b"\n".join(rows))))
        return count, left

    def _copy(self, block: Block, new: Fresh, halt: Callable[[], None]) -> None:
        """Take a line that is too long to be held as it is."""
        with opened(self.path) as handle:
            handle.seek(block.offset)
            left = block.size
            while left and (chunk := handle.read(min(left, MIB))):
                halt()
                new.write(chunk)
                left -= len(chunk)


def _publish(new: Fresh, ids: Fresh | None, mode: int) -> None:
    if ids is None:
        new.publish()
        return
    ids.seal(mode)
    ids.publish()
    try:
        new.publish()
    except BaseException:
        ids.withdraw()
        raise


def _renewed(row: bytes, fresh: bytes) -> tuple[bytes, bytes] | None:
    """A line with another id, and the JSON of the one that it had; None if that cannot be done."""
    members = _members(row)
    if members is None:
        return None
    was = members.get("custom_id")
    wanted = {**members, "custom_id": fresh}
    if was is None:
        at = row.index(b"{") + 1
        made = row[:at] + b'"custom_id":' + fresh + (b"," if members else b"") + row[at:]
        return (made, b"null") if _members(made) == wanted else None
    # The same text may stand in the line more than once. Which one it is shows once it is changed.
    for place in islice(re.finditer(_KEY + re.escape(was), row), _PLACES):
        at = place.end() - len(was)
        made = row[:at] + fresh + row[place.end() :]
        if _members(made) == wanted:
            return made, was
    return None


def _members(row: bytes) -> dict[str, bytes] | None:
    """What stands in an object, each value as it is written."""
    try:
        return {key: bytes(value) for key, value in _MEMBERS.decode(row).items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
