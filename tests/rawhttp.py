"""The embedded server met by bytes instead of a client, and whether it is still well afterwards."""

import asyncio
import hashlib
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from aiohttp import web

from chunkup.server.app import Arrival, create_app, start
from chunkup.server.connection import Door
from chunkup.server.patience import DEFAULT_PATIENCE, Patience
from chunkup.server.rows import DEFAULT_LIMITS, NewUpload, Orphans, ServerLimits, UploadRow
from chunkup.server.store import Store

KEY = "sk-raw-0123456789"
# What should come at once and has not come by then will not come: in this loop, and from a
# process that has more to do.
SOON, LATER = 5.0, 30.0

JSON = "Content-Type: application/json"
FORM = "Content-Type: multipart/form-data; boundary=b"
CHUNKED = "Transfer-Encoding: chunked"


def head(method: str, target: str, *headers: str, version: str = "1.1") -> bytes:
    """A request's line and headers, the key among them."""
    first = f"{method} {target} HTTP/{version}"
    return "\r\n".join([first, "Host: x", f"Authorization: Bearer {KEY}", *headers, "", ""]).encode(
        "utf-8", "surrogateescape"
    )


def request(method: str, target: str, body: bytes = b"", *headers: str) -> bytes:
    """A whole request of known length."""
    return head(method, target, *headers, f"Content-Length: {len(body)}") + body


def post_json(target: str, value: object) -> bytes:
    """A request with JSON; bytes are sent as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return request("POST", target, body, JSON)


def form(*fields: tuple[str, bytes]) -> bytes:
    """A form with boundary ``b``, of dispositions and contents."""
    body = b"".join(
        f"--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode(
            "utf-8", "surrogateescape"
        )
        + content
        + b"\r\n"
        for disposition, content in fields
    )
    return body + b"--b--\r\n"


def part_form(content: bytes) -> bytes:
    return form(('name="data"; filename="data"', content))


def post_part(upload: UploadRow, content: bytes) -> bytes:
    return request("POST", f"/v1/uploads/{upload.id}/parts", part_form(content), FORM)


def complete(upload: UploadRow, part_ids: list[str], md5: str | None = None) -> bytes:
    body = {"part_ids": part_ids} | ({} if md5 is None else {"md5": md5})
    return post_json(f"/v1/uploads/{upload.id}/complete", body)


@dataclass(frozen=True, slots=True)
class Said:
    """One answer. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object, having checked that the answer is one, complete, and tells no key."""
        assert self.status >= 400, self
        assert self.headers["content-type"].startswith("application/json"), self
        assert self.headers["x-request-id"].startswith("req_")
        assert "date" in self.headers
        assert KEY.encode() not in self.body
        assert list(self.json) == ["error"]
        error = self.json["error"]
        assert isinstance(error, dict)
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        return error


@dataclass
class Line:
    """One connection, seen by a client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    within: float = SOON

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> Said:
        """The next answer; every one of this server's has a Content-Length."""
        async with asyncio.timeout(self.within):
            raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = raw.rstrip("\r\n").split("\r\n")
            pairs = (line.partition(":") for line in lines)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Said(int(first.split(" ")[1]), headers, body)

    async def ask(self, data: bytes) -> Said:
        """Send a request and read its answer, which may come before all is sent."""
        self.writer.write(data)
        return await self.answer()

    async def rest(self) -> bytes:
        """What comes until the server closes the connection."""
        async with asyncio.timeout(self.within):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def close(self) -> None:
        self.writer.transport.abort()


@dataclass
class Target:
    """A running server to throw bytes at; ``folder`` holds nothing but its own."""

    port: int
    store: Store
    folder: Path
    runner: web.AppRunner
    arrivals: list[Arrival]
    lines: list[Line] = field(default_factory=list)

    async def line(self) -> Line:
        line = Line(*await asyncio.open_connection("127.0.0.1", self.port))
        self.lines.append(line)
        return line

    async def ask(self, data: bytes) -> Said:
        """Send a request over a connection of its own, and read its answer."""
        return await (await self.line()).ask(data)

    def upload(self, size: int = 3) -> UploadRow:
        new = NewUpload(filename="a", bytes=size, mime_type="text/plain", purpose="user_data")
        return self.store.create_upload(new)

    @property
    def connections(self) -> int:
        assert self.runner.server is not None
        return len(self.runner.server.connections)

    async def connections_left(self, number: int) -> None:
        """Wait until no more connections than this are open on the server's side."""
        async with asyncio.timeout(SOON):
            while self.connections > number:  # noqa: ASYNC110  (aiohttp tells nobody)
                await asyncio.sleep(0.001)

    def on_disk(self) -> set[str]:
        return {path.name for path in self.folder.glob("*/*")}

    async def is_well(self) -> None:
        """See that an upload of two parts passes, whole and exact, and leaves nothing else."""
        for site in self.runner.sites:
            assert isinstance(site, Door)
            site.patience = DEFAULT_PATIENCE  # a busy machine is no client's fault
        before = self.on_disk()
        contents = [os.urandom(1000), os.urandom(500)]
        whole = b"".join(contents)
        upload = self.upload(len(whole))
        ids = [(await self.ask(post_part(upload, content))).json["id"] for content in contents]
        done = await self.ask(complete(upload, ids, hashlib.md5(whole).hexdigest()))
        assert done.status == 200, done
        assert b"".join(self.store.read_file(done.json["file"]["id"])) == whole
        assert self.on_disk() - before == set(ids)


@dataclass(frozen=True, slots=True)
class Served:
    """``chunkup serve`` as a process of its own."""

    port: int
    process: asyncio.subprocess.Process
    stderr: IO[str]

    def complaints(self) -> str:
        """What it has said on stderr."""
        self.stderr.seek(0)
        return self.stderr.read()

    async def line(self) -> Line:
        return Line(*await asyncio.open_connection("127.0.0.1", self.port), LATER)

    async def ask(self, data: bytes) -> Said:
        """Send a request over a connection of its own, and read its answer."""
        line = await self.line()
        try:
            return await line.ask(data)
        finally:
            await line.close()

    async def put(self, contents: list[bytes]) -> tuple[str, list[str]]:
        """Send these as the parts of an Upload; its id and theirs."""
        new = {"filename": "a", "purpose": "user_data", "mime_type": "text/plain"}
        size = sum(len(content) for content in contents)
        upload = (await self.ask(post_json("/v1/uploads", new | {"bytes": size}))).json["id"]
        path = f"/v1/uploads/{upload}/parts"
        asked = [
            await self.ask(request("POST", path, part_form(content), FORM)) for content in contents
        ]
        return upload, [said.json["id"] for said in asked]

    async def is_well(self) -> None:
        """See that an upload passes, whole and exact."""
        content = os.urandom(10_000)
        upload, ids = await self.put([content])
        done = await self.ask(post_json(f"/v1/uploads/{upload}/complete", {"part_ids": ids}))
        file_id = done.json["file"]["id"]
        assert (await self.ask(head("GET", f"/v1/files/{file_id}/content"))).body == content

    def peak(self) -> int:
        """MiB of memory that it held at most so far."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        (line,) = (line for line in lines if line.startswith("VmHWM"))
        return int(line.split()[1]) >> 10

    def handles(self) -> int:
        """How many files and connections it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    """A server that only a kill will end."""
    with tempfile.TemporaryFile("w+") as complaints:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chunkup", "serve", "--dir", str(folder)),
            env={**os.environ, "OPENAI_API_KEY": KEY},
            stdout=asyncio.subprocess.PIPE,
            stderr=complaints,
        )
        assert process.stdout is not None
        try:
            url = (await process.stdout.readline()).decode()
            yield Served(int(url.rpartition(":")[2].partition("/")[0]), process, complaints)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@asynccontextmanager
async def target(
    folder: Path,
    *,
    patience: Patience = DEFAULT_PATIENCE,
    limits: ServerLimits = DEFAULT_LIMITS,
    orphans: Orphans = "ignore",
    window: int | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Target]:
    """A server in this loop over ``folder``.

    ``window`` bounds the bytes that the system takes in for a client that does not read.
    """
    store = Store(folder, limits=limits, orphans=orphans, clock=clock)
    arrivals: list[Arrival] = []
    app = create_app(store, key=KEY, observer=arrivals.append, patience=patience)
    listener = socket.socket()
    if window is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, window)
    listener.bind(("127.0.0.1", 0))
    runner, url = await start(app, listener=listener)
    port = int(url.rpartition(":")[2].partition("/")[0])
    served = Target(port, store, folder, runner, arrivals)
    try:
        yield served
    finally:
        for line in served.lines:
            await line.close()
        await runner.cleanup()
        store.close()
