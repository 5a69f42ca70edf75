"""The nine calls of the Uploads and Files APIs."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote

from aiohttp import web

from chunkup.server.answers import file_object, list_object, part_object, upload_object
from chunkup.server.bodies import (
    ANCHOR_FIELD,
    SECONDS_FIELD,
    complete_request,
    json_object,
    new_file,
    new_upload,
    no_parameters,
)
from chunkup.server.content import Slice, StoppedError, read_slices
from chunkup.server.errors import ApiError
from chunkup.server.forms import FormReader, FormShape
from chunkup.server.patience import Body
from chunkup.server.queries import byte_range, listing
from chunkup.server.rules import require_pending
from chunkup.server.store import Store
from chunkup.server.tampering import WAY, Way, held

# How often what has expired is looked for when no request comes to look.
_SWEEP_SECONDS = 10.0

_PLAIN = Way()

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request to add a part to an upload that exists, seen when it is over.

    `part_id` is None when the part was refused or cut off; `bytes` counts what came of its
    content; `whole` says that all of the body came, whatever became of it.
    """

    upload_id: str
    part_id: str | None
    bytes: int
    whole: bool


class Service:
    """The handlers, over one store; `run` must be entered before the first request."""

    def __init__(self, store: Store, observer: Callable[[Arrival], None]) -> None:
        self._store = store
        self._observer = observer
        self._stopping = threading.Event()
        self._json_bytes = store.limits.json_bytes
        self._part_form = FormShape("data", frozenset(), store.limits.part_bytes, "The part")
        text_fields = frozenset({"purpose", ANCHOR_FIELD, SECONDS_FIELD})
        self._file_form = FormShape("file", text_fields, store.limits.file_bytes, "The file")

    async def run(self, _app: web.Application) -> AsyncIterator[None]:
        """Own the threads while the application runs: short calls in one pool, MD5 in another."""
        self._stopping.clear()
        self._short = ThreadPoolExecutor(8, thread_name_prefix="server-disk")
        self._long = ThreadPoolExecutor(4, thread_name_prefix="server-hash")
        sweeper = asyncio.create_task(self._sweep())
        yield
        sweeper.cancel()
        await asyncio.wait([sweeper])
        for pool in (self._short, self._long):
            pool.shutdown(cancel_futures=True)

    async def stop(self, _app: web.Application) -> None:
        """Tell long reads to end, so that shutting down need not wait for them."""
        self._stopping.set()

    # --- uploads

    async def create_upload(self, request: web.Request) -> web.Response:
        """POST /uploads."""
        body = await _json(request, self._json_bytes)
        new = new_upload(body, max_bytes=self._store.limits.upload_bytes)
        return web.json_response(upload_object(await self._call(self._store.create_upload, new)))

    async def add_part(self, request: web.Request) -> web.Response:
        """POST /uploads/{upload_id}/parts."""
        upload = await self._call(self._store.upload, request.match_info["upload_id"])
        incoming = self._store.receive()
        reader = FormReader(request, self._part_form, incoming, self._short)
        part_id, whole = None, False
        try:
            require_pending(upload)
            await reader.read()
            whole = True
            part = await self._call(self._store.add_part, upload.id, incoming)
            part_id = part.id
        finally:
            incoming.discard()
            self._observer(Arrival(upload.id, part_id, reader.received, whole))
        return web.json_response(part_object(part))

    async def complete_upload(self, request: web.Request) -> web.Response:
        """POST /uploads/{upload_id}/complete."""
        upload_id = request.match_info["upload_id"]
        require_pending(await self._call(self._store.upload, upload_id))
        asked = complete_request(await _json(request, self._json_bytes))
        complete = partial(
            self._store.complete_upload,
            upload_id,
            asked.part_ids,
            asked.md5,
            stopped=self._stopping.is_set,
        )
        upload, file = await asyncio.get_running_loop().run_in_executor(self._long, complete)
        return web.json_response(upload_object(upload, file))

    async def cancel_upload(self, request: web.Request) -> web.Response:
        """POST /uploads/{upload_id}/cancel."""
        upload = await self._call(self._store.upload, request.match_info["upload_id"])
        require_pending(upload, cancelling=True)
        no_parameters(await _json(request, self._json_bytes, may_be_empty=True))
        cancelled = await self._call(self._store.cancel_upload, upload.id)
        return web.json_response(upload_object(cancelled))

    # --- files

    async def create_file(self, request: web.Request) -> web.Response:
        """POST /files."""
        incoming = self._store.receive()
        try:
            form = await FormReader(request, self._file_form, incoming, self._short).read()
            new = new_file(form.filename, form.fields)
            file = await self._call(self._store.add_file, new, incoming)
        finally:
            incoming.discard()
        return web.json_response(file_object(file))

    async def list_files(self, request: web.Request) -> web.Response:
        """GET /files."""
        asked = listing(request.query)
        page = await self._call(
            self._store.list_files,
            purpose=asked.purpose,
            limit=asked.limit,
            newest_first=asked.newest_first,
            after=asked.after,
        )
        return web.json_response(list_object(page))

    async def retrieve_file(self, request: web.Request) -> web.Response:
        """GET /files/{file_id}."""
        file = await self._call(self._store.file, request.match_info["file_id"])
        return web.json_response(file_object(file))

    async def delete_file(self, request: web.Request) -> web.Response:
        """DELETE /files/{file_id}."""
        file_id = request.match_info["file_id"]
        await self._call(self._store.delete_file, file_id)
        return web.json_response({"id": file_id, "object": "file", "deleted": True})

    async def file_content(self, request: web.Request) -> web.StreamResponse:
        """GET /files/{file_id}/content, whole or one range of it."""
        file = await self._call(self._store.file, request.match_info["file_id"])
        asked = byte_range(request.headers, file.bytes)
        start, stop = asked or (0, file.bytes)
        slices = await self._call(self._store.slices, file.id, start, stop)
        response = web.StreamResponse(
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.filename, '')}",
                "Accept-Ranges": "bytes",
            }
        )
        if asked is not None:
            response.set_status(206)
            response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.bytes}"
        response.content_length = stop - start
        await request.get(WAY, _PLAIN).prepare(request, response)
        await self._send(request, response, slices)
        return response

    async def _send(
        self, request: web.Request, response: web.StreamResponse, slices: list[Slice]
    ) -> None:
        chunks = read_slices(slices, self._stopping.is_set)
        try:
            while chunk := await self._call(next, chunks, b""):
                await request.get(WAY, _PLAIN).write(response, chunk)
        except (FileNotFoundError, EOFError, StoppedError):
            # Deleted while it was read, or shutting down: too late for an error object, so
            # the client learns it from a body shorter than its Content-Length.
            if request.transport is not None:
                request.transport.close()

    async def _call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._short, partial(function, *args, **kwargs))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            # A disk that refuses now is asked again in the next round.
            with suppress(OSError, sqlite3.Error):
                await self._call(self._store.sweep)


async def _json(request: web.Request, limit: int, *, may_be_empty: bool = False) -> dict[str, Any]:
    # Who stands between may have read it already; aiohttp keeps it then.
    read = request.content.at_eof()
    body = await (request.read() if read else Body(request).whole(limit))
    await held(request)
    if may_be_empty and not body:
        return {}
    if request.content_type != "application/json":
        raise _not_json(request)
    return json_object(body)


def _not_json(request: web.Request) -> ApiError:
    message = (
        f"Unsupported content type: '{request.content_type[:80]}'."
        " This API method only accepts 'application/json' requests."
    )
    return ApiError(400, message, code="unsupported_content_type")
