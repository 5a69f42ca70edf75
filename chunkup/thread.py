"""The engine thread: one for a process, with a loop of its own, behind all blocking calls.

Who calls waits in short steps, so that Ctrl-C reaches it; the engine then stops the run, which
keeps its receipts.
"""

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from chunkup.engine import Engine
from chunkup.errors import Stopped
from chunkup.shortage import begin
from chunkup.uploader import AsyncUploader

_Result = TypeVar("_Result")

_STEP: Final = 0.2


class EngineThread:
    """The thread. Started at first use, joined at exit; a forked child starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._uploaders: weakref.WeakSet[AsyncUploader] = weakref.WeakSet()

    def look_after(self, uploader: AsyncUploader) -> None:
        """Close it once nobody has it any more, at the latest at exit."""
        self._uploaders.add(uploader)
        engine = uploader._engine  # noqa: SLF001  (the uploader itself is gone by then)
        weakref.finalize(uploader, self._forgotten, engine).atexit = False

    def _forgotten(self, engine: Engine) -> None:
        # Without a loop nothing was ever opened. The collector may come in the middle of
        # anything, so no lock is taken here.
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(lambda: loop.create_task(engine.aclose()))

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Carry out a coroutine on the engine's loop and wait for it, interruptibly."""
        if self.is_current():
            work.close()
            raise RuntimeError(
                "a listener runs on the engine's own thread and cannot wait there for the engine; "
                "take what it needs to a thread of its own"
            )
        try:
            running = asyncio.run_coroutine_threadsafe(work, self._started())
        except Stopped:
            work.close()
            raise
        try:
            return _wait(running)
        except BaseException:
            # Ctrl-C, or whatever else a signal's handler raised in the waiting.
            with self._lock:
                loop = self._loop
            if running.cancel() and loop is not None:
                # The run is over only when its receipts are safe and its claim is given back.
                _wait(asyncio.run_coroutine_threadsafe(_quiet(loop), loop))
            raise

    def call(self, act: Callable[[], None]) -> None:
        """Have something done on the engine's loop, soon."""
        self._started().call_soon_threadsafe(act)

    def is_current(self) -> bool:
        """Whether the caller is on the engine's thread."""
        return threading.current_thread() is self._thread

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(
                    target=_serve, args=[loop, self._uploaders], name="chunkup-engine", daemon=True
                )
                try:
                    begin(thread)
                except Stopped:
                    loop.close()  # which nobody would ever run, and a later call would wait for
                    raise
                self._loop, self._thread = loop, thread
            return self._loop

    def stop(self) -> None:
        """Stop what runs and end the thread."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def forget(self) -> None:
        """In a forked child: the thread did not come along."""
        self._lock = threading.Lock()
        self._loop = self._thread = None
        self._uploaders = weakref.WeakSet()


def _serve(loop: asyncio.AbstractEventLoop, uploaders: "weakref.WeakSet[AsyncUploader]") -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        # Only who began a run may cancel it: inside, some tasks must not be cut short.
        for uploader in list(uploaders):
            loop.run_until_complete(uploader.aclose())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(_quiet(loop))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


async def _quiet(loop: asyncio.AbstractEventLoop) -> None:
    """Wait until the cancelled tasks of the loop are over."""
    others = [
        task
        for task in asyncio.all_tasks(loop)
        if task is not asyncio.current_task() and task.cancelling()
    ]
    if others:
        await asyncio.wait(others)


def _wait(running: Future[_Result]) -> _Result:
    while True:
        try:
            return running.result(timeout=_STEP)
        except TimeoutError:
            if running.done():
                return running.result()


THREAD: Final = EngineThread()
atexit.register(THREAD.stop)
os.register_at_fork(after_in_child=THREAD.forget)
