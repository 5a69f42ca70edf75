"""Faults on purpose: which request of which call fails, and how.

Deciding is apart from doing: `Faults.take` counts requests and says which fault strikes, the
middleware strikes. Faults may be set and looked at from any thread.
"""

import asyncio
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from chunkup.server.errors import ApiError

_ROUTES: Final = {
    ("POST", "/v1/uploads"): "create",
    ("POST", "/v1/uploads/{upload_id}/parts"): "part",
    ("POST", "/v1/uploads/{upload_id}/complete"): "complete",
    ("POST", "/v1/uploads/{upload_id}/cancel"): "cancel",
    ("POST", "/v1/files"): "file",
    ("GET", "/v1/files"): "list",
    ("GET", "/v1/files/{file_id}"): "retrieve",
    ("GET", "/v1/files/{file_id}/content"): "content",
    ("DELETE", "/v1/files/{file_id}"): "delete",
}

CALLS: Final = tuple(_ROUTES.values())
"""The calls that can fail; `file` is POST /files, a whole file in one request."""

UNANSWERED: Final = 499
"""Status of an answer that nobody gets, because the connection is gone."""

_KINDS = ("drop_answer", "status", "hang")

# How often a request that hangs looks whether its client is still there.
_LOOK_SECONDS = 0.05

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[\t -~]*")
# They say where an answer ends, which is for the server to know.
_FRAMING = frozenset({"content-length", "transfer-encoding"})


def call_of(request: web.Request) -> str:
    """Return which of `CALLS` a request is, or `other`."""
    resource = request.match_info.route.resource
    path = "" if resource is None else resource.canonical
    return _ROUTES.get((request.method, path), "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to the `nth` request of a call, and to those after it until `times` are hit.

    Exactly one of three: `drop_answer` carries the request out and breaks the connection
    instead of answering; `status` (300 to 599, with `headers` and the error's `message` if
    wanted) answers without carrying it out; `hang` does neither, until the client or the
    server goes away.

    Raises:
        TypeError: not exactly one of the three, or a value of another type.
        ValueError: an unknown call, or a value out of bounds.
    """

    call: str
    nth: int = 1
    times: int = 1
    drop_answer: bool = False
    status: int | None = None
    hang: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str | None = None

    def __post_init__(self) -> None:
        if self.call not in CALLS:
            raise ValueError(f"{self.call!r} is not a call; the calls are {', '.join(CALLS)}")
        _check_whole("nth", self.nth, 1)
        _check_whole("times", self.times, 1)
        for name in ("drop_answer", "hang"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} is True or False, not {getattr(self, name)!r}")
        kinds = [name for name in _KINDS if getattr(self, name) not in (None, False)]
        if len(kinds) != 1:
            said = " and ".join(kinds) or "none of them"
            raise TypeError(
                f"a fault is exactly one of drop_answer=True, status=503, hang=True, not {said}"
            )
        if self.status is not None:
            _check_whole("status", self.status, 300, 599)
        elif self.headers or self.message is not None:
            raise TypeError(f"headers and message belong to a status, not to {kinds[0]}")
        _check_words(self.headers, self.message)

    def __str__(self) -> str:
        usual = {"nth": 1, "times": 1, "drop_answer": False, "status": None, "hang": False}
        said = [
            f"{name}={getattr(self, name)!r}"
            for name, value in usual.items()
            if getattr(self, name) != value
        ]
        return f"fault({', '.join([repr(self.call), *said])})"


class ArmedFault:
    """A fault that was set: `seen` requests of its call came since, and `fired` of them failed."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.seen = 0
        self.fired = 0
        self._struck = threading.Event()

    def __str__(self) -> str:
        return str(self.fault)

    def wait(self, timeout: float = 10.0) -> None:
        """Block until a request was hit: its answer dropped or decided, or left to hang.

        In a coroutine: `await asyncio.to_thread(fault.wait)`.

        Raises:
            TimeoutError: none was within `timeout` seconds.
        """
        if not self._struck.wait(timeout):
            raise TimeoutError(f"{self} did not fire within {timeout:g} s")

    def strike(self) -> None:
        """Say that a request was hit."""
        self._struck.set()


class Faults:
    """The faults that were set, in that order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[ArmedFault] = []

    def set(self, fault: Fault) -> ArmedFault:
        """Count requests for this fault from now on."""
        armed = ArmedFault(fault)
        with self._lock:
            self._armed.append(armed)
        return armed

    def take(self, call: str) -> ArmedFault | None:
        """Count a request, and return the fault that strikes it.

        One request has one fault: where two are due, the one that was set first takes it, and
        the other takes the next request of the call.
        """
        with self._lock:
            asked = [armed for armed in self._armed if armed.fault.call == call]
            for armed in asked:
                armed.seen += 1
            for armed in asked:
                if armed.seen >= armed.fault.nth and armed.fired < armed.fault.times:
                    armed.fired += 1
                    return armed
            return None

    def never_fired(self) -> list[ArmedFault]:
        """Return the faults that no request has met."""
        with self._lock:
            return [armed for armed in self._armed if not armed.fired]

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Strike the requests that are due."""
        call = call_of(request)
        armed = self.take(call)
        if armed is None:
            return await handler(request)
        fault = armed.fault
        if fault.drop_answer:
            # To read content is its answer: there is nothing that could be carried out before.
            if call != "content":
                await handler(request)
            if request.transport is not None:
                request.transport.abort()
            armed.strike()
            return web.Response(status=UNANSWERED)
        await _drain(request)
        armed.strike()
        if fault.status is None:
            while request.transport is not None:  # noqa: ASYNC110  (aiohttp tells nobody)
                await asyncio.sleep(_LOOK_SECONDS)
            return web.Response(status=UNANSWERED)
        kind = "server_error" if fault.status >= 500 else "invalid_request_error"
        refusal = ApiError(fault.status, fault.message or f"A fault was set: {fault}.", kind=kind)
        answer = web.json_response(refusal.body(), status=fault.status)
        answer.headers.update(fault.headers)
        return answer


async def _drain(request: web.Request) -> None:
    # A body that nobody reads would hold back the answer, or keep its client from hanging.
    async for _ in request.content.iter_any():
        pass


def _check_whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is a whole number, not {value!r}")
    if value < least or (most is not None and value > most):
        bounds = f"{least} or more" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} is {bounds}, not {value}")


def _check_words(headers: Any, message: Any) -> None:
    if not isinstance(message, str | None):
        raise TypeError(f"message is text, not {message!r}")
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers are a mapping of names to values, not {headers!r}")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"headers are text, not {name!r}: {value!r}")
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"no answer can have the header {name!r}: {value!r}")
        if name.lower() in _FRAMING:
            raise ValueError(f"the header {name!r} is set by the server itself")
