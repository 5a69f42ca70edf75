"""Every request that reaches the server: written down, and held while it is under way."""

import asyncio
from dataclasses import dataclass
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.typedefs import Handler

from chunkup.server.strikes import UNANSWERED, call_of
from chunkup.testing.views import Request


@dataclass(slots=True)
class _Seen:
    """`body` is let go when the request is over, and its count kept."""

    method: str
    path: str
    call: str
    body: StreamReader | None
    status: int | None = None
    bytes: int = 0

    def view(self) -> Request:
        body = self.body
        count = self.bytes if body is None else body.total_bytes
        return Request(self.method, self.path, self.call, self.status, count)


_SEEN: web.RequestKey[_Seen] = web.RequestKey("seen", _Seen)


class Recorder:
    """Outlives the applications that it watches; `requests` may be called from any thread."""

    def __init__(self) -> None:
        self._seen: list[_Seen] = []
        self._handling: set[asyncio.Task[Any]] = set()

    def requests(self) -> tuple[Request, ...]:
        """Return all requests so far, in order of arrival."""
        return tuple(seen.view() for seen in list(self._seen))

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Write a request down; to stand before all that may answer it."""
        seen = _Seen(request.method, request.path, call_of(request), request.content)
        request[_SEEN] = seen
        self._seen.append(seen)
        task = asyncio.current_task()
        if task is not None:
            self._handling.add(task)
            task.add_done_callback(self._handling.discard)
        try:
            return await handler(request)
        finally:
            # In this order, since the other thread may look in between.
            seen.bytes = request.content.total_bytes
            seen.body = None

    async def note_status(self, request: web.Request, response: web.StreamResponse) -> None:
        """Write down what is about to be answered: a hook for `on_response_prepare`."""
        seen = request.get(_SEEN)
        if seen is not None and response.status != UNANSWERED:
            seen.status = response.status

    async def end_all(self) -> None:
        """Cancel what is under way, and return when it is over."""
        for task in self._handling:
            task.cancel()
        if self._handling:
            await asyncio.wait(self._handling)
