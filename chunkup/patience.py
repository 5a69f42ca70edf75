"""Waiting for a file whose disk may never answer, such as a network file system that blocks.

Such a call cannot be cut short, and its thread cannot be ended. So it is made on a thread that
nobody waits for: who is cancelled leaves it to itself soon, and who waits too long hears why.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from chunkup.errors import Stopped
from chunkup.shortage import begin
from chunkup.text import duration_text

_Result = TypeVar("_Result")
_Work = tuple[Future[Any], Callable[[], Any]]

# Seconds that a disk may take for one answer.
PATIENCE: Final = 60.0
# Seconds between two looks. They are counted, so that a process that stood still waits no less.
STEP: Final = 1.0
# Seconds that one who is cancelled still waits: a disk that lives has answered by then.
GRACE: Final = 1.0


class Threads(Executor):
    """Threads for calls that may hang: one more whenever all are busy, up to ``most``.

    None is waited for when the process ends.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, work: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> Future[_Result]:
        """Have it called on one of the threads."""
        future: Future[_Result] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("these threads take no more work")
            self._queue.put((future, partial(work, *args, **kwargs)))
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
                name = f"{self._name}_{len(self._threads)}"
                thread = threading.Thread(target=self._run, name=name, daemon=True)
                try:
                    begin(thread)
                    self._threads.append(thread)
                except Stopped:
                    if not self._threads:  # else one of those comes to it
                        self._queue.get_nowait()
                        raise
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  (as Executor has it)
        """End every thread once it is idle."""
        with self._lock:
            self._closed = True
            while cancel_futures:
                try:
                    left = self._queue.get_nowait()
                except Empty:
                    break
                if left is not None:
                    left[0].cancel()
            for _ in self._threads:
                self._queue.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            future, work = job
            settle: Callable[[], object] = int
            if future.set_running_or_notify_cancel():
                try:
                    settle = partial(future.set_result, work())
                except BaseException as error:  # noqa: BLE001  (it is raised where it is awaited)
                    settle = partial(future.set_exception, error)
            # Before: who hears of it may have the next piece of work at once.
            self._idle.release()
            settle()
            # What an idle thread still held would live as long as it.
            del job, future, work, settle


async def patiently(work: Awaitable[_Result], path: str, patience: float = PATIENCE) -> _Result:
    """Wait for a call about a file; if cancelled meanwhile, for a second at most.

    ``work`` itself is never cancelled, and may go on for ever.

    Raises:
        Stopped: There was no answer for ``patience`` seconds.
    """
    running = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    left = patience
    while not running.done() and left > 0:
        try:
            done, _ = await asyncio.wait([running], timeout=min(left, STEP))
            left -= 0 if done else STEP
        except asyncio.CancelledError as error:
            left = left if cancelled else GRACE
            cancelled = error
    if cancelled is not None:
        if running.done() and not running.cancelled():
            running.exception()
        raise cancelled
    if not running.done():
        raise hangs(path, patience)
    return running.result()


def hangs(path: str, patience: float) -> Stopped:
    """The error of a file that gives nothing, neither bytes nor an error."""
    return Stopped(
        f"the disk of {path} has not answered for {duration_text(patience)}; "
        "what was accepted is kept"
    )
