"""Send one part until it has a receipt or is hopeless.

The request is plain and could travel to another machine; the hands that carry it out are
local, and are never sent anywhere.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from chunkup.api import Api
from chunkup.body import FormBody
from chunkup.errors import ChunkupError, ServerTrouble, Unreachable
from chunkup.models import Part, Receipt, Source
from chunkup.pool import GivenBack, Slot, SlotPool
from chunkup.reading import Readers
from chunkup.retry import Policy, Retry


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

    ``moved`` hears how many bytes of the part the peer has acknowledged: 0 when an attempt
    starts over, None when the part waits for a slot again. ``wait_limit`` is the longest wait
    worth making, in seconds.
    """

    api: Api
    readers: Readers
    policy: Policy
    slots: SlotPool
    moved: Callable[[Part, int | None], None]
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

    def moved(slot: Slot, sent: int) -> None:
        slot.moved(sent)
        hands.moved(part, sent)

    async def attempt(slot: Slot) -> Receipt:
        nonlocal lost
        slot.begin()
        hands.moved(part, 0)
        chunks = hands.readers.read(request.source, part, request.read_size)
        body = FormBody(chunks, part.size)
        try:
            part_id = await hands.api.add_part(
                request.upload_id, body, lambda sent: moved(slot, sent)
            )
        except asyncio.CancelledError:
            # What was handed over to the last byte may arrive without us.
            lost = lost or body.xxh3 is not None
            raise
        finally:
            # What a gateway sent before its last attempt may have been stored as well.
            lost = lost or body.repeated
        moved(slot, part.size)
        slot.accepted()
        return Receipt(part, part_id, body.xxh3 or "")

    async def attempt_in_slot() -> Receipt:
        nonlocal lost
        while True:
            try:
                async with hands.slots.slot(part.size, request.upload_id) as slot:
                    # A pause may have begun while this part waited for its slot.
                    await hands.policy.gate.passed()
                    return await attempt(slot)
            except GivenBack:
                hands.moved(part, None)  # nobody's fault, so it costs no retry
            except ChunkupError as error:
                lost = lost or may_have_happened(error)
                raise

    try:
        receipt = await hands.policy.persist(
            attempt_in_slot,
            wait_limit=hands.wait_limit,
            on_retry=lambda retry: hands.on_retry(part, retry),
            gated=False,  # in its slot it does that itself
        )
    except ChunkupError as error:
        return Refusal(error, lost)
    return Sent(receipt, lost)


def may_have_happened(error: ChunkupError) -> bool:
    """Whether the request that ended so may have been carried out nevertheless."""
    if isinstance(error, Unreachable):
        return error.sent
    return isinstance(error, ServerTrouble)
