"""One Upload at the embedded server whose parts are all there: what a finalizer is given."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from aiohttp import web
from house import Handler, House, call_of, drop
from strategies import plain_job
from wire import body_of, opened, silent

from chunkup.api import Api
from chunkup.finalizer import Finalizer
from chunkup.machine import CompleteAsked
from chunkup.models import Job, Upload
from chunkup.retry import Policy
from chunkup.search import Search

_Result = TypeVar("_Result")

CONTENT = b"content of the file, in two parts"
HALF = 10

# What stands in for the server's own doing; None lets the server do it.
Turn = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]] | None


@dataclass
class Stage:
    """An Upload with all its parts, not completed, and the ask for it."""

    house: House
    api: Api
    job: Job
    upload: Upload
    asked: CompleteAsked
    policy: Policy
    taken: set[str] = field(default_factory=set)
    scripts: dict[str, list[Turn]] = field(default_factory=dict)

    def finalizer(self, **changes: Any) -> Finalizer:
        search = Search(self.api, self.job, self.upload, self._claimed, self.reach)
        for name in search.__dataclass_fields__.keys() & changes:
            search = replace(search, **{name: changes.pop(name)})
        made = Finalizer(search=search, answer_lost=False, looks=(0.0,), patience=0.0)
        return replace(made, **changes)

    async def _claimed(self) -> frozenset[str]:
        return frozenset(self.taken)

    async def reach(self, request: Callable[[], Awaitable[_Result]]) -> _Result:
        return await self.policy.persist(
            request, wait_limit=lambda: 900.0, on_retry=lambda retry: None
        )

    def on(self, call: str, *turns: Turn) -> None:
        """Let requests of one kind meet these in turn, the last one for ever."""
        self.scripts[call] = list(turns)
        self.house.intercept = self._play

    async def _play(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        script = self.scripts.get(call_of(request), [None])
        turn = script.pop(0) if len(script) > 1 else script[0]
        return await (turn(request, handler) if turn else handler(request))

    def file_ids(self) -> list[str]:
        return [file.id for file in self.house.files]


async def upload_anew(api: Api, job: Job) -> tuple[Upload, CompleteAsked]:
    """Open an Upload and send both parts."""
    upload = await api.create(job)
    pieces = CONTENT[:HALF], CONTENT[HALF:]
    ids = [await api.add_part(upload.id, body_of(piece), silent) for piece in pieces]
    return upload, CompleteAsked(upload.id, tuple(ids), None, api.server_now())


@asynccontextmanager
async def staged(house: House, **changes: Any) -> AsyncIterator[Stage]:
    job = replace(plain_job(size=len(CONTENT)), **changes)
    async with opened(house.url) as api:
        upload, asked = await upload_anew(api, job)
        house.calls.clear()
        yield Stage(house, api, job, upload, asked, Policy(retries=2, offline_wait=0.0))


# --- turns ----------------------------------------------------------------------------------


async def lost(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The server does it, and nobody hears so."""
    await handler(request)
    return drop(request)


async def unheard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The request itself is lost."""
    return drop(request)


def refusing(
    status: int,
    message: str = "no",
    *,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Turn:
    async def turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        await request.read()
        error = {"error": {"message": message, "code": code}}
        return web.json_response(error, status=status, headers=headers)

    return turn


def saying(body: object) -> Turn:
    async def turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        await request.read()
        return web.json_response(body)

    return turn


def changing(**fields: object) -> Turn:
    """The server does it, and says something else about the File."""

    async def turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        assert isinstance(answer, web.Response)
        assert answer.text is not None
        found = json.loads(answer.text)
        if "file" in found:
            found["file"].update(fields)
        for file in found.get("data", []):
            file.update(fields)
        return web.json_response(found)

    return turn


def file_like(stage: Stage, **changes: object) -> dict[str, Any]:
    """A File that is this job's by all that can be seen."""
    return {
        "id": "file-a",
        "bytes": len(CONTENT),
        "created_at": stage.upload.created_at,
        "filename": stage.job.filename,
        "purpose": stage.job.purpose,
        **changes,
    }


def listed(*files: dict[str, Any]) -> Turn:
    return saying({"data": list(files), "has_more": False})
