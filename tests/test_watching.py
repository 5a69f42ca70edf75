"""Real clocks: a part that stands still is cut, one that moves is not."""

import asyncio
import time

import pytest
from test_api import CALLS
from wire import Caller, answering, body_of, listening, opened, reply, silent

from chunkup.errors import Unreachable
from chunkup.models import MIB

STALL = 1.0
TAKEN = reply({"id": "part_1"})
WINDOW = 32 << 10


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.watching._TICK", 0.05)


@pytest.mark.parametrize("taken", [0, 300_000])
async def test_a_server_that_stops_reading_is_cut(taken: int) -> None:
    async def serve(caller: Caller) -> None:
        await caller.head()
        await caller.reader.readexactly(taken)
        await caller.for_ever()

    began = time.monotonic()
    async with listening(serve, window=WINDOW) as wire, opened(wire.url, stall=STALL) as api:
        with pytest.raises(Unreachable, match="no byte moved") as caught:
            await api.add_part("upload_1", body_of(bytes(8 * MIB)), silent)
    assert caught.value.sent
    assert caught.value.retryable
    assert time.monotonic() - began >= STALL


async def test_a_server_that_takes_everything_and_never_answers_is_cut_later() -> None:
    async def serve(caller: Caller) -> None:
        await caller.request()
        await caller.for_ever()

    began = time.monotonic()
    async with listening(serve) as wire, opened(wire.url, stall=STALL) as api:
        with pytest.raises(Unreachable, match="no answer came") as caught:
            await api.add_part("upload_1", body_of(bytes(MIB)), silent)
    assert caught.value.sent
    assert time.monotonic() - began >= 2 * STALL


async def test_an_answer_that_drips_for_ever_is_cut() -> None:
    async def serve(caller: Caller) -> None:
        await caller.request()
        await caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            await caller.say(b" ")
            await asyncio.sleep(0.1)  # the server's pace, not a wait for anything

    async with listening(serve) as wire, opened(wire.url, stall=0.3) as api:
        with pytest.raises(Unreachable, match="no answer came"):
            await api.add_part("upload_1", body_of(b"abc"), silent)


async def test_a_server_that_reads_slowly_but_steadily_is_not_cut() -> None:
    size = 512 << 10
    began = time.monotonic()

    async def serve(caller: Caller) -> None:
        head = await caller.head()
        left = int(head.headers["content-length"])
        while left:
            left -= len(await caller.reader.read(min(left, WINDOW)))
            await asyncio.sleep(0.15)  # the server's pace, not a wait for anything
        await caller.say(TAKEN)

    async with listening(serve, window=WINDOW) as wire, opened(wire.url, stall=STALL) as api:
        assert await api.add_part("upload_1", body_of(bytes(size)), silent) == "part_1"
    assert time.monotonic() - began > 2 * STALL, "too fast to tell anything"


async def test_a_server_that_thinks_for_less_than_twice_the_stall_time_is_not_cut() -> None:
    async def serve(caller: Caller) -> None:
        await caller.request()
        await asyncio.sleep(1.5 * STALL)  # the server's pace, not a wait for anything
        await caller.say(TAKEN)

    async with listening(serve) as wire, opened(wire.url, stall=STALL) as api:
        assert await api.add_part("upload_1", body_of(bytes(MIB)), silent) == "part_1"


async def test_complete_has_a_clock_of_its_own() -> None:
    async def serve(caller: Caller) -> None:
        await caller.request()
        await caller.for_ever()

    began = time.monotonic()
    async with (
        listening(serve) as wire,
        opened(wire.url, stall=0.1, complete=1.0) as api,
    ):
        with pytest.raises(Unreachable, match="did not answer in time") as caught:
            await api.complete("upload_1", ["part_1"], None)
    assert caught.value.sent
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize("name", ["create", "cancel", "list", "retrieve"])
async def test_small_calls_end_in_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.transport._CALL", 0.2)

    async def serve(caller: Caller) -> None:
        await caller.request()
        await caller.for_ever()

    async with listening(serve) as wire, opened(wire.url) as api:
        with pytest.raises(Unreachable) as caught:
            await CALLS[name](api)
    assert caught.value.sent


async def test_no_look_is_taken_at_a_part_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.watching._TICK", 0.0)
    told: list[int] = []
    async with listening(answering(TAKEN)) as wire, opened(wire.url) as api:
        await api.add_part("upload_1", body_of(b"abc"), told.append)
        before = len(told)
        for _ in range(20):
            await asyncio.sleep(0)
    assert len(told) == before > 0
