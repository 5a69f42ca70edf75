"""The Files API for programs with a loop."""

import os
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from chunkup.dataset import Result
from chunkup.engine import Engine
from chunkup.errors import BadOption, ChunkupError, Stopped
from chunkup.files.handed import Readable, name_of, send
from chunkup.files.stored import StoredFiles
from chunkup.handles import AsyncRun
from chunkup.intake import Content
from chunkup.listener import OnEvent, log
from chunkup.models import Method, RemoteFile

Sendable = str | os.PathLike[str] | bytes | bytearray | memoryview | Readable
OnDone = Callable[[Result], None]


class Sender(Protocol):
    """What uploads a path; see :meth:`chunkup.AsyncUploader.start`."""

    def __call__(  # noqa: PLR0913  (as there)
        self,
        path: str,
        *,
        purpose: str,
        filename: str | None,
        mime_type: str | None,
        expires_after: int | None,
        method: Method,
        check: bool,
        on_event: OnEvent | None,
    ) -> AsyncRun:
        """Begin, and return at once."""
        ...


Watched = Callable[
    [str, Callable[[OnEvent], Coroutine[Any, Any, RemoteFile]], OnEvent | None], AsyncRun
]


class Files(StoredFiles):
    """The Files API: ``AsyncUploader.files``."""

    def __init__(self, engine: Engine, start: Sender, watched: Watched) -> None:
        super().__init__(engine)
        self._start = start
        self._watched = watched

    async def create(  # noqa: PLR0913  (the content's own properties)
        self,
        source: Sendable,
        *,
        purpose: str,
        filename: str | None = None,
        mime_type: str | None = None,
        expires_after: int | None = None,
        on_event: OnEvent | None = None,
    ) -> RemoteFile:
        """Make a File in a single POST /files, of up to 512 MB at OpenAI.

        A path is a job like any upload: journaled, and gone on with by the same call. Bytes and
        file objects are sent as they are: a lost answer is looked for in the list of Files, and
        nothing remembers them longer than this call. A file object is sent from where it stands.
        What the content says is the server's to judge; :meth:`chunkup.AsyncUploader.upload` checks
        it first.

        Args:
            source: A path, bytes, or a file object open for bytes.
            purpose: ``batch``, ``user_data``, ... or what a provider calls its own.
            filename: The File's name; bytes have no other.
            mime_type: Default by the name's extension.
            expires_after: Seconds after creation at which the File vanishes, 3600 to 2592000.
            on_event: Called with every event of a path; bytes have none.

        Raises:
            Refused: It cannot be sent; nothing was.
            ChunkupError: As :meth:`chunkup.AsyncUploader.upload`.
        """
        return await self.start(
            source,
            purpose=purpose,
            filename=filename,
            mime_type=mime_type,
            expires_after=expires_after,
            on_event=on_event,
        )

    def start(  # noqa: PLR0913  (as create)
        self,
        source: Sendable,
        *,
        purpose: str,
        filename: str | None = None,
        mime_type: str | None = None,
        expires_after: int | None = None,
        on_event: OnEvent | None = None,
        on_done: OnDone | None = None,
    ) -> AsyncRun:
        """Begin what :meth:`create` does and return at once; needs a running loop.

        ``on_done`` is called once, with the :class:`chunkup.Result`, however it ends.

        Raises:
            BadOption: An argument that cannot be.
        """
        content = _content(purpose, filename, mime_type, expires_after)
        if isinstance(source, str | os.PathLike):
            path = os.fspath(source)
            if not isinstance(path, str):
                raise BadOption("source is a path of bytes; give it as text")
            run = self._start(
                path,
                purpose=purpose,
                filename=filename,
                mime_type=mime_type,
                expires_after=expires_after,
                method="files",
                check=False,
                on_event=on_event,
            )
        else:
            path = name_of(source, filename)

            async def work(_: OnEvent) -> RemoteFile:
                return await send(self._engine, source, content)

            run = self._watched(path, work, on_event)
        if on_done is not None:
            run.when_over(partial(_tell, run, on_done))
        return run


def _tell(run: AsyncRun, on_done: OnDone) -> None:
    try:
        on_done(_result(run))
    except Exception:  # noqa: BLE001  (somebody else's code, whose fault is not the upload's)
        log.exception("on_done raised")


def _result(run: AsyncRun) -> Result:
    if run.task.cancelled():
        error: BaseException | None = Stopped(f"{run.path} was stopped")
    else:
        error = run.task.exception()
    if error is None:
        return Result(run.path, run.job_id or "", run.task.result())
    if not isinstance(error, ChunkupError):
        unexpected = ChunkupError(f"{type(error).__name__}: {error}")
        unexpected.__cause__ = error
        error = unexpected
    return Result(run.path, run.job_id or "", None, error)


def _content(
    purpose: object, filename: object, mime_type: object, expires_after: object
) -> Content:
    """What was asked for, if it can be.

    Raises:
        BadOption: It names the argument that cannot.
    """
    for name, value in (("purpose", purpose), ("filename", filename), ("mime_type", mime_type)):
        if value is not None and not isinstance(value, str):
            raise BadOption(f"{name} is a {type(value).__name__}, and no text")
    if not purpose:
        raise BadOption("the purpose is empty", hint='say purpose="user_data"')
    if expires_after is not None and (
        not isinstance(expires_after, int) or isinstance(expires_after, bool)
    ):
        raise BadOption(
            f"expires_after is a {type(expires_after).__name__}, and no whole number of seconds"
        )
    return Content(purpose, filename, mime_type, expires_after, "files")  # type: ignore[arg-type]  # the loop above has seen to that
