"""One connection, and the door that it comes through: what aiohttp leaves open.

aiohttp answers what is no HTTP in plain text, logs it as a bug, waits for the rest of a body
that is broken already, waits for ever for a client that reads nothing, and forgets a connection
that was accepted while the door was closing.
"""

import asyncio
import logging
import resource
import socket
import sys
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

# Clients that the system keeps waiting, and open files that are no client's.
_WAITING = 128
_BESIDES = 32

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
        self._door.left()

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
        if self._door.is_full:
            resp.force_close()  # somebody waits outside
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
    """Where a runner's application listens: at an address, or at a socket bound already.

    No more come in at once than there are open files for; the others wait outside. asyncio
    would try for ever, with a traceback for each try: 50 MB of them in half a minute.
    """

    def __init__(
        self, runner: web.AppRunner, host: str, port: int, listener: socket.socket | None
    ) -> None:
        super().__init__(runner)
        self.patience = runner.app[PATIENCE]
        self.clock = runner.app[CLOCK]
        self._address = (host, port)
        self._listener = listener
        self._listening: list[socket.socket] = []
        self._coming: set[asyncio.Task[Any]] = set()
        self._inside = 0
        self._most = _most_connections()
        self._again: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """The address asked for."""
        return "http://{}:{}".format(*self._address)

    async def start(self) -> None:
        """Listen; raises OSError as the system does."""
        await super().start()
        loop = asyncio.get_running_loop()
        if self._listener is None:
            self._server = await loop.create_server(
                self._connection, *self._address, start_serving=False
            )
        else:
            self._server = await loop.create_server(
                self._connection, sock=self._listener, start_serving=False
            )
        # Theirs have no accept.
        self._listening = [listener.dup() for listener in self._server.sockets]
        for listener in self._listening:
            listener.setblocking(False)  # noqa: FBT003  (the standard library's own signature)
            listener.listen(_WAITING)
        self._open()

    async def stop(self) -> None:
        """Let nobody in any more; whoever was accepted already is handed on."""
        self._shut()
        if self._coming:
            await asyncio.wait(self._coming)
        while self._listening:
            self._listening.pop().close()
        await super().stop()

    @property
    def is_full(self) -> bool:
        """Whether nobody comes in before somebody leaves."""
        return self._inside >= self._most

    def left(self) -> None:
        """A client is gone, and another one may come in."""
        self._inside -= 1
        self._open()

    def _connection(self) -> Connection:
        # There is one, or start() has raised.
        return Connection(cast("web.Server", self._runner.server), self)

    def _open(self) -> None:
        self._again = None
        for listener in () if self.is_full else self._listening:
            asyncio.get_running_loop().add_reader(listener.fileno(), self._let_in, listener)

    def _shut(self) -> None:
        if self._again is not None:
            self._again.cancel()
        for listener in self._listening:
            asyncio.get_running_loop().remove_reader(listener.fileno())

    def _let_in(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            client, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            _log.error("nobody can come in for a second: %s", error.strerror)
            self._shut()
            self._again = loop.call_later(1.0, self._open)
            return
        client.setblocking(False)  # noqa: FBT003  (as above)
        self._inside += 1
        if self.is_full:
            self._shut()
        task = loop.create_task(loop.connect_accepted_socket(self._connection, client))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)


def _most_connections() -> int:
    """As many as there are open files for, each with one that it writes to."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(1, (soft - _BESIDES) // 2)
