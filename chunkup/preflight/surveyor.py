"""One ordered reading of a file: what is wrong with it, and where it may be cut."""

import time
from collections.abc import Callable
from contextlib import closing
from typing import Final

from chunkup.models import Fingerprint
from chunkup.preflight.interruptible import interruptible
from chunkup.preflight.reading import LONGEST, blocks
from chunkup.preflight.report import Report, Tally, Wish
from chunkup.preflight.seen import Seen
from chunkup.records import Check, Finding, duplicate, has_records, outside

# What has a record on each line, whatever it is for.
_LINES: Final = (".jsonl", ".ndjson")
# Seconds between two words about how far it is.
_PACE: Final = 0.25


async def survey(
    path: str,
    fingerprint: Fingerprint,
    wish: Wish,
    *,
    tell: Callable[[Finding], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Check a file and cut it, as ``wish`` says, in one reading and constant memory.

    A file that holds no records by its purpose and name is not read. ``tell`` hears of every
    finding, ``progress`` a few times a second of how many bytes are read; both in the thread
    that reads. Who is cancelled waits until that has ended, which takes a read.

    Raises:
        SourceChanged: It is not the file of the fingerprint, or was written to meanwhile.
        SourceGone: It vanished, or a read failed.
        Stopped: There is no room for temporary files.
    """
    if (wish.check and has_records(wish.purpose)) or _can_be_cut(wish):
        return await interruptible(
            lambda halt: surveyed(path, fingerprint, wish, tell=tell, progress=progress, halt=halt)
        )
    return _report(fingerprint, _begun(fingerprint, wish, tell))


def surveyed(  # noqa: PLR0913  (a survey, and what may end it)
    path: str,
    fingerprint: Fingerprint,
    wish: Wish,
    *,
    tell: Callable[[Finding], None] | None,
    progress: Callable[[int], None] | None,
    halt: Callable[[], None],
) -> Report:
    """The reading itself, in the calling thread; ``halt`` may raise at every read."""
    tally = _begun(fingerprint, wish, tell)
    if not fingerprint.size:
        return _report(fingerprint, tally)

    def again(first: int, line: int, offset: int, custom_id: str | None) -> None:
        tally.add(duplicate(custom_id, line, offset, first))

    spoken = time.monotonic()
    with closing(Seen(again, halt)) as seen:
        check = Check(
            wish.purpose,
            wish.limits,
            wish.provider,
            seen=seen,
            check=wish.check,
            split=wish.split,
        )
        for block in blocks(path, fingerprint, halt, longest=longest(wish)):
            for finding in check.skip(block.size) if block.data is None else check.feed(block.data):
                tally.add(finding)
            if progress is not None and time.monotonic() - spoken >= _PACE:
                spoken = time.monotonic()
                progress(block.offset + block.size)
        for finding in check.close():
            tally.add(finding)
        seen.settle()
    return _report(fingerprint, tally, check)


def _report(fingerprint: Fingerprint, tally: Tally, check: Check | None = None) -> Report:
    lines, pieces = (None, ()) if check is None else (check.lines, check.pieces)
    return Report(fingerprint.size, lines, tally.first, dict(tally.counts), pieces)


def longest(wish: Wish) -> int:
    """Bytes of the longest line that is looked at: what no File can hold need not be held here."""
    return min(wish.limits.largest(wish.purpose) or LONGEST, LONGEST)


def _begun(fingerprint: Fingerprint, wish: Wish, tell: Callable[[Finding], None] | None) -> Tally:
    """A tally of what can be said without reading."""
    tally = Tally(tell)
    if wish.check:
        for finding in outside(
            wish.purpose,
            wish.filename,
            wish.mime_type,
            fingerprint.size,
            wish.limits,
            wish.provider,
            split=wish.split is not None,
        ):
            tally.add(finding)
    return tally


def _can_be_cut(wish: Wish) -> bool:
    lines = has_records(wish.purpose) or wish.filename.lower().endswith(_LINES)
    return wish.split is not None and lines
