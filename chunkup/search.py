"""Looking for a job's File on the server, and whether a File is the job's.

Ids are not ours to choose and names are not unique. A File is taken for ours only if purpose,
name and size agree, no job of this journal ended in it, and its creation fits: it is the Upload's
own moment, which the official API stamps a File with; or it lies within the hour after we asked,
since other servers stamp a File when it is made.

The second kind can be another client's File of equal name and size, made in the same hour. So the
official API's word is needed for it, that our Upload was completed. Elsewhere asking again would
tell as well, but a server that repeats ``complete`` would make a second File; there such a File
is taken if it is the only one in two looks. Two that fit are a person's to tell apart.
"""

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from chunkup.api import Api
from chunkup.body import quoted
from chunkup.errors import (
    BadAnswer,
    BadOption,
    NotFound,
    OutcomeUnknown,
    Rejected,
)
from chunkup.models import Job, RemoteFile, Upload
from chunkup.text import size_text

_Result = TypeVar("_Result")

# Servers round to seconds, and an answer's Date is a second old at most.
SLACK: Final = 5.0
# Seconds after the ask in which a server may have carried it out, however slowly it works.
WHILE: Final = 3600.0
_PAGES: Final = 200
# Seconds between the first two looks of a longer wait.
_FIRST_STEP: Final = 2.0
# Pages of a hundred are asked for. Whoever sends longer ones may send fewer.
_FILES: Final = 100 * _PAGES


class Reach(Protocol):
    """Carry out a request, again where its error permits that."""

    async def __call__(self, request: Callable[[], Awaitable[_Result]]) -> _Result:
        """The request's result, or its last error."""
        ...


@dataclass(frozen=True, slots=True)
class Search:
    """The search for what one Upload of one job became.

    ``claimed`` gives the ids of Files that jobs of this journal ended in. ``reach`` carries out
    a request that may be repeated freely.
    """

    api: Api
    job: Job
    upload: Upload
    claimed: Callable[[], Awaitable[frozenset[str]]]
    reach: Reach

    async def find(self, *asked_at: float, ended: bool = False) -> list[RemoteFile]:
        """Files on the server that may be this job's, newest first; see the module's text.

        ``asked_at`` are the moments of server time at which ``complete`` was asked; ``ended`` if
        the server says that the Upload was completed.
        """
        lenient = ended or not self.api.provider.stamps
        taken = await self.claimed()
        purposes = {self.job.purpose} if self.api.provider.labels else {self.job.purpose, ""}
        found = []
        # A single request has no Upload, and some servers do not say when theirs was made.
        born = self.upload.created_at or min(asked_at)
        for file in await self._listed(min(born, *asked_at) - SLACK):
            if file.id in taken or file.purpose not in purposes:
                continue
            if not _same_name(file.filename, self.job.filename):
                continue
            later = lenient and any(
                -SLACK <= file.created_at - asked <= WHILE for asked in asked_at
            )
            if not later and not self.stamped(file):
                continue
            if file.bytes is None:
                try:
                    file = await self.reach(partial(self.api.retrieve, file.id))  # noqa: PLW2901  (the same File, told whole)
                except NotFound:
                    continue
                except Rejected:
                    pass  # a key may be allowed to list and not to look: the size stays unknown
            if file.bytes in {None, self.job.size}:
                found.append(file)
        return found

    def stamped(self, file: RemoteFile) -> bool:
        """Whether a File has the very moment of creation of the Upload."""
        # Zero is what a server that tells no moments has.
        return file.created_at == self.upload.created_at > 0

    async def look(
        self, moments: Iterable[float], *asked_at: float, ended: bool = False
    ) -> RemoteFile | None:
        """Look at these seconds from now; the File if exactly one fits.

        Raises:
            OutcomeUnknown: Several fit.
        """
        passed, seen = 0.0, dict[str, RemoteFile]()
        for moment in moments:
            await asyncio.sleep(moment - passed)
            passed = moment
            before = frozenset(seen)
            seen.update((file.id, file) for file in await self.find(*asked_at, ended=ended))
            if len(seen) > 1:
                ids = _oldest_first(seen.values())
                raise OutcomeUnknown(
                    f"{len(ids)} Files fit what was uploaded: {', '.join(ids)}",
                    candidates=ids,
                    hint=f"chunkup resume {self.job.id} --accept {shlex.quote(ids[0])}",
                    job_id=self.job.id,
                )
            if any(self.stamped(file) or file.id in before for file in seen.values()):
                break
        return await self.checked(*seen.values()) if seen else None

    async def checked(self, file: RemoteFile) -> RemoteFile:
        """The File, if it is what was sent.

        Raises:
            BadAnswer: It is not.
        """
        if file.bytes is None:
            try:
                file = await self.reach(partial(self.api.retrieve, file.id))
            except Rejected:
                return file  # listed only seconds later, as some servers do, or not for this key
        if file.bytes not in {None, self.job.size}:
            raise BadAnswer(
                f"the server made File {file.id} of {size_text(file.bytes or 0)} "
                f"({file.bytes} bytes) out of {self.job.size} bytes; do not use it",
                job_id=self.job.id,
            )
        if difference := self._difference(file):
            raise BadAnswer(
                f"the server made File {file.id} with another {difference}",
                hint=f"look at File {file.id} before you use it",
                job_id=self.job.id,
            )
        return file

    async def named(self, file_id: str) -> RemoteFile:
        """The File that a person says is the job's, if nothing speaks against it.

        Raises:
            BadOption: Something does: its size, name, purpose, or that it is another job's.
            NotFound: The server does not know it.
        """
        file = await self.reach(partial(self.api.retrieve, file_id))
        wrong = self._difference(file)
        if file.bytes not in {None, self.job.size}:
            wrong = f"size: {file.bytes} bytes, not {self.job.size}"
        if wrong is not None:
            raise BadOption(f"File {file_id} has another {wrong}", job_id=self.job.id)
        if file.id in await self.claimed():
            raise BadOption(f"File {file_id} is another job's", job_id=self.job.id)
        return file

    def _difference(self, file: RemoteFile) -> str | None:
        name, purpose = self.job.filename, self.job.purpose
        if file.filename and not _same_name(file.filename, name):
            return f"name: {file.filename!r}, not {name!r}"
        if file.purpose and file.purpose != purpose:
            return f"purpose: {file.purpose!r}, not {purpose!r}"
        return None

    async def _listed(self, oldest: float) -> list[RemoteFile]:
        """Files of the purpose, newest first, until they are older than ``oldest``.

        Survives servers that ignore ``after``, repeat a page, or always say that there is more.
        """
        files: dict[str, RemoteFile] = {}
        after: str | None = None
        for number in range(_PAGES):
            ask = partial(self.api.list_files, self.job.purpose, after, page=number)
            page, more = await self.reach(ask)
            new = [file for file in page if file.id not in files]
            files.update((file.id, file) for file in new)
            # Not every server can be told to begin with the newest.
            falling = bool(page) and page[0].created_at > page[-1].created_at
            if not new or not more or (falling and page[-1].created_at < oldest):
                break
            if len(files) > _FILES:
                break
            after = page[-1].id
        return list(files.values())


def _same_name(theirs: str, ours: str) -> bool:
    """Whether two names are one, also to a server that keeps them as a form spells them."""
    return quoted(theirs) == quoted(ours)


def minutes(patience: float) -> Iterator[float]:
    """Moments to look at, at growing intervals, up to ``patience`` seconds."""
    moment, step = 0.0, _FIRST_STEP
    while moment < patience:
        yield moment
        moment, step = moment + step, min(step * 1.5, 15.0)
    yield patience


def _oldest_first(newest_first: Iterable[RemoteFile]) -> tuple[str, ...]:
    files = reversed(list(newest_first))
    return tuple(file.id for file in sorted(files, key=lambda file: file.created_at))
