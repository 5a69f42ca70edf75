"""One job's use of the line: its parts in flight, its repeated requests, its goodput."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

from chunkup import events
from chunkup.api import Api
from chunkup.errors import (
    BadAnswer,
    ChunkupError,
    NotFound,
    Rejected,
    Throttled,
    TooSlow,
    Unreachable,
)
from chunkup.finalizer import Finalizer, surely_not_done
from chunkup.ledger import Ledger
from chunkup.machine import Accepted, AnswerLost, Send, next_action
from chunkup.models import Options, Part, Upload
from chunkup.pace import Meter, lateness
from chunkup.planner import cut
from chunkup.proof import Proof
from chunkup.provider import Complaint, complaint
from chunkup.retry import Policy, Retry
from chunkup.search import Search
from chunkup.source import Readers
from chunkup.text import size_text
from chunkup.worker import Hands, PartRequest, Refusal, Sent, SlotPool, send_part

_Result = TypeVar("_Result")
_Flights = dict[asyncio.Task[Sent | Refusal], Part]

_TICK: Final = 1.0
# An estimate from less than this many seconds is a guess.
_JUDGE_AFTER: Final = 20.0


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
        self._meter = Meter(time.monotonic())
        self._told = 0.0
        self._late_for: str | None = None
        # None until an attempt begins: a part may wait long for a slot that all jobs share.
        self._flying: dict[Part, int | None] = {}
        self._retries = 0

    @property
    def average(self) -> float:
        """Goodput of this Upload so far in this run, in bytes a second."""
        return self._meter.average()

    def begin_upload(self) -> None:
        """A new Upload begins, and with it a new measurement: its bytes start from none."""
        self._meter = Meter(time.monotonic())

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
        self._flying.clear()
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
            results = [task.result() for task in done]
            for task in done:
                self._flying.pop(flights.pop(task), None)
            ended = None
            # Receipts first: what ends the Upload, or the run, must not cost what arrived.
            for result in sorted(results, key=lambda result: isinstance(result, Refusal)):
                ended = await self._take(upload_id, result) or ended
            self._progress()
            if ended is not None:
                return ended

    def _launch(self, group: asyncio.TaskGroup, action: Send, flights: _Flights) -> None:
        free = max(0, self._shop.slots.slots.count - len(flights))
        busy = sorted(flights.values())
        hands = Hands(
            api=self._shop.api,
            readers=self._shop.readers,
            policy=self._shop.policy,
            slots=self._shop.slots,
            moved=self._moved,
            on_retry=self._part_repeated,
            wait_limit=self._wait_limit,
        )
        read_size = self._shop.options.read_size
        part_size = self._ledger.job.part_size
        for part in islice(cut(action.missing, busy, part_size), free):
            request = PartRequest(action.upload_id, self._proof.source, part, read_size)
            self._flying[part] = None
            flights[group.create_task(send_part(request, hands))] = part

    async def _take(self, upload_id: str, result: Sent | Refusal) -> str | None:
        """Record what became of a part; the reason if it ended this Upload."""
        if result.lost and not self._ledger.state.answer_lost:
            await self._ledger.record(AnswerLost(upload_id))
        if isinstance(result, Refusal):
            return self._refused(result.error)
        receipt = result.receipt
        if receipt.part_id in self._ledger.state.part_ids:
            raise BadAnswer(
                f"the server gave the id {receipt.part_id!r} to two parts; nothing was completed"
            )
        await self._ledger.record(Accepted(upload_id, receipt))
        self._shop.slots.slots.accepted(self._meter.rate())
        self._ledger.tell(
            events.PartAccepted,
            start=receipt.span.start,
            stop=receipt.span.stop,
            part_id=receipt.part_id,
            done=self._ledger.state.done,
            size=self._ledger.job.size,
        )
        return None

    def _refused(self, error: ChunkupError) -> str:
        """The reason for which a refused part ends its Upload.

        Raises:
            ChunkupError: The refusal is about more than this Upload.
        """
        about = complaint(error.answer) if error.answer else Complaint.OTHER
        if not isinstance(error, Rejected) or surely_not_done(error):
            raise error
        if about is Complaint.EXPIRED:
            return "expired"
        if isinstance(error, NotFound):
            return "gone"
        if about is Complaint.SIZE and self._ledger.state.answer_lost:
            return "miscounted"
        raise error

    # --- measuring --------------------------------------------------------------------------

    def _moved(self, part: Part, sent: int) -> None:
        if part in self._flying:
            self._flying[part] = sent

    def _part_repeated(self, part: Part, retry: Retry) -> None:
        error = retry.error
        if isinstance(error, Throttled):
            self._repeated(retry)
            return
        self._count(retry)
        self._ledger.tell(
            events.PartRetried,
            start=part.start,
            stop=part.stop,
            attempt=retry.attempt,
            wait=retry.wait,
            code=error.code,
            message=error.message,
        )

    def _repeated(self, retry: Retry) -> None:
        self._count(retry)
        self._ledger.tell(events.Paused, wait=retry.wait, message=retry.error.message)

    def _count(self, retry: Retry) -> None:
        self._retries += 1
        if isinstance(retry.error, Throttled | Unreachable):
            self._shop.slots.slots.trouble(time.monotonic())

    def _wait_limit(self) -> float:
        left = self._expires_in()
        return self._shop.options.wait_limit if left is None else max(0.0, left)

    def _expires_in(self) -> float | None:
        upload = self._ledger.state.upload
        if upload is None or upload.expires_at is None:
            return None
        return upload.expires_at - self._shop.api.server_now()

    def _progress(self) -> None:
        now, done = time.monotonic(), self._ledger.state.done
        begun = [sent for sent in self._flying.values() if sent is not None]
        sent = sum(begun)
        self._meter.sample(now, done + sent)
        if now - self._told < _TICK:
            return
        self._told = now
        rate, left = self._meter.rate(), self._expires_in()
        self._ledger.tell(
            events.Progress,
            size=self._ledger.job.size,
            done=done,
            sent=sent,
            rate=rate,
            in_flight=len(begun),
            retries=self._retries,
            expires_in=left,
        )
        upload = self._ledger.state.upload
        if left is None or upload is None or self._late_for == upload.id:
            return
        late = lateness(self._ledger.job.size - done - sent, rate, left)
        if late > 0 and now - self._meter.started >= _JUDGE_AFTER:
            self._late_for = upload.id
            self._ledger.tell(events.Late, seconds=late, rate=rate)
            if self._shop.options.fail_if_late:
                raise TooSlow(
                    f"at {size_text(rate)}/s the Upload expires before its end; it takes a "
                    "faster link or smaller files"
                )
