"""A long reading in a thread of its own, which a stop ends at its next read."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from chunkup.errors import Stopped
from chunkup.patience import GRACE, patiently
from chunkup.shortage import begin

_Result = TypeVar("_Result")


class Halted(Exception):
    """Nobody waits for the work any longer. It never leaves :func:`interruptible`."""


async def interruptible(work: Callable[[Callable[[], None]], _Result]) -> _Result:
    """Carry out ``work`` in a thread; who is cancelled stops it, and waits until it ends or hangs.

    ``work`` gets what it has to call at every read; that raises once it has to end.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_Result] = loop.create_future()
    stop = threading.Event()

    def halt() -> None:
        if stop.is_set():
            raise Halted

    def run() -> None:
        try:
            settle: Callable[[], None] = partial(answer.set_result, work(halt))
        except Exception as error:  # noqa: BLE001  (it is raised where it is awaited)
            settle = partial(answer.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know any longer
            loop.call_soon_threadsafe(settle)

    thread = threading.Thread(target=run, name="chunkup-check", daemon=True)
    begin(thread)
    try:
        return await asyncio.shield(answer)
    except asyncio.CancelledError:
        stop.set()
        answer.add_done_callback(lambda late: late.cancelled() or late.exception())
        with suppress(Halted, Stopped):  # its disk hangs, and it has to be left to itself
            await patiently(answer, "", GRACE)
        raise
    finally:
        # It has answered, and only has to return still.
        if answer.done():
            thread.join()
