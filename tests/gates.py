"""Requests held at the server's door, by a test that runs on another thread than the server."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession, web
from house import Handler, House, call_of

from chunkup.journal import Journal

# A test that waits longer than this for an event would wait for ever.
PATIENCE = 30.0


@dataclass
class Gate:
    """Lets the first ``after`` requests of a call through, of every Upload, and holds the others.

    Until it is opened.
    """

    after: int
    call: str
    _held: threading.Event = field(default_factory=threading.Event)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: Counter[str] = field(default_factory=Counter)
    _loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == self.call:
            self._seen[request.path] += 1
            place = self._seen[request.path]
            while place > self.after:
                self._loop = asyncio.get_running_loop()
                self._held.set()
                await self._moved.wait()
        return await handler(request)

    def wait(self) -> None:
        """Wait until a request is held."""
        assert self._held.wait(PATIENCE), f"no {self.call} was held"

    def let(self, more: int) -> None:
        """Let so many more of every Upload through."""
        self.after += more
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._move)

    def open(self) -> None:
        """Let go of what is held, and hold nothing more."""
        self.let(1 << 30)

    def _move(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


@contextmanager
def holding(house: House, after: int = 0, call: str = "part") -> Iterator[Gate]:
    """A gate before the server; it is open and gone at the end."""
    asyncio.run(_quiet(house))
    house.calls.clear()
    gate = Gate(after, call)
    house.intercept = gate
    try:
        yield gate
    finally:
        gate.open()
        house.intercept = None


async def _quiet(house: House) -> None:
    """Wait until all that was sent to the server so far has been handled."""
    # What lies in the sockets already is read before a later connection is served.
    async with ClientSession() as session, session.get(house.url + "/files"):
        pass
    while house._busy:
        continue  # the server counts on its own thread, and tells nobody


def wait_for_receipts(journal: Path, parts: int) -> None:
    """Wait until the newest job has receipts for so many parts."""

    async def look() -> None:
        book = await Journal.open(journal)
        try:
            while not (lines := await book.lines()) or lines[-1].parts < parts:
                continue  # the rows come from another process, which tells nobody
        finally:
            await book.close()

    asyncio.run(asyncio.wait_for(look(), PATIENCE))
