"""What becomes of a ``complete``: at the server, of its answer, and of the list of Files."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from aiohttp import web
from house import HASTY, Handler, House, call_of, drop
from wire import reply

from chunkup import RemoteFile, events
from chunkup.errors import ChunkupError
from chunkup.machine import Phase

PART, SIZE = 1000, 2500
QUICK = replace(HASTY, complete_timeout=0.25, looks=(0.0, 0.01, 0.02), patience=0.3)

Answer = Callable[[web.Request, web.StreamResponse], Awaitable[web.StreamResponse]]


def quicken(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waits between attempts, short ones between looks."""
    monkeypatch.setattr("chunkup.retry.backoff", lambda attempt, chance: 0.0)
    monkeypatch.setattr("chunkup.search._FIRST_STEP", 0.05)


# --- what a server can make of it -------------------------------------------------------------


async def reset(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    return drop(request)


async def silence(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    await asyncio.Event().wait()
    return answer


def saying(body: object, status: int = 200) -> Answer:
    async def say(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(body=raw, status=status)

    return say


def refusing(status: int, message: str) -> Answer:
    return saying({"error": {"message": message}}, status)


async def half(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.write(reply({"id": "upload_x", "status": "completed"})[:-9])
    return drop(request)


LOST: dict[str, Answer] = {
    "reset": reset,
    "silence": silence,
    "half": half,
    "502": saying(b"<title>502 Bad Gateway</title>", 502),
    "504": saying(b"", 504),
    "409": refusing(409, "the Upload is being completed"),
    "an error in a 200": refusing(200, "Internal error"),
    "no JSON": saying(b"<title>Sign in</title>"),
    "no File": saying({"id": "upload_x", "status": "completed"}),
    "a File of null": saying({"id": "upload_x", "status": "completed", "file": None}),
}
# What servers say to a second ask, having carried out the first.
SECOND: dict[str, Answer | None] = {
    "its own refusal": None,
    "completed": refusing(400, "Upload is completed."),
    "not pending": refusing(400, "Upload 'upload_x' is not pending."),
    "words of its own": refusing(400, "Upload upload_x cannot be sealed again."),
    "no such part": refusing(400, "No such Part in upload 'upload_x'"),
    "nothing left": refusing(400, "The parts add up to 0 bytes, which does not match"),
    "404": refusing(404, "No such Upload object: upload_x"),
    "409": refusing(409, "conflict"),
    "500": refusing(500, "Internal error"),
    "405": refusing(405, "Method Not Allowed"),
    "reset": reset,
}


@dataclass
class Script:
    """What becomes of each ask, and from which look on Files are listed.

    Attributes:
        first: The answer to the first ask.
        done: Whether the first ask is carried out.
        second: The answer to every other ask; None is what the server says itself.
        seen: How many looks see nothing.
    """

    first: Answer
    done: bool = True
    second: Answer | None = None
    seen: float = 0
    asked: int = 0
    looks: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        match call_of(request):
            case "complete":
                self.asked += 1
                if self.asked == 1:
                    answer = await handler(request) if self.done else web.Response()
                    self.arrived.set()
                    return await self.first(request, answer)
                answer = await handler(request)
                return await self.second(request, answer) if self.second else answer
            case "list":
                self.looks += 1
                if self.looks <= self.seen:
                    return web.json_response({"data": [], "has_more": False})
            case _:
                pass
        return await handler(request)


async def ended(
    house: House, journal: Path, source: Path, script: Script
) -> tuple[RemoteFile | ChunkupError, Phase, list[events.Event]]:
    """What an upload under a script comes to, and where its job stands."""
    house.intercept = script
    seen: list[events.Event] = []
    async with house.uploader(journal, part_size=PART, options=QUICK) as uploader:
        end: RemoteFile | ChunkupError
        try:
            async with asyncio.timeout(30):
                end = await uploader.upload(source, purpose="user_data", on_event=seen.append)
        except ChunkupError as error:
            end = error
        (line,) = await (await uploader.journal()).lines()
    return end, line.phase, seen


def assert_the_one(house: House, source: Path, end: RemoteFile | ChunkupError) -> None:
    """It is that File, and there is no other."""
    assert isinstance(end, RemoteFile), end
    assert [row.id for row in house.files] == [end.id]
    assert house.content(end.id) == source.read_bytes()
