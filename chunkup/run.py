"""One run of one job: ask the machine what to do, do it, record it, ask again."""

import asyncio
import time
from collections.abc import Awaitable
from functools import partial
from typing import Final, assert_never

from chunkup import events
from chunkup.checking import check_before
from chunkup.errors import (
    BadAnswer,
    JobEnded,
    OtherAccount,
    OutcomeUnknown,
    Rejected,
    TooSlow,
)
from chunkup.finalizer import Asking, Completion, Done, Hopeless, NotDone, Outcome, Over
from chunkup.ledger import Ledger
from chunkup.link import Link, Workshop
from chunkup.machine import (
    SINGLE,
    AnswerLost,
    Ask,
    CompleteAsked,
    Completed,
    CompleteRefused,
    Create,
    Created,
    Doubted,
    End,
    Failed,
    Finish,
    GenerationEnded,
    Phase,
    Post,
    Send,
    Settle,
    State,
    next_action,
)
from chunkup.models import Job, RemoteFile, Upload
from chunkup.outlast import outlast
from chunkup.planner import cut, fits, in_time
from chunkup.proof import Proof
from chunkup.text import size_text
from chunkup.verdicts import FINAL, Complaint, complaint

# Goodput over fewer seconds, or over less than half of a life that is short, says nothing yet.
_MEASURED: Final = 20.0

# What it can mean that a server refuses the content as a whole, although each part went out
# entire and both digests of it agreed.
_ALTERED: Final = {
    Complaint.CHECKSUM: (
        "what went out is what the file is, so a gateway on the way or the server itself changed "
        "it, or it takes no MD5 (--no-md5)"
    ),
    Complaint.SIZE: (
        "every part went out whole, so a gateway on the way or the server itself added or took "
        "bytes"
    ),
}


class Run:
    """One run. ``same_account`` is false for a job of another account: nothing is created then.

    ``continued`` says whether the job existed before, ``moved`` that its file is looked for at
    another path than the journal has.
    """

    def __init__(
        self,
        ledger: Ledger,
        shop: Workshop,
        *,
        continued: bool,
        same_account: bool,
        moved: bool = False,
    ) -> None:
        self._ledger = ledger
        self._shop = shop
        self._continued = continued
        self._same_account = same_account
        self._moved = moved
        patience = shop.options.stall_timeout
        self._proof = Proof(ledger.job, shop.slots, suspect=moved, patience=patience)
        self._link = Link(ledger, shop, self._proof)
        # Whether it goes in one request: it was asked for, or there are no Uploads.
        wish, known = ledger.job.method, shop.api.provider.uploads
        self._single = wish == "files" or (wish == "auto" and known is False)
        self._created = 0
        self._lost: list[str] = []
        self._concluded = False
        self._life: float | None = None
        self._begun = 0.0

    @property
    def _job(self) -> Job:
        return self._ledger.job

    async def execute(self) -> RemoteFile:
        """Go on until there is a File.

        Raises:
            ChunkupError: It failed, stopped, or cannot be known; the journal says how far.
        """
        await self._ledger.load()
        await check_before(self._ledger, self._shop.api.provider)
        try:
            await self._prepare()
            while True:
                action = next_action(
                    self._ledger.state, self._shop.api.server_now(), single=self._single
                )
                match action:
                    case Create():
                        await self._create()
                    case Post():
                        await self._post()
                    case Send(upload_id):
                        ended = await self._link.send(upload_id)
                        if ended is not None:
                            await self._end(upload_id, ended)
                    case Ask():
                        await self._ask(action)
                    case Settle(ask, look_only):
                        finalizer = self._link.finalizer
                        await self._conclude(
                            finalizer.settle(self._asking(ask), look_only=look_only)
                        )
                    case End(upload_id, reason):
                        await self._end(upload_id, reason)
                    case Finish(file, failure):
                        return self._finish(file, failure)
                    case _:
                        assert_never(action)
        finally:
            await self._proof.close()

    async def _prepare(self) -> None:
        state = self._ledger.state
        single = self._single and state.upload is None
        done_parts = len(state.receipts)
        to_send = 1 if single else sum(1 for _ in cut(state.missing, (), self._job.part_size))
        self._ledger.tell(
            events.JobStarted,
            size=self._job.size,
            done=state.done,
            parts=done_parts + to_send,
            done_parts=done_parts,
            continued=self._continued,
        )
        if state.phase in {Phase.NEW, Phase.SENDING}:
            await self._proof.open(state, single=single)
        if state.phase is Phase.SENDING and state.upload is not None:
            await self._take_up(state, state.upload)
        if self._moved and self._proof.is_open:
            await self._ledger.move(self._proof.source)

    async def _take_up(self, state: State, upload: Upload) -> None:
        """Go on with an Upload that an earlier run opened."""
        if not state.answer_lost:
            # What was in flight when the last run ended may be stored all the same.
            await self._ledger.record(AnswerLost(upload.id))
        transport = self._shop.api.transport
        if not transport.knows_time or (upload.owner is not None and transport.owner is None):
            await self._link.ask_time()
        if None not in {upload.owner, transport.owner}:
            # The server knows better than a hash of the key, which may have been replaced.
            self._same_account = upload.owner == transport.owner
        await self._proof.settle_suspicion(state)
        self._begin(upload)

    def _begin(self, upload: Upload) -> None:
        """Measure anew: this Upload's bytes start now."""
        self._begun = time.monotonic()
        self._link.begin_upload()
        self._life = None
        if upload.expires_at is not None and 0 < upload.created_at < upload.expires_at:
            self._life = float(upload.expires_at - upload.created_at)

    async def _create(self) -> None:
        if not self._same_account:
            raise self._other_account("its Upload is gone")
        if self._lost:
            self._check_chance()
        if not self._proof.is_open:
            await self._proof.open(self._ledger.state)
        try:
            upload = await self._link.reach(partial(self._shop.api.create, self._job))
        except Rejected as error:
            if self._falls_back(error):
                await self._fall_back(error)
                return
            final = error.answer is not None and error.answer.status in FINAL
            if final and not error.retryable:
                await self._ledger.record(Failed(error.code, error.message))
            raise
        self._created += 1
        await self._ledger.record(Created(upload))
        self._begin(upload)
        self._ledger.tell(
            events.UploadCreated,
            upload_id=upload.id,
            expires_at=upload.expires_at,
            generation=self._ledger.state.generation,
        )

    def _falls_back(self, refusal: Rejected) -> bool:
        """Whether a refused Upload says that this server takes none, or none of this purpose."""
        if self._job.method != "auto" or self._created or refusal.answer is None:
            return False
        answer = refusal.answer
        return answer.status in {404, 405, 501} or (
            answer.status == 400 and "purpose" in f"{answer.param} {answer.message}".lower()
        )

    async def _fall_back(self, refusal: Rejected) -> None:
        """Send it in one request from here on.

        Raises:
            TooLarge: It does not fit into one.
        """
        limits = self._shop.api.provider.limits
        fits(self._job.span, self._job.purpose, limits, single=True, path=self._job.path)
        self._single = True
        await self._proof.close()
        await self._proof.open(self._ledger.state, single=True)
        status = refusal.answer.status if refusal.answer else 0
        takes = "no Uploads of this purpose" if status == 400 else "no Uploads"
        self._ledger.tell(
            events.Paused,
            wait=0.0,
            message=f"this server takes {takes} ({status}); sending the file in one request",
        )

    async def _post(self) -> None:
        if not self._same_account:
            raise self._other_account("nothing of it was sent yet")
        if not self._shop.api.transport.knows_time:
            # The File will be known by the moment at which the server says that it was made.
            await self._link.ask_time()
        if not self._proof.is_open:
            await self._proof.open(self._ledger.state, single=True)
        await self._conclude(self._link.finalizer.ask(self._link.posting))

    def _asking(self, ask: CompleteAsked) -> Asking:
        return self._link.posting if ask.single else Completion(ask)

    def _check_chance(self) -> None:
        """A new Upload after one that was lost must have a chance to be finished.

        Raises:
            TooSlow: It has none, or enough of them expired.
            Rejected: Enough were lost otherwise.
        """
        size, life = self._job.size, self._life
        measured = time.monotonic() - self._begun
        if life is not None and measured >= min(_MEASURED, life / 2):
            in_time(size, life, rate=self._link.average, behind=self._proof.behind)
        if self._created < self._shop.options.generations:
            return
        if self._lost[-1] == "expired":
            raise TooSlow(
                f"{self._created} Uploads expired before {size_text(size)} were through; it "
                "takes a faster link or disk, or smaller files"
            )
        raise Rejected(
            f"the server lost {self._created} Uploads one after another "
            f"({', '.join(self._lost[-self._created :])})"
        )

    async def _end(self, upload_id: str, reason: str) -> None:
        lost = self._ledger.state.done
        if reason == "gone" and not self._same_account:
            # Invisible is not gone: its owner may still finish it.
            raise self._other_account("its Upload is not visible to this one")
        await self._ledger.record(GenerationEnded(upload_id, reason))
        self._lost.append(reason)
        self._ledger.tell(events.UploadExpired, upload_id=upload_id, reason=reason, lost=lost)

    def _other_account(self, why: str) -> OtherAccount:
        return OtherAccount(
            f"job {self._job.id} belongs to another account than the one that is set, and "
            f"{why}; with its own key it can go on"
        )

    async def _ask(self, action: Ask) -> None:
        state, now = self._ledger.state, self._shop.api.server_now
        dies = state.upload.expires_at if state.upload else None
        try:
            # The pass may outlast the Upload, and then there is nothing to ask.
            async with asyncio.timeout(None if dies is None else dies - now()):
                md5 = action.proof.md5 if action.proof else await self._proof.complete(state)
        except TimeoutError:
            return
        ask = CompleteAsked(action.upload_id, action.part_ids, md5, now())
        await self._ledger.record(ask)
        self._ledger.tell(events.Completing, md5=md5)
        await self._conclude(self._link.finalizer.ask(self._asking(ask)))

    async def _complete(self, file: RemoteFile, *, recovered: bool) -> None:
        """Record that there is the File, and tell it."""
        await self._ledger.record(Completed(file, recovered))
        self._concluded = True
        self._ledger.tell(events.Completed, file=file, recovered=recovered)

    async def _conclude(self, asking: Awaitable[Outcome]) -> None:
        try:
            outcome = await asking
        except BadAnswer as error:
            await self._ledger.record(Failed(error.code, error.message))
            raise
        except OutcomeUnknown:
            await self._ledger.record(Doubted(self._asked_for))
            raise
        match outcome:
            case Done(file, recovered):
                # Or a stop that comes with the commit would leave it untold.
                await outlast(self._complete(file, recovered=recovered))
            case NotDone(reason):
                if self._ledger.state.phase is Phase.ASKED:  # a single request may not come so far
                    await self._ledger.record(CompleteRefused(self._asked_for, reason.code))
                raise reason
            case Over(why):
                await self._end(self._asked_for, why)
            case Hopeless(refusal):
                refusal = _explained(refusal, self._job, single=self._asked_for == SINGLE)
                await self._ledger.record(Failed(refusal.code, refusal.message))
                raise refusal
            case _:
                assert_never(outcome)

    @property
    def _asked_for(self) -> str:
        ask = self._ledger.state.ask
        return SINGLE if ask is None else ask.upload_id

    def _finish(self, file: RemoteFile | None, failure: Failed | None) -> RemoteFile:
        if file is not None:
            if not self._concluded:
                tell = self._ledger.tell
                tell(events.Completed, file=file, recovered=False, reused=True)
            return file
        why = f"failed: {failure.message}" if failure else "was cancelled"
        raise JobEnded(f"job {self._job.id} {why}", hint="upload the file anew")


def _explained(refusal: Rejected, job: Job, *, single: bool) -> Rejected:
    """A refusal of the content, with what it can mean where that is known."""
    about = complaint(refusal.answer) if refusal.answer else Complaint.OTHER
    why = _ALTERED.get(about)
    if single and about is Complaint.SIZE:
        why = (
            f"it is {size_text(job.size)} in one request, and --method uploads sends parts where "
            "a server takes them"
        )
    if why is None:
        return refusal
    return Rejected(f"{refusal.message}; {why}; no File was made", answer=refusal.answer)
