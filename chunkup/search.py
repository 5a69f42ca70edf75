"""Looking for a job's File on the server, and whether a File is the job's.

Ids are not ours to choose and names are not unique. A File is taken for ours only if purpose,
name and size agree, no job of this journal ended in it, and its creation fits: the Upload's own
(all public recordings show that), or not before we asked.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from chunkup.api import Api
from chunkup.errors import BadAnswer, BadOption, NotFound
from chunkup.models import Job, RemoteFile, Upload
from chunkup.text import size_text

_Result = TypeVar("_Result")

# Servers round to seconds, and an answer's Date is a second old at most.
_SLACK: Final = 5.0
_PAGES: Final = 200


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

    async def find(self, asked_at: float) -> list[RemoteFile]:
        """Files on the server that may be this job's, newest first; see the module's text."""
        taken = await self.claimed()
        found = []
        for file in await self._listed(min(self.upload.created_at, asked_at) - _SLACK):
            if file.id in taken or file.purpose != self.job.purpose:
                continue
            if file.filename != self.job.filename:
                continue
            # Zero is what a server that tells no moments has.
            fits = file.created_at == self.upload.created_at > 0
            if not fits and file.created_at < asked_at - _SLACK:
                continue
            if file.bytes is None:
                try:
                    file = await self.reach(partial(self.api.retrieve, file.id))  # noqa: PLW2901  (the same File, told whole)
                except NotFound:
                    continue
            if file.bytes in {None, self.job.size}:
                found.append(file)
        return found

    async def checked(self, file: RemoteFile) -> RemoteFile:
        """The File, if it is what was sent.

        Raises:
            BadAnswer: It is not.
        """
        if file.bytes is None:
            try:
                file = await self.reach(partial(self.api.retrieve, file.id))
            except NotFound:
                return file  # listed only seconds later, as some servers do
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
        for name, theirs, ours in (
            ("name", file.filename, self.job.filename),
            ("purpose", file.purpose, self.job.purpose),
        ):
            if theirs and theirs != ours:
                return f"{name}: {theirs!r}, not {ours!r}"
        return None

    async def _listed(self, oldest: float) -> list[RemoteFile]:
        """Files of the purpose, newest first, until they are older than ``oldest``.

        Survives servers that ignore ``after``, repeat a page, or always say that there is more.
        """
        files: dict[str, RemoteFile] = {}
        after: str | None = None
        for _ in range(_PAGES):
            page, more = await self.reach(partial(self.api.list_files, self.job.purpose, after))
            new = [file for file in page if file.id not in files]
            files.update((file.id, file) for file in new)
            if not new or not more or min(file.created_at for file in page) < oldest:
                break
            after = page[-1].id
        return list(files.values())
