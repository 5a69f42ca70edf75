"""The server in a thread: started, killed, started again, and looked at from outside."""

import asyncio
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from yarl import URL

from chunkup.server.app import create_app, start
from chunkup.server.errors import ApiError
from chunkup.server.faults import ArmedFault, Fault, Faults
from chunkup.server.store import Store
from chunkup.testing.recorder import Recorder
from chunkup.testing.views import Request, ServedFile, ServedUpload, Shelf

_Result = TypeVar("_Result")


class FaultNeverFired(AssertionError):
    """A fault was set and no request met it: the test did not show what it seems to show."""


class Server:
    """A server that runs; :func:`serve` makes it. All of it may be used from any thread.

    Attributes:
        base_url: Where it listens, such as ``http://127.0.0.1:50123/v1``; a restart keeps it.
        api_key: The only key that it accepts.
        journal: Where a client under test may keep its journal; nothing is there before.
        files: The Files that can be read, as a mapping of ids to :class:`ServedFile`.
        uploads: Every Upload there ever was, as a mapping of ids to :class:`ServedUpload`.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, folder: Path, *, api_key: str, ttl: float
    ) -> None:
        self.base_url = ""
        self.api_key = api_key
        self.journal = folder / "journal" / "journal.db"
        self.files: Mapping[str, ServedFile] = Shelf(self._files)
        self.uploads: Mapping[str, ServedUpload] = Shelf(self._uploads)
        self._loop = loop
        self._directory = folder / "server"
        self._ttl = ttl
        self._offset = 0.0
        self._faults = Faults()
        self._recorder = Recorder()
        # Held by who looks at the store and by who replaces it. The server's own thread never
        # takes it, so that requests go on while somebody looks.
        self._lock = threading.RLock()
        self._store: Store | None = None
        self._runner: web.AppRunner | None = None
        self._listener: socket.socket | None = None

    def __repr__(self) -> str:
        return f"<chunkup.testing.Server {self.base_url}>"

    @property
    def environ(self) -> dict[str, str]:
        """The variables that send chunkup and the official SDK here."""
        return {
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_KEY": self.api_key,
            "CHUNKUP_JOURNAL": str(self.journal),
        }

    @property
    def requests(self) -> tuple[Request, ...]:
        """All requests so far in order of arrival, those before a restart included."""
        return self._recorder.requests()

    def fault(  # noqa: PLR0913  (one for each thing that a fault may say)
        self,
        call: str,
        *,
        nth: int = 1,
        times: int = 1,
        drop_answer: bool = False,
        status: int | None = None,
        hang: bool = False,
        headers: Mapping[str, str] | None = None,
        message: str | None = None,
    ) -> ArmedFault:
        """Let the ``nth`` request of a call from now on fail, and those after it up to ``times``.

        Args:
            call: ``create part complete cancel file list retrieve content delete``.
            nth: Counts from 1.
            times: How many requests fail at most.
            drop_answer: It is carried out, and the connection breaks without an answer.
            status: It is answered with this status, 300 to 599, and not carried out.
            hang: It is neither answered nor carried out, until its client or the server goes.
            headers: More headers of the answer with ``status``.
            message: The message in that answer.

        Raises:
            TypeError: Not exactly one of ``drop_answer``, ``status`` and ``hang``, or a value
                of another type.
            ValueError: An unknown call, or a value out of bounds.
        """
        return self._faults.set(
            Fault(
                call=call,
                nth=nth,
                times=times,
                drop_answer=drop_answer,
                status=status,
                hang=hang,
                headers={} if headers is None else headers,
                message=message,
            )
        )

    def check_faults(self) -> None:
        """Make sure that every fault so far has fired; the end of :func:`serve` does it too.

        Raises:
            FaultNeverFired: Some have not; it names them.
        """
        never = self._faults.never_fired()
        if never:
            raise FaultNeverFired(
                "\n".join(
                    f"{armed} never fired; '{armed.fault.call}' requests since it was set: "
                    f"{armed.seen}"
                    for armed in never
                )
            )

    def advance(self, seconds: float) -> None:
        """Move the server's clock on; what expires by then has expired.

        Raises:
            ValueError: Time would go back, or on for ever.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"a clock goes on by 0 seconds or more, not by {seconds}")
        with self._lock:
            self._offset += seconds

    def restart(self) -> None:
        """Kill the server and start it again, on the same port and with the same disk.

        Connections break and requests under way are lost, unless one was just about to write
        what it is for. The clock and the faults stay as they are.

        Raises:
            OSError: Somebody else took the port meanwhile.
        """
        with self._lock:
            self._do(self._die())
            self._do(self._live(URL(self.base_url).port or 0))

    # --- inside -----------------------------------------------------------------------------

    @contextmanager
    def _running(self) -> Iterator[None]:
        try:
            self._do(self._live(0))
            yield
        finally:
            with self._lock:
                self._do(self._die())

    def _do(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _live(self, port: int) -> None:
        with ExitStack() as undo:
            store = Store(self._directory, ttl=self._ttl, clock=lambda: time.time() + self._offset)
            undo.callback(store.close)
            listener = undo.enter_context(socket.create_server(("127.0.0.1", port)))
            middlewares = [self._recorder.middleware, self._faults.middleware]
            app = create_app(store, key=self.api_key, middlewares=middlewares)
            app.on_response_prepare.append(self._recorder.note_status)
            self._runner, self.base_url = await start(app, listener=listener)
            self._store, self._listener = store, listener
            undo.pop_all()

    async def _die(self) -> None:
        runner, self._runner = self._runner, None
        listener, self._listener = self._listener, None
        store, self._store = self._store, None
        if runner is None or runner.server is None or listener is None or store is None:
            return
        # asyncio loses a connection that it has accepted but not yet handed on when the listener
        # closes. So first it accepts no more, and hands on what it has, which takes three turns.
        self._loop.remove_reader(listener)
        for _ in range(3):
            await asyncio.sleep(0)
        for site in runner.sites:
            await site.stop()
        for connection in runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await self._recorder.end_all()
        await runner.cleanup()
        store.close()

    def _ask(self, question: Callable[[Store], _Result]) -> _Result:
        # The store may be asked by any thread, but not while it is replaced.
        with self._lock:
            if self._store is None:
                raise RuntimeError("this server has stopped")
            return question(self._store)

    def _files(self) -> dict[str, ServedFile]:
        return self._ask(
            lambda store: {row.id: ServedFile.of(row, self._read) for row in store.files()}
        )

    def _read(self, file_id: str) -> bytes:
        try:
            return self._ask(lambda store: b"".join(store.read_file(file_id)))
        except (ApiError, FileNotFoundError):
            raise KeyError(file_id) from None

    def _uploads(self) -> dict[str, ServedUpload]:
        return self._ask(
            lambda store: {
                row.id: ServedUpload.of(row, store.parts(row.id)) for row in store.uploads()
            }
        )


@contextmanager
def serve(
    folder: str | os.PathLike[str], *, api_key: str | None = None, ttl: float = 3600.0
) -> Iterator[Server]:
    """Run a server in a thread of its own for as long as the block.

    Args:
        folder: Where it keeps what it gets, and where ``journal`` lies; made if it is not
            there. A folder that an earlier server used still has what that one had.
        api_key: The only key that it accepts; default one that is made up.
        ttl: Life of an Upload in seconds.

    Raises:
        FaultNeverFired: The block ended well, but some fault had not fired.
        chunkup.server.store.StoreInUseError: Another server has this folder.
    """
    key = api_key or f"sk-test-{secrets.token_hex(16)}"
    with _loop_in_a_thread() as loop:
        server = Server(loop, Path(folder).absolute(), api_key=key, ttl=ttl)
        with server._running():  # noqa: SLF001  (for this function alone)
            yield server
    server.check_faults()


@contextmanager
def _loop_in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        stop = asyncio.Event()
        ready.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()

    def work() -> None:
        try:
            # Whatever policy the tests have set: only of this loop is known how it lets go.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(live())
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    # A daemon, so that an interpreter that ends in the middle of a test ends.
    thread = threading.Thread(target=work, name="chunkup-server", daemon=True)
    thread.start()
    try:
        loop, stop = ready.result()
        try:
            yield loop
        finally:
            loop.call_soon_threadsafe(stop.set)
    finally:
        thread.join()
