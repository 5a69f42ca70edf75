"""An event loop in a thread of its own."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager


@contextmanager
def loop_in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """Run a loop for as long as the block."""
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        stop = asyncio.Event()
        ready.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()

    def work() -> None:
        try:
            # Whatever policy the tests have set: only of this loop is known how it lets go.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(live())
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    # A daemon, so that an interpreter that ends in the middle of a test ends.
    thread = threading.Thread(target=work, name="chunkup-server", daemon=True)
    thread.start()
    try:
        loop, stop = ready.result()
        try:
            yield loop
        finally:
            loop.call_soon_threadsafe(stop.set)
    finally:
        thread.join()
