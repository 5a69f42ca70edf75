"""The journal as the engine sees it: awaitable, shielded, durable on return."""

import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Self, TypeVar

import platformdirs
from sqlite_utils import Database

from chunkup.errors import ChunkupError, NoSuchJob
from chunkup.journal.claims import Owner
from chunkup.journal.facts import read_facts, read_jobs, read_salt, write_fact, write_job
from chunkup.journal.listing import JobLine, RunNote, read_lines, read_runs
from chunkup.journal.scribe import Scribe
from chunkup.machine import Fact
from chunkup.models import Job
from chunkup.outlast import outlast

_Result = TypeVar("_Result")

# Without 0, o, 1, l and i: an id is read aloud and typed.
_ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"


def default_path() -> Path:
    """Where the journal is: ``CHUNKUP_JOURNAL``, or in the user's state folder."""
    said = os.environ.get("CHUNKUP_JOURNAL")
    return Path(said) if said else Path(platformdirs.user_state_dir("chunkup")) / "journal.db"


def new_id() -> str:
    """A fresh id of six letters and digits, some of each, so that it is no word and no number."""
    while True:
        made = "".join(secrets.choice(_ALPHABET) for _ in range(6))
        if not made.isalpha() and not made.isdigit():
            return made


class Journal:
    """An open journal. Make one with :meth:`open`; one thread owns its connection.

    What is awaited here is carried out even if the awaiting task is cancelled meanwhile:
    a commit under way is never abandoned. Facts that wait at the same time share a commit.
    After the disk failed once, nothing more is written by this process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.salt = b""
        self._owner = Owner(self.path)
        self._scribe = Scribe(self.path, at_end=self._owner.close)

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open or make the journal at ``path``.

        Raises:
            BadJournal: The place or the content cannot be trusted.
            JournalTrouble: The disk refuses.
        """
        journal = cls(path)
        await journal._scribe.start()
        try:
            journal.salt = await journal._do(read_salt)
        except BaseException:
            await outlast(journal.close())
            raise
        return journal

    async def close(self) -> None:
        """Finish what waits, give every claim back, end the thread."""
        await self._scribe.close()

    async def _do(self, run: Callable[[Database], _Result], *, writes: bool = False) -> _Result:
        return await self._scribe.do(run, writes=writes)

    # --- jobs -------------------------------------------------------------------------------

    async def adopt(self, job: Job, *, fresh: bool = False) -> tuple[Job, bool]:
        """The open job of the same identity, or this one, added now; and whether it existed.

        ``fresh`` looks for none. The id is made here and ``job.id`` ignored.
        """

        def work(db: Database) -> tuple[Job, bool]:
            if not fresh:
                where = "path = ? AND id NOT IN (SELECT job_id FROM endings)"
                for found in reversed(read_jobs(db, where, [os.fsencode(job.path)])):
                    if found.identity == job.identity:
                        return found, True
            added = replace(job, id=new_id())
            while read_jobs(db, "id = ?", [added.id]):
                added = replace(job, id=new_id())
            write_job(db, added)
            return added, False

        return await self._do(work, writes=True)

    async def job(self, prefix: str) -> Job:
        """The job with this id, or with the only id that begins so.

        Raises:
            NoSuchJob: None fits, or several do.
        """

        def work(db: Database) -> Job:
            low = prefix.strip().lower()
            found = read_jobs(db, "substr(id, 1, ?) = ?", [len(low), low]) if low else []
            if len(found) == 1:
                return found[0]
            if not found:
                raise NoSuchJob(f"there is no job {prefix!r}", hint="chunkup jobs lists them")
            names = ", ".join(job.id for job in found[:5]) + (", ..." if found[5:] else "")
            raise NoSuchJob(f"{prefix!r} fits several jobs: {names}", hint="type one more letter")

        return await self._do(work)

    async def lines(self) -> list[JobLine]:
        """Every job, oldest first."""
        return await self._do(read_lines)

    async def line(self, job_id: str) -> JobLine:
        """One job by its whole id."""
        return (await self._do(lambda db: read_lines(db, job_id)))[0]

    async def runs(self, job_id: str) -> list[RunNote]:
        """A job's runs, oldest first."""
        return await self._do(lambda db: read_runs(db, job_id))

    async def claimed_files(self, base_url: str) -> frozenset[str]:
        """Ids of Files that jobs of this destination already ended in."""

        def work(db: Database) -> frozenset[str]:
            rows = db.execute(
                "SELECT file_id FROM endings JOIN jobs ON jobs.id = job_id"
                " WHERE file_id IS NOT NULL AND base_url = ?",
                [base_url],
            )
            return frozenset(file_id for (file_id,) in rows.fetchall())

        return await self._do(work)

    async def mark_printed(self, job_ids: Sequence[str]) -> None:
        """These jobs' File ids have reached standard output."""

        def work(db: Database) -> None:
            for job_id in job_ids:
                db.execute("UPDATE jobs SET printed = 1 WHERE id = ?", [job_id])

        await self._do(work, writes=True)

    # --- runs -------------------------------------------------------------------------------

    async def claim(self, job_id: str, command: str) -> int:
        """Make the job ours until :meth:`release`, and note a run; returns the run's number.

        Raises:
            Busy: A living process, this one included, has it.
        """

        def work(db: Database) -> int:
            self._owner.claim(db, job_id)
            cursor = db.execute(
                "INSERT INTO runs (job_id, started_at, pid, host, command) VALUES (?, ?, ?, ?, ?)",
                [job_id, time.time(), os.getpid(), socket.gethostname(), command],
            )
            return int(cursor.lastrowid or 0)

        return await self._do(work, writes=True)

    async def release(self, job_id: str, run: int, error: ChunkupError | None) -> None:
        """Give the job back and note how the run ended; None for a File."""

        def work(db: Database) -> None:
            self._owner.release(db, job_id)
            db.execute(
                "UPDATE runs SET ended_at = ?, exit_code = ?, code = ?, message = ?,"
                " request_id = ? WHERE id = ?",
                [
                    time.time(),
                    error.exit_code if error else 0,
                    error.code if error else None,
                    error.message if error else None,
                    error.request_id if error else None,
                    run,
                ],
            )

        await self._do(work, writes=True)

    def holder_lives(self, line: JobLine) -> bool:
        """Whether the process that a job's row names still holds it."""
        return line.owner is not None and self._owner.lives(line.owner)

    # --- facts ------------------------------------------------------------------------------

    async def facts(self, job_id: str) -> list[Fact]:
        """The job's facts, in an order that folds."""
        return await self._do(lambda db: list(read_facts(db, job_id)))

    async def record(self, job_id: str, fact: Fact) -> None:
        """Commit a fact; on return it survives any crash.

        Raises:
            JournalTrouble: It did not reach the disk, and nothing else will any more.
        """
        await self._do(lambda db: write_fact(db, job_id, fact), writes=True)
