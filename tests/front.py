"""What stands before the embedded server, at whatever address a client of the SDK looks for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession, DummyCookieJar, web
from house import KEY, House, open_house
from multidict import CIMultiDict, CIMultiDictProxy

# OpenAI's own, Azure's dated API, Azure's v1; the longest first.
_BASES = ("/openai/v1", "/openai", "/v1")
_OWN = ("Host", "Content-Length", "Transfer-Encoding", "Connection", "Authorization", "Api-Key")


@dataclass(frozen=True)
class Seen:
    """A request as it came: its path before the server's own, the rest of it, its query."""

    method: str
    base: str
    path: str
    query: str
    headers: CIMultiDictProxy[str]

    @property
    def credential(self) -> str:
        """What it proves itself with: ``api-key K``, ``Bearer T``; nothing if there are two."""
        both = [f"api-key {self.headers['api-key']}"] if "api-key" in self.headers else []
        return " and ".join([*both, *self.headers.getall("Authorization", [])])


@dataclass
class Front:
    """``url`` is an origin. Credentials are taken in either header, if they are ``accepted``.

    ``refused`` counts the answers that were 401.
    """

    url: str
    house: House
    accepted: set[str] = field(default_factory=lambda: {KEY})
    seen: list[Seen] = field(default_factory=list)
    refused: int = 0

    def of(self, method: str, path: str) -> list[Seen]:
        """All requests with this method whose path ends like this."""
        return [one for one in self.seen if one.method == method and one.path.endswith(path)]


@asynccontextmanager
async def open_front(folder: Path) -> AsyncIterator[Front]:
    """The embedded server in this loop, behind a front."""
    async with (
        open_house(folder) as house,
        ClientSession(cookie_jar=DummyCookieJar(), auto_decompress=False) as session,
    ):
        front = Front("", house)

        async def handle(request: web.Request) -> web.Response:
            base = next((each for each in _BASES if request.raw_path.startswith(each + "/")), "")
            path, _, query = request.raw_path.removeprefix(base).partition("?")
            seen = Seen(request.method, base, path, query, request.headers)
            front.seen.append(seen)
            body = await request.read()
            if not base:
                return web.json_response({"error": {"message": "Resource not found"}}, status=404)
            words = seen.credential.split()
            if not words or words[-1] not in front.accepted:
                front.refused += 1
                wrong = {"error": {"message": "Incorrect API key provided."}}
                return web.json_response(wrong, status=401)
            kept = CIMultiDict(request.headers)
            for name in _OWN:
                kept.popall(name, None)
            async with session.request(
                request.method,
                house.url.removesuffix("/v1") + "/v1" + path,
                params=[(name, request.query[name]) for name in _KNOWN & set(request.query)],
                headers={**kept, "Authorization": f"Bearer {KEY}"},
                data=body or None,
                skip_auto_headers=("Content-Type", "User-Agent"),
            ) as answer:
                return web.Response(
                    status=answer.status,
                    body=await answer.read(),
                    content_type=answer.content_type,
                    headers={"Date": answer.headers["Date"]},
                )

        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            front.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield front
        finally:
            await runner.cleanup()


# The server is strict about queries, and what is Azure's or a gateway's own is not for it.
_KNOWN = {"purpose", "after", "limit", "order"}
