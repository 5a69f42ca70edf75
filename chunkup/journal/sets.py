"""Jobs of one command as a set: what of it is there already, and whether it is finished.

A set is unfinished while one of its jobs is open or failed, or while the id of a File that it
made has not reached whoever asked for it. As long as that is so, the same command means the
rest of the set, and what the set has finished counts as done.
"""

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlite_utils import Database

from chunkup.journal.damage import file_of
from chunkup.journal.facts import read_jobs, write_job
from chunkup.journal.names import new_id
from chunkup.models import Job, RemoteFile, Split


class Standing(StrEnum):
    """What an adopted job is to the command that wants it."""

    NEW = "new"
    OPEN = "open"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Adopted:
    """A job that a command works for; ``file`` where an earlier command of the set made it."""

    job: Job
    standing: Standing
    file: RemoteFile | None = None


@dataclass(frozen=True, slots=True)
class Arrived:
    """A finished job and the MD5 of what was sent."""

    job: Job
    md5: str


@dataclass(frozen=True, slots=True)
class Habits:
    """How a set was asked to be sent, beyond its jobs; ``manifest`` is an absolute path."""

    manifest: str | None = None
    skip_existing: bool = False


_ENDED = """
    SELECT kind, file_id, file, printed, set_id,
        coalesce(endings.md5, (SELECT md5 FROM asks WHERE job_id = jobs.id
            ORDER BY generation DESC, number DESC LIMIT 1)) AS md5
    FROM jobs LEFT JOIN endings ON endings.job_id = jobs.id WHERE jobs.id = ?
"""
_UNFINISHED = """
    SELECT EXISTS (
        SELECT 1 FROM jobs LEFT JOIN endings ON endings.job_id = jobs.id
        WHERE set_id = ?
            AND (kind IS NULL OR kind = 'failed' OR (kind = 'completed' AND NOT printed))
    )
"""


def adopt_all(
    db: Database,
    wanted: Sequence[Job],
    proven: Collection[str],
    *,
    fresh: bool,
    now: float | None = None,
) -> list[Adopted]:
    """For each wanted job the one to work for, in the same order; what is missing is added.

    ``proven`` are ids of finished jobs whose file has the content that was sent, although its
    time moved. New jobs join the set of the first that was found. Two that want the same get
    the same. ``fresh`` looks for none. ``now`` is the server's time, where that is known: a File
    is over by it.
    """
    now = time.time() if now is None else now
    found: dict[tuple[object, ...], Adopted | None] = {}
    replaced: dict[tuple[object, ...], Job] = {}
    for job in wanted:
        if job.identity not in found:
            before = None if fresh else _before(db, job)
            standing = None if before is None else _standing(db, job, before, proven, now)
            found[job.identity] = standing
            if before is not None and standing is None:
                replaced[job.identity] = before
    home = next((member.job.set_id for member in found.values() if member), None)
    adopted: list[Adopted] = []
    for job in wanted:
        member = found[job.identity]
        if member is None:
            old = replaced.get(job.identity)
            if home is None:
                again = old is not None and unfinished(db, old.set_id)
                home = old.set_id if old is not None and again else job.set_id
            for like in _alike(db, job):
                kind, failed = _kind(db, like.id), _kind(db, like.id) == "failed"
                recut = job.split is not None and like.identity not in found
                # What is made good keeps no set unfinished, nor a file that goes in other pieces.
                if (failed and like.identity == job.identity) or (
                    recut and kind is not None and (failed or like.split is not None)
                ):
                    _leave(db, like)
            if old is not None and old.set_id == home:
                member = Adopted(succeed(db, old, job), Standing.NEW)
            else:
                member = Adopted(add(db, replace(job, set_id=home)), Standing.NEW)
            found[job.identity] = member
        adopted.append(member)
    return adopted


def suspects(db: Database, wanted: Sequence[Job]) -> list[Arrived]:
    """Finished jobs of unfinished sets that only a time of their file speaks against."""
    found = {}
    for job in wanted:
        before = _before(db, job)
        if before is None or not (_later(before, job) or _touched(before, job)):
            continue
        row = next(db.query(_ENDED, [before.id]))
        whole = before.fingerprint.size == job.fingerprint.size
        if row["kind"] == "completed" and row["md5"] and whole and unfinished(db, before.set_id):
            found[before.id] = Arrived(before, row["md5"])
    return list(found.values())


def arrived_pieces(db: Database, job: Job, path: str) -> list[Arrived]:
    """Pieces of this job's file, or of the one at ``path``, that its set has sent, in order."""
    found, places = [], [os.fsencode(place) for place in (job.path, path)]
    for other in read_jobs(db, "set_id = ? AND path IN (?, ?)", [job.set_id, *places]):
        row = next(db.query(_ENDED, [other.id]))
        if row["kind"] == "completed" and row["md5"] is not None:
            found.append(Arrived(other, row["md5"]))
    return sorted(found, key=lambda arrived: arrived.job.span)


def superseded(db: Database, wanted: Sequence[Job]) -> list[Job]:
    """Open pieces of the wanted files that were cut otherwise, oldest first."""
    found: dict[str, Job] = {}
    identities = {job.identity for job in wanted}
    for job in {job.wish: job for job in wanted if job.split is not None}.values():
        for other in _alike(db, job):
            if other.split and other.identity not in identities and _kind(db, other.id) is None:
                found[other.id] = other
    return list(found.values())


def cut_before(db: Database, job: Job) -> Split | None:
    """How the file of this job was cut the last time, if it was and pieces of it are open."""
    for other in reversed(_alike(db, job)):
        if other.split and _kind(db, other.id) is None:
            return other.split
    return None


def seen_before(db: Database, job: Job) -> Job | None:
    """The last job of this very file, as it is, that passed or went without the check."""
    for other in reversed(_alike(db, job)):
        same = other.fingerprint == job.fingerprint and not other.check
        if same and _kind(db, other.id) in {None, "completed"}:
            return other
    return None


def _alike(db: Database, job: Job) -> list[Job]:
    """Every job of this file and wish, however it is cut; oldest first."""
    found = read_jobs(db, "path = ?", [os.fsencode(job.path)])
    return [other for other in found if other.wish == job.wish]


def keep_habits(db: Database, set_id: str, habits: Habits) -> None:
    """Whoever goes on with the set does it so."""
    manifest = None if habits.manifest is None else os.fsencode(habits.manifest)
    db.execute(
        "INSERT OR REPLACE INTO sets (set_id, manifest, skip_existing) VALUES (?, ?, ?)",
        [set_id, manifest, int(habits.skip_existing)],
    )


def habits(db: Database, set_id: str) -> Habits:
    """How a set was asked to be sent."""
    row = db.execute(
        "SELECT manifest, skip_existing FROM sets WHERE set_id = ?", [set_id]
    ).fetchone()
    if row is None:
        return Habits()
    manifest, skip = row
    return Habits(None if manifest is None else os.fsdecode(manifest), bool(skip))


def unfinished(db: Database, set_id: str) -> bool:
    """Whether something of the set is still to be done, or to be told."""
    (answer,) = db.execute(_UNFINISHED, [set_id]).fetchone()
    return bool(answer)


def files(db: Database, set_id: str) -> dict[str, RemoteFile]:
    """The Files of a set's finished jobs, by job."""
    rows = db.execute(
        "SELECT id, file_id, file FROM jobs JOIN endings ON endings.job_id = jobs.id"
        " WHERE set_id = ? AND kind = 'completed'",
        [set_id],
    )
    return {job_id: file_of(file_id, file) for job_id, file_id, file in rows.fetchall()}


def add(db: Database, job: Job) -> Job:
    """A new job under a new id."""
    added = replace(job, id=new_id())
    while read_jobs(db, "id = ?", [added.id]):
        added = replace(job, id=new_id())
    write_job(db, added)
    return added


def succeed(db: Database, old: Job, job: Job) -> Job:
    """Add a job that takes the place of an ended one in its set."""
    _leave(db, old)
    return add(db, replace(job, set_id=old.set_id, created_at=old.created_at))


def same_as(db: Database, job: Job, *, still_open: bool = False) -> list[Job]:
    """Every job that means the same as this one, or every open one; in the order they came.

    That is the journal's own order: a clock may have been put back between two commands.
    """
    where = "path = ?" + " AND id NOT IN (SELECT job_id FROM endings)" * still_open
    path = [os.fsencode(job.path)]
    rows = db.execute(f"SELECT id FROM jobs WHERE {where} ORDER BY rowid", path).fetchall()
    candidates = {found.id: found for found in read_jobs(db, where, list[object](path))}
    return [candidates[id_] for (id_,) in rows if candidates[id_].identity == job.identity]


def _before(db: Database, job: Job) -> Job | None:
    """The last job that meant the same and was not ended by a person; open ones first."""
    last = None
    for found in same_as(db, job):
        kind = _kind(db, found.id)
        if kind is None:
            return found
        if kind != "cancelled":
            last = found
    return last


def mortal(db: Database, wanted: Sequence[Job]) -> bool:
    """Whether one of these may be done already by a File that expires."""
    for job in wanted:
        if (before := _before(db, job)) is None:
            continue
        row = next(db.query(_ENDED, [before.id]))
        if row["kind"] == "completed" and file_of(row["file_id"], row["file"]).expires_at:
            return True
    return False


def _standing(
    db: Database, job: Job, before: Job, proven: Collection[str], now: float
) -> Adopted | None:
    row = next(db.query(_ENDED, [before.id]))
    if row["kind"] is None:
        return Adopted(before, Standing.OPEN)
    if row["kind"] == "failed" or not unfinished(db, before.set_id):
        return None
    if before.fingerprint.size != job.fingerprint.size:
        return None
    # Without an MD5 nothing can be proven, and a touch alone is a small suspicion.
    doubtful = _later(before, job) or (_touched(before, job) and row["md5"] is not None)
    if doubtful and before.id not in proven:
        return None
    file = file_of(row["file_id"], row["file"])
    if file.expires_at is not None and file.expires_at <= now:
        return None
    return Adopted(before, Standing.DONE, file)


def _later(before: Job, job: Job) -> bool:
    return before.fingerprint.mtime_ns != job.fingerprint.mtime_ns


def _touched(before: Job, job: Job) -> bool:
    return job.fingerprint.touched_since(before.fingerprint)


def _leave(db: Database, job: Job) -> None:
    """Let a job be a set of its own, even if it was one already."""
    db.execute("UPDATE jobs SET set_id = ? WHERE id = ?", [os.urandom(8).hex(), job.id])


def _kind(db: Database, job_id: str) -> str | None:
    row = db.execute("SELECT kind FROM endings WHERE job_id = ?", [job_id]).fetchone()
    return None if row is None else str(row[0])
