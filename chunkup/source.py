"""The file: what it is, ranged reads of it, and the pass that proves it.

Reads have threads of their own (see :class:`Readers`), and so has each pass: work that shares
the loop's default executor would hold an interrupted process until it is done. What may hang
with its disk is waited for as :mod:`chunkup.patience` has it.
"""

import asyncio
import hashlib
import mimetypes
import os
import shlex
import stat
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from pathlib import PurePath
from typing import Any, Final

import aiofiles
from xxhash import xxh3_128

from chunkup.aside import aside
from chunkup.errors import (
    ChunkupError,
    NoSuchFile,
    NotAFile,
    SourceChanged,
    SourceGone,
    Unreadable,
)
from chunkup.models import Fingerprint, Source, Span
from chunkup.outlast import outlast
from chunkup.patience import PATIENCE, STEP, Threads, hangs, patiently
from chunkup.providers import MIME_TYPES
from chunkup.shortage import begin, shortage

_PASS_READ: Final = 1 << 20
# Reads at once, which is one for each part in flight: a disk that hangs keeps no other waiting.
_READS: Final = 64
_PUT_BACK: Final = "put the file back as it was, then resume"


def inspect(path: str | os.PathLike[str]) -> tuple[str, Fingerprint]:
    """The real path and the fingerprint of a file that can be uploaded.

    Raises:
        NoSuchFile: Nothing is there.
        NotAFile: It is a directory, a pipe, a device or a socket.
        Unreadable: This user may not read it.
    """
    shown = os.fspath(path)
    try:
        real = os.path.realpath(shown)
        found = os.stat(real)  # noqa: PTH116  (a descriptor or path, as the file system has it)
    except FileNotFoundError as error:
        raise NoSuchFile(f"there is no file {shown}", hint="check the path") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Unreadable(f"{shown} cannot be read: {why}") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        raise NotAFile(f"{shown} is {kind}", hint="give the path of a regular file")
    if not os.access(real, os.R_OK):
        raise Unreadable(
            f"{shown} cannot be read by this user", hint=f"chmod u+r -- {shlex.quote(real)}"
        )
    return real, fingerprint_of(found)


async def looked(path: str, patience: float = PATIENCE) -> Fingerprint:
    """A file that a job already knows, as it is now; see :func:`look_again`.

    Raises:
        SourceGone: It is not there, or no regular file any more.
        Stopped: Its disk does not answer.
    """
    return await patiently(aside(partial(look_again, path)), path, patience)


def look_again(path: str) -> Fingerprint:
    """A file that a job already knows, as it is now, in the calling thread.

    Raises:
        SourceGone: It is not there, or no regular file any more.
    """
    try:
        found = os.stat(path)  # noqa: PTH116  (as above)
    except OSError as error:
        raise gone(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise SourceGone(
            f"{path} is no regular file any more; what was accepted is kept", hint=_PUT_BACK
        )
    return fingerprint_of(found)


def fingerprint_of(found: os.stat_result) -> Fingerprint:
    """What decides whether a file is still the one that was seen before."""
    return Fingerprint(
        found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev, found.st_ctime_ns
    )


def gone(path: str, error: OSError) -> ChunkupError:
    """What it means to a job that its file could not be opened or read."""
    return shortage(error) or SourceGone(
        f"{path} cannot be read any more: {error.strerror or error}; what was accepted is kept",
        hint=_PUT_BACK,
    )


def changed(path: str) -> SourceChanged:
    """A file that moved under this run; nothing of it is completed."""
    return SourceChanged(
        f"{path} changed while it was being uploaded; nothing was completed",
        hint="upload it again when nobody writes to it",
    )


def open_now(path: str, flags: int) -> int:
    """Open without waiting: a pipe that took the file's name would wait for a writer."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _check(source: Source, descriptor: int) -> None:
    if fingerprint_of(os.fstat(descriptor)) != source.fingerprint:
        raise changed(source.path)


def _opened(source: Source, path: str, flags: int) -> int:
    """Open the file of a fingerprint, and no other."""
    descriptor = open_now(path, flags)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):  # which open() refuses in its words
            _check(source, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def mime_type_of(filename: str) -> str:
    """The MIME type by the name's extension: the API's own table first, then the system's."""
    known = MIME_TYPES.get(PurePath(filename).suffix.lower())
    return known or mimetypes.guess_type(filename)[0] or "application/octet-stream"


async def md5_of(path: str, fingerprint: Fingerprint, span: Span) -> str | None:
    """The MD5 of a stretch in lowercase hex; None if the file is not that of the fingerprint."""
    reading = Pass(Source(path, span, fingerprint), [span], md5=True)
    reading.start()
    try:
        await reading.reach(span.stop)
    except (SourceChanged, SourceGone):
        return None
    finally:
        await outlast(reading.close())
    return reading.md5()


class Readers:
    """Ranged reads for all workers of a process, with threads of their own.

    ``patience`` is for how many seconds a disk may give no answer.
    """

    def __init__(self, threads: int = _READS, *, patience: float = PATIENCE) -> None:
        self._threads: Executor = Threads(threads, "chunkup-read")
        self._patience = patience

    async def read(self, source: Source, span: Span, read_size: int) -> AsyncGenerator[bytes, None]:
        """The bytes of one stretch, in reads of at most ``read_size``, all of them or an error.

        Each call opens the file by its path and checks, before the first byte and after the
        last, that it is the file of the fingerprint.

        Raises:
            SourceChanged: It is another file now, or was written to.
            SourceGone: It vanished, or a read failed.
            Stopped: Its disk does not answer.
        """
        # Each step is waited for even when cancelled, as long as its disk answers. A file that
        # opens for nobody stays open; and closing a descriptor under a read of it would let that
        # read meet whatever file gets the number next.
        last: asyncio.Future[Any]

        async def step(work: Awaitable[Any]) -> Any:
            nonlocal last
            last = asyncio.ensure_future(work)
            return await patiently(last, source.path, self._patience)

        opening = last = asyncio.ensure_future(
            aiofiles.open(
                *(source.path, "rb"),
                buffering=0,
                executor=self._threads,
                opener=partial(_opened, source),
            )
        )
        try:
            handle = await step(opening)
            if span.start:  # a small file is begun with one wait less
                await step(handle.seek(span.start))
            left = span.size
            while left:
                chunk = await step(handle.read(min(read_size, left)))
                if not chunk:
                    raise changed(source.path)
                left -= len(chunk)
                yield chunk
            loop = asyncio.get_running_loop()
            await step(loop.run_in_executor(self._threads, _check, source, handle.fileno()))
        except OSError as error:
            raise gone(source.path, error) from error
        finally:
            if not last.done():
                last.add_done_callback(lambda _: self._close(opening))
            elif _result_of(opening) is not None:
                await step(opening.result().close())

    def _close(self, opening: "asyncio.Future[Any]") -> None:
        """Close what hung until now, and hangs no one up."""
        if (handle := _result_of(opening)) is not None:
            with suppress(RuntimeError):  # the threads are closed, and nothing else holds it
                self._threads.submit(handle._file.close)  # noqa: SLF001  (the face waits for it)

    def close(self) -> None:
        """End the threads; reads under way finish by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _result_of(opening: "asyncio.Future[Any]") -> Any:
    """What was opened, if anything was."""
    done = opening.done() and not opening.cancelled() and opening.exception() is None
    return opening.result() if done else None


class Pass:
    """One ordered reading of the source beside the workers, in a thread of its own.

    It yields XXH3-128 of each stretch in ``spans`` and, with ``md5``, the MD5 of all of
    them together. It reads no further than :meth:`allow` permits, so that the workers and it
    share the disk's cache and the file is read once. ``reached`` bytes took ``busy`` seconds,
    not counting those in which it had to wait. ``patience`` is as :class:`Readers` has it.
    """

    def __init__(
        self, source: Source, spans: Sequence[Span], *, md5: bool, patience: float = PATIENCE
    ) -> None:
        self._source = source
        self._patience = patience
        self._at_disk = False
        self._spans = tuple(spans)
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None
        self._loop = asyncio.get_running_loop()
        self._permit = threading.Condition()
        self._limit = 0
        self._stopping = False
        self._news = asyncio.Event()
        self._finished = asyncio.Event()
        self._error: Exception | None = None
        self.digests: dict[Span, str] = {}
        self.reached = 0
        self.busy = 0.0
        self._thread = threading.Thread(target=self._run, name="chunkup-md5", daemon=True)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The stretches it was started for."""
        return self._spans

    def start(self) -> None:
        """Begin reading, as far as is allowed."""
        begin(self._thread)

    def allow(self, offset: int) -> None:
        """Permit reading of stretches that begin below ``offset``; it never shrinks."""
        with self._permit:
            self._limit = max(self._limit, offset)
            self._permit.notify_all()

    def check(self) -> None:
        """Raise what went wrong so far, if anything did; see :meth:`reach`."""
        if self._error is not None:
            raise self._error

    async def reach(self, offset: int) -> None:
        """Wait until every stretch that begins below ``offset`` has its digest.

        Raises:
            SourceChanged: The file is not the one of the fingerprint.
            SourceGone: It vanished, or a read failed.
            Stopped: Its disk does not answer.
        """
        self.allow(offset)
        wanted = [span for span in self._spans if span.start < offset]
        left, before = self._patience, self.reached
        while self._error is None and not all(span in self.digests for span in wanted):
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(STEP):
                    await self._news.wait()
                    continue
            hung = self._at_disk and self.reached == before
            left, before = left - STEP if hung else self._patience, self.reached
            if left <= 0:
                raise hangs(self._source.path, self._patience)
        self.check()

    def md5(self) -> str | None:
        """Lowercase hex of the whole, once everything was reached; None without ``md5``."""
        return self._md5.hexdigest() if self._md5 is not None else None

    async def close(self) -> None:
        """Stop at the next read and wait for the thread to end; one that hangs is left alone."""
        if not self._thread.is_alive():
            return
        with self._permit:
            self._stopping = True
            self._permit.notify_all()
        while not self._finished.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(STEP):
                    await self._finished.wait()
                    continue
            if self._at_disk:
                return
        self._thread.join()

    def _run(self) -> None:
        try:
            self._read_all()
        except (SourceChanged, SourceGone) as error:
            self._error = error
        except OSError as error:
            self._error = gone(self._source.path, error)
        except Exception as error:  # noqa: BLE001  (whoever waits must hear of anything)
            self._error = error
        finally:
            self._tell(self._news.set)
            self._tell(self._finished.set)

    def _read_all(self) -> None:
        # Many passes run at once over small files, and threads give memory back late.
        most = max((span.size for span in self._spans), default=1)
        block = memoryview(bytearray(min(_PASS_READ, most)))
        self._at_disk = True
        opener = partial(_opened, self._source)
        with open(self._source.path, "rb", buffering=0, opener=opener) as handle:
            for span in self._spans:
                self._at_disk = False
                if not self._permitted(span):
                    return
                handle.seek(span.start)
                digest, left, idle = xxh3_128(), span.size, time.monotonic() - self.busy
                while left:
                    if self._stopping:
                        return
                    self._at_disk = True
                    count = handle.readinto(block[:left])
                    self._at_disk = False
                    if not count:
                        raise changed(self._source.path)
                    left -= count
                    self.reached += count
                    digest.update(block[:count])
                    if self._md5 is not None:
                        self._md5.update(block[:count])
                    self.busy = time.monotonic() - idle
                self._at_disk = True
                _check(self._source, handle.fileno())
                self.digests[span] = digest.hexdigest()
                self._tell(self._news.set)

    def _permitted(self, span: Span) -> bool:
        with self._permit:
            while span.start >= self._limit and not self._stopping:
                self._permit.wait()
            return not self._stopping

    def _tell(self, change: Callable[[], None]) -> None:
        # A loop that is gone has nobody left to tell.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(change)
