"""Send one part until it has a receipt or is hopeless.

The request is plain and could travel to another machine; the hands that carry it out are
local, and are never sent anywhere.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from chunkup.api import Api
from chunkup.body import PartBody
from chunkup.errors import ChunkupError, ServerTrouble, Unreachable
from chunkup.models import Part, Receipt, Source
from chunkup.pace import Slots
from chunkup.retry import Policy, Retry
from chunkup.source import Readers


class SlotPool:
    """The slots that all jobs of a process share; their number may change at any time."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        while self._busy >= self.slots.count:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake()  # the turn was given to us and must not be lost
                raise
        self._busy += 1

    async def __aexit__(self, *_: object) -> None:
        self._busy -= 1
        self._wake()

    def _wake(self) -> None:
        free = self.slots.count - self._busy
        while self._waiting and free > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1


@dataclass(frozen=True, slots=True)
class PartRequest:
    """What is to be sent where. ``read_size`` is the largest single read, in bytes."""

    upload_id: str
    source: Source
    part: Part
    read_size: int


@dataclass(frozen=True, slots=True)
class Hands:
    """What a worker works with on this machine.

    ``moved`` hears how many bytes of the part the peer has acknowledged, 0 when an attempt
    starts over. ``wait_limit`` is the longest wait worth making, in seconds.
    """

    api: Api
    readers: Readers
    policy: Policy
    slots: SlotPool
    moved: Callable[[Part, int], None]
    on_retry: Callable[[Part, Retry], None]
    wait_limit: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Sent:
    """The part is stored. ``lost``: an earlier attempt may have stored it as well."""

    receipt: Receipt
    lost: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """The part is hopeless, and why. ``lost``: it may be stored all the same."""

    error: ChunkupError
    lost: bool


async def send_part(request: PartRequest, hands: Hands) -> Sent | Refusal:
    """Send one part; never raises, cancellation apart.

    Each attempt reads the source anew, so that no attempt can send what another consumed.
    """
    part, lost = request.part, False

    async def attempt() -> Receipt:
        nonlocal lost
        hands.moved(part, 0)
        chunks = hands.readers.read(request.source, part, request.read_size)
        body = PartBody(chunks, part.size)
        try:
            part_id = await hands.api.add_part(
                request.upload_id, body, lambda sent: hands.moved(part, sent)
            )
        except ChunkupError as error:
            lost = lost or may_have_happened(error)
            raise
        return Receipt(part, part_id, body.xxh3 or "")

    async def attempt_in_slot() -> Receipt:
        async with hands.slots:
            # A pause may have begun while this part waited for its slot.
            await hands.policy.gate.passed()
            return await attempt()

    try:
        receipt = await hands.policy.persist(
            attempt_in_slot,
            wait_limit=hands.wait_limit,
            on_retry=lambda retry: hands.on_retry(part, retry),
        )
    except ChunkupError as error:
        return Refusal(error, lost)
    return Sent(receipt, lost)


def may_have_happened(error: ChunkupError) -> bool:
    """Whether the request that ended so may have been carried out nevertheless."""
    if isinstance(error, Unreachable):
        return error.sent
    return isinstance(error, ServerTrouble)
