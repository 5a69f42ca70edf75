"""Facts to rows and back: the same facts, in an order that folds alike.

The rows do not keep the order in which facts came, only what of it matters: parts of one
Upload commute with each other, and the rest is ordered by generation and number.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import assert_never

from sqlite_utils import Database

from chunkup.journal.damage import file_of, typed
from chunkup.machine import (
    SINGLE,
    Accepted,
    AnswerLost,
    Cancelled,
    CompleteAsked,
    Completed,
    CompleteRefused,
    Created,
    Doubted,
    Fact,
    Failed,
    GenerationEnded,
)
from chunkup.models import Account, Fingerprint, Job, Receipt, Span, Split, Upload

# What the columns take, in the order of the statements that read them.
_TEXT, _NUMBER = str | None, int | None
_UPLOADS = (int, str, int, _NUMBER, int, int, _TEXT, _TEXT)
_PARTS = (int, int, str, str)
_ASKS = (str, _TEXT, float, _TEXT)
_ENDINGS = (str, _TEXT, _TEXT, int, int, _TEXT, _TEXT, _TEXT)
_JOBS = {
    **dict.fromkeys(("id", "set_id", "base_url", "headers", "inode", "device"), str),
    **dict.fromkeys(("purpose", "filename", "mime_type", "method"), str),
    **dict.fromkeys(("organization", "project", "key_hash"), _TEXT),
    **dict.fromkeys(("start", "stop", "size", "mtime_ns", "part_size", "md5", "unchecked"), int),
    **dict.fromkeys(("expires_after", "first_line", "lines", "cut_size", "cut_lines"), _NUMBER),
    "touched_ns": _NUMBER,
    "created_at": float,
    "path": bytes,
    "given": bytes | None,
}

# The open Upload that a fact is about. None where it is not the job's open Upload, which the
# NOT NULL columns then refuse.
_GENERATION = (
    "(SELECT generation FROM uploads WHERE job_id = :job AND id = :upload AND ended IS NULL)"
)


def write_fact(db: Database, job: str, fact: Fact) -> None:
    """Add one fact's rows. Runs inside a transaction, which the caller commits."""
    match fact:
        case Created(upload):
            db.execute(
                "INSERT INTO uploads (job_id, generation, id, created_at, expires_at, owner) VALUES"
                " (:job, (SELECT count(*) + 1 FROM uploads WHERE job_id = :job),"
                " :id, :created, :expires, :owner)",
                {
                    "job": job,
                    "id": upload.id,
                    "created": upload.created_at,
                    "expires": upload.expires_at,
                    "owner": upload.owner,
                },
            )
        case Accepted(upload_id, receipt):
            db.execute(
                f"INSERT INTO parts VALUES (:job, {_GENERATION}, :start, :stop, :id, :xxh3)",
                {
                    "job": job,
                    "upload": upload_id,
                    "start": receipt.span.start,
                    "stop": receipt.span.stop,
                    "id": receipt.part_id,
                    "xxh3": receipt.xxh3,
                },
            )
        case AnswerLost(upload_id):
            _change(
                db.execute(
                    "UPDATE uploads SET answer_lost = 1"
                    " WHERE job_id = ? AND id = ? AND ended IS NULL",
                    [job, upload_id],
                )
            )
        case GenerationEnded(upload_id, reason):
            _change(
                db.execute(
                    "UPDATE uploads SET ended = ? WHERE job_id = ? AND id = ? AND ended IS NULL",
                    [reason, job, upload_id],
                )
            )
        case CompleteAsked(upload_id, part_ids, md5, asked_at, begun):
            if fact.single:
                # A row like an Upload's: its asks, its doubt and its end are kept alike.
                db.execute(
                    "INSERT INTO uploads (job_id, generation, id, created_at) VALUES"
                    " (:job, (SELECT count(*) + 1 FROM uploads WHERE job_id = :job), :id, :begun)",
                    {"job": job, "id": SINGLE, "begun": begun},
                )
            db.execute(
                "INSERT INTO asks (job_id, generation, number, part_ids, md5, asked_at) VALUES"
                f" (:job, {_GENERATION}, (SELECT count(*) FROM asks WHERE job_id = :job),"
                " :ids, :md5, :asked_at)",
                {
                    "job": job,
                    "upload": upload_id,
                    "ids": json.dumps(part_ids),
                    "md5": md5,
                    "asked_at": asked_at,
                },
            )
        case CompleteRefused(upload_id, reason):
            _change(
                db.execute(
                    "UPDATE asks SET refused = :reason WHERE job_id = :job AND refused IS NULL"
                    f" AND generation = {_GENERATION}",
                    {"job": job, "upload": upload_id, "reason": reason},
                )
            )
            if upload_id == SINGLE:
                db.execute(
                    "UPDATE uploads SET ended = 'refused'"
                    " WHERE job_id = ? AND id = ? AND ended IS NULL",
                    [job, SINGLE],
                )
        case Doubted(upload_id):
            _change(
                db.execute(
                    "UPDATE uploads SET doubted = 1 WHERE job_id = ? AND id = ? AND ended IS NULL",
                    [job, upload_id],
                )
            )
        case Completed():
            _end(db, job, "completed", done=fact)
        case Failed(code, message):
            _end(db, job, "failed", code=code, message=message)
        case Cancelled():
            _end(db, job, "cancelled")
        case _:
            assert_never(fact)


def _change(cursor: sqlite3.Cursor) -> None:
    """Refuse a fact that changed nothing, as it is about nothing that is open."""
    if cursor.rowcount != 1:
        raise ValueError("the journal holds nothing open that this fact is about")


def _end(  # noqa: PLR0913  (one row's columns)
    db: Database,
    job: str,
    kind: str,
    *,
    done: Completed | None = None,
    code: str | None = None,
    message: str | None = None,
) -> None:
    db.table("endings").insert(
        {
            "job_id": job,
            "kind": kind,
            "ended_at": time.time(),
            "file_id": done.file.id if done else None,
            "file": json.dumps(asdict(done.file)) if done else None,
            "recovered": int(done is not None and done.recovered),
            "reused": int(done is not None and done.reused),
            "md5": done.md5 if done else None,
            "code": code,
            "message": as_text(message),
        }
    )


def as_text(said: str | None) -> str | None:
    """What an error says, for a column of text: a path or a header in it may hold other bytes."""
    return None if said is None else said.encode("utf-8", "backslashreplace").decode()


def read_facts(db: Database, job: str) -> Iterator[Fact]:
    """One job's facts, in an order that the machine accepts."""
    uploads = db.execute(
        "SELECT generation, id, created_at, expires_at, answer_lost, doubted, ended, owner"
        " FROM uploads"
        " WHERE job_id = ? ORDER BY generation",
        [job],
    ).fetchall()
    for row in uploads:
        generation, upload_id, created_at, expires_at, lost, doubted, ended, owner = typed(
            row, _UPLOADS
        )
        single = upload_id == SINGLE
        if not single:
            yield Created(Upload(upload_id, created_at, expires_at, owner=owner))
        for part in db.execute(
            "SELECT start, stop, part_id, xxh3 FROM parts WHERE job_id = ? AND generation = ?"
            " ORDER BY start",
            [job, generation],
        ).fetchall():
            start, stop, part_id, xxh3 = typed(part, _PARTS)
            yield Accepted(upload_id, Receipt(Span(start, stop), part_id, xxh3))
        if lost:
            yield AnswerLost(upload_id)
        for ask in db.execute(
            "SELECT part_ids, md5, asked_at, refused FROM asks"
            " WHERE job_id = ? AND generation = ? ORDER BY number",
            [job, generation],
        ).fetchall():
            part_ids, md5, asked_at, refused = typed(ask, _ASKS)
            ids, begun = tuple(json.loads(part_ids)), created_at if single else None
            yield CompleteAsked(upload_id, ids, md5, asked_at, begun)
            if refused is not None:
                yield CompleteRefused(upload_id, refused)
        if doubted:
            yield Doubted(upload_id)
        if ended is not None and not (single and ended == "refused"):
            yield GenerationEnded(upload_id, ended)
    yield from _read_ending(db, job)


def _read_ending(db: Database, job: str) -> Iterator[Fact]:
    row = db.execute(
        "SELECT kind, file_id, file, recovered, reused, md5, code, message FROM endings"
        " WHERE job_id = ?",
        [job],
    ).fetchone()
    if row is None:
        return
    kind, file_id, file, recovered, reused, md5, code, message = typed(row, _ENDINGS)
    if kind == "completed":
        yield Completed(file_of(file_id, file), bool(recovered), bool(reused), md5)
    elif kind == "failed":
        yield Failed(code, message)
    else:
        yield Cancelled()


def write_job(db: Database, job: Job) -> None:
    """Add a job's row."""
    db.table("jobs").insert(
        {
            "id": job.id,
            "set_id": job.set_id,
            "created_at": job.created_at,
            "base_url": job.account.base_url,
            "organization": job.account.organization,
            "project": job.account.project,
            "headers": json.dumps(job.account.headers),
            "key_hash": job.account.key_hash,
            "path": os.fsencode(job.path),
            "start": job.span.start,
            "stop": job.span.stop,
            "size": job.fingerprint.size,
            "mtime_ns": job.fingerprint.mtime_ns,
            "inode": str(job.fingerprint.inode),
            "device": str(job.fingerprint.device),
            "touched_ns": job.fingerprint.touched_ns,
            "purpose": job.purpose,
            "filename": job.filename,
            "mime_type": job.mime_type,
            "expires_after": job.expires_after,
            "part_size": job.part_size,
            "md5": int(job.md5),
            "method": job.method,
            "given": None if job.given is None else os.fsencode(job.given),
            "first_line": job.first_line,
            "lines": job.lines,
            "cut_size": job.split.size if job.split else None,
            "cut_lines": job.split.lines if job.split else None,
            "unchecked": int(job.check),
        }
    )


def read_jobs(db: Database, where: str, values: list[object]) -> list[Job]:
    """Jobs that fit an SQL condition, oldest first."""
    rows = list(db.query(f"SELECT * FROM jobs WHERE {where} ORDER BY created_at, rowid", values))
    for row in rows:
        typed((row[column] for column in _JOBS), _JOBS.values())
    return [
        Job(
            id=row["id"],
            set_id=row["set_id"],
            account=Account(
                base_url=row["base_url"],
                organization=row["organization"],
                project=row["project"],
                headers=tuple(json.loads(row["headers"])),
                key_hash=row["key_hash"],
            ),
            path=os.fsdecode(row["path"]),
            span=Span(row["start"], row["stop"]),
            fingerprint=Fingerprint(
                row["size"],
                row["mtime_ns"],
                int(row["inode"]),
                int(row["device"]),
                row["touched_ns"],
            ),
            purpose=row["purpose"],
            filename=row["filename"],
            mime_type=row["mime_type"],
            created_at=row["created_at"],
            expires_after=row["expires_after"],
            part_size=row["part_size"],
            md5=bool(row["md5"]),
            method=row["method"],
            given=None if row["given"] is None else os.fsdecode(row["given"]),
            first_line=row["first_line"],
            lines=row["lines"],
            split=_split(row["cut_size"], row["cut_lines"]),
            check=bool(row["unchecked"]),
        )
        for row in rows
    ]


def _split(size: int | None, lines: int | None) -> Split | None:
    return None if size is None and lines is None else Split(size, lines)


def read_salt(db: Database) -> bytes:
    """What keys are hashed with in this journal, so that their hashes mean nothing elsewhere."""
    (salt,) = db.execute("SELECT value FROM meta WHERE name = 'salt'").fetchone()
    return bytes(salt)
