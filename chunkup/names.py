"""Names to addresses, on threads that nobody waits for.

A name service that is gone says so after half a minute, and can't be interrupted. On the loop's
own threads, which are waited for at the end, it would hold up every stop for as long.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, cast

from aiohttp import ThreadedResolver

_Result = TypeVar("_Result")


def resolver() -> ThreadedResolver:
    """What aiohttp asks for addresses; make it inside the running loop that will use it."""
    return ThreadedResolver(cast("asyncio.AbstractEventLoop", _Lookups()))


class _Lookups:
    """The two calls of a loop that aiohttp makes for names."""

    async def getaddrinfo(self, *what: Any, **how: Any) -> list[Any]:
        return await _aside(partial(socket.getaddrinfo, *what, **how))

    async def getnameinfo(self, *what: Any) -> tuple[str, str]:
        return await _aside(partial(socket.getnameinfo, *what))


async def _aside(work: Callable[[], _Result]) -> _Result:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_Result] = loop.create_future()

    def run() -> None:
        try:
            settle: Callable[[], None] = partial(answer.set_result, work())
        except Exception as error:  # noqa: BLE001  (it is raised where it is awaited)
            settle = partial(answer.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know any longer
            loop.call_soon_threadsafe(lambda: None if answer.done() else settle())

    threading.Thread(target=run, name="chunkup-names", daemon=True).start()
    return await answer
