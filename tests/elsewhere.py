"""What tests that block need: something asynchronous that lives on a loop of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TypeVar

from aiohttp import web

from chunkup.server.app import start

_Opened = TypeVar("_Opened")


@contextmanager
def in_a_thread(opening: Callable[[], AbstractAsyncContextManager[_Opened]]) -> Iterator[_Opened]:
    """Open it in a thread with a loop, and close it there."""
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, _Opened]] = Future()

    async def live() -> None:
        stop = asyncio.Event()
        try:
            async with opening() as opened:
                ready.set_result((asyncio.get_running_loop(), stop, opened))
                await stop.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    try:
        loop, stop, opened = ready.result(timeout=30)
        try:
            yield opened
        finally:
            loop.call_soon_threadsafe(stop.set)
    finally:
        thread.join()


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[str]:
    """The base URL of an application while it listens on loopback."""
    runner, url = await start(app)
    try:
        yield url
    finally:
        await runner.cleanup()
