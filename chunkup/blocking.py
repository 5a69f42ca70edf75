"""Blocking calls for scripts, threads and notebooks: one engine thread with its own loop.

The caller waits in short steps, so that Ctrl-C reaches it; the engine then stops the run,
which keeps its receipts.
"""

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, Final, TypedDict, TypeVar, Unpack

from chunkup import events
from chunkup.endpoint import KeySource
from chunkup.listener import OnEvent
from chunkup.models import Options, RemoteFile
from chunkup.uploader import AsyncUploader

_Result = TypeVar("_Result")

_STEP: Final = 0.2


class Settings(TypedDict, total=False):
    """Keyword arguments that are passed on to :class:`chunkup.AsyncUploader`."""

    base_url: str | None
    api_key: str | KeySource | None
    organization: str | None
    project: str | None
    headers: Mapping[str, str] | None
    allow_http: bool
    no_key: bool
    journal: str | os.PathLike[str] | None
    part_size: int
    md5: bool
    options: Options | None


class _Engine:
    """The thread. Started at first use, joined at exit; a forked child starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Carry out a coroutine on the engine's loop and wait for it, interruptibly."""
        running = asyncio.run_coroutine_threadsafe(work, self._started())
        try:
            return _wait(running)
        except KeyboardInterrupt:
            running.cancel()
            with self._lock:
                loop = self._loop
            if loop is not None:
                # The run is over only when its receipts are safe and its claim is given back.
                _wait(asyncio.run_coroutine_threadsafe(_quiet(loop), loop))
            raise

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_serve, args=[self._loop], name="chunkup-engine", daemon=True
                )
                self._thread.start()
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


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
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


_engine: Final = _Engine()
atexit.register(_engine.stop)
os.register_at_fork(after_in_child=_engine.forget)


def upload(  # noqa: PLR0913  (as AsyncUploader.upload)
    path: str | os.PathLike[str],
    *,
    purpose: str,
    filename: str | None = None,
    mime_type: str | None = None,
    expires_after: int | None = None,
    fresh: bool = False,
    on_event: OnEvent | None = None,
    **settings: Unpack[Settings],
) -> RemoteFile:
    """Upload a file and wait for it; the same call again continues an unfinished upload.

    See :meth:`chunkup.AsyncUploader.upload` for the arguments and errors, and
    :class:`chunkup.AsyncUploader` for ``settings``. Works in a thread with a running loop too.

    Raises:
        KeyboardInterrupt: On Ctrl-C, after the run stopped and kept its receipts; a note on it
            says how to go on.
    """

    async def work(listen: OnEvent) -> RemoteFile:
        async with AsyncUploader(**settings) as uploader:
            return await uploader.upload(
                path,
                purpose=purpose,
                filename=filename,
                mime_type=mime_type,
                expires_after=expires_after,
                fresh=fresh,
                on_event=listen,
            )

    return _run(work, on_event)


def resume(
    job_id: str, *, on_event: OnEvent | None = None, **settings: Unpack[Settings]
) -> RemoteFile:
    """Go on with a job and wait for it; see :meth:`chunkup.AsyncUploader.resume`."""

    async def work(listen: OnEvent) -> RemoteFile:
        async with AsyncUploader(**settings) as uploader:
            return await uploader.resume(job_id, on_event=listen)

    return _run(work, on_event)


def _run(
    work: Callable[[OnEvent], Coroutine[Any, Any, RemoteFile]], on_event: OnEvent | None
) -> RemoteFile:
    job_id: str | None = None

    def listen(event: events.Event) -> None:
        nonlocal job_id
        job_id = event.job
        if on_event is not None:
            on_event(event)

    try:
        return _engine.run(work(listen))
    except KeyboardInterrupt as error:
        if job_id is not None:
            error.add_note(f"receipts are kept; go on with chunkup.resume({job_id!r})")
        raise
