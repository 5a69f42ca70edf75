"""The calls of the Uploads and Files APIs."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import aiohttp

from chunkup.answers import nonsense, read_file, read_upload, segment, text_of, unwrapped
from chunkup.body import FormBody
from chunkup.endpoint import Endpoint
from chunkup.errors import ChunkupError, ServerTrouble, Unreachable
from chunkup.foreign import mapped
from chunkup.models import Job, RemoteFile, Upload
from chunkup.pace import Ration
from chunkup.providers import Paging, Provider
from chunkup.transport import CONNECT, Transport
from chunkup.verdicts import Call
from chunkup.watching import watched

_LISTING: Final = 16 << 20
# More digits are no length, and Python would not even read them all.
_NUMBER: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Content:
    """A File's content on its way here.

    Attributes:
        start: Where it begins; 0 also if the server does not know ranges.
        total: Bytes of the whole File, or None if the server does not say.
        etag: What changes with the content, if the server says any such thing.
    """

    start: int
    total: int | None
    etag: str | None
    response: aiohttp.ClientResponse

    async def blocks(self) -> AsyncIterator[bytes]:
        """The content from ``start`` on, in pieces of any size.

        Raises:
            Unreachable: It broke off.
        """
        pieces = self.response.content.iter_chunked(1 << 16)
        while True:
            async with mapped(Call.CONTENT):
                block = await anext(pieces, b"")
            if not block:
                return
            yield block


class Api:
    """The calls at one endpoint. Open it inside a running loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        stall_timeout: float,
        complete_timeout: float,
        limit_rate: float | None = None,
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
    ) -> None:
        self.transport = Transport(endpoint, trace_configs=trace_configs)
        self._stall = stall_timeout
        self._complete_timeout = complete_timeout
        self._ration = None if limit_rate is None else Ration(limit_rate)

    def open(self) -> None:
        """Make the sessions; no connection is opened yet."""
        self.transport.open()

    async def close(self) -> None:
        """Close every connection."""
        await self.transport.close()

    @property
    def provider(self) -> Provider:
        """Whose API this is."""
        return self.transport.endpoint.provider

    def server_now(self) -> float:
        """Unix seconds by the server's clock; by ours until it has answered once."""
        return self.transport.server_now()

    # --- Uploads ----------------------------------------------------------------------------

    async def create(self, job: Job) -> Upload:
        """POST /uploads."""
        body: dict[str, Any] = {
            "filename": job.filename,
            "purpose": job.purpose,
            "bytes": job.size,
            "mime_type": job.mime_type,
        }
        if job.expires_after is not None:
            body["expires_after"] = {"anchor": "created_at", "seconds": job.expires_after}
        made = read_upload(await self.transport.json("POST", "/uploads", Call.CREATE, body))
        return self.transport.born(replace(made, owner=self.transport.owner))

    async def add_part(self, upload_id: str, body: FormBody, moved: Callable[[int], None]) -> str:
        """POST /uploads/{id}/parts; the part's id.

        ``moved`` is told about once a second how many bytes of the part the peer has
        acknowledged.

        Raises:
            Unreachable: Also when no byte moved for the stall timeout.
            ServerTrouble: Also for a success that came before the body was whole, which a
                server may send to a body that was cut on the way.
        """
        path = f"/uploads/{segment(upload_id)}/parts"
        return text_of(await self._send(path, Call.PART, body, moved), "id")

    async def complete(self, upload_id: str, part_ids: Sequence[str], md5: str | None) -> Upload:
        """POST /uploads/{id}/complete, on a connection of its own."""
        body: dict[str, Any] = {"part_ids": list(part_ids)}
        if md5 is not None:
            body["md5"] = md5
        path = f"/uploads/{segment(upload_id)}/complete"
        limit = aiohttp.ClientTimeout(total=self._complete_timeout, sock_connect=CONNECT)
        return read_upload(
            await self.transport.json("POST", path, Call.COMPLETE, body, fresh=True, timeout=limit)
        )

    async def cancel(self, upload_id: str) -> None:
        """POST /uploads/{id}/cancel.

        Without a body and without a content type: an empty body that is announced as JSON
        makes gateways fail.
        """
        path = f"/uploads/{segment(upload_id)}/cancel"
        await self.transport.json("POST", path, Call.CANCEL, fresh=True)

    # --- Files ------------------------------------------------------------------------------

    async def post_file(self, body: FormBody, moved: Callable[[int], None]) -> RemoteFile:
        """POST /files, on a connection of its own, as :meth:`add_part`.

        Raises:
            ChunkupError: ``cut`` says whether the body broke off before its end, so that surely
                nothing came of it.
        """
        try:
            return read_file(await self._send("/files", Call.POST, body, moved, fresh=True))
        except ChunkupError as error:
            error.cut = not body.whole
            raise

    async def list_files(
        self,
        purpose: str | None,
        after: str | None,
        *,
        limit: int = 100,
        order: str = "desc",
        page: int = 0,
    ) -> tuple[list[RemoteFile], bool]:
        """One page of GET /files, and whether the server says there is more.

        Args:
            purpose: Only Files of this one, where the server knows that filter.
            after: The id of the last File of the page before; None for the first page.
            limit: Files a page at most.
            order: ``desc`` for the newest first, or ``asc``.
            page: Number of the page from 0, for servers that count them.
        """
        query = {} if purpose is None else {"purpose": purpose}
        paging = self.provider.paging
        if paging is Paging.CURSOR:
            query |= {"order": order, "limit": str(limit)}
            if after is not None:
                query["after"] = after
        elif paging is Paging.PAGES:
            query |= {"page": str(page), "page_size": str(limit)}
        else:
            query = {}
        found = await self.transport.json("GET", "/files", Call.LIST, params=query, most=_LISTING)
        data = unwrapped(found).get("data")
        if not isinstance(data, list):
            raise nonsense("a list of Files")
        files = [read_file(item) for item in data]
        more = found.get("has_more") is True
        if paging is Paging.PAGES:
            # Such servers tell how many there are in all, or nothing.
            total = found.get("total")
            seen = page * limit + len(files)
            more = seen < total if isinstance(total, int) else len(files) >= limit
        return files, more

    async def retrieve(self, file_id: str) -> RemoteFile:
        """GET /files/{id}."""
        path = f"/files/{segment(file_id)}"
        return read_file(await self.transport.json("GET", path, Call.RETRIEVE))

    async def delete(self, file_id: str) -> bool:
        """DELETE /files/{id}; whether the server says that it is deleted."""
        path = f"/files/{segment(file_id)}"
        found = await self.transport.json("DELETE", path, Call.DELETE)
        return found.get("deleted") is not False

    @asynccontextmanager
    async def content(self, file_id: str, start: int = 0) -> AsyncIterator[Content]:
        """GET /files/{id}/content, from byte ``start`` on where the server knows ranges."""
        headers = {"Accept": "application/octet-stream, */*", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        limit = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=self._stall)
        path = f"/files/{segment(file_id)}/content"
        async with self.transport.answer(
            "GET", path, Call.CONTENT, headers=headers, timeout=limit
        ) as response:
            yield _content(response, start)

    # --- one way for all that is sent ---------------------------------------------------------

    async def _send(
        self,
        path: str,
        what: Call,
        body: FormBody,
        moved: Callable[[int], None],
        *,
        fresh: bool = False,
    ) -> dict[str, Any]:
        tracker = aiohttp.UploadTracker()
        limit = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT)
        answered = False
        body.ration = self._ration
        try:
            async with watched(body, tracker, self._stall, moved):
                found = await self.transport.json(
                    "POST", path, what, body, upload_tracker=tracker, timeout=limit, fresh=fresh
                )
            answered = True
        except ChunkupError as error:
            answered = not isinstance(error, Unreachable)
            raise
        finally:
            await body.aclose(answered=answered)
            if body.error is not None:
                raise body.error
        done = tracker.upload_complete
        if body.xxh3 is None or not done.done() or done.exception() is not None:
            raise ServerTrouble("the server answered before it had the whole body", retryable=True)
        return found


def _content(response: aiohttp.ClientResponse, start: int) -> Content:
    """What a successful answer says about the content that follows."""
    # Of a packed content, which nobody asked for, neither length nor range are those of the File.
    packed = response.headers.get("Content-Encoding", "identity").lower() != "identity"
    length = None if packed else response.content_length
    at, total = 0, length
    if response.status == 206:
        # "bytes 100-199/200"; a range that begins elsewhere would tear the file.
        unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
        span, _, whole = rest.partition("/")
        first, _, _ = span.partition("-")
        if unit.strip().lower() != "bytes" or first != str(start) or packed:
            raise ServerTrouble("the server gave another part of the File than was asked for")
        at, total = start, int(whole) if _NUMBER.fullmatch(whole) else None
        if total is None and length is not None:
            total = start + length
    etag = response.headers.get("ETag")
    return Content(at, total, etag if etag and not etag.startswith("W/") else None, response)
