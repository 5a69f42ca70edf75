"""The embedded server with faults, raw sockets to it, and a sample of every call."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from chunkup.server.aim import ArmedFault, Faults
from chunkup.server.app import create_app, start
from chunkup.server.faults import Fault
from chunkup.server.rows import Orphans
from chunkup.server.store import NewUpload, Store, UploadRow
from chunkup.server.strikes import call_of, striking


@dataclass
class Served:
    """``told`` is every request and the status that the faults gave it."""

    url: str
    store: Store
    faults: Faults
    runner: web.AppRunner
    http: aiohttp.ClientSession
    told: list[tuple[str, int | None]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def fault(self, call: str, **said: Any) -> ArmedFault:
        return self.faults.set(Fault(call=call, **said))

    def upload(self, size: int = 3) -> UploadRow:
        new = NewUpload(filename="a", bytes=size, mime_type="text/plain", purpose="user_data")
        return self.store.create_upload(new)

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, bytes]:
        async with self.http.request(method, self.url + path, **more) as answer:
            return answer.status, await answer.read()

    async def ask_once(self, method: str, path: str, **more: Any) -> bytes:
        """All that comes back. Clients repeat a GET or DELETE whose connection broke; not this."""
        assert not more
        reader, writer = await asyncio.open_connection(*self.runner.addresses[0][:2])
        url = f"/v1{path}"
        writer.write(f"{method} {url} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    @asynccontextmanager
    async def open(
        self, method: str, path: str, body: bytes = b"", *, length: int | None = None
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection on which a request was sent, all of its body or the beginning of it.

        A body that begins with a brace is JSON, any other one is a form of `raw_form`.
        """
        kind = "application/json" if body[:1] == b"{" else f"multipart/form-data; boundary={_EDGE}"
        lines = [f"{method} /v1{path} HTTP/1.1", "Host: a", "Connection: close"]
        if method == "POST":
            lines += [f"Content-Length: {len(body) if length is None else length}"]
            lines += [f"Content-Type: {kind}"]
        reader, writer = await asyncio.open_connection(*self.runner.addresses[0][:2])
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def until_told(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.told) < count:
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def serving(
    directory: Path, key: str | None = None, orphans: Orphans = "ignore"
) -> AsyncIterator[Served]:
    store, faults = Store(directory, orphans=orphans), Faults()
    told: list[tuple[str, int | None]] = []
    news = asyncio.Event()

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        status = None
        try:
            answer = await handler(request)
            status = answer.status
            return answer
        finally:
            told.append((call_of(request), status))
            news.set()

    app = create_app(store, key=key, middlewares=[watch, striking(faults)])
    runner, url = await start(app)
    try:
        # One connection is enough, and a request that comes after another proves that it works.
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector) as http:
            yield Served(url, store, faults, runner, http, told, news)
    finally:
        await runner.cleanup()
        store.close()


def form(content: bytes, name: str = "data") -> aiohttp.FormData:
    data = aiohttp.FormData()
    data.add_field(name, io.BytesIO(content), filename="a", content_type="application/octet-stream")
    if name == "file":
        data.add_field("purpose", "batch")
    return data


_EDGE = "edge-of-the-form"


def raw_form(content: bytes, name: str = "data") -> bytes:
    """The bytes of a form, as `Served.open` sends them."""
    purpose = f'--{_EDGE}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    head = f'--{_EDGE}\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\n'
    begin = head if name == "data" else purpose + head
    return begin.encode() + content + f"\r\n--{_EDGE}--\r\n".encode()


def in_stock(served: Served) -> tuple[UploadRow, str, str]:
    """An upload of three bytes with its part, and a file."""
    upload, other = served.upload(), served.upload()
    ids = []
    for one in (upload, other):
        incoming = served.store.receive()
        incoming.write([memoryview(b"abc")])
        ids.append(served.store.add_part(one.id, incoming).id)
    _, file = served.store.complete_upload(other.id, [ids[1]])
    return upload, ids[0], file.id


NEW = {"filename": "b", "bytes": 1, "mime_type": "text/plain", "purpose": "batch"}
Ask = Callable[[UploadRow, str, str], tuple[str, str, dict[str, Any]]]
Trace = Callable[[Served, UploadRow, str], bool]

# What each call that changes something asks for, and how one sees that it was carried out.
CHANGES: dict[str, tuple[Ask, Trace]] = {
    "create": (
        lambda _u, _p, _f: ("POST", "/uploads", {"json": NEW}),
        lambda s, _u, _f: len(s.store.uploads()) == 3,
    ),
    "part": (
        lambda u, _p, _f: ("POST", f"/uploads/{u.id}/parts", {"data": form(b"abc")}),
        lambda s, u, _f: len(s.store.parts(u.id)) == 2,
    ),
    "complete": (
        lambda u, p, _f: ("POST", f"/uploads/{u.id}/complete", {"json": {"part_ids": [p]}}),
        lambda s, u, _f: s.store.upload(u.id).status == "completed",
    ),
    "cancel": (
        lambda u, _p, _f: ("POST", f"/uploads/{u.id}/cancel", {}),
        lambda s, u, _f: s.store.upload(u.id).status == "cancelled",
    ),
    "file": (
        lambda _u, _p, _f: ("POST", "/files", {"data": form(b"abc", "file")}),
        lambda s, _u, _f: len(s.store.files()) == 2,
    ),
    "delete": (
        lambda _u, _p, f: ("DELETE", f"/files/{f}", {}),
        lambda s, _u, f: f not in [row.id for row in s.store.files()],
    ),
}
LOOKS: dict[str, Ask] = {
    "list": lambda _u, _p, _f: ("GET", "/files", {}),
    "retrieve": lambda _u, _p, f: ("GET", f"/files/{f}", {}),
    "content": lambda _u, _p, f: ("GET", f"/files/{f}/content", {}),
}


def raw(call: str, upload: UploadRow, part: str, file: str) -> tuple[str, str, bytes]:
    """Method, path and body of a sample of a call, for `Served.open`."""
    method, path, more = (CHANGES[call][0] if call in CHANGES else LOOKS[call])(upload, part, file)
    if "json" in more:
        return method, path, json.dumps(more["json"]).encode()
    if "data" in more:
        return method, path, raw_form(b"abc", "file" if call == "file" else "data")
    return method, path, b""
