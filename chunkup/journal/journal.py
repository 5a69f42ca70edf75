"""The journal as the engine sees it: awaitable, shielded, durable on return."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeVar

import platformdirs
from sqlite_utils import Database

from chunkup.errors import ChunkupError, Interrupted, JournalTrouble, NoSuchJob
from chunkup.journal.arrived import arrived_as
from chunkup.journal.claims import Owner
from chunkup.journal.facts import as_text, read_facts, read_jobs, read_salt, write_fact
from chunkup.journal.listing import JobLine, RunNote, read_lines, read_runs, read_stretches
from chunkup.journal.pruning import prune
from chunkup.journal.reuse import Kept, kept
from chunkup.journal.scribe import Scribe
from chunkup.journal.sets import (
    Adopted,
    Arrived,
    Habits,
    add,
    adopt_all,
    arrived_pieces,
    cut_before,
    files,
    habits,
    keep_habits,
    mortal,
    same_as,
    seen_before,
    succeed,
    superseded,
    suspects,
)
from chunkup.journal.turns import Turns
from chunkup.machine import Fact
from chunkup.manifest import Entry
from chunkup.models import Account, Job, RemoteFile, Span, Split
from chunkup.outlast import outlast

_Result = TypeVar("_Result")


def default_path() -> Path:
    """Where the journal is: ``CHUNKUP_JOURNAL``, or in the user's state folder."""
    said = os.environ.get("CHUNKUP_JOURNAL")
    return Path(said) if said else Path(platformdirs.user_state_dir("chunkup")) / "journal.db"


class Journal:
    """An open journal. Make one with :meth:`open`; one thread owns its connection.

    What is awaited here is carried out even if the awaiting task is cancelled meanwhile:
    a commit under way is never abandoned. Facts that wait at the same time share a commit.
    After the disk failed once, nothing more is written through it; see :attr:`spent`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.salt = b""
        self._owner = Owner(self.path)
        self._turns = Turns(self._owner)
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

    @property
    def spent(self) -> bool:
        """Whether the disk failed, and all that ran here has met that: another may be opened."""
        return self._scribe.broken and not self._owner.holds

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
                for found in reversed(same_as(db, job, still_open=True)):
                    return found, True
            return add(db, job), False

        return await self._do(work, writes=True)

    async def succeed(self, old: Job, job: Job) -> Job:
        """Add a job that takes the place of an ended one in its set."""
        return await self._do(lambda db: succeed(db, old, job), writes=True)

    async def open_like(self, wanted: Sequence[Job]) -> list[Job]:
        """Open jobs that mean the same as one of these, oldest first."""

        def work(db: Database) -> list[Job]:
            found = {job.id: job for want in wanted for job in same_as(db, want, still_open=True)}
            return list(found.values())

        return await self._do(work)

    async def adopt_all(
        self,
        wanted: Sequence[Job],
        *,
        proven: Collection[str] = (),
        fresh: bool = False,
        now: float | None = None,
    ) -> list[Adopted]:
        """For each wanted job the one to work for: see :mod:`chunkup.journal.sets`.

        One transaction: the jobs of a command are known all or not at all.
        """
        return await self._do(
            lambda db: adopt_all(db, wanted, frozenset(proven), fresh=fresh, now=now), writes=True
        )

    async def arrived_pieces(self, job: Job, path: str) -> list[Arrived]:
        """What arrived of this job's file in its set, where an MD5 tells what it was.

        ``path`` is where the file may be by now, so that some of it was sent from there.
        """
        return await self._do(lambda db: arrived_pieces(db, job, path))

    async def suspects(self, wanted: Sequence[Job]) -> list[Arrived]:
        """Finished jobs of unfinished sets that only a time of their file speaks against."""
        return await self._do(lambda db: suspects(db, wanted))

    async def mortal(self, wanted: Sequence[Job]) -> bool:
        """Whether one of these may be done already by a File that expires."""
        return await self._do(lambda db: mortal(db, wanted))

    async def superseded(self, wanted: Sequence[Job]) -> list[Job]:
        """Open pieces of the wanted files that were cut otherwise."""
        return await self._do(lambda db: superseded(db, wanted), writes=True)

    async def checked(self, job_id: str, lines: int | None) -> None:
        """A file was checked, and has so many lines; it need not be checked again."""

        def work(db: Database) -> None:
            self._owner.check(db, job_id)
            db.execute(
                "UPDATE jobs SET unchecked = 0, first_line = ?, lines = ? WHERE id = ?",
                [None if lines is None else 1, lines, job_id],
            )

        await self._do(work, writes=True)

    async def note_rate(self, base_url: str, rate: float) -> None:
        """What the way to a place carried, in bytes a second; kept until the next time."""
        await self._do(
            lambda db: db.execute(
                "INSERT OR REPLACE INTO links VALUES (?, ?, ?)", [base_url, rate, time.time()]
            ),
            writes=True,
        )

    async def rate(self, base_url: str, younger_than: float) -> float | None:
        """What the way to a place carried the last time, if that is not older in seconds."""

        def work(db: Database) -> float | None:
            row = db.execute(
                "SELECT rate FROM links WHERE base_url = ? AND noted_at BETWEEN ? AND ?",
                [base_url, time.time() - younger_than, time.time() + 60],
            ).fetchone()
            return None if row is None else float(row[0])

        return await self._do(work)

    async def cut_before(self, job: Job) -> Split | None:
        """How this job's file was cut, if pieces of it are still open."""
        return await self._do(lambda db: cut_before(db, job))

    async def seen_before(self, job: Job) -> Job | None:
        """The last job of this very file, as it is, that passed or went without the check."""
        return await self._do(lambda db: seen_before(db, job))

    async def kept(
        self, account: Account, sought: Collection[tuple[str, int]]
    ) -> dict[tuple[str, int], list[Kept]]:
        """What jobs of this account made that has one of these purposes and sizes."""
        return await self._do(lambda db: kept(db, account, sought))

    async def keep_habits(self, set_ids: Collection[str], habits: Habits) -> None:
        """Whoever goes on with these sets does it so."""

        def work(db: Database) -> None:
            for set_id in set_ids:
                keep_habits(db, set_id, habits)

        await self._do(work, writes=True)

    async def habits(self, set_id: str) -> Habits:
        """How a set was asked to be sent."""
        return await self._do(lambda db: habits(db, set_id))

    async def arrived_as(self, job_ids: Collection[str]) -> dict[str, Entry]:
        """What a manifest says of these jobs' Files, by job; those that are open are left out."""
        return await self._do(lambda db: arrived_as(db, job_ids))

    async def set_of(self, set_id: str) -> list[Job]:
        """The jobs of a set, in the order of their command."""
        return await self._do(lambda db: read_jobs(db, "set_id = ?", [set_id]))

    async def files(self, set_id: str) -> dict[str, RemoteFile]:
        """The Files of a set's finished jobs, by job."""
        return await self._do(lambda db: files(db, set_id))

    async def move(self, job: Job) -> None:
        """The job's file is at ``job.path`` from now on, with this fingerprint.

        Raises:
            Busy: The job was ours, and another process took it over.
        """

        def work(db: Database) -> None:
            self._owner.check(db, job.id)
            seen = job.fingerprint
            db.execute(
                "UPDATE jobs SET path = ?, mtime_ns = ?, inode = ?, device = ?, touched_ns = ?"
                " WHERE id = ?",
                [
                    os.fsencode(job.path),
                    seen.mtime_ns,
                    str(seen.inode),
                    str(seen.device),
                    seen.touched_ns,
                    job.id,
                ],
            )

        await self._do(work, writes=True)

    async def prune(self, older_than: float, *, dry: bool = False) -> list[Job]:
        """Forget finished sets in which nothing happened since ``older_than``, Unix seconds.

        Returns the jobs that were, or with ``dry`` would be, forgotten.
        """
        return await self._do(
            lambda db: prune(db, older_than, dry=dry, lives=self._owner.lives), writes=not dry
        )

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
                raise NoSuchJob(f"there is no job {prefix!r}", hint="chunkup jobs")
            names = ", ".join(job.id for job in found[:5]) + (", ..." if found[5:] else "")
            raise NoSuchJob(
                f"{prefix!r} is the beginning of several jobs: {names}", hint="chunkup jobs"
            )

        return await self._do(work)

    async def lines(self) -> list[JobLine]:
        """Every job, oldest first."""
        return await self._do(read_lines)

    async def line(self, job_id: str) -> JobLine:
        """One job by its whole id.

        Raises:
            NoSuchJob: It was forgotten meanwhile.
        """
        for line in await self._do(lambda db: read_lines(db, job_id)):
            return line
        raise NoSuchJob(f"there is no job {job_id!r} any more", hint="chunkup jobs")

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

    async def reserve(self, job_ids: Sequence[str]) -> None:
        """Claim what can be had of these for runs to come, so that nobody else begins them."""
        await self._do(lambda db: self._turns.reserve(db, job_ids), writes=True)

    async def unreserve(self, job_ids: Sequence[str]) -> None:
        """Give back those of these that no run was begun for."""
        await self._let_go(
            lambda db: self._turns.give_back(db, job_ids), lambda: self._turns.abandon(job_ids)
        )

    async def _let_go(
        self, work: Callable[[Database], None], otherwise: Callable[[], None]
    ) -> None:
        """Give jobs back; where the disk refuses it, without a word on the disk."""
        try:
            await self._do(work, writes=True)
        except JournalTrouble:
            with suppress(JournalTrouble):  # closed, and then nothing is ours any more
                await self._do(lambda _: otherwise())
            raise

    async def revoke(self, job_id: str) -> bool:
        """Give a job back that waits for its run, which then does not begin; False if none does."""
        return await self._do(lambda db: self._turns.revoke(db, job_id), writes=True)

    async def claim(self, job_id: str, command: str, *, takeover: bool = False) -> int:
        """Make the job ours until :meth:`release`, and note a run; returns the run's number.

        ``takeover`` takes it from a process that lives; that one can record nothing more.

        Raises:
            Busy: A living process, this one included, has it.
            Stopped: It was asked to stop while it waited for this.
            NoSuchJob: It was forgotten meanwhile.
        """

        def work(db: Database) -> int:
            self._turns.begin(db, job_id, takeover=takeover)
            cursor = db.execute(
                "INSERT INTO runs (job_id, started_at, pid, host, command) VALUES (?, ?, ?, ?, ?)",
                [job_id, time.time(), os.getpid(), socket.gethostname(), command],
            )
            claimed.append(int(cursor.lastrowid or 0))
            return claimed[0]

        claimed: list[int] = []
        try:
            return await self._do(work, writes=True)
        except asyncio.CancelledError:
            # It was carried out all the same, and who is cancelled here never gives it back.
            if claimed:
                with suppress(JournalTrouble):
                    await outlast(self.release(job_id, claimed[0], Interrupted("interrupted")))
            raise
        except JournalTrouble:
            if claimed:
                with suppress(JournalTrouble):
                    await self._do(lambda _: self._owner.abandon([job_id]))
            raise

    async def release(self, job_id: str, run: int, error: ChunkupError | None) -> None:
        """Give the job back and note how the run ended; None for a File.

        Raises:
            JournalTrouble: It could not be noted; the job is given back nevertheless.
        """

        def work(db: Database) -> None:
            self._owner.release(db, job_id)
            db.execute(
                "UPDATE runs SET ended_at = ?, exit_code = ?, code = ?, message = ?,"
                " request_id = ? WHERE id = ?",
                [
                    time.time(),
                    error.exit_code if error else 0,
                    error.code if error else None,
                    as_text(error.message) if error else None,
                    as_text(error.request_id) if error else None,
                    run,
                ],
            )

        await self._let_go(work, lambda: self._owner.abandon([job_id]))

    async def ask_to_stop(self, job_id: str) -> None:
        """Ask the process that owns the job to stop it; that looks about once a second."""
        await self._do(
            lambda db: db.execute(
                "UPDATE jobs SET stop_asked = ? WHERE id = ? AND owner IS NOT NULL",
                [time.time(), job_id],
            ),
            writes=True,
        )

    async def asked_to_stop(self) -> list[str]:
        """Ids of jobs claimed here that somebody wants to be stopped."""
        return await self._do(self._owner.asked_to_stop)

    async def check(self, job_id: str) -> None:
        """Refuse to go on with a job that was claimed here and was taken over since.

        Raises:
            Busy: It is somebody else's now.
        """
        await self._do(lambda db: self._owner.check(db, job_id))

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
            Busy: The job was ours, and another process took it over.
            JournalTrouble: It did not reach the disk, and nothing else will any more.
        """

        def work(db: Database) -> None:
            self._owner.check(db, job_id)
            write_fact(db, job_id, fact)

        await self._do(work, writes=True)

    async def stretches(self, job_id: str) -> list[Span]:
        """What has receipts in the job's open Upload, in file order."""
        return await self._do(lambda db: read_stretches(db, job_id))
