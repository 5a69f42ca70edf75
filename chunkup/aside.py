"""Work that blocks and cannot be interrupted, on threads that nobody waits for.

On the loop's own threads, which are waited for at the end, it would hold up every stop for as
long as it takes.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from chunkup.shortage import begin

_Result = TypeVar("_Result")


async def aside(work: Callable[[], _Result]) -> _Result:
    """Carry it out on a thread of its own; who is cancelled meanwhile leaves it to itself.

    Raises:
        Stopped: There is no thread to be had; or what ``work`` raises.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_Result] = loop.create_future()

    def run() -> None:
        try:
            settle: Callable[[], None] = partial(answer.set_result, work())
        except Exception as error:  # noqa: BLE001  (it is raised where it is awaited)
            settle = partial(answer.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know any longer
            loop.call_soon_threadsafe(lambda: None if answer.done() else settle())

    begin(threading.Thread(target=run, name="chunkup-aside", daemon=True))
    return await answer
