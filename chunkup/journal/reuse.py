"""Files that finished jobs made, for jobs that would send the same content once more."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlite_utils import Database

from chunkup.journal.damage import file_of
from chunkup.models import Account, RemoteFile


@dataclass(frozen=True, slots=True)
class Kept:
    """A File as it was when it was made, and the MD5 of its content in lowercase hex."""

    file: RemoteFile
    md5: str


# Two keys of one account look like those of two; one that is not known excludes nothing. What went
# without an MD5 has nothing that other content could be compared with.
_KEPT = """
    SELECT purpose, stop - start AS size, file_id, file,
        coalesce(endings.md5, (SELECT md5 FROM asks WHERE job_id = jobs.id
            ORDER BY generation DESC, number DESC LIMIT 1)) AS content
    FROM endings JOIN jobs ON jobs.id = job_id
    WHERE kind = 'completed' AND base_url = :base_url AND organization IS :organization
        AND project IS :project
        AND (key_hash IS NULL OR :key_hash IS NULL OR key_hash = :key_hash)
        AND content IS NOT NULL
    ORDER BY ended_at DESC, endings.rowid DESC
"""


def kept(
    db: Database, account: Account, sought: Collection[tuple[str, int]]
) -> dict[tuple[str, int], list[Kept]]:
    """What jobs of this account made that has one of these purposes and sizes, newest first."""
    found: dict[tuple[str, int], list[Kept]] = {}
    who = {
        "base_url": account.base_url,
        "organization": account.organization,
        "project": account.project,
        "key_hash": account.key_hash,
    }
    for purpose, size, file_id, file, md5 in db.execute(_KEPT, who):
        if (purpose, size) in sought:
            like = found.setdefault((purpose, size), [])
            like.append(Kept(file_of(file_id, file), md5))
    return found
