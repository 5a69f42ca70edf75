"""What a manifest says of jobs that became Files."""

import os
from collections.abc import Collection
from typing import Any

from sqlite_utils import Database

from chunkup.journal.damage import file_of
from chunkup.manifest import Attempts, Entry
from chunkup.models import Account

_ARRIVED = """
SELECT
    jobs.id AS job, path, given, start, stop, size, first_line, lines, filename, purpose,
    mime_type, base_url, organization, project, created_at, file_id, file, ended_at, reused,
    coalesce(endings.md5, (
        SELECT md5 FROM asks WHERE job_id = jobs.id ORDER BY generation DESC, number DESC LIMIT 1
    )) AS digest,
    (SELECT count(*) FROM runs WHERE job_id = jobs.id) AS runs,
    (SELECT min(started_at) FROM runs WHERE job_id = jobs.id) AS started_at,
    (SELECT count(*) FROM uploads WHERE job_id = jobs.id) AS uploads
FROM jobs JOIN endings ON endings.job_id = jobs.id
WHERE kind = 'completed'
"""


def arrived_as(db: Database, job_ids: Collection[str]) -> dict[str, Entry]:
    """The Files that these jobs became, by job; those that did not yet are left out."""
    query = f"{_ARRIVED} AND jobs.id = ?"
    return {job_id: _entry(row) for job_id in job_ids for row in db.query(query, [job_id])}


def _entry(row: dict[str, Any]) -> Entry:
    file = file_of(row["file_id"], row["file"])
    return Entry(
        source=os.fsdecode(row["path"]),
        given=None if row["given"] is None else os.fsdecode(row["given"]),
        start=row["start"],
        stop=row["stop"],
        cut=(row["start"], row["stop"]) != (0, row["size"]),
        first_line=row["first_line"],
        lines=row["lines"],
        bytes=row["stop"] - row["start"],
        md5=row["digest"],
        file=file.id,
        filename=row["filename"],
        purpose=row["purpose"],
        mime_type=row["mime_type"],
        created_at=file.created_at,
        expires_at=file.expires_at,
        account=Account(row["base_url"], row["organization"], row["project"]),
        job=row["job"],
        started_at=row["created_at"] if row["started_at"] is None else row["started_at"],
        completed_at=row["ended_at"],
        attempts=Attempts(row["runs"], row["uploads"]),
        reused=bool(row["reused"]),
    )
