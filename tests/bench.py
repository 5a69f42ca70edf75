"""A file to send over a bad line with scaled-down time-outs, and all that is said meanwhile."""

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from house import KEY, make_source
from yarl import URL

from chunkup import AsyncUploader, Options, events
from chunkup.models import RemoteFile

STALL = 0.6
PART = 200_000
PARTS = 6
SIZE = PARTS * PART - 1
ENOUGH = 30.0


def connections_to(url: str) -> int:
    """How many of this process's sockets are connected to that place."""
    count = 0
    for name in os.listdir("/dev/fd"):  # noqa: PTH208  (numbers, not paths)
        with suppress(OSError):  # the handle of the listing itself is gone by now
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as sock:
                    inet = sock.family is socket.AF_INET
                    count += inet and sock.getpeername()[1] == URL(url).port
    return count


QUICK = Options(workers=2, retries=8, stall_timeout=STALL, looks=(0.0,), patience=0.0)


@dataclass
class Bench:
    """A file to send, and what is said meanwhile."""

    folder: Path
    md5: str
    heard: list[events.Event] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.folder / "a.bin"

    async def send(self, url: str, *, part_size: int = PART, **more: Any) -> RemoteFile:
        """Upload it all, and see that neither connections nor tasks stay behind."""
        uploader = AsyncUploader(
            base_url=url,
            api_key=KEY,
            journal=self.folder / "state" / "journal.db",
            part_size=part_size,
            options=replace(QUICK, **more),
        )
        tasks = our_tasks()
        try:
            async with asyncio.timeout(ENOUGH), uploader:
                return await uploader.upload(
                    self.path, purpose="user_data", on_event=self.heard.append
                )
        finally:
            assert our_tasks() == tasks
            assert connections_to(url) == 0

    async def until(self, seen: Callable[[], object]) -> None:
        """Wait until what was heard so far makes it true."""
        async with asyncio.timeout(ENOUGH):
            while not seen():  # noqa: ASYNC110  (events are heard, not awaited)
                await asyncio.sleep(0.005)

    @property
    def retries(self) -> list[events.PartRetried]:
        return [event for event in self.heard if isinstance(event, events.PartRetried)]

    @property
    def accepted(self) -> list[int]:
        return [event.start for event in self.heard if isinstance(event, events.PartAccepted)]


def our_tasks() -> set[asyncio.Task[object]]:
    """All tasks but those of the server and the line, which notice later."""
    theirs = ("RequestHandler", "toxics.py", "connection.py")
    return {task for task in asyncio.all_tasks() if not any(name in str(task) for name in theirs)}


def make_bench(folder: Path) -> Bench:
    return Bench(folder, make_source(folder / "a.bin", SIZE))
