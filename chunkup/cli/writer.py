"""Standard output on a thread of its own: who reads it late, or never, holds up no upload."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import NamedTuple

from chunkup.cli.streams import put
from chunkup.errors import Stopped
from chunkup.shortage import begin


class Line(NamedTuple):
    """A line, or a place between two of them, which is reached when all before it is written.

    ``job`` is whose File id is known to the reader then; ``otherwise`` what is to be said
    elsewhere if that never comes.
    """

    text: str | None
    job: str | None = None
    otherwise: str | None = None


class Writer:
    """Lines on their way to standard output, in their order; a thread once there is one.

    Attributes:
        broken: What waits is never written, and no more is taken.
    """

    def __init__(self) -> None:
        self.broken = False
        # The one that is being written stays the first until it is through.
        self._waiting: deque[Line] = deque()
        self._written: list[str] = []
        self._closed = False
        self._moved = threading.Condition()
        self._thread: threading.Thread | None = None
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """Lines that nobody has taken yet."""
        return len(self._waiting)

    def add(self, line: Line) -> None:
        """Have a line written after all before it; it is waited for only once closed."""
        if self._closed and self._thread is not None:
            self._thread.join()
        with self._moved:
            self._waiting.append(line)
            self._moved.notify_all()
        if self._thread is None and not self._closed:
            thread = threading.Thread(target=self._serve, name="chunkup-output", daemon=True)
            with suppress(Stopped):
                begin(thread)
                self._thread = thread
        if self._thread is None or self._closed:
            self._write()

    def settle(self, seconds: float) -> None:
        """Wait until all is written, for so long at most."""
        with self._moved:
            self._moved.wait_for(lambda: self.broken or not self._waiting, seconds)

    def close(self) -> None:
        """Let the thread end when it is through; what is added later is written in place."""
        with self._moved:
            self._closed = True
            self._moved.notify_all()
        self._tell()

    async def written(self) -> AsyncIterator[list[str]]:
        """Jobs whose ids have been written, as they are; ends when there can be no more."""
        self._loop = asyncio.get_running_loop()
        while True:
            with self._moved:
                jobs, self._written = self._written, []
                over = self.broken or (self._closed and not self._waiting)
            if jobs:
                yield jobs
            elif over:
                return
            else:
                await self._news.wait()
                self._news.clear()

    def lost(self) -> list[str]:
        """What is to be said elsewhere of the lines that never will be written; each once."""
        if not self.broken:
            return []
        with self._moved:
            lines, self._waiting = self._waiting, deque()
        return [line.otherwise for line in lines if line.otherwise is not None]

    def _serve(self) -> None:
        try:
            while True:
                self._write()
                with self._moved:
                    self._moved.wait_for(lambda: self._waiting or self._closed)
                    if self.broken or not self._waiting:
                        return
        finally:
            # However it ends: what is left has nobody to write it.
            self.broken = self.broken or bool(self._waiting)
            self._tell()

    def _write(self) -> None:
        """Write all that waits."""
        while self._waiting and not self.broken:
            line = self._waiting[0]
            heard = line.text is None or put(line.text) is None
            with self._moved:
                if not heard:
                    self.broken = True
                else:
                    self._waiting.popleft()
                    if line.job is not None:
                        self._written.append(line.job)
                self._moved.notify_all()
            self._tell()

    def _tell(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed: nobody wants to know any longer
                self._loop.call_soon_threadsafe(self._news.set)
