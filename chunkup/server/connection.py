"""One connection, and the door that it comes through: what aiohttp leaves open.

aiohttp answers what is no HTTP in plain text, logs it as a bug, waits for the rest of a body
that is broken already, waits for ever for a client that reads nothing, and forgets a connection
that was accepted while the door was closing.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.http_exceptions import InvalidURLError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from chunkup.server.answers import error_response, http_refusal, stamp_now
from chunkup.server.errors import ApiError
from chunkup.server.patience import PATIENCE

_log = logging.getLogger(__name__)

# How long the rest of a refused body is read, so that the client gets to see the refusal.
_LINGER_SECONDS = 10.0

_SETTINGS: Final[dict[str, Any]] = {
    "access_log": None,
    # Bytes read ahead per connection.
    "read_bufsize": 256 << 10,
    # The API has no compressed bodies, and a bomb is best not lit.
    "auto_decompress": False,
}

CLOCK: Final[web.AppKey[Callable[[], float]]] = web.AppKey("clock")


class Connection(web.RequestHandler):
    """A connection that answers everything in the API's error shape, and has bounded patience."""

    def __init__(self, server: web.Server, door: "Door") -> None:
        patience = door.patience
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=patience.head,
            lingering_time=min(_LINGER_SECONDS, patience.body),
            **_SETTINGS,
        )
        self._door = door
        self._impatience: asyncio.TimerHandle | None = None
        self._newest: StreamReader = EMPTY_PAYLOAD

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve."""
        # So that whatever waits for its reader is seen to wait.
        cast("asyncio.Transport", transport).set_write_buffer_limits(0)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes in; where they break a body off, its reader learns it now.

        aiohttp would let it wait for the rest, and tell the client once that is over.
        """
        super().data_received(data)
        if not self._messages:
            return
        message, body = self._messages[-1]
        if isinstance(message, RawRequestMessage):
            # Only of the newest request can there be more to come.
            self._newest = body
        elif not self._newest.is_eof():
            self._newest.set_exception(web.RequestPayloadError("broken framing"))

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the client."""
        self._be_patient()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        if self.transport is not None:
            self._be_impatient(self.transport)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        self._be_patient()
        super().resume_writing()

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log bugs, but not the mistakes of clients."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no request, or what no handler answered; the connection ends then.

        What the client sent is not repeated: it may hold a key, and clients log answers.
        """
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return super().handle_error(request, status, exc, message)
        reason = (message or "").partition(":")[0]
        if isinstance(exc, InvalidURLError):
            reason = "Invalid URL"
        _log.debug("not HTTP from %s: %s", request.remote, reason)
        answer = error_response(ApiError(status, f"Could not read the request: {reason}."))
        stamp_now(answer, self._door.clock)
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; a refusal that was made before any of our code ran gets our shape."""
        if isinstance(resp, web.HTTPException):
            resp = http_refusal(request, resp)
        return await super().finish_response(request, resp, start_time)

    def _be_impatient(self, transport: asyncio.Transport) -> None:
        waiting = transport.get_write_buffer_size()
        loop = asyncio.get_running_loop()
        self._impatience = loop.call_later(
            self._door.patience.answer, self._look, transport, waiting
        )

    def _be_patient(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None

    def _look(self, transport: asyncio.Transport, waiting: int) -> None:
        if transport.get_write_buffer_size() >= waiting:
            transport.abort()
        else:
            self._be_impatient(transport)


class Door(web.BaseSite):
    """Where a runner's application listens: at an address, or at a socket bound already."""

    def __init__(
        self, runner: web.AppRunner, host: str, port: int, listener: socket.socket | None
    ) -> None:
        super().__init__(runner)
        self.patience = runner.app[PATIENCE]
        self.clock = runner.app[CLOCK]
        self._address = (host, port)
        self._listener = listener

    @property
    def name(self) -> str:
        """The address asked for."""
        return "http://{}:{}".format(*self._address)

    async def start(self) -> None:
        """Listen; raises OSError as the system does."""
        await super().start()
        server = cast("web.Server", self._runner.server)  # there, or the line above raised
        loop = asyncio.get_running_loop()

        def connection() -> Connection:
            return Connection(server, self)

        if self._listener is None:
            self._server = await loop.create_server(connection, *self._address)
        else:
            self._server = await loop.create_server(connection, sock=self._listener)

    async def stop(self) -> None:
        """Let nobody in any more.

        asyncio loses a connection that it has accepted and not yet handed on when it stops to
        listen. So first it accepts no more, and hands on what it has, which takes three turns.
        """
        if isinstance(self._server, asyncio.Server):
            loop = asyncio.get_running_loop()
            for listener in self._server.sockets:
                loop.remove_reader(listener.fileno())
            for _ in range(3):
                await asyncio.sleep(0)
        await super().stop()
