"""How long the server waits for a client, and bodies read with that much patience.

Whoever is slow is served; whoever only holds a connection loses it.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from chunkup.server.errors import ApiError

# What `Patience.body` has to bring each time.
_LEAST_BYTES = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The longest waits, in seconds; each one restarts with what it waits for.

    `head` is for the whole head of a request, counted from the connection or from the answer
    before. `body` is for each KiB of a body, or its end: a client that shares half a Mbit/s
    among sixteen parts brings two hundred times that. `answer` is for a client to take any of
    an answer that waits for it.
    """

    head: float = 75.0
    body: float = 60.0
    answer: float = 300.0


DEFAULT_PATIENCE = Patience()

PATIENCE: Final[web.AppKey[Patience]] = web.AppKey("patience", Patience)


class Body:
    """The body of a request as it arrives."""

    def __init__(self, request: web.Request) -> None:
        self._length = request.content_length or 0
        self._content = request.content
        self._patience = request.app[PATIENCE].body
        self._left = self._patience
        self._came = 0

    async def read(self) -> bytes:
        """Return the next bytes, or none at the end.

        Raises:
            ApiError: 408 when they come too slowly; what the reader does between two reads is
                not counted.
            RequestPayloadError: the body is malformed.
            ConnectionError: the client went away.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with asyncio.timeout(self._left):
                data = await self._content.readany()
        except TimeoutError as error:
            # When it is this process that was stopped for a while, the bytes are there.
            data = self._content.read_nowait()
            if not data:
                raise self._too_slow() from error
        self._left -= loop.time() - begun
        self._came += len(data)
        if self._came >= _LEAST_BYTES:
            self._left, self._came = self._patience, 0
        return data

    def _too_slow(self) -> ApiError:
        message = f"The body came too slowly: less than 1 KiB in {self._patience:g} seconds."
        return ApiError(408, message, code="request_timeout")

    async def whole(self, limit: int) -> bytes:
        """Return all of it.

        Raises:
            ApiError: 413 beyond `limit` bytes; 408, and the other errors, as `read` does.
        """
        body = bytearray()
        if self._length > limit:
            raise _too_large()
        while data := await self.read():
            body += data
            if len(body) > limit:
                raise _too_large()
        return bytes(body)


def _too_large() -> ApiError:
    return ApiError(413, "The body is too large.", code="request_too_large")
