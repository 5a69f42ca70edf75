"""One part until it has a receipt or is hopeless, and what is known about lost answers."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import Caller, answering, listening, opened, reply
from xxhash import xxh3_128

from chunkup.key import KeySource
from chunkup.models import Part, Plan, Receipt, Source, Span
from chunkup.pool import SlotPool
from chunkup.reading import Readers
from chunkup.retry import Policy, Retry
from chunkup.slots import Slots
from chunkup.source import inspect
from chunkup.worker import Hands, PartRequest, Refusal, Sent, send_part

PART = 1 << 16
TAKEN = reply({"id": "part_1"})


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.retry.backoff", lambda attempt, chance: 0.0)


@dataclass
class Bench:
    """Hands at a server, and a file to send."""

    hands: Hands
    source: Source
    moved: list[tuple[Part, int | None]] = field(default_factory=list)
    retries: list[tuple[Part, Retry]] = field(default_factory=list)

    async def send(self, part: Part | None = None) -> Sent | Refusal:
        part = part or self.source.span
        return await send_part(PartRequest("upload_1", self.source, part, 10_000), self.hands)


def make_source(path: Path, content: bytes) -> Source:
    path.write_bytes(content)
    real, found = inspect(path)
    return Source(real, Span(0, found.size), found)


@asynccontextmanager
async def bench(
    url: str,
    source: Source,
    *,
    retries: int = 3,
    slots: int = 2,
    limit: float = 900.0,
    key: KeySource | str = "sk-test",
) -> AsyncIterator[Bench]:
    readers = Readers(threads=1)
    moved: list[tuple[Part, int | None]] = []
    repeated: list[tuple[Part, Retry]] = []
    async with opened(url, key=key) as api:
        hands = Hands(
            api=api,
            readers=readers,
            policy=Policy(retries, offline_wait=0.0),
            slots=SlotPool(Slots(slots)),
            moved=lambda part, sent: moved.append((part, sent)),
            on_retry=lambda part, retry: repeated.append((part, retry)),
            wait_limit=lambda: limit,
        )
        try:
            yield Bench(hands, source, moved, repeated)
        finally:
            readers.close()


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return make_source(tmp_path / "a.bin", random.Random(4).randbytes(PART))


def sent_in(body: bytes) -> bytes:
    """The part inside a multipart body."""
    head, _, rest = body.partition(b"\r\n\r\n")
    boundary = head.split(b"\r\n")[0]
    return rest.removesuffix(b"\r\n" + boundary + b"--\r\n")


# --- the whole part, at every attempt -------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from([1, PART - 1, PART, PART + 1, 3 * PART]),
    st.lists(st.floats(0, 1), max_size=3),
)
def test_every_attempt_sends_the_whole_part_wherever_the_ones_before_were_cut(
    tmp_path_factory: pytest.TempPathFactory, size: int, cuts: list[float]
) -> None:
    content = random.Random(size).randbytes(size)
    source = make_source(tmp_path_factory.mktemp("cut") / "a.bin", content)
    left: list[float] = []

    async def serve(caller: Caller) -> None:
        while True:
            head = await caller.head()
            if left:
                length = int(head.headers["content-length"])
                await caller.reader.readexactly(int(length * left.pop(0)))
                caller.reset()
                return
            await caller.rest(head)
            await caller.say(reply({"id": f"part_{len(caller.asked)}"}))

    async def send() -> None:
        parts = Plan(source.span, PART).parts()
        async with listening(serve) as wire, bench(wire.url, source) as hands:
            for part in parts:
                left[:] = cuts
                result = await hands.send(part)
                assert isinstance(result, Sent)
                piece = content[part.start : part.stop]
                digest = xxh3_128(piece).hexdigest()
                assert result.receipt == Receipt(part, f"part_{len(wire.asked)}", digest)
                assert sent_in(wire.asked[-1].body) == piece
                assert result.lost is bool(cuts)
            assert len(wire.asked) == len(parts)
            assert len(hands.retries) == len(cuts) * len(parts)

    asyncio.run(send())


async def test_each_attempt_is_told_to_start_from_nothing(source: Source) -> None:
    replies = reply({"error": {}}, 500), reply({"error": {}}, 503), TAKEN
    async with listening(answering(*replies)) as wire, bench(wire.url, source) as hands:
        await hands.send()
        assert [moved for moved in hands.moved if moved[1] == 0] == [(source.span, 0)] * 3
        assert [retry.attempt for _, retry in hands.retries] == [1, 2]


# --- slots and gates ------------------------------------------------------------------------


async def test_no_more_parts_are_on_the_wire_than_there_are_slots(tmp_path: Path) -> None:
    content = bytes(20)
    source = make_source(tmp_path / "a.bin", content)
    now, most, full = 0, 0, asyncio.Event()

    async def serve(caller: Caller) -> None:
        nonlocal now, most
        while True:
            await caller.request()
            now += 1
            most = max(most, now)
            if now == 3:
                full.set()
            await full.wait()
            now -= 1
            await caller.say(TAKEN)

    async with listening(serve) as wire, bench(wire.url, source, slots=3) as hands:
        parts = Plan(source.span, 1).parts()
        results = await asyncio.gather(*(hands.send(part) for part in parts))
    assert all(isinstance(result, Sent) for result in results)
    assert most == 3


async def test_a_part_that_waited_for_its_slot_heeds_a_pause_that_began_meanwhile(
    source: Source,
) -> None:
    loop = asyncio.get_running_loop()
    async with listening(answering(TAKEN)) as wire, bench(wire.url, source, slots=1) as hands:
        async with hands.hands.slots.slot(1):
            sending = asyncio.ensure_future(hands.send())
            for _ in range(10):
                await asyncio.sleep(0)
            asked = loop.time()
            hands.hands.policy.gate.ask(0.3)
        assert isinstance(await sending, Sent)
        assert loop.time() - asked >= 0.3


async def test_a_cancelled_part_gives_its_slot_back_and_leaves_nothing(source: Source) -> None:
    arrived = asyncio.Event()

    async def serve(caller: Caller) -> None:
        await caller.request()
        arrived.set()
        await caller.for_ever()

    before = asyncio.all_tasks()
    async with listening(serve) as wire, bench(wire.url, source, slots=1) as hands:
        sending = asyncio.ensure_future(hands.send())
        await arrived.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        async with asyncio.timeout(5), hands.hands.slots.slot(1):
            pass
    assert asyncio.all_tasks() == before
