"""One run of one job: ask the machine what to do, do it, record it, ask again."""

from collections.abc import Awaitable
from functools import partial
from typing import assert_never

from chunkup import events
from chunkup.errors import (
    BadAnswer,
    JobEnded,
    OtherAccount,
    OutcomeUnknown,
    Rejected,
    TooSlow,
)
from chunkup.finalizer import Done, Hopeless, NotDone, Outcome, Over
from chunkup.ledger import Ledger
from chunkup.link import Link, Workshop
from chunkup.machine import (
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
    Send,
    Settle,
    State,
    next_action,
)
from chunkup.models import Job, RemoteFile, Upload
from chunkup.planner import cut
from chunkup.proof import Proof
from chunkup.text import duration_text, size_text


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
        self._proof = Proof(ledger.job, shop.slots, suspect=moved)
        self._link = Link(ledger, shop, self._proof)
        self._created = 0
        self._concluded = False
        self._life: float | None = None

    @property
    def _job(self) -> Job:
        return self._ledger.job

    async def execute(self) -> RemoteFile:
        """Go on until there is a File.

        Raises:
            ChunkupError: It failed, stopped, or cannot be known; the journal says how far.
        """
        await self._ledger.load()
        try:
            await self._prepare()
            while True:
                action = next_action(self._ledger.state, self._shop.api.server_now())
                match action:
                    case Create():
                        await self._create()
                    case Send(upload_id):
                        ended = await self._link.send(upload_id)
                        if ended is not None:
                            await self._end(upload_id, ended)
                    case Ask():
                        await self._ask(action)
                    case Settle(ask, look_only):
                        settling = self._link.finalizer.settle(ask, look_only=look_only)
                        await self._conclude(settling, ask)
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
        if state.phase in {Phase.NEW, Phase.SENDING}:
            self._proof.open(state)
        done_parts = len(state.receipts)
        self._ledger.tell(
            events.JobStarted,
            size=self._job.size,
            done=state.done,
            parts=done_parts + sum(1 for _ in cut(state.missing, (), self._job.part_size)),
            done_parts=done_parts,
            continued=self._continued,
        )
        if state.phase is Phase.SENDING and state.upload is not None:
            await self._take_up(state, state.upload)
        if self._moved and self._proof.is_open:
            await self._ledger.move(self._proof.source)

    async def _take_up(self, state: State, upload: Upload) -> None:
        """Go on with an Upload that an earlier run opened."""
        if not state.answer_lost:
            # What was in flight when the last run ended may be stored all the same.
            await self._ledger.record(AnswerLost(upload.id))
        if not self._shop.api.knows_time:
            # An Upload dies by the server's clock; ours may be wrong by hours.
            await self._link.reach(
                partial(self._shop.api.list_files, self._job.purpose, None, limit=1)
            )
        await self._proof.settle_suspicion(state)

    async def _create(self) -> None:
        if not self._same_account:
            raise self._other_account("its Upload is gone")
        if self._created:
            self._check_speed()
        if not self._proof.is_open:
            self._proof.open(self._ledger.state)
        try:
            upload = await self._link.reach(partial(self._shop.api.create, self._job))
        except Rejected as error:
            if error.answer is not None and error.answer.status in {400, 413, 415, 422}:
                await self._ledger.record(Failed(error.code, error.message))
            raise
        self._created += 1
        if upload.expires_at is not None and upload.created_at:
            self._life = float(upload.expires_at - upload.created_at)
        await self._ledger.record(Created(upload))
        self._link.begin_upload()
        self._ledger.tell(
            events.UploadCreated,
            upload_id=upload.id,
            expires_at=upload.expires_at,
            generation=self._ledger.state.generation,
        )

    def _check_speed(self) -> None:
        """A new Upload after one that was lost must have a chance to be finished.

        Raises:
            TooSlow: It has none, or enough were lost.
        """
        rate, size = self._link.average, self._job.size
        if self._created >= self._shop.options.generations:
            raise TooSlow(
                f"{self._created} Uploads ended on the server before {size_text(size)} were "
                "through; it takes a faster link or smaller files"
            )
        if rate > 0 and self._life is not None and size / rate > self._life:
            raise TooSlow(
                f"at {size_text(rate)}/s {size_text(size)} need {duration_text(size / rate)}, "
                f"and an Upload lives {duration_text(self._life)}; it takes a faster link or "
                "smaller files"
            )

    async def _end(self, upload_id: str, reason: str) -> None:
        lost = self._ledger.state.done
        if reason == "gone" and not self._same_account:
            # Invisible is not gone: its owner may still finish it.
            raise self._other_account("its Upload is not visible to this one")
        await self._ledger.record(GenerationEnded(upload_id, reason))
        self._ledger.tell(events.UploadExpired, upload_id=upload_id, reason=reason, lost=lost)

    def _other_account(self, why: str) -> OtherAccount:
        return OtherAccount(
            f"job {self._job.id} belongs to another account than the one that is set, and "
            f"{why}; with its own key it can go on"
        )

    async def _ask(self, action: Ask) -> None:
        state = self._ledger.state
        md5 = action.proof.md5 if action.proof else await self._proof.complete(state)
        ask = CompleteAsked(action.upload_id, action.part_ids, md5, self._shop.api.server_now())
        await self._ledger.record(ask)
        self._ledger.tell(events.Completing, md5=md5)
        await self._conclude(self._link.finalizer.ask(ask), ask)

    async def _conclude(self, asking: Awaitable[Outcome], ask: CompleteAsked) -> None:
        try:
            outcome = await asking
        except BadAnswer as error:
            await self._ledger.record(Failed(error.code, error.message))
            raise
        except OutcomeUnknown:
            await self._ledger.record(Doubted(ask.upload_id))
            raise
        match outcome:
            case Done(file, recovered):
                await self._ledger.record(Completed(file, recovered))
                self._concluded = True
                self._ledger.tell(events.Completed, file=file, recovered=recovered)
            case NotDone(reason):
                await self._ledger.record(CompleteRefused(ask.upload_id, reason.code))
                raise reason
            case Over(why):
                await self._end(ask.upload_id, why)
            case Hopeless(refusal):
                await self._ledger.record(Failed(refusal.code, refusal.message))
                raise refusal
            case _:
                assert_never(outcome)

    def _finish(self, file: RemoteFile | None, failure: Failed | None) -> RemoteFile:
        if file is not None:
            if not self._concluded:
                tell = self._ledger.tell
                tell(events.Completed, file=file, recovered=False, reused=True)
            return file
        why = f"failed: {failure.message}" if failure else "was cancelled"
        raise JobEnded(f"job {self._job.id} {why}", hint="upload the file anew")
