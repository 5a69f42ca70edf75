"""Files that a server has: all of the Files API but the making of them."""

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Final

from chunkup.engine import Engine
from chunkup.errand import Errand
from chunkup.errors import BadAnswer, BadOption, ChunkupError, NotFound
from chunkup.files.download import checked, download
from chunkup.files.fetching import pieces
from chunkup.listener import log
from chunkup.models import RemoteFile
from chunkup.processing import wait_processed
from chunkup.providers import Paging
from chunkup.text import printable
from chunkup.worker import may_have_happened

_PAGE: Final = 100
# More Files than any account may hold: a server that lists so many makes them up.
_ENDLESS: Final = 1_000_000


class StoredFiles:
    """Files that the server has, for whoever has an engine.

    Requests are repeated under the policy of the engine: reading and deleting do no harm twice.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def retrieve(self, file_id: str) -> RemoteFile:
        """What the server says of a File.

        ``bytes`` is None where it does not know the size, or not yet: see :meth:`wait`.

        Raises:
            BadOption: That is no id.
            NotFound: There is no such File.
            ChunkupError: The server cannot be reached, or will not say.
        """
        shop = self._engine.workshop
        return await Errand(shop)(partial(shop.api.retrieve, an_id(file_id)))

    async def list(
        self, purpose: str | None = None, *, order: str = "desc", limit: int | None = None
    ) -> AsyncGenerator[RemoteFile]:
        """Every File, page by page, each once.

        Survives servers that ignore what is asked for: what is of another purpose is left away,
        and a page that brings nothing new is the last one, whatever the server says.

        Args:
            purpose: Only Files of this one.
            order: ``desc`` for the newest first, ``asc`` for the oldest; where the server sorts.
            limit: How many at most.

        Raises:
            BadOption: An argument that cannot be.
            BadAnswer: The list has no end.
            ChunkupError: As :meth:`retrieve`.
        """
        if order not in {"asc", "desc"}:
            raise BadOption(f"{order!r} is no order", hint="say asc or desc")
        if purpose is not None and not purpose:
            raise BadOption("the purpose is empty", hint="say none at all for every purpose")
        if limit is not None and limit < 1:
            raise BadOption(f"a list of {limit} Files is none", hint="say a limit from 1 on")
        given = 0
        async with aclosing(self._listed(purpose, order, limit)) as files:
            async for file in files:
                # Who knows no such filter sends all, and who leaves the purpose out means ours.
                if purpose is None or file.purpose in {"", purpose}:
                    yield file
                    given += 1
                    if given == limit:
                        return

    async def _listed(
        self, purpose: str | None, order: str, limit: int | None
    ) -> AsyncGenerator[RemoteFile]:
        shop = self._engine.workshop
        size = _PAGE if limit is None else min(limit, _PAGE)
        seen: set[str] = set()
        after, number, more = None, 0, True
        while more:
            page, more = await Errand(shop)(
                partial(shop.api.list_files, purpose, after, limit=size, order=order, page=number)
            )
            if shop.api.provider.paging is Paging.WHOLE:
                page = sorted(page, key=lambda file: file.created_at, reverse=order == "desc")
            new = [file for file in page if file.id not in seen]
            if more and page and not new:
                log.warning("the server lists the same Files again; there may be more than these")
            for file in new:
                if file.id not in seen:
                    seen.add(file.id)
                    yield file
            if not new:
                return
            if len(seen) > _ENDLESS:
                raise BadAnswer("the server's list of Files has no end")
            after, number = page[-1].id, number + 1

    async def delete(self, file_id: str) -> bool:
        """Delete a File; whether the server says that it did.

        Raises:
            NotFound: There is no such File, and no earlier request of ours deleted it.
            ChunkupError: As :meth:`retrieve`.
        """
        shop, name, lost = self._engine.workshop, an_id(file_id), False

        async def attempt() -> bool:
            nonlocal lost
            try:
                return await shop.api.delete(name)
            except NotFound:
                if lost:
                    return True
                raise
            except ChunkupError as error:
                lost = lost or may_have_happened(error)
                raise

        return await Errand(shop)(attempt)

    async def content(self, file_id: str) -> AsyncGenerator[bytes]:
        """A File's content, in pieces of any size.

        What breaks off goes on where it stopped. Close the generator if you leave it early
        (:func:`contextlib.aclosing`).

        Raises:
            BadAnswer: It has not the File's length.
            Rejected: The server does not give it, as OpenAI for most purposes.
            ChunkupError: As :meth:`retrieve`.
        """
        file, given = await self.retrieve(file_id), 0
        async with aclosing(pieces(self._engine.workshop, file)) as found:
            async for at, block in found:
                new = block[max(0, given - at) :]
                if new:
                    given += len(new)
                    yield new

    async def download(
        self,
        file_id: str,
        to: str | os.PathLike[str],
        *,
        resume: bool = True,
        overwrite: bool = False,
    ) -> Path:
        """Write a File's content to a path, and return that.

        It appears there only when it is whole, readable by its owner alone; until then it is
        beside it under a hidden name, where the same call finds it again. What the server calls
        the File never becomes a path.

        Args:
            file_id: The File.
            to: A path in a folder that exists.
            resume: Whether to go on with what an earlier call left.
            overwrite: Whether to replace a regular file that is there.

        Raises:
            BadOption: ``to`` cannot be written, or something is there; nothing was asked for.
            Busy: Another process is at it.
            ChunkupError: As :meth:`content`. A full disk is a stop, from which the call goes on.
        """
        checked(to, overwrite=overwrite)
        file = await self.retrieve(file_id)
        return await download(self._engine.workshop, file, to, resume=resume, overwrite=overwrite)

    async def wait(
        self,
        file: RemoteFile | str,
        *,
        timeout: float = 600.0,  # noqa: ASYNC109  (how long a person wants to wait)
    ) -> RemoteFile:
        """Wait until the server has processed a File; see :func:`wait_processed`.

        Raises:
            NotFound: There is no such File, or there is none any more.
            Failed: The server says that it could not process it.
            Stopped: It is not through after ``timeout`` seconds.
        """
        shop = self._engine.workshop
        if not isinstance(file, RemoteFile):
            file = an_id(file)
        return await wait_processed(shop.api, Errand(shop), file, timeout=timeout)


def an_id(file_id: object) -> str:
    """An id that a request can name.

    Raises:
        BadOption: It cannot be one.
    """
    if not isinstance(file_id, str):
        raise BadOption(f"an id is text, and no {type(file_id).__name__}")
    if not file_id or file_id in {".", ".."} or not file_id.isprintable() or len(file_id) > 4096:
        raise BadOption(
            f"{printable(file_id, 80)!r} cannot be an id" if file_id else "the id is empty",
            hint="look for it with: chunkup files list",
        )
    return file_id
