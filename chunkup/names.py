"""Names to addresses, on threads that nobody waits for.

A name service that is gone says so after half a minute, and can't be interrupted.
"""

import asyncio
import socket
from functools import partial
from typing import Any, cast

from aiohttp import ThreadedResolver

from chunkup.aside import aside


def resolver() -> ThreadedResolver:
    """What aiohttp asks for addresses; make it inside the running loop that will use it."""
    return ThreadedResolver(cast("asyncio.AbstractEventLoop", _Lookups()))


class _Lookups:
    """The two calls of a loop that aiohttp makes for names."""

    async def getaddrinfo(self, *what: Any, **how: Any) -> list[Any]:
        return await aside(partial(socket.getaddrinfo, *what, **how))

    async def getnameinfo(self, *what: Any) -> tuple[str, str]:
        return await aside(partial(socket.getnameinfo, *what))
