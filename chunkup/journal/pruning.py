"""Forgetting what is over and old."""

from collections.abc import Callable

from sqlite_utils import Database

from chunkup.journal.facts import read_jobs
from chunkup.models import Job

# What is open or not told yet keeps its whole set: forgetting a finished member would make the
# same command send it again.
_OLD = """
    set_id IN (
        SELECT set_id FROM jobs LEFT JOIN endings ON endings.job_id = jobs.id
        GROUP BY set_id
        HAVING max(kind IS NULL) = 0
            AND max(kind = 'completed' AND NOT printed) = 0
            AND max(ended_at) < ?
    )
"""


def prune(db: Database, older_than: float, *, dry: bool, lives: Callable[[str], bool]) -> list[Job]:
    """Delete the jobs of sets that ended before ``older_than``; the jobs that it is about.

    A job that names an owner is kept only if that owner lives: one that was killed after its
    last fact never gave its claim back.
    """
    held = {
        set_id
        for set_id, owner in db.execute(
            "SELECT set_id, owner FROM jobs WHERE owner IS NOT NULL"
        ).fetchall()
        if lives(owner)
    }
    old = [job for job in read_jobs(db, _OLD, [older_than]) if job.set_id not in held]
    if not dry:
        for job in old:
            db.execute("DELETE FROM jobs WHERE id = ?", [job.id])
        db.execute("DELETE FROM sets WHERE set_id NOT IN (SELECT set_id FROM jobs)")
    return old
