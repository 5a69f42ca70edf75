"""Who runs a job now, in a way that no death can leave wrong.

Each open journal locks one file of its own, ``owners/UUID``; the kernel lets go of that lock
when the process dies, however it dies. A job's row names the UUID. A claim is therefore a
row that names a *locked* file, and a row that names an unlocked one is a leftover. Both the
look and the taking happen inside one immediate transaction, so of two claimants the second
sees the first.

A process id alone would not do: it is reused, and it says nothing about another container.
"""

import os
import socket
import time
import uuid
import weakref
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path

from sqlite_utils import Database

from chunkup.errors import Busy, JournalTrouble
from chunkup.journal.schema import no_locks


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a job; ``since`` in Unix seconds."""

    pid: int
    host: str
    since: float


class Owner:
    """This journal's own locked file, and the jobs claimed under it."""

    def __init__(self, journal: Path) -> None:
        self.id = uuid.uuid4().hex
        self._folder = journal.with_name(journal.name + "-owners")
        self._journal = journal
        self._handle: int | None = None
        self._claimed: set[str] = set()
        _living.add(self)

    def claim(self, db: Database, job_id: str, *, takeover: bool = False) -> None:
        """Make the job ours. Runs inside an immediate transaction.

        ``takeover`` takes it from another owner even if that lives: whatever it still wants
        to record is refused by :meth:`check`.

        Raises:
            Busy: Another owner that lives has it; or this one has it already.
        """
        self._lock()
        row = db.execute(
            "SELECT owner, owner_pid, owner_host, owner_since FROM jobs WHERE id = ?", [job_id]
        ).fetchone()
        if (
            row
            and row[0] is not None
            and (row[0] == self.id or (self.lives(row[0]) and not takeover))
        ):
            holder = Holder(row[1], row[2], row[3])
            raise busy(job_id, holder)
        db.execute(
            "UPDATE jobs SET owner = ?, owner_pid = ?, owner_host = ?, owner_since = ?,"
            " stop_asked = NULL WHERE id = ?",
            [self.id, os.getpid(), socket.gethostname(), time.time(), job_id],
        )
        self._claimed.add(job_id)
        if row and row[0] is not None and not takeover:
            (self._folder / row[0]).unlink(missing_ok=True)

    def release(self, db: Database, job_id: str) -> None:
        """Give the job back, if it is still ours."""
        db.execute(
            "UPDATE jobs SET owner = NULL, owner_pid = NULL, owner_host = NULL,"
            " owner_since = NULL, stop_asked = NULL WHERE id = ? AND owner = ?",
            [job_id, self.id],
        )
        self._claimed.discard(job_id)

    def check(self, db: Database, job_id: str) -> None:
        """Refuse to write about a job that was ours and was taken over.

        Raises:
            Busy: It is somebody else's now.
        """
        if job_id not in self._claimed:
            return
        row = db.execute(
            "SELECT owner, owner_pid, owner_host, owner_since FROM jobs WHERE id = ?", [job_id]
        ).fetchone()
        if row and row[0] is None:
            raise Busy(
                f"job {job_id} was taken over by another process; what was accepted is kept",
                hint=f"chunkup show {job_id}",
                job_id=job_id,
            )
        if row and row[0] != self.id:
            raise busy(job_id, Holder(row[1], row[2], row[3]))

    def asked_to_stop(self, db: Database) -> list[str]:
        """Ids of jobs of ours that somebody wants to be stopped."""
        rows = db.execute(
            "SELECT id FROM jobs WHERE owner = ? AND stop_asked IS NOT NULL", [self.id]
        )
        return [job_id for (job_id,) in rows.fetchall()]

    def lives(self, owner: str) -> bool:
        """Whether the process behind a row still holds its lock."""
        try:
            handle = os.open(self._folder / owner, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            # Shared, so that two who look at a dead one do not take each other for it.
            flock(handle, LOCK_SH | LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def close(self) -> None:
        """Let go of the lock. Rows still naming it are leftovers from now on."""
        if self._handle is not None:
            with suppress(OSError):
                (self._folder / self.id).unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None

    def forget(self) -> None:
        """In a forked child: close the copy without unlocking the parent's lock."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _lock(self) -> None:
        if self._handle is not None:
            return
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            handle = os.open(
                self._folder / self.id,
                os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
            )
        except OSError as error:
            raise JournalTrouble(
                f"the journal's folder {self._folder} cannot be written: {error.strerror}"
            ) from error
        try:
            flock(handle, LOCK_EX | LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise no_locks(self._journal) from error
        self._handle = handle


def busy(job_id: str, holder: Holder) -> Busy:
    """The error that names who has the job, and since when."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
    where = "this process" if holder.pid == os.getpid() else f"process {holder.pid}"
    return Busy(
        f"job {job_id} is held by {where} on {holder.host} since {since}",
        hint=f"wait for it, or look with: chunkup show {job_id}",
        job_id=job_id,
    )


_living: weakref.WeakSet[Owner] = weakref.WeakSet()


def _forget_all(owners: Iterable[Owner]) -> None:
    for owner in owners:
        owner.forget()


# A forked child holds a copy of every descriptor, and with it the lock would outlive us.
os.register_at_fork(after_in_child=lambda: _forget_all(list(_living)))
