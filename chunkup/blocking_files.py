"""Files and Uploads for programs without a loop: the blocking faces of both."""

import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from chunkup.files import Files, OnDone, Sendable
from chunkup.files.uploads import Uploads
from chunkup.handles import AsyncRun
from chunkup.listener import OnEvent
from chunkup.models import RemoteFile, Upload
from chunkup.thread import THREAD

_Item = TypeVar("_Item")
_Handle = TypeVar("_Handle")


class BlockingFiles(Generic[_Handle]):
    """The Files API: ``Uploader.files``. The calls are those of :class:`chunkup.files.Files`.

    ``hold`` makes of a started upload what a program without a loop holds.
    """

    def __init__(self, inner: Files, hold: Callable[[AsyncRun], _Handle]) -> None:
        self._inner = inner
        self._hold = hold

    def create(  # noqa: PLR0913  (the content's own properties)
        self,
        source: Sendable,
        *,
        purpose: str,
        filename: str | None = None,
        mime_type: str | None = None,
        expires_after: int | None = None,
        on_event: OnEvent | None = None,
    ) -> RemoteFile:
        """Make a File in a single request; see :meth:`chunkup.files.Files.create`."""
        return THREAD.run(
            self._inner.create(
                source,
                purpose=purpose,
                filename=filename,
                mime_type=mime_type,
                expires_after=expires_after,
                on_event=on_event,
            )
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
    ) -> _Handle:
        """Begin what :meth:`create` does in the engine thread and return at once.

        ``on_done`` is called in that thread, once, with the :class:`chunkup.Result`.
        """

        async def start() -> AsyncRun:
            return self._inner.start(
                source,
                purpose=purpose,
                filename=filename,
                mime_type=mime_type,
                expires_after=expires_after,
                on_event=on_event,
                on_done=on_done,
            )

        return self._hold(THREAD.run(start()))

    def retrieve(self, file_id: str) -> RemoteFile:
        """What the server says of a File; see :meth:`chunkup.files.Files.retrieve`."""
        return THREAD.run(self._inner.retrieve(file_id))

    def list(
        self, purpose: str | None = None, *, order: str = "desc", limit: int | None = None
    ) -> Iterator[RemoteFile]:
        """Every File, page by page; see :meth:`chunkup.files.Files.list`."""
        return given(self._inner.list(purpose, order=order, limit=limit))

    def delete(self, file_id: str) -> bool:
        """Delete a File; whether the server says that it did."""
        return THREAD.run(self._inner.delete(file_id))

    def content(self, file_id: str) -> Iterator[bytes]:
        """A File's content, in pieces; see :meth:`chunkup.files.Files.content`."""
        return given(self._inner.content(file_id))

    def download(
        self,
        file_id: str,
        to: str | os.PathLike[str],
        *,
        resume: bool = True,
        overwrite: bool = False,
    ) -> Path:
        """Write a File's content to a path; see :meth:`chunkup.files.Files.download`."""
        return THREAD.run(self._inner.download(file_id, to, resume=resume, overwrite=overwrite))

    def wait(self, file: RemoteFile | str, *, timeout: float = 600.0) -> RemoteFile:
        """Wait until a File is processed; see :meth:`chunkup.files.Files.wait`."""
        return THREAD.run(self._inner.wait(file, timeout=timeout))


class BlockingUploads:
    """The Uploads API: ``Uploader.uploads``; see :class:`chunkup.files.uploads.Uploads`."""

    def __init__(self, inner: Uploads) -> None:
        self._inner = inner

    def create(
        self,
        *,
        bytes: int,  # noqa: A002  (the API's own word)
        filename: str,
        purpose: str,
        mime_type: str | None = None,
        expires_after: int | None = None,
    ) -> Upload:
        """POST /uploads; see :meth:`chunkup.files.uploads.Uploads.create`."""
        return THREAD.run(
            self._inner.create(
                bytes=bytes,
                filename=filename,
                purpose=purpose,
                mime_type=mime_type,
                expires_after=expires_after,
            )
        )

    def add_part(
        self,
        upload_id: str,
        data: bytes | bytearray | memoryview | str | os.PathLike[str],
        *,
        start: int = 0,
        stop: int | None = None,
    ) -> str:
        """POST /uploads/{id}/parts; see :meth:`chunkup.files.uploads.Uploads.add_part`."""
        return THREAD.run(self._inner.add_part(upload_id, data, start=start, stop=stop))

    def complete(
        self, upload_id: str, part_ids: Sequence[str], md5: str | None = None
    ) -> RemoteFile:
        """POST /uploads/{id}/complete; see :meth:`chunkup.files.uploads.Uploads.complete`."""
        return THREAD.run(self._inner.complete(upload_id, part_ids, md5))

    def cancel(self, upload_id: str) -> None:
        """POST /uploads/{id}/cancel; see :meth:`chunkup.files.uploads.Uploads.cancel`."""
        THREAD.run(self._inner.cancel(upload_id))


def given(items: AsyncGenerator[_Item]) -> Iterator[_Item]:
    """What an asynchronous generator gives; leaving early closes it."""

    async def following() -> tuple[_Item] | None:
        async for item in items:
            return (item,)
        return None

    async def closed() -> None:
        await items.aclose()

    try:
        while (item := THREAD.run(following())) is not None:
            yield item[0]
    finally:
        # On the engine's thread this is the garbage collector, and the loop closes it itself.
        if not THREAD.is_current():
            THREAD.run(closed())
