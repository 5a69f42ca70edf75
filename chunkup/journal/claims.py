"""Who runs a job now, in a way that no death can leave wrong.

Each open journal locks one file of its own, ``owners/UUID``; the kernel lets go of that lock
when the process dies, however it dies. A job's row names the UUID. A claim is therefore a
row that names a *locked* file, and a row that names an unlocked one is a leftover. Both the
look and the taking happen inside one immediate transaction, so of two claimants the second
sees the first.

A process id alone would not do: it is reused, and it says nothing about another container.
"""

import os
import re
import socket
import time
import uuid
import weakref
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path
from typing import Final

from sqlite_utils import Database

from chunkup.errors import Busy, JournalTrouble, NoSuchJob
from chunkup.journal.opening import no_locks

# What an owner is called. The journal may be somebody else's, and this becomes a path.
_ID: Final = re.compile(r"[0-9a-f]{32}")
_WHO: Final = "SELECT owner, owner_pid, owner_host, owner_since FROM jobs WHERE id = ?"


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a job; ``since`` in Unix seconds, ``owner`` its locked file."""

    pid: int
    host: str
    since: float
    owner: str = ""


class Owner:
    """This journal's own locked file, and the jobs claimed under it."""

    def __init__(self, journal: Path) -> None:
        self.id = uuid.uuid4().hex
        self._folder = journal.with_name(journal.name + "-owners")
        self._journal = journal
        self._handle: int | None = None
        # What runs or waits here, and since when. A row may name us for longer than that, where
        # the disk refused to hear that a job was given back.
        self._claimed: dict[str, float] = {}
        self._stale = False
        _living.add(self)

    @property
    def holds(self) -> bool:
        """Whether something runs or waits here."""
        return bool(self._claimed)

    def claim(self, db: Database, job_id: str, *, takeover: bool = False) -> None:
        """Make the job ours. Runs inside an immediate transaction.

        ``takeover`` takes it from another owner even if that lives: whatever it still wants
        to record is refused by :meth:`check`.

        Raises:
            Busy: Another owner that lives has it; or this one has not let go of it yet.
            NoSuchJob: It was forgotten meanwhile.
        """
        host = socket.gethostname()
        if job_id in self._claimed:
            # Even if it was taken from us since: one that still runs here would pass for the next.
            raise busy(job_id, Holder(os.getpid(), host, self._claimed[job_id], self.id))
        self._lock()
        row = db.execute(_WHO, [job_id]).fetchone()
        if row is None:
            raise NoSuchJob(f"there is no job {job_id!r} any more", hint="chunkup jobs")
        owner = row[0]
        if owner is not None and owner != self.id:
            if not self.lives(owner):
                self._clear(owner)
            elif not takeover:
                raise busy(job_id, _holder(row))
        now = time.time()
        db.execute(
            "UPDATE jobs SET owner = ?, owner_pid = ?, owner_host = ?, owner_since = ?,"
            " stop_asked = NULL WHERE id = ?",
            [self.id, os.getpid(), host, now, job_id],
        )
        self._claimed[job_id] = now

    def release(self, db: Database, job_id: str) -> None:
        """Give the job back, if it is still ours."""
        db.execute(
            "UPDATE jobs SET owner = NULL, owner_pid = NULL, owner_host = NULL,"
            " owner_since = NULL, stop_asked = NULL WHERE id = ? AND owner = ?",
            [job_id, self.id],
        )
        self._drop(job_id)

    def abandon(self, job_ids: Iterable[str]) -> None:
        """Let go of jobs whose rows the disk did not let us change.

        The rows name us still. With the last job that runs here the lock goes, so that they are
        leftovers.
        """
        self._stale = True
        for job_id in job_ids:
            self._drop(job_id)

    def _drop(self, job_id: str) -> None:
        self._claimed.pop(job_id, None)
        if self._stale and not self._claimed:
            self.close()
            self.id, self._stale = uuid.uuid4().hex, False

    def check(self, db: Database, job_id: str) -> None:
        """Refuse to write about a job that was ours and was taken over.

        Raises:
            Busy: It is somebody else's now.
        """
        if job_id not in self._claimed:
            return
        row = db.execute(_WHO, [job_id]).fetchone()
        if row and row[0] is None:
            raise Busy(
                f"job {job_id} was taken over by another process; what was accepted is kept",
                hint=f"chunkup show {job_id}",
                job_id=job_id,
            )
        if row and row[0] != self.id:
            raise busy(job_id, _holder(row))

    def asked_to_stop(self, db: Database) -> list[str]:
        """Ids of jobs of ours that somebody wants to be stopped."""
        rows = db.execute(
            "SELECT id FROM jobs WHERE owner = ? AND stop_asked IS NOT NULL", [self.id]
        )
        return [job_id for (job_id,) in rows.fetchall()]

    def lives(self, owner: str) -> bool:
        """Whether the process behind a row still holds its lock.

        Raises:
            JournalTrouble: It cannot be told.
        """
        if not _ID.fullmatch(owner):
            return False
        path = self._folder / owner
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _untold(path, error) from error
        try:
            # Shared, so that two who look at a dead one do not take each other for it.
            flock(handle, LOCK_SH | LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            raise _untold(path, error) from error
        finally:
            os.close(handle)
        return False

    def close(self) -> None:
        """Let go of the lock. Rows still naming it are leftovers from now on."""
        if self._handle is None:
            return
        self._clear(self.id)
        os.close(self._handle)
        self._handle = None
        _here.discard(self.id)

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
            # Who makes a file locks it in the same transaction, so none of these is that.
            for left in os.listdir(self._folder):  # noqa: PTH208  (names, in any order)
                if _ID.fullmatch(left) and not self.lives(left):
                    self._clear(left)
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
            self._clear(self.id)
            raise no_locks(self._journal) from error
        self._handle = handle
        _here.add(self.id)

    def _clear(self, owner: str) -> None:
        """Remove the file of one that is dead; one that cannot be removed does no harm."""
        if _ID.fullmatch(owner):
            with suppress(OSError):
                (self._folder / owner).unlink(missing_ok=True)


def _holder(row: tuple[str, int, str, float]) -> Holder:
    owner, pid, host, since = row
    return Holder(pid, host, since, owner)


def _untold(path: Path, error: OSError) -> JournalTrouble:
    return JournalTrouble(
        f"whether the process behind {path} still runs cannot be told: {error.strerror}"
    )


def busy(job_id: str, holder: Holder) -> Busy:
    """The error that names who has the job, and since when."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
    # Not by its number: in every container the first process is number 1.
    where = "this process" if holder.owner in _here else f"process {holder.pid}"
    return Busy(
        f"job {job_id} is held by {where} on {holder.host} since {since}",
        hint=f"wait for it, or look with: chunkup show {job_id}",
        job_id=job_id,
    )


_living: weakref.WeakSet[Owner] = weakref.WeakSet()
# The owners whose locks this very process holds.
_here: set[str] = set()


def _forget_all() -> None:
    _here.clear()
    for owner in list(_living):
        owner.forget()


# A forked child holds a copy of every descriptor, and with it the lock would outlive us.
os.register_at_fork(after_in_child=_forget_all)
