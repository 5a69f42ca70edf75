"""Connections that break, and answers that come before the request is through."""

import asyncio
import gc
import random
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_api import CALLS, Call, every_call
from wire import Caller, body_of, listening, opened, reply, silent

from chunkup.api import Api
from chunkup.body import FormBody
from chunkup.errors import (
    ChunkupError,
    Rejected,
    ServerTrouble,
    Throttled,
    Unauthorized,
    Unreachable,
)
from chunkup.models import MIB

TAKEN = reply({"id": "part_1"})
# More than the buffers of both systems hold on their way.
BIG = bytes(16 * MIB)


def send_big(api: Api) -> Awaitable[str]:
    return api.add_part("upload_1", body_of(BIG), silent)


# --- a connection that breaks ---------------------------------------------------------------


async def reset_at_once(caller: Caller) -> None:
    caller.reset()


async def reset_after_the_head(caller: Caller) -> None:
    await caller.head()
    caller.reset()


async def close_after_the_head(caller: Caller) -> None:
    await caller.head()


async def reset_after_the_body(caller: Caller) -> None:
    await caller.request()
    caller.reset()


async def close_after_the_body(caller: Caller) -> None:
    await caller.request()


async def reset_in_the_answer(caller: Caller) -> None:
    await caller.request()
    await caller.say(reply({"id": "part_1"})[:-5])
    caller.reset()


BREAKS = [
    reset_at_once,
    reset_after_the_head,
    close_after_the_head,
    reset_after_the_body,
    close_after_the_body,
    reset_in_the_answer,
]


@every_call
@pytest.mark.parametrize("serve", BREAKS)
async def test_a_connection_that_breaks_leaves_the_outcome_open(
    call: Call, serve: Callable[[Caller], Awaitable[None]]
) -> None:
    async with listening(serve) as wire, opened(wire.url) as api:
        with pytest.raises(Unreachable) as caught:
            await call(api)
    assert caught.value.sent
    assert caught.value.retryable


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 3 * MIB))
def test_a_part_that_is_cut_anywhere_is_not_taken_for_sent(taken: int) -> None:
    async def serve(caller: Caller) -> None:
        await caller.head()
        await caller.reader.readexactly(taken)
        caller.reset()

    async def send() -> None:
        async with listening(serve) as wire, opened(wire.url) as api:
            body = body_of(random.Random(taken).randbytes(3 * MIB))
            with pytest.raises(Unreachable) as caught:
                await api.add_part("upload_1", body, silent)
            assert caught.value.sent

    asyncio.run(send())


async def test_an_idle_connection_that_the_server_closed_is_not_an_error_for_long() -> None:
    """The part is sent anew by whoever retries; here it only has to be told as lost."""

    async def serve(caller: Caller) -> None:
        await caller.request()
        await caller.say(TAKEN)

    async with listening(serve) as wire, opened(wire.url) as api:
        for _ in range(5):
            for _ in range(2):
                try:
                    assert await CALLS["part"](api) == "part_1"
                except Unreachable as error:
                    assert error.retryable  # noqa: PT017  (it may succeed as well)
                    continue
                break


# --- early answers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, Unauthorized), (413, Rejected), (429, Throttled), (500, ServerTrouble)],
)
@pytest.mark.parametrize("ending", ["hold", "finish", "drain"])
async def test_a_refusal_that_comes_while_the_body_is_sent_is_heard(
    status: int, expected: type[ChunkupError], ending: str
) -> None:
    async def serve(caller: Caller) -> None:
        await caller.head()
        await caller.reader.readexactly(100_000)
        refusal = reply({"error": {"message": "no"}}, status, {"Connection": "close"})
        await caller.say(refusal)
        if ending == "hold":
            await caller.for_ever()
        if ending == "finish":
            caller.writer.write_eof()
        while await caller.reader.read(1 << 20):
            pass

    async with listening(serve) as wire, opened(wire.url) as api:
        with pytest.raises(expected) as caught:
            await send_big(api)
    assert caught.value.answer is not None
    assert caught.value.answer.status == status


@pytest.mark.parametrize("ending", ["hold", "finish", "close", "drain"])
@pytest.mark.parametrize("taken", [0, 100_000, 5 * MIB])
async def test_a_success_to_a_part_that_is_not_through_is_none(taken: int, ending: str) -> None:
    """aiohttp returns such an answer as a 200 like any other."""

    async def serve(caller: Caller) -> None:
        await caller.head()
        await caller.reader.readexactly(taken)
        await caller.say(TAKEN)
        if ending == "close":
            return
        if ending == "finish":
            caller.writer.write_eof()
        if ending == "drain":
            while await caller.reader.read(1 << 20):
                pass
        await caller.for_ever()

    async with listening(serve, window=1 << 16) as wire, opened(wire.url) as api:
        with pytest.raises((ServerTrouble, Unreachable)) as caught:
            await send_big(api)
    assert caught.value.retryable
    if ending != "close":
        assert isinstance(caught.value, ServerTrouble)


async def test_a_success_to_a_part_whose_reader_is_slow_is_none_either() -> None:
    """Nothing is stuck in any buffer here: the rest of the part was never read."""
    answered = asyncio.Event()

    async def slow() -> AsyncGenerator[bytes, None]:
        yield b"a" * 10
        await answered.wait()
        yield b"b" * 10

    async def serve(caller: Caller) -> None:
        await caller.head()
        await caller.say(TAKEN)
        await caller.for_ever()

    async with listening(serve) as wire, opened(wire.url) as api:
        with pytest.raises(ServerTrouble):
            await api.add_part("upload_1", FormBody(slow(), 20), silent)


async def test_nothing_is_left_behind_by_requests_that_ended_badly() -> None:
    before = asyncio.all_tasks()

    async def serve(caller: Caller) -> None:
        await caller.head()
        await caller.say(reply({"error": {"message": "no"}}, 413))
        await caller.for_ever()

    async with listening(serve) as wire, opened(wire.url) as api:
        for _ in range(3):
            with pytest.raises(Rejected):
                await send_big(api)
        sending = asyncio.ensure_future(send_big(api))
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    gc.collect()
    assert asyncio.all_tasks() == before
