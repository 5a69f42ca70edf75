"""What is under way, as the program that started it holds it."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import aclosing
from typing import Any, Generic, Self, TypeVar

from chunkup import events
from chunkup.errors import ChunkupError, Stopped
from chunkup.listener import OnEvent, log
from chunkup.models import RemoteFile

_Item = TypeVar("_Item")


class AsyncRun:
    """A started upload: awaitable for its File, watchable, and stoppable.

    Cancelling the task that awaits it stops it too. An error that nobody awaits is in the log
    and in the events, and is not complained about.

    Attributes:
        path: The file, as it was given.
    """

    def __init__(
        self,
        path: str,
        work: Callable[[OnEvent], Coroutine[Any, Any, RemoteFile]],
        on_event: OnEvent | None,
    ) -> None:
        self.path = path
        self._on_event = on_event
        self._job_id: str | None = None
        self._progress: events.Progress | None = None
        self._begun = asyncio.Event()
        self._entered = False
        self._stopping = False
        self._task = asyncio.create_task(self._whole(work))
        self._task.add_done_callback(self._over)

    @property
    def task(self) -> asyncio.Task[RemoteFile]:
        """What it is for the loop."""
        return self._task

    @property
    def job_id(self) -> str | None:
        """The job's id, as soon as the journal has it; see :meth:`ready`."""
        return self._job_id

    @property
    def progress(self) -> events.Progress | None:
        """Where the job stood about a second ago; None before its run begins."""
        return self._progress

    @property
    def done(self) -> bool:
        """Whether it is over, however it ended."""
        return self._task.done()

    async def ready(self) -> str | None:
        """Wait until the job is in the journal; its id, or None if it ended before."""
        await self._begun.wait()
        return self._job_id

    def stop(self) -> None:
        """Stop; receipts are kept. Whoever awaits it gets :class:`chunkup.Stopped`."""
        if self._stopping or self._task.done():
            return  # a second cancellation would disturb the first one's tidying up
        self._stopping = True
        if self._entered:
            self._task.cancel()

    async def wait(self) -> None:
        """Wait until it is over, and raise nothing of it."""
        await asyncio.wait([self._task])

    def when_over(self, tell: Callable[[], None]) -> None:
        """Call this once it is over."""
        self._task.add_done_callback(lambda _: tell())

    def __await__(self) -> Generator[Any, None, RemoteFile]:
        return self._task.__await__()

    async def _whole(
        self, work: Callable[[OnEvent], Coroutine[Any, Any, RemoteFile]]
    ) -> RemoteFile:
        self._entered = True
        try:
            if self._stopping:
                raise self._stopped()  # by whoever started it, before the loop came to it
            return await work(self._hear)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            raise self._stopped() from None

    def _stopped(self) -> Stopped:
        return Stopped(
            f"the upload of {self.path} was stopped; what was accepted is kept",
            hint=f"chunkup resume {self._job_id}" if self._job_id else None,
            job_id=self._job_id,
        )

    def _hear(self, event: events.Event) -> None:
        if event.job:  # the check speaks before there is one
            self._job_id = event.job
            self._begun.set()
        match event:
            case events.Progress():
                self._progress = event
            case events.JobStarted(size=size, done=done):
                self._progress = _standing(event, size, done)
            case events.PartAccepted(size=size, done=done):
                self._progress = _standing(event, size, done, self._progress)
            case _:
                pass
        if self._on_event is not None:
            self._on_event(event)

    def _over(self, task: asyncio.Task[RemoteFile]) -> None:
        self._begun.set()
        # To ask for it also keeps asyncio from complaining of one that nobody awaited.
        if task.cancelled() or (error := task.exception()) is None:
            return
        expected = isinstance(error, ChunkupError)
        if isinstance(error, ChunkupError) and error.job_id is not None:
            return  # the job's own end is in the log
        log.log(
            logging.INFO if expected else logging.ERROR,
            "%s: %s",
            self.path,
            error,
            exc_info=None if expected else error,
        )


def _standing(
    event: events.Event, size: int, done: int, last: events.Progress | None = None
) -> events.Progress:
    """Progress as of a receipt: what was in flight may be counted in it, so it is left away."""
    return events.Progress(
        time=event.time,
        job=event.job,
        path=event.path,
        size=size,
        done=done,
        sent=0,
        rate=last.rate if last else 0.0,
        in_flight=last.in_flight if last else 0,
        retries=last.retries if last else 0,
        expires_in=last.expires_in if last else None,
    )


class Feed(Generic[_Item]):
    """What a generator gives, made in a task of its own: it can be stopped without its reader.

    Ends for its reader as the generator did; with :class:`chunkup.Stopped` if it was stopped.
    """

    def __init__(self, items: AsyncGenerator[_Item]) -> None:
        self._items = items
        self._waiting: asyncio.Queue[tuple[_Item] | None] = asyncio.Queue()
        self._stopping = False
        self._task = asyncio.create_task(self._read())
        self._task.add_done_callback(self._over)

    @property
    def task(self) -> asyncio.Task[None]:
        """What it is for the loop."""
        return self._task

    def stop(self) -> None:
        """Close the generator; what it gave until now can still be read."""
        if not (self._stopping or self._task.done()):
            self._stopping = True
            self._task.cancel()

    async def wait(self) -> None:
        """Wait until the generator is over, and raise nothing of it."""
        await asyncio.wait([self._task])

    def when_over(self, tell: Callable[[], None]) -> None:
        """Call this once it is over."""
        self._task.add_done_callback(lambda _: tell())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _Item:
        given = await self._waiting.get()
        if given is not None:
            return given[0]
        if self._task.cancelled():
            raise Stopped("stopped; what was accepted is kept, and the same call goes on")
        self._task.result()
        raise StopAsyncIteration

    async def _read(self) -> None:
        async with aclosing(self._items) as items:
            async for item in items:
                self._waiting.put_nowait((item,))

    def _over(self, task: asyncio.Task[None]) -> None:
        self._waiting.put_nowait(None)
        if not task.cancelled():
            task.exception()  # its reader gets it, and may be gone
