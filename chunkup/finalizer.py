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
    one that did not makes the File now; then the list is read for a while longer, because some
    servers list a File only later.

What a second ask is answered says less than what the first is: the first may have been carried
out, and a server that had nothing to say about the content then can find fault with it now. So
after a doubt no refusal ends a job, but one that names the checksum: a server that compares
it has not made the File.

Two Files that fit are none, and an Upload that has ended without a File to see leaves nothing
to ask for: a person has to say then. From that moment on the program only looks. Which Files
fit is :mod:`chunkup.search`'s to say.

A single POST /files is settled alike. It cannot be refused because it was carried out already, so
that a second one makes a second File where the first did make one: it is looked for as long as
after a second ``complete`` before it is sent again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Final, Protocol

from chunkup.errors import (
    ChunkupError,
    OutcomeUnknown,
    ProxyRefused,
    Refused,
    Rejected,
    Stopped,
    Unreachable,
    Untrusted,
    WantsCertificate,
)
from chunkup.machine import CompleteAsked
from chunkup.models import RemoteFile
from chunkup.search import SLACK, WHILE, Reach, Search, minutes
from chunkup.verdicts import FINAL, Complaint, complaint

# Complaints about an Upload that is over without a File.
_OVER: Final = frozenset({Complaint.EXPIRED, Complaint.ABSENT, Complaint.CANCELLED})


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


class Asking(Protocol):
    """What asks for the File: ``complete``, or a single request that is the whole upload."""

    @property
    def single(self) -> bool:
        """Whether it is the single request."""
        ...

    @property
    def moments(self) -> tuple[float, ...]:
        """Server times at which it may have been carried out."""
        ...

    def reach(self, search: Search) -> Reach:
        """What carries out an attempt, again where its error permits that."""
        ...

    async def attempt(self, search: Search) -> RemoteFile | None:
        """Ask once; the File, or None where the server completed and named none."""
        ...


@dataclass(frozen=True, slots=True)
class Completion:
    """POST /uploads/{id}/complete, as it was recorded."""

    asked: CompleteAsked
    single: bool = False

    @property
    def moments(self) -> tuple[float, ...]:
        """When it was asked."""
        return self.asked.moments

    def reach(self, search: Search) -> Reach:
        """As the search itself reaches the server."""
        return search.reach

    async def attempt(self, search: Search) -> RemoteFile | None:
        """Ask once."""
        asked = self.asked
        return (await search.api.complete(asked.upload_id, asked.part_ids, asked.md5)).file


@dataclass(frozen=True, slots=True)
class Finalizer:
    """Everything about the end of one Upload of one job, or of its single request.

    ``looks`` and ``patience`` are seconds, see :class:`chunkup.models.Options`.
    """

    search: Search
    answer_lost: bool
    looks: tuple[float, ...]
    patience: float

    @property
    def _now(self) -> float:
        return self.search.api.server_now()

    async def ask(self, asking: Asking) -> Outcome:
        """Ask for the File, for the first time, and find out what came of it.

        Raises:
            OutcomeUnknown: It cannot be found out.
            Stopped: The server cannot be reached to find it out.
        """
        answer = await self._complete(asking)
        if not isinstance(answer, ChunkupError):
            return Done(answer, recovered=False)
        if answer.cut and isinstance(answer, Rejected) and _final(answer):
            return Hopeless(answer)  # it has not read all, and has read enough
        if surely_not_done(answer):
            return NotDone(answer)
        if _too_long(answer):
            raise answer
        if isinstance(answer, Rejected):
            return await self._refused(asking, answer)
        return await self.settle(asking)

    async def settle(self, asking: Asking, *, look_only: bool = False) -> Outcome:
        """Find out what became of an ask whose answer is not known.

        Raises:
            OutcomeUnknown: It cannot be found out.
            ChunkupError: The server cannot be reached to find it out, or will not say.
        """
        looks = chain(self.looks, self._later(asking)) if asking.single else self.looks
        if found := await self.search.look(looks, *asking.moments, ended=asking.single):
            return Done(found, recovered=True)
        if look_only:
            raise self._unknown("the File may or may not exist: still none is listed that fits")
        again_at = self._now
        answer = await self._complete(asking)
        if not isinstance(answer, ChunkupError):
            return Done(answer, recovered=False)
        if surely_not_done(answer) or _too_long(answer):
            # This ask did nothing, but the one before it is still in doubt.
            raise answer
        if isinstance(answer, Rejected):
            return await self._refused_again(asking, answer)
        moments = tuple(minutes(self.patience))
        if found := await self.search.look(moments, *asking.moments, again_at, ended=asking.single):
            return Done(found, recovered=True)
        what = "it was sent" if asking.single else "its completion was asked"
        raise self._unknown(
            f"the File may or may not exist: {what} twice, no answer came, and no such File is "
            "listed",
            answer,
        )

    def _later(self, asking: Asking) -> Iterator[float]:
        """Moments after the first looks, as long as a server's list may lag behind the ask.

        Begun once an answer has told the server's time: what was asked long ago is listed by now,
        and runs that are all stopped early would wait for it anew for ever.
        """
        since = self.looks[-1] if self.looks else 0.0
        if self._now - max(asking.moments) < WHILE + self.patience:
            yield from (since + moment for moment in minutes(self.patience) if moment > 0)

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
            about = _about(error)
            if about is Complaint.ENDED:
                return False
            # A server that cannot cancel lets every Upload die by itself.
            if about not in _OVER and (
                error.answer is None or error.answer.status not in {405, 501}
            ):
                raise
        return True

    async def _complete(self, asking: Asking) -> RemoteFile | ChunkupError:
        """Ask, again only as long as it surely was not done; the File or the last error.

        Raises:
            BadAnswer: A File was made, and it is not what was sent.
        """

        async def attempt() -> RemoteFile | None:
            try:
                return await asking.attempt(self.search)
            except ChunkupError as error:
                # A refusal that wants to be asked again says so itself, and knows.
                if not surely_not_done(error) and not isinstance(error, Rejected):
                    error.retryable = False
                raise

        try:
            answer = await asking.reach(self.search)(attempt)
        except ChunkupError as error:
            return error
        if answer is None:
            return Unreachable("the server completed the Upload and named no File")
        return await self.search.checked(answer)

    async def _refused(self, asking: Asking, error: Rejected) -> Outcome:
        """What a refusal of the first ask says.

        A gateway may have sent it twice, and have answered with what the second was told.
        """
        # Nothing came before a single request that it could find ended, absent or too long.
        about = Complaint.OTHER if asking.single else _about(error)
        if about is Complaint.ENDED:
            return await self._refused_again(asking, error)
        looks = self.looks if about is Complaint.ABSENT else self.looks[:1]
        if found := await self.search.look(looks, *asking.moments, ended=asking.single):
            return Done(found, recovered=True)
        if over := self._over(about):
            return over
        if about in {Complaint.CHECKSUM, Complaint.SIZE} or _final(error):
            return Hopeless(error)
        return NotDone(error)

    async def _refused_again(self, asking: Asking, error: Rejected) -> Outcome:
        """What a refusal says where an ask may have been carried out already."""
        about = Complaint.OTHER if asking.single else _about(error)
        moments: tuple[float, ...] = (0.0,)
        if about is not Complaint.OTHER or _final(error):
            # What was made long ago is listed by now.
            left = self.patience + SLACK - (self._now - max(asking.moments))
            moments = tuple(minutes(min(max(0.0, left), self.patience)))
        ended = asking.single or about is Complaint.ENDED
        if found := await self.search.look(moments, *asking.moments, ended=ended):
            return Done(found, recovered=True)
        if over := self._over(about):
            return over
        if about is Complaint.CHECKSUM:
            return Hopeless(error)
        if about is Complaint.OTHER and not _final(error):
            raise error
        raise self._unknown(
            f"the File may or may not exist: none is listed that fits, and {error.message}",
            error,
        ) from error

    def _unknown(self, message: str, error: ChunkupError | None = None) -> OutcomeUnknown:
        job_id = self.search.job.id
        return OutcomeUnknown(
            message,
            hint=f"look again later with: chunkup resume {job_id}",
            job_id=job_id,
            answer=error.answer if error else None,
        )

    def _over(self, about: Complaint) -> Over | None:
        """The end of the Upload, if that is what a refusal is about and no File was seen."""
        if about in _OVER:
            return Over(about.value)
        if about is Complaint.SIZE and self.answer_lost:
            return Over("miscounted")
        return None


def _about(error: Rejected) -> Complaint:
    return complaint(error.answer) if error.answer else Complaint.OTHER


def _final(error: Rejected) -> bool:
    return error.answer is not None and error.answer.status in FINAL


def _too_long(error: ChunkupError) -> bool:
    """Whether this is a pause that is too long to wait for, until whose end nothing is asked."""
    return type(error) is Stopped


def surely_not_done(error: ChunkupError) -> bool:
    """Whether the request that ended so surely had no effect.

    It broke off before its end; no connection, or none that was trusted; or an answer that is
    about the key or the rate; or one of somebody in between, a portal or a proxy, who kept the
    request to himself.
    """
    if error.cut or isinstance(error, Untrusted | WantsCertificate | ProxyRefused | Refused):
        return True
    if isinstance(error, Unreachable):
        return not error.sent
    status = error.answer.status if error.answer else 0
    return status in {401, 403, 407, 429} or 300 <= status < 400
