"""Files that are there already: the same content, sent before for the same purpose and account.

A file's content is read only if something of its very size was sent, and counts as sent only if the
server, asked for that File, still has it. The content's word is its MD5, as the journal or a
manifest has it beside the File's id: jobs without an MD5 made nothing that could be known again.
Neither name, MIME type nor expiry need be equal. A File that is reused keeps its own.
"""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from chunkup.answers import segment
from chunkup.engine import Engine
from chunkup.errand import Errand
from chunkup.errors import BadAnswer, ChunkupError, NotFound, Rejected
from chunkup.journal import Kept
from chunkup.ledger import Emit
from chunkup.listener import tell_end
from chunkup.machine import Completed
from chunkup.manifest import Entry
from chunkup.models import Account, Fingerprint, Job, RemoteFile
from chunkup.processing import HOPELESS
from chunkup.reading import md5_of

# Files that are read at once: more would only have them compete for the disk.
_AT_ONCE: Final = 4
# What servers answer, beside 404, to ids that they never gave: a manifest may have any.
_NO_SUCH: Final = frozenset({400, 410, 414, 422})
# The longest id that is asked for; see `answers`.
_LONGEST: Final = 4096

# Files by their content's MD5 and their ids.
_Contents = dict[str, dict[str, RemoteFile]]


class Existing:
    """What may be there already for the jobs of a command; made by :func:`existing`."""

    def __init__(self, engine: Engine, known: dict[tuple[str, int], _Contents]) -> None:
        self._engine = engine
        self._known = known
        self._reading = asyncio.Semaphore(_AT_ONCE)

    async def look(self, job: Job, seen: Fingerprint | None, emit: Emit) -> Completed | None:
        """The fact that ends a job which was never begun, if its File is there already.

        ``seen`` is its file as it was when it was asked for; without, as the job has it. A file
        that is another one by now is none that is known.

        Raises:
            ChunkupError: The server could not be asked; it was told as the job's end.
        """
        try:
            return await self._found(job, seen or job.fingerprint)
        except ChunkupError as error:
            error.job_id = job.id
            tell_end(job, error, emit)
            raise

    async def _found(self, job: Job, seen: Fingerprint) -> Completed | None:
        like = self._known.get((job.purpose, job.size))
        grown = not job.cut and seen.size != job.size
        if like is None or grown or await (await self._engine.journal()).facts(job.id):
            return None
        async with self._reading:
            md5 = await md5_of(job.path, seen, job.span)
        alike = like.get(md5 or "", {})
        for known in list(alike.values()):
            file = await self._asked(known, job)
            if file is not None:
                return Completed(file, reused=True, md5=md5)
            # What is gone stays so, for all other files of this content.
            alike.pop(known.id, None)
        return None

    async def _asked(self, file: RemoteFile, job: Job) -> RemoteFile | None:
        """A File as the server has it now, if it still is what it was."""
        shop = self._engine.workshop
        if _over(file, shop.api.server_now()) or not _usable(file.id):
            return None
        try:
            found = await Errand(shop)(partial(shop.api.retrieve, file.id))
        except NotFound:
            return None
        except Rejected as error:
            if error.answer is None or error.answer.status not in _NO_SUCH:
                raise
            return None
        same = (
            found.id == file.id
            and found.bytes in {None, job.size}
            # Some servers do not say what a File is for.
            and found.purpose in {"", job.purpose}
        )
        gone = _over(found, shop.api.server_now()) or (found.status or "").lower() in HOPELESS
        return found if same and not gone else None


async def existing(
    engine: Engine, wanted: Sequence[Job], manifest: Sequence[Entry] = ()
) -> Existing:
    """What the journal and a manifest know that may be the content of these jobs of this account.

    No file is read for it, and no server asked.
    """
    journal, account = await engine.journal(), await engine.account()
    known = await journal.kept(account, frozenset((job.purpose, job.size) for job in wanted))
    for entry in reversed(manifest):
        if entry.md5 is not None and _same(entry.account, account):
            like = known.setdefault((entry.purpose, entry.bytes), [])
            like.append(Kept(_file_of(entry), entry.md5))
    return Existing(engine, {place: _by_content(like) for place, like in known.items()})


def _by_content(like: Iterable[Kept]) -> _Contents:
    """Each File once, by its content, as who knew it first has it.

    That is the journal, of what it knows: it is our own, and a manifest may be anybody's.
    """
    found: _Contents = {}
    ids: set[str] = set()
    for kept in like:
        if kept.file.id not in ids:
            ids.add(kept.file.id)
            found.setdefault(kept.md5, {})[kept.file.id] = kept.file
    return found


def _file_of(entry: Entry) -> RemoteFile:
    return RemoteFile(
        entry.file,
        entry.bytes,
        entry.created_at,
        entry.filename,
        entry.purpose,
        expires_at=entry.expires_at,
    )


def _same(theirs: Account, ours: Account) -> bool:
    """Whether two accounts are one, as far as a manifest tells."""
    return (theirs.base_url, theirs.organization, theirs.project) == (
        ours.base_url,
        ours.organization,
        ours.project,
    )


def _over(file: RemoteFile, now: float) -> bool:
    return file.expires_at is not None and file.expires_at <= now


def _usable(file_id: str) -> bool:
    """Whether an id can be asked for, and shown to a person afterwards."""
    try:
        segment(file_id)
    except BadAnswer:
        return False
    return file_id.isprintable() and len(file_id) <= _LONGEST
