"""The embedded server as tests hold it: in this loop, with its clock and its wire in hand."""

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession, web

from chunkup import AsyncUploader, Options
from chunkup.server.app import Arrival, create_app, start
from chunkup.server.rows import FileRow
from chunkup.server.store import Store

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Intercept = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]

KEY = "sk-test-0123456789"
# As fast as the promises allow: no second look later than at once, hardly any patience.
HASTY = Options(retries=3, looks=(0.0,), patience=0.0, offline_wait=0.0)


def call_of(request: web.Request) -> str:
    """Which call a request is.

    ``create part complete cancel post list retrieve content delete``, or ``other``.
    """
    match request.method, request.path.removeprefix("/v1").strip("/").split("/"):
        case "POST", ["uploads"]:
            return "create"
        case "POST", ["uploads", _, "parts"]:
            return "part"
        case "POST", ["uploads", _, name]:
            return name
        case "POST", ["files"]:
            return "post"
        case "GET", ["files"]:
            return "list"
        case "GET", ["files", _]:
            return "retrieve"
        case "GET", ["files", _, "content"]:
            return "content"
        case "DELETE", ["files", _]:
            return "delete"
        case _:
            return "other"


@dataclass
class Clock:
    """A wall clock that a test can move; ``offset`` in seconds."""

    offset: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset


@dataclass
class House:
    """A running embedded server.

    ``calls`` names every request in order of arrival; ``arrivals`` are all part bodies.
    ``intercept``, if set, stands before the handler and may answer in its stead.
    """

    url: str
    store: Store
    clock: Clock
    calls: list[str] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    intercept: Intercept | None = None
    runner: web.AppRunner | None = None
    _busy: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def idle(self) -> None:
        """Wait until all that was sent so far has been handled."""
        # What lies in the sockets already is read before a later connection is served.
        async with ClientSession() as session, session.get(self.url + "/files"):
            pass
        while self._busy:
            self._idle.clear()
            await self._idle.wait()

    async def no_connections(self) -> None:
        """Wait until every connection that clients closed is closed on this side too."""
        while self.runner and self.runner.server and self.runner.server.connections:  # noqa: ASYNC110  (aiohttp tells nobody)
            await asyncio.sleep(0)

    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every request comes through here."""
        self.calls.append(call_of(request))
        self._busy += 1
        try:
            if self.intercept is not None:
                return await self.intercept(request, handler)
            return await handler(request)
        finally:
            self._busy -= 1
            self._idle.set()

    def uploader(
        self,
        journal: Path,
        *,
        part_size: int = 1000,
        options: Options = HASTY,
        key: str = KEY,
        md5: bool = True,
    ) -> AsyncUploader:
        return AsyncUploader(
            base_url=self.url,
            api_key=key,
            journal=journal,
            part_size=part_size,
            options=options,
            md5=md5,
        )

    @property
    def files(self) -> list[FileRow]:
        return self.store.files()

    @property
    def whole_bytes(self) -> int:
        """Bytes of all parts that arrived whole, orphans included."""
        return sum(arrival.bytes for arrival in self.arrivals if arrival.whole)

    def content(self, file_id: str) -> bytes:
        return b"".join(self.store.read_file(file_id))


@asynccontextmanager
async def open_house(
    folder: Path, *, key: str | None = KEY, ttl: float = 3600.0
) -> AsyncIterator[House]:
    clock = Clock()
    store = Store(folder, ttl=ttl, clock=clock)
    house = House("", store, clock)

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await house.handle(request, handler)

    app = create_app(store, key=key, observer=house.arrivals.append, middlewares=[watch])
    runner, house.url = await start(app)
    house.runner = runner
    try:
        yield house
    finally:
        await runner.cleanup()
        store.close()


def drop(request: web.Request) -> web.Response:
    """Break the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def make_source(path: Path, size: int, seed: int = 0) -> str:
    """Write ``size`` reproducible bytes, no two parts alike; their MD5."""
    content = random.Random(seed).randbytes(size)
    path.write_bytes(content)
    return hashlib.md5(content).hexdigest()
