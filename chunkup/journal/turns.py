"""Jobs that are claimed for runs to come, so that nobody else begins them meanwhile."""

from collections.abc import Iterable

from sqlite_utils import Database

from chunkup.errors import Busy, Stopped
from chunkup.journal.claims import Owner


class Turns:
    """What one journal holds of jobs that wait. Each call runs inside a transaction."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._waiting: set[str] = set()
        # Given back since somebody wanted them stopped: these are not to begin.
        self._revoked: set[str] = set()

    def reserve(self, db: Database, job_ids: Iterable[str]) -> None:
        """Claim what can be had of these."""
        for job_id in job_ids:
            try:
                self._owner.claim(db, job_id)
            except Busy:
                continue  # its own run will say who has it
            self._waiting.add(job_id)
            self._revoked.discard(job_id)

    def give_back(self, db: Database, job_ids: Iterable[str]) -> None:
        """Let go of those of these that still wait."""
        for job_id in job_ids:
            self._revoked.discard(job_id)
            if job_id in self._waiting:
                self._waiting.discard(job_id)
                self._owner.release(db, job_id)

    def revoke(self, db: Database, job_id: str) -> bool:
        """Let go of a job that waits, and let it not begin; False if it does not wait."""
        if job_id not in self._waiting:
            return False
        self.give_back(db, [job_id])
        self._revoked.add(job_id)
        return True

    def abandon(self, job_ids: Iterable[str]) -> None:
        """Let go of those of these that still wait, where the disk refused to hear of it."""
        waiting = self._waiting.intersection(job_ids)
        self._waiting -= waiting
        self._owner.abandon(waiting)

    def begin(self, db: Database, job_id: str, *, takeover: bool) -> None:
        """Make a job ours whose turn has come, or that never waited.

        Raises:
            Busy: It is somebody else's.
            Stopped: It was revoked, and this is no takeover.
        """
        if job_id in self._revoked:
            self._revoked.discard(job_id)
            if not takeover:
                raise Stopped(
                    f"job {job_id} was asked to stop before it began",
                    hint=f"chunkup resume {job_id}",
                    job_id=job_id,
                )
        if job_id in self._waiting:
            self._waiting.discard(job_id)
            try:
                self._owner.check(db, job_id)
            except Busy:
                self._owner.release(db, job_id)
                raise
        else:
            self._owner.claim(db, job_id, takeover=takeover)
