"""What one job is believed to be, kept equal to its committed rows.

The order is always *act, record, then believe*: a fact is checked against the machine, then it
is committed, and only then it is folded in. A kill between any two of these costs at most the
parts in flight.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any

from chunkup import events
from chunkup.errors import ChunkupError, Interrupted, JournalTrouble
from chunkup.journal import Journal
from chunkup.journal.damage import damaged
from chunkup.machine import Fact, IllegalFact, State, apply, fold
from chunkup.models import Job, Source
from chunkup.text import printable

Emit = Callable[[events.Event], None]


class Ledger:
    """One claimed job: its state, its facts, its events."""

    def __init__(self, job: Job, journal: Journal, emit: Emit) -> None:
        self.job = job
        self.state = State(job.span)
        self.emit = emit
        self._journal = journal

    async def load(self) -> None:
        """Fold what earlier runs committed.

        Raises:
            BadJournal: They cannot have committed this.
        """
        facts = await self._journal.facts(self.job.id)
        try:
            self.state = fold(self.job.span, facts)
        except IllegalFact as error:
            raise damaged(self._journal.path, f"of job {self.job.id}, {error}") from error

    async def record(self, fact: Fact) -> None:
        """Commit a fact and believe it.

        Raises:
            IllegalFact: It cannot be true here; nothing was written.
            JournalTrouble: It could not be written, and is not believed.
            BadJournal: The rows are not those that were read.
        """
        after = apply(self.state, fact)
        try:
            await self._journal.record(self.job.id, fact)
        except sqlite3.IntegrityError as error:
            raise damaged(self._journal.path, error) from error
        self.state = after

    async def claimed_files(self) -> frozenset[str]:
        """Ids of Files at this destination that are some job's already."""
        return await self._journal.claimed_files(self.job.account.base_url)

    async def move(self, source: Source) -> None:
        """The job's file is this one from now on."""
        self.job = replace(self.job, path=source.path, fingerprint=source.fingerprint)
        await self._journal.move(self.job)

    async def checked(self, lines: int | None) -> None:
        """The job's file was checked, and has so many lines."""
        first = None if lines is None else 1
        self.job = replace(self.job, check=False, first_line=first, lines=lines)
        await self._journal.checked(self.job.id, lines)

    def tell(self, kind: type[events.Event], **fields: Any) -> None:
        """Emit an event about this job."""
        self.emit(kind(time=time.time(), job=self.job.id, path=self.job.shown, **fields))


class Claim:
    """A job held by this process for as long as the block lasts, and a note of how it ended."""

    def __init__(self, journal: Journal, job: Job, command: str, *, takeover: bool = False) -> None:
        self._takeover = takeover
        self._journal = journal
        self._job = job
        self._command = printable(command, 4000)
        self._run = 0

    async def __aenter__(self) -> None:
        self._run = await self._journal.claim(self._job.id, self._command, takeover=self._takeover)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        note: ChunkupError | None = None
        if isinstance(error, ChunkupError):
            error.job_id = error.job_id or self._job.id
            note = error
        elif isinstance(error, asyncio.CancelledError):
            note = Interrupted("interrupted")
        elif error is not None:
            note = ChunkupError(f"an error in chunkup itself: {type(error).__name__}")
        # Where the journal's disk failed, the claim falls when this process closes it.
        with suppress(JournalTrouble):
            await self._journal.release(self._job.id, self._run, note)
