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
from chunkup.finalizer import Done, Finalizer, Hopeless, NotDone, Outcome, Over
from chunkup.ledger import Ledger
from chunkup.link import Link, Workshop
from chunkup.machine import (
    AnswerLost,
    Ask,
    Cancelled,
    CompleteAsked,
    Completed,
    CompleteRefused,
    Create,
    Created,
    End,
    Failed,
    Finish,
    GenerationEnded,
    Phase,
    Send,
    Settle,
    next_action,
)
from chunkup.models import Job, RemoteFile, Upload
from chunkup.planner import cut
from chunkup.proof import Proof
from chunkup.text import duration_text, size_text


class Run:
    """One run. ``same_account`` is false for a job of another account: nothing is created then.

    ``continued`` says whether the job existed before.
    """

    def __init__(
        self, ledger: Ledger, shop: Workshop, *, continued: bool, same_account: bool
    ) -> None:
        self._ledger = ledger
        self._shop = shop
        self._continued = continued
        self._same_account = same_account
        self._proof = Proof(ledger.job, shop.slots)
        self._link = Link(ledger, shop, self._proof)
        self._created = 0
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
                    case Settle(ask):
                        await self._conclude(self._finalizer.settle(ask), ask)
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
        if state.phase is not Phase.SENDING or state.upload is None:
            return
        if not state.answer_lost:
            # What was in flight when the last run ended may be stored all the same.
            await self._ledger.record(AnswerLost(state.upload.id))
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
                f"{self._created} Uploads were lost before {size_text(size)} were through",
                hint="send it over a faster link, or cut it into smaller files",
            )
        if rate > 0 and self._life is not None and size / rate > self._life:
            raise TooSlow(
                f"at {size_text(rate)}/s {size_text(size)} need {duration_text(size / rate)}, "
                f"and an Upload lives {duration_text(self._life)}",
                hint="send it over a faster link, or cut it into smaller files",
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
            f"job {self._job.id} belongs to another account, and {why}",
            hint="set that account's key and resume, or upload the file anew with --fresh",
        )

    async def _ask(self, action: Ask) -> None:
        state = self._ledger.state
        md5 = action.proof.md5 if action.proof else await self._proof.complete(state)
        ask = CompleteAsked(action.upload_id, action.part_ids, md5, self._shop.api.server_now())
        await self._ledger.record(ask)
        self._ledger.tell(events.Completing, md5=md5)
        await self._conclude(self._finalizer.ask(ask), ask)

    async def _conclude(self, asking: Awaitable[Outcome], ask: CompleteAsked) -> None:
        try:
            outcome = await asking
        except BadAnswer as error:
            await self._ledger.record(Failed(error.code, error.message))
            raise
        match outcome:
            case Done(file, recovered):
                await self._ledger.record(Completed(file, recovered))
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

    @property
    def _finalizer(self) -> Finalizer:
        return finalizer_of(self._ledger, self._shop, self._link)

    def _finish(self, file: RemoteFile | None, failure: Failed | None) -> RemoteFile:
        if file is not None:
            return file
        why = f"failed: {failure.message}" if failure else "was cancelled"
        raise JobEnded(f"job {self._job.id} {why}", hint="upload the file anew")


def finalizer_of(ledger: Ledger, shop: Workshop, link: Link) -> Finalizer:
    """The finalizer of a job's open Upload."""
    return Finalizer(
        api=shop.api,
        job=ledger.job,
        upload=ledger.state.upload or Upload("", 0, None),
        answer_lost=ledger.state.answer_lost,
        claimed=ledger.claimed_files,
        reach=link.reach,
        looks=shop.options.looks,
        patience=shop.options.patience,
    )


async def cancel(ledger: Ledger, shop: Workshop) -> RemoteFile | None:
    """End a claimed job here and on the server; the File if it turns out to exist already.

    Raises:
        ChunkupError: The server could not be asked; the job is as it was.
    """
    await ledger.load()
    state = ledger.state
    finalizer = finalizer_of(ledger, shop, Link(ledger, shop, Proof(ledger.job, shop.slots)))
    match next_action(state, now=0.0):
        case Finish(file, failure):
            if file is None and failure is not None:
                raise JobEnded(f"job {ledger.job.id} failed already: {failure.message}")
            return file
        case Settle(ask):
            found = await finalizer.find(ask.asked_at)
            if found:
                return await _keep(ledger, found)
            if not await finalizer.cancel():
                raise OutcomeUnknown(
                    "the server says that the Upload has ended, and no File of it is listed",
                    hint=f"look again later with: chunkup resume {ledger.job.id}",
                )
        case Create():
            pass
        case _:
            await finalizer.cancel()
    await ledger.record(Cancelled())
    return None


async def _keep(ledger: Ledger, found: list[RemoteFile]) -> RemoteFile:
    if len(found) > 1:
        ids = tuple(file.id for file in reversed(found))
        raise OutcomeUnknown(
            f"the upload may have become one of these Files: {', '.join(ids)}",
            candidates=ids,
            hint="compare them; nothing was cancelled",
        )
    await ledger.record(Completed(found[0], recovered=True))
    return found[0]
