"""Each call, and one fault that it meets whenever it is made: what came of it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp import web
from house import KEY, Handler, House, call_of, drop, make_source
from stage import Turn, lost, refusing, saying
from toxics import Toxics

from chunkup import AsyncUploader, Options
from chunkup.errors import ChunkupError, JobEnded, OutcomeUnknown
from chunkup.machine import Phase
from chunkup.models import Method

SIZE = 1000
# A part that the buffers of both systems do not hold on its way.
BIG = 12 << 20
OPTIONS = Options(retries=2, looks=(0.0,), patience=0.0, offline_wait=0.0)
ONE_ID = {"id": "part_early", "created_at": 1}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comes of a fault that never ends.

    Attributes:
        asked: How often the call is made until it is given up.
        error: What the upload ends with; None if it does without this call.
        phase: Where the job stands then.
        after: What a resume does once the fault is over: ``goes on`` to the one File, is ``over``,
            or is in ``doubt`` and asks a person.
    """

    asked: int
    error: type[ChunkupError] | None
    phase: Phase
    after: str


# --- faults ---------------------------------------------------------------------------------


async def reset_before(request: web.Request, handler: Handler) -> web.StreamResponse:
    return drop(request)


async def reset_within(request: web.Request, handler: Handler) -> web.StreamResponse:
    await request.content.readany()
    return drop(request)


async def reset_after(request: web.Request, handler: Handler) -> web.StreamResponse:
    await request.read()
    return drop(request)


async def half_an_answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    await request.read()
    answer = web.StreamResponse()
    answer.content_length = 100
    await answer.prepare(request)
    await answer.write(b'{"id": "x"')
    return drop(request)


def early(answer: Callable[[], web.Response]) -> Turn:
    """Answer while the body is still being sent, and never read the rest."""

    async def turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = answer()
        response.force_close()
        return response

    return turn


def page(status: int = 200) -> Turn:
    async def turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        await request.read()
        text = "<!doctype html><title>Sign in</title><style>p{font-size:1em}</style>"
        return web.Response(text=text, content_type="text/html", status=status)

    return turn


async def nothing(request: web.Request, handler: Handler) -> web.StreamResponse:
    await request.read()
    return web.Response()


FAULTS: dict[str, Turn] = {
    "reset before the body": reset_before,
    "reset within the body": reset_within,
    "reset after the body": reset_after,
    "half an answer": half_an_answer,
    "a page for JSON": page(),
    "an empty 200": nothing,
    "an error in a 200": saying({"error": {"message": "no"}}),
    "a list for an object": saying([]),
    "an early 200": early(lambda: web.json_response(ONE_ID)),
    "an early 401": early(lambda: web.json_response({}, status=401)),
    "an early 400": early(lambda: web.json_response({}, status=400)),
    "an early 503": early(lambda: web.json_response({}, status=503)),
    "no again, please": refusing(400, headers={"x-should-retry": "true"}),
    "trouble, not again": refusing(503, headers={"x-should-retry": "false"}),
    "a rate, not again": refusing(429, headers={"x-should-retry": "false"}),
    "a wait for ever": refusing(429, headers={"Retry-After": "1e300"}),
    "trouble for ever": refusing(503, headers={"Retry-After": "99999"}),
    "no quota": refusing(429, "You exceeded your quota", code="insufficient_quota"),
}
REFUSED = "a refused connection"


def turn_of(fault: str) -> Turn:
    """The fault of this name; a number is a status."""
    return refusing(int(fault)) if fault.isdigit() else FAULTS[fault]


# --- playing --------------------------------------------------------------------------------

Play = Callable[["Scene"], Awaitable[object]]


class Scene:
    """A small file on its way, until one call meets one fault, and again after the repair."""

    def __init__(self, house: House, folder: Path, call: str, fault: str) -> None:
        self.house, self.call, self.fault = house, call, fault
        big = fault.startswith(("an early", "reset within")) and call == "part"
        # Whether a small one is whole by then is chance, and a single request asks just that.
        big |= fault.startswith(("an early", "reset within", "reset before")) and call == "post"
        self.path, self.journal = folder / "a.bin", folder / "state" / "journal.db"
        make_source(self.path, BIG if big else SIZE)
        self.asked: Counter[str] = Counter()
        self._line: Toxics | None = None
        self._after: str | None = None

    def uploader(self, url: str | None = None) -> AsyncUploader:
        return AsyncUploader(
            base_url=url or (self._line.url if self._line else self.house.url),
            api_key=KEY,
            journal=self.journal,
            options=OPTIONS,
            trace_configs=[self._counting()],
        )

    def _counting(self) -> aiohttp.TraceConfig:
        config = aiohttp.TraceConfig()

        async def begin(_: Any, __: Any, params: aiohttp.TraceRequestStartParams) -> None:
            asked = SimpleNamespace(method=params.method, path=params.url.path)
            self.asked[call_of(asked)] += 1  # type: ignore[arg-type]  # it looks at these two

        config.on_request_start.append(begin)
        return config

    async def play(self) -> tuple[ChunkupError | None, Phase]:
        """Meet the fault; what the upload ended with, and where its job stands."""
        if self.fault != REFUSED:
            return await self._met()
        async with Toxics(self.house.url) as self._line:
            met = await self._met()
            self._line.allow()
            # The line goes with this block, and with it the address that the job is known by.
            self._after = await self._repaired()
        return met

    async def repaired(self) -> str:
        """Resume without the fault; what came of it, in the words of :class:`Verdict`."""
        return self._after or await self._repaired()

    async def _met(self) -> tuple[ChunkupError | None, Phase]:
        self.house.intercept = self._breaking
        error: ChunkupError | None = None
        async with self.uploader() as uploader:
            if self.call == "create":
                await self._refuse_from_now()
            try:
                method: Method = "files" if self.call == "post" else "uploads"
                await uploader.upload(self.path, purpose="user_data", method=method)
            except ChunkupError as raised:
                error = raised
            (line,) = await (await uploader.journal()).lines()
            if self.call == "cancel":
                error = None
                try:
                    await self._refuse_from_now()
                    await uploader.cancel(line.job.id)
                except ChunkupError as raised:
                    error = raised
                (line,) = await (await uploader.journal()).lines()
        self.job = line.job.id
        self.house.intercept = None
        return error, line.phase

    async def _repaired(self) -> str:
        self.asked, asked = Counter(), self.asked
        try:
            return await self._resumed()
        finally:
            self.asked = asked

    async def _resumed(self) -> str:
        async with self.uploader() as uploader:
            try:
                file = await uploader.resume(self.job)
            except JobEnded:
                return "over"
            except OutcomeUnknown:
                return "doubt"
        assert [made.id for made in self.house.files] == [file.id]
        assert self.house.content(file.id) == self.path.read_bytes()
        return "goes on"

    async def _refuse_from_now(self) -> None:
        if self._line is not None:
            await self._line.refuse()

    async def _breaking(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        call = call_of(request)
        if call == self.call and self._line is None:
            turn = turn_of(self.fault)
            assert turn is not None
            return await turn(request, handler)
        answer = await self._leading_there(call, request, handler)
        if call == _BEFORE.get(self.call):
            await self._refuse_from_now()
        answer.force_close()
        return answer

    async def _leading_there(
        self, call: str, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        """What makes the call happen that is to be broken."""
        if self.call == "cancel" and call == "part":
            return web.json_response({}, status=401)
        if self.call == "list" and call == "complete":
            return await lost(request, handler)
        answer = await handler(request)
        if self.call == "retrieve" and call == "complete":
            assert isinstance(answer, web.Response)
            assert answer.text is not None
            return web.Response(text=answer.text.replace(f'"bytes": {SIZE}', '"bytes": null'))
        return answer


# The call after whose answer the line is cut, so that the next one finds nobody.
_BEFORE = {
    "part": "create",
    "complete": "part",
    "post": "list",
    "list": "complete",
    "retrieve": "complete",
}


async def settled(house: House) -> None:
    """Wait until the server has done with all that it was sent."""
    async with asyncio.timeout(10):
        await house.idle()
