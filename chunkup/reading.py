"""Readings of the file: ranged ones for the workers, and the ordered pass that proves them.

Reads have threads of their own (see :class:`Readers`), and so has each pass: work that shares
the loop's default executor would hold an interrupted process until it is done. What may hang
with its disk is waited for as :mod:`chunkup.patience` has it.
"""

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any, Final

import aiofiles
from xxhash import xxh3_128

from chunkup.errors import SourceChanged, SourceGone
from chunkup.models import Fingerprint, Source, Span
from chunkup.outlast import outlast
from chunkup.patience import PATIENCE, STEP, Threads, hangs, patiently
from chunkup.shortage import begin
from chunkup.source import changed, gone, opened, see_same

_PASS_READ: Final = 1 << 20
# Reads at once, which is one for each part in flight: a disk that hangs keeps no other waiting.
_READS: Final = 64


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
                opener=partial(opened, source),
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
            await step(loop.run_in_executor(self._threads, see_same, source, handle.fileno()))
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
        opener = partial(opened, self._source)
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
                see_same(self._source, handle.fileno())
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
