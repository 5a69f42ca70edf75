"""End an Upload: ask for the File, settle the doubt if the answer is lost, cancel.

``complete`` is the one request that must never be repeated blindly: it may have made the File
although nobody heard so. What is known afterwards is one of four things.

Done
    The File was answered, or found, and it is ours.
Not done
    The request surely did nothing: no connection, 401, 403, 429. It may simply be asked again.
Over
    The server answered that this Upload can never become a File, *and* no File is to be
    seen. Only both together permit a new Upload.
Doubt
    Anything else. The list of Files is read at growing intervals; then ``complete`` is asked
    once more with the recorded ids, since a server that carried it out refuses the second and
    one that did not makes the File now; then the list is read for a while longer.

Two Files that fit are none, and an Upload that has ended without a File to see leaves nothing
to ask for: a person has to say then. From that moment on the program only looks. Which Files
fit is :mod:`chunkup.search`'s to say.
"""

import asyncio
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from chunkup.errors import (
    ChunkupError,
    OutcomeUnknown,
    Rejected,
    Unreachable,
    Untrusted,
)
from chunkup.machine import CompleteAsked
from chunkup.models import Job, RemoteFile, Upload
from chunkup.provider import Complaint, complaint
from chunkup.search import Search


@dataclass(frozen=True, slots=True)
class Done:
    """The File exists. ``recovered`` if it was found by looking."""

    file: RemoteFile
    recovered: bool


@dataclass(frozen=True, slots=True)
class NotDone:
    """Nothing was done; ``error`` says why."""

    error: ChunkupError


@dataclass(frozen=True, slots=True)
class Over:
    """This Upload is of no use any more."""

    reason: str


@dataclass(frozen=True, slots=True)
class Hopeless:
    """The server refuses this content for good, and no File exists."""

    error: Rejected


Outcome = Done | NotDone | Over | Hopeless


@dataclass(frozen=True, slots=True)
class Finalizer:
    """Everything about the end of one Upload of one job.

    ``looks`` and ``patience`` are seconds, see :class:`chunkup.models.Options`.
    """

    search: Search
    answer_lost: bool
    looks: tuple[float, ...]
    patience: float

    @property
    def _job(self) -> Job:
        return self.search.job

    @property
    def _again(self) -> str:
        return f"look again later with: chunkup resume {self._job.id}"

    async def ask(self, asked: CompleteAsked) -> Outcome:
        """Ask for the File, for the first time, and find out what came of it.

        Raises:
            OutcomeUnknown: It cannot be found out.
            Stopped: The server cannot be reached to find it out.
        """
        answer = await self._complete(asked)
        if not isinstance(answer, ChunkupError):
            return Done(answer, recovered=False)
        if surely_not_done(answer):
            return NotDone(answer)
        if isinstance(answer, Rejected):
            return await self._refused(asked, answer)
        return await self.settle(asked)

    async def settle(self, asked: CompleteAsked, *, look_only: bool = False) -> Outcome:
        """Find out what became of an ask whose answer is not known.

        Raises:
            OutcomeUnknown: It cannot be found out.
            Stopped: The server cannot be reached to find it out.
        """
        if found := await self._look_at(asked, self.looks):
            return Done(found, recovered=True)
        if look_only:
            raise OutcomeUnknown(
                "the File may or may not exist: still none is listed that fits",
                hint=self._again,
                job_id=self._job.id,
            )
        answer = await self._complete(asked)
        if not isinstance(answer, ChunkupError):
            return Done(answer, recovered=False)
        if isinstance(answer, Rejected) and not surely_not_done(answer):
            return await self._refused(asked, answer)
        if surely_not_done(answer):
            # This ask did nothing, but the one before it is still in doubt.
            raise answer
        if found := await self._look_at(asked, tuple(_minutes(self.patience))):
            return Done(found, recovered=True)
        raise OutcomeUnknown(
            "the File may or may not exist: its completion was asked twice, no answer came, "
            "and no such File is listed",
            hint=self._again,
            job_id=self._job.id,
            answer=answer.answer,
        )

    async def cancel(self) -> bool:
        """Cancel the Upload; False if it had ended otherwise, perhaps in a File.

        Raises:
            ChunkupError: The server could not be reached, or refuses.
        """
        try:
            await self.search.reach(partial(self.search.api.cancel, self.search.upload.id))
        except Rejected as error:
            if surely_not_done(error):
                raise
            about = complaint(error.answer) if error.answer else Complaint.OTHER
            if about is Complaint.OTHER:
                raise
            return about is not Complaint.ENDED
        return True

    async def _complete(self, asked: CompleteAsked) -> RemoteFile | ChunkupError:
        """Ask, again only as long as it surely was not done; the File or the last error.

        Raises:
            BadAnswer: A File was made, and it is not what was sent.
        """

        async def attempt() -> Upload | ChunkupError:
            try:
                return await self.search.api.complete(asked.upload_id, asked.part_ids, asked.md5)
            except ChunkupError as error:
                if error.retryable and surely_not_done(error):
                    raise
                return error

        try:
            answer = await self.search.reach(attempt)
        except ChunkupError as error:
            return error
        if isinstance(answer, ChunkupError):
            return answer
        if answer.file is None:
            return Unreachable("the server completed the Upload and named no File")
        return await self.search.checked(answer.file)

    async def _refused(self, asked: CompleteAsked, error: Rejected) -> Outcome:
        """A 4xx to ``complete``. The File may exist: an earlier ask may have made it."""
        about = complaint(error.answer) if error.answer else Complaint.OTHER
        looks = self.looks if about in {Complaint.ENDED, Complaint.ABSENT} else self.looks[:1]
        if found := await self._look_at(asked, looks):
            return Done(found, recovered=True)
        match about:
            case Complaint.EXPIRED | Complaint.ABSENT | Complaint.CANCELLED:
                return Over(about.value)
            case Complaint.SIZE if self.answer_lost:
                return Over("miscounted")
            case Complaint.ENDED:
                raise OutcomeUnknown(
                    f"the Upload has ended and no File of it is listed: {error.message}",
                    hint=self._again,
                    job_id=self._job.id,
                    answer=error.answer,
                ) from error
            case _:
                return Hopeless(error)

    async def _look_at(self, asked: CompleteAsked, moments: tuple[float, ...]) -> RemoteFile | None:
        """Look at these seconds from now; the File if exactly one fits.

        Raises:
            OutcomeUnknown: Several fit.
        """
        passed = 0.0
        for moment in moments:
            await asyncio.sleep(moment - passed)
            passed = moment
            found = await self.search.find(asked.asked_at)
            if len(found) == 1:
                return await self.search.checked(found[0])
            if found:
                ids = tuple(file.id for file in reversed(found))
                raise OutcomeUnknown(
                    f"{len(ids)} Files fit what was uploaded: {', '.join(ids)}",
                    candidates=ids,
                    hint=f"chunkup resume {self._job.id} --accept {shlex.quote(ids[0])}",
                    job_id=self._job.id,
                )
        return None


def surely_not_done(error: ChunkupError) -> bool:
    """Whether the request that ended so surely had no effect.

    No connection, or none that was trusted; or an answer that is about the key or the rate; or
    one of somebody in between, a portal or a proxy, who kept the request to himself.
    """
    if isinstance(error, Untrusted):
        return True
    if isinstance(error, Unreachable):
        return not error.sent
    status = error.answer.status if error.answer else 0
    return status in {401, 403, 407, 429} or 300 <= status < 400


def _minutes(patience: float) -> Iterator[float]:
    """Moments to look at, at growing intervals, up to ``patience`` seconds."""
    moment, step = 0.0, 2.0
    while moment < patience:
        yield moment
        moment, step = moment + step, min(step * 1.5, 15.0)
    yield patience
