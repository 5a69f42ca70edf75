"""A gateway between client and server: every request goes through its hands, and may suffer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import ClientSession, DummyCookieJar, web
from house import call_of
from multidict import CIMultiDict
from yarl import URL

# They are about one connection, and a gateway has two.
_OWN = ("Host", "Content-Length", "Transfer-Encoding", "Connection")


@dataclass
class Passing:
    """A request on its way to the server. ``number`` counts those of its call, from 1."""

    call: str
    number: int
    headers: CIMultiDict[str]
    body: bytes
    chunked: bool = False

    @property
    def boundary(self) -> bytes:
        return self.headers["Content-Type"].partition("boundary=")[2].encode()

    @property
    def content(self) -> bytes:
        """The bytes of the one field that a part's body is."""
        _, _, rest = self.body.partition(b"\r\n\r\n")
        content, found, _ = rest.rpartition(b"\r\n--" + self.boundary + b"--")
        assert found
        return content

    @content.setter
    def content(self, content: bytes) -> None:
        head, found, _ = self.body.partition(b"\r\n\r\n")
        self.body = head + found + content + b"\r\n--" + self.boundary + b"--\r\n"


@dataclass
class Returning:
    """An answer on its way back."""

    call: str
    number: int
    status: int
    headers: CIMultiDict[str]
    body: bytes


@dataclass
class Gateway:
    """Where to send instead, where that goes on to, and what happens to everything on the way."""

    url: str
    target: str
    onward: Callable[[Passing], None] = lambda passing: None
    back: Callable[[Returning], None] = lambda returning: None
    calls: list[str] = field(default_factory=list)


@asynccontextmanager
async def gateway(target: str) -> AsyncIterator[Gateway]:
    """A gateway to the server at this base URL; it buffers bodies, as most of them do."""
    made = Gateway("", target)
    async with ClientSession(cookie_jar=DummyCookieJar(), auto_decompress=False) as session:

        async def handle(request: web.Request) -> web.Response:
            call = call_of(request)
            made.calls.append(call)
            number = made.calls.count(call)
            kept = CIMultiDict(request.headers)
            for name in _OWN:
                kept.popall(name, None)
            passing = Passing(call, number, kept, await request.read())
            made.onward(passing)
            async with session.request(
                request.method,
                URL(made.target).join(URL(request.raw_path, encoded=True)),
                headers=passing.headers,
                data=_pieces(passing.body) if passing.chunked else passing.body or None,
                skip_auto_headers=("Content-Type", "User-Agent"),
                allow_redirects=False,
            ) as answer:
                headers = CIMultiDict(answer.headers)
                for name in _OWN:
                    headers.popall(name, None)
                returning = Returning(call, number, answer.status, headers, await answer.read())
            made.back(returning)
            return web.Response(
                status=returning.status, headers=returning.headers, body=returning.body
            )

        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            yield made
        finally:
            await runner.cleanup()


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 700):
        yield body[at : at + 700]
        await asyncio.sleep(0)
