"""What a fault may ask of a handler: the only traces of faults in the API itself."""

from collections.abc import Awaitable, Callable

from aiohttp import web


class Way:
    """How an answer whose body is streamed leaves the server: as it is."""

    async def prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Send the headers."""
        await response.prepare(request)

    async def write(self, response: web.StreamResponse, data: bytes) -> None:
        """Send the next bytes of the body."""
        await response.write(data)


WAY: web.RequestKey[Way] = web.RequestKey("way", Way)
"""Set in a request whose answer is to leave in another way."""

GARBLED: web.RequestKey[bool] = web.RequestKey("garbled", bool)
"""Set in a request whose content is to be stored with one bit flipped."""

HOLD: web.RequestKey[Callable[[], Awaitable[None]]] = web.RequestKey("hold")
"""Set in a request that is to wait between its arrival and its being carried out."""


async def held(request: web.Request) -> None:
    """Wait if this request, of which all is here, is to wait."""
    if HOLD in request:
        await request[HOLD]()
