"""Names are looked up where nobody waits for them."""

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_api import Call, every_call
from wire import answering, listening, opened, reply

from chunkup.aside import aside
from chunkup.errors import ChunkupError
from chunkup.names import _Lookups, resolver


@every_call
async def test_no_call_needs_the_threads_that_are_waited_for_at_the_end(call: Call) -> None:
    loop, done = asyncio.get_running_loop(), threading.Event()
    full = ThreadPoolExecutor(1)
    loop.set_default_executor(full)
    try:
        full.submit(done.wait)
        async with (
            listening(answering(reply({"error": {"message": "as you wish"}}, 400))) as wire,
            opened(wire.url.replace("127.0.0.1", "localhost")) as api,
            asyncio.timeout(5),
        ):
            with pytest.raises(ChunkupError, match="as you wish"):
                await call(api)
    finally:
        done.set()


def test_a_look_up_that_hangs_holds_up_no_end() -> None:
    done = threading.Event()

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(aside(lambda: done.wait(30)), 0.05)

    began = time.monotonic()
    asyncio.run(ask())
    assert time.monotonic() - began < 10
    (thread,) = [each for each in threading.enumerate() if each.name == "chunkup-aside"]
    assert thread.daemon, "nor the end of the program"
    done.set()
    thread.join()  # its answer is for nobody: a warning would fail this test


async def test_an_answer_that_comes_too_late_is_dropped() -> None:
    loop, done, over = asyncio.get_running_loop(), threading.Event(), asyncio.Event()
    heard: list[object] = []
    loop.set_exception_handler(lambda _, context: heard.append(context))
    waiting = asyncio.ensure_future(aside(lambda: done.wait(30)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    (thread,) = [each for each in threading.enumerate() if each.name == "chunkup-aside"]
    done.set()
    await asyncio.to_thread(thread.join)
    loop.call_soon(over.set)
    await over.wait()
    assert not heard


async def test_what_the_system_says_is_what_is_heard() -> None:
    found = await resolver().resolve("localhost", 80, socket.AF_INET)
    assert [(each["host"], each["port"]) for each in found] == [("127.0.0.1", 80)]
    with pytest.raises(socket.gaierror):
        await _Lookups().getaddrinfo("not a number", None, flags=socket.AI_NUMERICHOST)
    assert await _Lookups().getnameinfo(
        ("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    ) == ("127.0.0.1", "80")
