"""What becomes of POST /files: at the server, of its answer, and of the job."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from aiohttp import web
from asks import QUICK, Answer
from house import Handler, House, call_of, drop

from chunkup import AsyncUploader, RemoteFile, events
from chunkup.errors import ChunkupError
from chunkup.machine import Phase
from chunkup.models import JobInfo

SIZE = 20_000
# More than the sockets of both sides hold, so that a server can stop reading half-way.
LARGE = 24 << 20
PATIENT = replace(QUICK, stall_timeout=5.0)


Turn = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]] | None


def on_posts(house: House, *turns: Turn) -> None:
    """What becomes of each POST /files; of those after the last, nothing special."""
    left = list(turns)

    async def play(request: web.Request, handler: Handler) -> web.StreamResponse:
        turn = left.pop(0) if left and call_of(request) == "post" else None
        return await (turn(request, handler) if turn else handler(request))

    house.intercept = play


def done_but(answer: Answer) -> Turn:
    async def turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await answer(request, await handler(request))

    return turn


def instead(answer: Answer) -> Turn:
    async def turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        await request.read()
        return await answer(request, web.Response())

    return turn


def refusing(status: int, message: str = "no") -> Turn:
    async def turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        await request.read()
        return web.json_response({"error": {"message": message}}, status=status)

    return turn


async def cut(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read a little of the body, and break off."""
    await request.content.readany()
    return drop(request)


async def sent(
    house: House, journal: Path, source: Path, **more: object
) -> tuple[RemoteFile | ChunkupError, JobInfo, list[events.Event]]:
    seen: list[events.Event] = []
    async with house.uploader(journal, options=PATIENT) as uploader:
        end: RemoteFile | ChunkupError
        try:
            async with asyncio.timeout(60):
                end = await uploader.upload(
                    source,
                    purpose="user_data",
                    on_event=seen.append,
                    **{"method": "files", **more},  # type: ignore[arg-type]
                )
        except ChunkupError as error:
            end = error
        job = (await uploader.jobs())[-1]
    return end, job, seen


async def phase_of(uploader: AsyncUploader) -> Phase:
    return (await (await uploader.journal()).lines())[-1].phase
