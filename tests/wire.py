"""A server that speaks bytes, for what a well-behaved one cannot do, and an Api to meet it."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from house import KEY

from chunkup.api import Api
from chunkup.body import FormBody
from chunkup.endpoint import resolve
from chunkup.key import KeySource


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived. Header names are in lower case; ``port`` is the client's."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    port: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Caller:
    """One connection, seen by the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    asked: list[Asked]

    async def head(self) -> Asked:
        """The next request's line and headers; its body stays on the wire."""
        raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = raw.rstrip("\r\n").split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return Asked(method, target, headers, b"", self.writer.get_extra_info("peername")[1])

    async def request(self) -> Asked:
        """The next request, whole."""
        return await self.rest(await self.head())

    async def rest(self, head: Asked) -> Asked:
        """The request whose head was read already, whole."""
        body = await self.reader.readexactly(int(head.headers.get("content-length", "0")))
        whole = Asked(head.method, head.target, head.headers, body, head.port)
        self.asked.append(whole)
        return whole

    async def say(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    def reset(self) -> None:
        """Break the connection so that the client sees a reset."""
        self.writer.transport.abort()

    async def for_ever(self) -> None:
        """Hold the connection until the client or the test ends it."""
        await asyncio.Event().wait()


Serve = Callable[[Caller], Awaitable[None]]


@dataclass
class Wire:
    """A listening server. ``asked`` are the requests that arrived whole, in order."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def listening(serve: Serve, *, window: int | None = None) -> AsyncIterator[Wire]:
    """Listen on loopback; ``serve`` is called for each connection.

    ``window`` bounds the bytes that the system takes in before ``serve`` reads them.
    """
    sock = socket.socket()
    if window is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    sock.bind(("127.0.0.1", 0))
    wire = Wire(f"http://127.0.0.1:{sock.getsockname()[1]}/v1")
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await serve(Caller(reader, writer, wire.asked))
        finally:
            writer.close()

    server = await asyncio.start_server(connected, sock=sock, limit=window or 1 << 16)
    try:
        yield wire
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        await server.wait_closed()


def reply(
    body: object = None, status: int = 200, headers: Mapping[str, str] | None = None
) -> bytes:
    """An answer; ``body`` is sent as it is if it is bytes, and as JSON otherwise."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(raw)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + raw


def answering(*replies: bytes) -> Serve:
    """Read whole requests and answer them with these in turn, the last one for ever."""
    left = list(replies)

    async def serve(caller: Caller) -> None:
        while True:
            await caller.request()
            await caller.say(left.pop(0) if len(left) > 1 else left[0])

    return serve


@asynccontextmanager
async def opened(
    url: str, *, stall: float = 60.0, complete: float = 60.0, key: str | KeySource | None = KEY
) -> AsyncIterator[Api]:
    """An open Api at ``url``; without a ``key`` it sends none."""
    endpoint = resolve(base_url=url, api_key=key, no_key=key is None, environ={})
    api = Api(endpoint, stall_timeout=stall, complete_timeout=complete)
    api.open()
    try:
        yield api
    finally:
        await api.close()


async def pieces(content: bytes, size: int = 1 << 16) -> AsyncGenerator[bytes, None]:
    """``content`` in reads of ``size``."""
    for at in range(0, len(content), size):
        yield content[at : at + size]


def body_of(content: bytes, size: int = 1 << 16) -> FormBody:
    """A part's body as the worker makes it, but from memory."""
    return FormBody(pieces(content, size), len(content))


def silent(_: object) -> None:
    """Hear nothing."""


def everything(error: BaseException | None) -> str:
    """All that an error could show anybody, its causes included."""
    text = ""
    while error is not None:
        text += f"{error!r} {error} {getattr(error, 'hint', '')}"
        error = error.__cause__ or error.__context__
    return text
