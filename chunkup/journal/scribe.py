"""The thread that owns the connection: one transaction for all that waits, or none of it."""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlite_utils import Database

from chunkup.errors import BadJournal, JournalTrouble
from chunkup.journal.damage import is_damage, misread
from chunkup.journal.forks import Unforked
from chunkup.journal.opening import open_database, translate
from chunkup.outlast import outlast
from chunkup.shortage import begin

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Work:
    """Something to do with the connection, and where its result is waited for."""

    run: Callable[[Database], Any]
    writes: bool
    done: Future[Any]


class Scribe:
    """One journal's thread. What is given to it while it commits waits for the next commit.

    After the disk failed once, it writes nothing more: what SQLite believes of the file may
    not be what is on the disk. ``at_end`` runs in the thread, last of all.
    """

    def __init__(self, path: Path, at_end: Callable[[], None]) -> None:
        self._path = path
        self._at_end = at_end
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ended = asyncio.Event()
        self._broken: JournalTrouble | None = None
        self._unforked = Unforked()

    async def start(self) -> None:
        """Open the database in the thread; on an error, or if cancelled, no thread is left."""
        ready: Future[None] = Future()
        thread = threading.Thread(
            target=self._serve,
            args=[ready, _teller(self._ended)],
            name="chunkup-journal",
            daemon=True,
        )
        begin(thread)
        self._thread = thread
        try:
            await outlast(asyncio.wrap_future(ready))
        except BaseException:
            await outlast(self.close())
            raise

    @property
    def broken(self) -> bool:
        """Whether the disk failed, so that nothing more is written."""
        return self._broken is not None

    async def close(self) -> None:
        """Finish what waits and end the thread."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._queue.put(None)
        await self._ended.wait()
        thread.join()

    async def do(self, run: Callable[[Database], _Result], *, writes: bool = False) -> _Result:
        """The result of ``run``, after the commit if it ``writes``; never abandoned half-way.

        Raises:
            JournalTrouble: It could not be read or written.
            BadJournal: The file is damaged.
        """
        if self._thread is None:
            raise JournalTrouble("the journal is closed")
        if not self._thread.is_alive():
            raise JournalTrouble(
                "this process was forked from the one that opened the journal, and can't use it",
                hint="make a new uploader in the child process",
            )
        if writes and self._broken:
            raise self._broken
        done: Future[_Result] = Future()
        self._queue.put(Work(run, writes, done))
        return await outlast(asyncio.wrap_future(done))

    def _serve(self, ready: Future[None], tell_end: Callable[[], None]) -> None:
        try:
            with self._unforked:
                db = open_database(self._path)
            try:
                ready.set_result(None)
                while batch := self._take():
                    with self._unforked:
                        self._carry_out(db, batch)
            finally:
                with self._unforked:
                    self._at_end()
                    db.close()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)
        finally:
            tell_end()

    def _take(self) -> list[Work]:
        """Wait for work, then take all that waits; nothing at the end."""
        first = self._queue.get()
        if first is None:
            return []
        batch = [first]
        while not self._queue.empty():
            more = self._queue.get()
            if more is None:
                self._queue.put(None)
                break
            batch.append(more)
        return batch

    def _carry_out(self, db: Database, batch: list[Work]) -> None:
        """Do all of a batch in one transaction; nobody hears of success before the commit.

        Each piece has a savepoint, so that one that is refused takes no other with it.
        """
        if self._broken is not None:
            for work in (work for work in batch if work.writes):
                work.done.set_exception(self._broken)
            batch = [work for work in batch if not work.writes]
        outcomes: list[tuple[Work, Any, Exception | None]] = []
        writes = any(work.writes for work in batch)
        try:
            if writes:
                db.execute("BEGIN IMMEDIATE")
            for work in batch:
                try:
                    with db.atomic() if writes else nullcontext():
                        outcomes.append((work, work.run(db), None))
                except sqlite3.IntegrityError as error:
                    if is_damage(error):
                        raise
                    outcomes.append((work, None, error))
                except sqlite3.Error:
                    raise
                except Exception as error:
                    if damage := misread(error, writing=work.writes):
                        raise damage from error
                    outcomes.append((work, None, error))
            if writes:
                db.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001  (everybody who waits gets it)
            failure = self._fail(db, error)
            for work in batch:
                work.done.set_exception(failure)
            return
        for work, result, refusal in outcomes:
            if refusal is not None:
                work.done.set_exception(refusal)
            else:
                work.done.set_result(result)

    def _fail(self, db: Database, error: BaseException) -> BaseException:
        # A disk that fails may fail this too, and nobody who waits may be forgotten for it.
        with suppress(sqlite3.Error):
            db.conn.rollback()
        if not isinstance(error, sqlite3.Error):
            return error
        failure = translate(error, self._path)
        if isinstance(failure, BadJournal):
            self._broken = JournalTrouble(failure.message, hint=failure.hint)
        elif getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
            self._broken = failure
        return failure


def _teller(event: asyncio.Event) -> Callable[[], None]:
    """What a thread calls to set an event of this loop, whether or not it still runs."""
    loop = asyncio.get_running_loop()

    def tell() -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(event.set)

    return tell
