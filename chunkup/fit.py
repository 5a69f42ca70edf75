"""Whether the pieces of a file fit together still, seen before one of them begins.

The receipts of a piece tell whether its own bytes are those that were sent, and a piece that has
none can tell nothing. So it begins only if the file looks as it did when it was cut. Where
somebody touched it since and it looks the same, a copy or a change of rights as well as an edit
whose time was put back, content decides: what arrived is read once more, and the piece has to
begin and end between records. All Files are of the file as it is now, then.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from chunkup.aside import aside
from chunkup.errors import SourceChanged, SourceGone
from chunkup.journal import Journal
from chunkup.machine import Phase
from chunkup.models import Fingerprint, Job, Span
from chunkup.patience import PATIENCE, patiently
from chunkup.reading import md5_of
from chunkup.source import gone, looked, open_now


class Fit:
    """What this process has seen to fit. ``patience`` is for how long a disk may be silent."""

    def __init__(
        self, journal: Callable[[], Awaitable[Journal]], *, patience: float = PATIENCE
    ) -> None:
        self._journal = journal
        self._patience = patience
        # One file after the other: all of them together would only have the disk seek.
        self._reading = asyncio.Lock()
        # Jobs whose piece is in the file that was touched at that time.
        self._proven: set[tuple[str, str, int | None]] = set()

    async def see(
        self, job: Job, cut: Fingerprint, *, between_runs: bool, moved_to: str | None = None
    ) -> None:
        """See that a piece can begin, or go on; ``cut`` is the file as it was when it was cut.

        ``between_runs`` says that it was cut by an earlier run.
        ``moved_to`` is where a person says that the file is now, so that only content counts.

        Raises:
            SourceChanged: The file changed since, so the pieces may not fit together.
            Stopped: Its disk does not answer.
        """
        line = await (await self._journal()).line(job.id)
        if line.phase not in {Phase.NEW, Phase.SENDING}:
            return
        path = moved_to or job.path
        with suppress(SourceGone):  # which the run itself says, if it needs the file
            found = await looked(path, self._patience)
            elsewhere = moved_to is not None
            # A remount moves inode and device, and a copy that keeps the time does.
            same_time = elsewhere or found.mtime_ns == cut.mtime_ns
            doubtful = elsewhere or found.touched_since(cut)
            if (
                found.size != cut.size
                or not same_time
                or (doubtful and not await self._fits(job, path, found))
            ):
                raise SourceChanged(
                    f"{path} changed since it was cut, so its pieces may not fit together",
                    between_runs=between_runs,
                    hint="upload it again to send the new content",
                )

    async def _fits(self, job: Job, path: str, found: Fingerprint) -> bool:
        """Whether a file that somebody touched goes with what arrived of it."""
        async with self._reading:
            proven = set[tuple[str, str, int | None]]()
            for piece in await (await self._journal()).arrived_pieces(job, path):
                sight = (piece.job.id, path, found.touched_ns)
                if sight not in self._proven:
                    if await md5_of(path, found, piece.job.span) != piece.md5:
                        return False
                    proven.add(sight)
            look = partial(_between_records, path, job.span, found.size)
            between = await patiently(aside(look), path, self._patience)
            again = await looked(path, self._patience)
            if not between or again != found or again.touched_since(found):
                return False
            # Nobody touched it while it was read, so that as long as nobody does this holds.
            self._proven |= proven
        return True


def _between_records(path: str, span: Span, size: int) -> bool:
    try:
        handle = open_now(path, os.O_RDONLY)
    except OSError as error:
        raise gone(path, error) from error
    try:
        ends = [end for end in (span.start, span.stop) if 0 < end < size]
        return all(os.pread(handle, 1, end - 1) == b"\n" for end in ends)
    except OSError as error:
        raise gone(path, error) from error
    finally:
        os.close(handle)
