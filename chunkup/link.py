"""One job's use of the line: its parts in flight, and what is repeated."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final, TypeVar

from chunkup import events
from chunkup.api import Api
from chunkup.errors import (
    BadAnswer,
    ChunkupError,
    NotFound,
    Rejected,
    ServerTrouble,
    Throttled,
    Unreachable,
)
from chunkup.finalizer import Finalizer, surely_not_done
from chunkup.gauge import Gauge
from chunkup.ledger import Ledger
from chunkup.machine import Accepted, AnswerLost, Send, next_action
from chunkup.models import Options, Part, Upload
from chunkup.pace import Clocks
from chunkup.planner import cut
from chunkup.pool import SlotPool
from chunkup.posting import Posting
from chunkup.proof import Proof
from chunkup.reading import Readers
from chunkup.retry import Policy, Retry
from chunkup.search import Search
from chunkup.verdicts import Complaint, complaint
from chunkup.worker import Hands, PartRequest, Refusal, Sent, may_have_happened, send_part

_Result = TypeVar("_Result")
_Flights = dict[asyncio.Task[Sent | Refusal], Part]

_TICK: Final = 1.0
# Bytes: a server that refuses even such a part as too large wants something else.
_LEAST: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all runs of a process share: one journal's worth of budget, slots and sessions."""

    api: Api
    readers: Readers
    policy: Policy
    slots: SlotPool
    options: Options


class Link:
    """The line as one run of one job uses it."""

    def __init__(self, ledger: Ledger, shop: Workshop, proof: Proof) -> None:
        self._ledger = ledger
        self._shop = shop
        self._proof = proof
        self._clocks = Clocks(time.monotonic(), time.time())
        self._part_size = ledger.job.part_size
        # A part whose answer was lost may still be on its way again when a sibling is refused.
        self._answer_lost = False
        self._gauge = Gauge(
            ledger,
            behind=lambda: proof.behind,
            expires_in=self._expires_in,
            fail_if_late=shop.options.fail_if_late,
        )

    @property
    def average(self) -> float:
        """What the link carried for this Upload so far in this run, in bytes a second."""
        return self._gauge.average

    @property
    def idle(self) -> bool:
        """Whether no part is in flight, nor waits to be."""
        return self._gauge.idle

    def begin_upload(self) -> None:
        """A new Upload begins, and with it a new measurement: its bytes start from none."""
        self._answer_lost = False
        self._gauge.begin_upload()

    async def ask_time(self) -> None:
        """Have the server tell its time: an Upload dies by that, and ours may be wrong."""
        # A refusal tells it too, and neither a key nor a server need be one that lists Files.
        with suppress(Rejected, ServerTrouble):
            await self.reach(
                partial(self._shop.api.list_files, self._ledger.job.purpose, None, limit=1)
            )

    async def reach(self, request: Callable[[], Awaitable[_Result]]) -> _Result:
        """A request that may be sent again, under the policy that all share."""
        return await self._shop.policy.persist(
            request, wait_limit=self._wait_limit, on_retry=self._repeated
        )

    @property
    def finalizer(self) -> Finalizer:
        """The finalizer of the job's open Upload."""
        state, options = self._ledger.state, self._shop.options
        search = Search(
            api=self._shop.api,
            job=self._ledger.job,
            upload=state.upload or Upload("", 0, None),
            claimed=self._ledger.claimed_files,
            reach=self.reach,
        )
        return Finalizer(search, state.answer_lost, options.looks, options.patience)

    @property
    def posting(self) -> Posting:
        """The single request that makes the job's File without an Upload."""
        whole, shop = self._ledger.job.span, self._shop

        def moved(sent: int) -> None:
            self._gauge.moved(whole, sent)
            self._gauge.look()

        async def reach(request: Callable[[], Awaitable[_Result]]) -> _Result:
            self._gauge.launch(whole)
            try:
                return await shop.policy.persist(
                    request,
                    wait_limit=self._wait_limit,
                    on_retry=partial(self._part_repeated, whole),
                )
            finally:
                self._gauge.land(whole)

        return Posting(
            ledger=self._ledger,
            proof=self._proof,
            api=shop.api,
            readers=shop.readers,
            slots=shop.slots,
            moved=moved,
            repeat=reach,
            read_size=shop.options.read_size,
        )

    async def send(self, upload_id: str) -> str | None:
        """Keep the slots full until nothing is missing; the reason if the Upload ended first.

        Raises:
            ChunkupError: A part was refused for a reason that a new Upload would not cure, or
                the source changed.
        """
        flights: _Flights = {}
        ended: str | None = None
        failure: ChunkupError | None = None
        async with asyncio.TaskGroup() as group:
            try:
                ended = await self._fly(group, upload_id, flights)
            except ChunkupError as error:
                # A group would wrap it; what siblings do is decided here and not by asyncio.
                failure = error
            finally:
                for task in flights:
                    task.cancel()
        self._gauge.clear()
        if failure is not None:
            raise failure
        return ended

    async def _fly(self, group: asyncio.TaskGroup, upload_id: str, flights: _Flights) -> str | None:
        while True:
            action = next_action(self._ledger.state, self._shop.api.server_now())
            if not isinstance(action, Send):
                return None
            self._proof.advance(self._ledger.state)
            self._launch(group, action, flights)
            done, _ = await asyncio.wait(
                flights, timeout=_TICK, return_when=asyncio.FIRST_COMPLETED
            )
            results = [(flights.pop(task), task.result()) for task in done]
            for part, _ in results:
                self._gauge.land(part)
            ended = None
            # Receipts first: what ends the Upload, or the run, must not cost what arrived.
            for part, result in sorted(results, key=lambda it: isinstance(it[1], Refusal)):
                ended = await self._take(upload_id, part, result) or ended
            if ended is not None:
                return ended  # and what is lost with it is told by that
            self._gauge.look()
            if self._clocks.slept(time.monotonic(), time.time()):
                self._shop.api.transport.forget_connections()
                await self.ask_time()  # the Upload may be over since

    def _launch(self, group: asyncio.TaskGroup, action: Send, flights: _Flights) -> None:
        free = max(0, self._shop.slots.slots.count - len(flights))
        busy = sorted(flights.values())
        hands = Hands(
            api=self._shop.api,
            readers=self._shop.readers,
            policy=self._shop.policy,
            slots=self._shop.slots,
            moved=self._gauge.moved,
            on_retry=self._part_repeated,
            wait_limit=self._wait_limit,
        )
        read_size = self._shop.options.read_size
        for part in islice(cut(action.missing, busy, self._part_size), free):
            request = PartRequest(action.upload_id, self._proof.source, part, read_size)
            self._gauge.launch(part)
            flights[group.create_task(send_part(request, hands))] = part

    async def _take(self, upload_id: str, part: Part, result: Sent | Refusal) -> str | None:
        """Record what became of a part; the reason if it ended this Upload."""
        if result.lost and not self._ledger.state.answer_lost:
            await self._ledger.record(AnswerLost(upload_id))
        if isinstance(result, Refusal):
            return self._refused(part, result.error)
        receipt = result.receipt
        if receipt.part_id in self._ledger.state.part_ids:
            raise BadAnswer(
                f"the server gave the id {receipt.part_id!r} to two parts; nothing was completed"
            )
        await self._ledger.record(Accepted(upload_id, receipt))
        self._ledger.tell(
            events.PartAccepted,
            start=receipt.span.start,
            stop=receipt.span.stop,
            part_id=receipt.part_id,
            done=self._ledger.state.done,
            size=self._ledger.job.size,
        )
        return None

    def _refused(self, part: Part, error: ChunkupError) -> str | None:
        """The reason for which a refused part ends its Upload, or None if smaller ones go on.

        Raises:
            ChunkupError: The refusal is about more than this Upload.
        """
        about = complaint(error.answer) if error.answer else Complaint.OTHER
        if not isinstance(error, Rejected) or surely_not_done(error):
            raise error
        if about in {Complaint.EXPIRED, Complaint.CANCELLED, Complaint.ENDED}:
            return about.value  # whatever became of it, it takes no more parts
        if isinstance(error, NotFound) or about is Complaint.ABSENT:
            return "gone"
        if about is Complaint.SIZE and (self._answer_lost or self._ledger.state.answer_lost):
            return "miscounted"
        if error.answer is not None and error.answer.status == 413:
            smaller = part.size // 2
            if smaller >= _LEAST:
                # Its stretch is missing again, and is cut anew with all that is not sent yet.
                self._part_size = min(self._part_size, smaller)
                self._tell_retried(part, Retry(1, 0.0, error))
                return None
            job = self._ledger.job
            error.hint = f"chunkup resume {job.id} --part-size {max(1, part.size // 4)}"
        raise error

    # --- what is repeated -------------------------------------------------------------------

    def _part_repeated(self, part: Part, retry: Retry) -> None:
        self._answer_lost |= may_have_happened(retry.error)
        self._gauge.moved(part, None)  # what it had sent is lost, and counts no more
        if isinstance(retry.error, Throttled):
            self._repeated(retry)
            return
        self._count(retry)
        self._tell_retried(part, retry)

    def _tell_retried(self, part: Part, retry: Retry) -> None:
        self._ledger.tell(
            events.PartRetried,
            start=part.start,
            stop=part.stop,
            attempt=retry.attempt,
            wait=retry.wait,
            code=retry.error.code,
            message=retry.error.message,
        )

    def _repeated(self, retry: Retry) -> None:
        self._count(retry)
        self._ledger.tell(events.Paused, wait=retry.wait, message=retry.error.message)

    def _count(self, retry: Retry) -> None:
        self._gauge.retries += 1
        error = retry.error
        broke = isinstance(error, Unreachable) and error.sent and not error.slept
        if broke or isinstance(error, Throttled):
            self._shop.slots.slots.trouble(time.monotonic())

    def _wait_limit(self) -> float:
        left = self._expires_in()
        return self._shop.options.wait_limit if left is None else max(0.0, left)

    def _expires_in(self) -> float | None:
        upload = self._ledger.state.upload
        if upload is None or upload.expires_at is None:
            return None
        return upload.expires_at - self._shop.api.server_now()
