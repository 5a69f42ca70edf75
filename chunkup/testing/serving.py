"""The server in a thread: started, killed, started again, and looked at from outside."""

import asyncio
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar, Unpack

from aiohttp import web
from yarl import URL

from chunkup.server.aim import ArmedFault, Faults, Strike
from chunkup.server.app import create_app, start
from chunkup.server.errors import ApiError
from chunkup.server.faults import Fault, Words
from chunkup.server.plans import read_plan
from chunkup.server.store import Orphans, Store
from chunkup.server.strikes import striking
from chunkup.testing.looping import loop_in_a_thread
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

    def __init__(  # noqa: PLR0913  (one for each thing that serve() may say)
        self,
        loop: asyncio.AbstractEventLoop,
        folder: Path,
        *,
        api_key: str,
        ttl: float,
        seed: int,
        orphans: Orphans,
        with_uploads: bool,
    ) -> None:
        self.base_url = ""
        self.api_key = api_key
        self.journal = folder / "journal" / "journal.db"
        self.files: Mapping[str, ServedFile] = Shelf(self._files)
        self.uploads: Mapping[str, ServedUpload] = Shelf(self._uploads)
        self._loop = loop
        self._directory = folder / "server"
        self._ttl = ttl
        self._orphans = orphans
        self._with_uploads = with_uploads
        self._offset = 0.0
        self._faults = Faults(seed)
        self._recorder = Recorder()
        # Held by who looks at the store and by who replaces it. The server's own thread never
        # takes it, so that requests go on while somebody looks.
        self._lock = threading.RLock()
        self._store: Store | None = None
        self._runner: web.AppRunner | None = None

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

    @property
    def strikes(self) -> tuple[Strike, ...]:
        """What faults have struck so far, in that order; `str` of one says it."""
        return self._faults.strikes()

    def fault(self, call: str, **said: Unpack[Words]) -> ArmedFault:
        """Let the ``nth`` request of a call from now on fail, and those after it up to ``times``.

        Args:
            call: ``create part complete cancel file list retrieve content delete``, or ``any``.
            said: Which of its requests are struck, and what happens to them, such as
                ``nth=3, drop_answer=True``, ``status=503`` or ``hang=True``; all of it is told
                by :class:`chunkup.testing.Fault`.

        Raises:
            TypeError: It contradicts itself or says nothing, or a value is of another type.
            ValueError: An unknown call, or a value out of bounds.
        """
        if said.get("headers", {}) is None:
            del said["headers"]
        return self._faults.set(Fault(call=call, **said))

    def play(self, plan: str) -> tuple[ArmedFault, ...]:
        """Set all faults of a plan: the text of JSON Lines, or of a JSON list.

        Raises:
            ValueError: It is no plan; the message names the line.
        """
        return tuple(self._faults.set(fault) for fault in read_plan(plan))

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
            store = Store(
                self._directory,
                ttl=self._ttl,
                clock=lambda: time.time() + self._offset,
                orphans=self._orphans,
            )
            undo.callback(store.close)
            listener = undo.enter_context(socket.create_server(("127.0.0.1", port)))
            app = create_app(
                store,
                key=self.api_key,
                middlewares=[self._recorder.middleware, striking(self._faults)],
                with_uploads=self._with_uploads,
            )
            app.on_response_prepare.append(self._recorder.note_status)
            self._runner, self.base_url = await start(app, listener=listener)
            self._store = store
            undo.pop_all()

    async def _die(self) -> None:
        runner, self._runner = self._runner, None
        store, self._store = self._store, None
        if runner is None or runner.server is None or store is None:
            return
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
def serve(  # noqa: PLR0913  (one for each thing in which servers differ)
    folder: str | os.PathLike[str],
    *,
    api_key: str | None = None,
    ttl: float = 3600.0,
    seed: int = 0,
    orphans: Orphans = "ignore",
    with_uploads: bool = True,
) -> Iterator[Server]:
    """Run a server in a thread of its own for as long as the block.

    Args:
        folder: Where it keeps what it gets, and where ``journal`` lies; made if it is not
            there. A folder that an earlier server used still has what that one had.
        api_key: The only key that it accepts; default one that is made up.
        ttl: Life of an Upload in seconds.
        seed: Another one lets faults with a ``probability`` strike other requests.
        orphans: What becomes of parts that nobody lists, such as one whose answer was lost:
            ``ignore``, ``count`` (a part beyond the declared bytes is refused) or ``refuse``
            (there is no File while there are any).
        with_uploads: False is a server that has only the Files API.

    Raises:
        FaultNeverFired: The block ended well, but some fault had not fired.
        chunkup.server.store.StoreInUseError: Another server has this folder.
    """
    key = api_key or f"sk-test-{secrets.token_hex(16)}"
    with loop_in_a_thread() as loop:
        server = Server(
            loop,
            Path(folder).absolute(),
            api_key=key,
            ttl=ttl,
            seed=seed,
            orphans=orphans,
            with_uploads=with_uploads,
        )
        with server._running():  # noqa: SLF001  (for this function alone)
            yield server
    server.check_faults()
