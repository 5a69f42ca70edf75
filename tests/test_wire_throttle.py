"""Servers that ask for patience: storms of 429, and every way to say how long."""

import asyncio
import time
from collections.abc import Callable
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from statistics import pstdev

import pytest
from aiohttp import web
from house import Handler, House, call_of, make_source

from chunkup import Options, errors, events

PART = 1000
PATIENT = Options(retries=8, looks=(0.0,), patience=0.0, offline_wait=0.0)
# A loaded machine may take this long between two lines, in seconds.
SLOP = 0.3


def refusal(
    code: str = "rate_limit_exceeded", headers: dict[str, str] | None = None
) -> web.Response:
    error = {"message": "Slow down.", "type": "requests", "param": None, "code": code}
    return web.json_response({"error": error}, status=429, headers=headers)


class Bucket:
    """A server that takes so many parts a second, and so many at once."""

    def __init__(self, rate: float, burst: int, headers: Callable[[float], dict[str, str]]) -> None:
        self.rate = rate
        self.level, self.burst = float(burst), burst
        self.headers = headers
        self.looked = time.monotonic()
        self.refused: list[float] = []
        self.taken: list[float] = []

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) != "part":
            return await handler(request)
        now = time.monotonic()
        self.level = min(self.burst, self.level + (now - self.looked) * self.rate)
        self.looked = now
        if self.level >= 1:
            self.level -= 1
            self.taken.append(now)
            return await handler(request)
        self.refused.append(now)
        await request.read()
        return refusal(headers=self.headers((1 - self.level) / self.rate))


@pytest.mark.parametrize(
    "headers",
    [
        lambda wait: {"Retry-After": f"{wait:.3f}"},
        lambda wait: {"retry-after-ms": f"{wait * 1000:.0f}"},
        lambda wait: {},
    ],
    ids=["seconds", "ms", "nothing"],
)
async def test_a_storm_ends_in_the_rate_that_the_server_takes(
    house: House, tmp_path: Path, headers: Callable[[float], dict[str, str]]
) -> None:
    make_source(tmp_path / "a.bin", 60 * PART)
    bucket = Bucket(20.0, 2, headers)
    house.intercept = bucket
    async with house.uploader(tmp_path / "j.db", options=PATIENT) as uploader:
        file = await uploader.upload(tmp_path / "a.bin", purpose="user_data")
    assert house.content(file.id) == (tmp_path / "a.bin").read_bytes()
    assert len(bucket.taken) == 60
    # Whoever came too often and was told so comes less often: of what the storm refused at its
    # height, the second half of the file hears little.
    middle = bucket.taken[30]
    assert sum(at > middle for at in bucket.refused) <= 60
    assert len(bucket.refused) <= 150


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "1"},
        {"Retry-After": "0.7"},
        {"retry-after-ms": "800"},
        {"retry-after-ms": "800", "Retry-After": "3600"},
    ],
    ids=str,
)
async def test_nobody_sends_early_and_nobody_in_step(
    house: House, tmp_path: Path, headers: dict[str, str]
) -> None:
    """One part is refused, and all workers keep the pause that it was told."""
    wait = float(headers.get("retry-after-ms", "0")) / 1000 or float(headers["Retry-After"])
    make_source(tmp_path / "a.bin", 40 * PART)
    came: list[float] = []
    refused: list[float] = []
    others, heard = asyncio.Event(), asyncio.Event()

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Paused):
            heard.set()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) != "part":
            return await handler(request)
        came.append(time.monotonic())
        if len(came) == 8:
            others.set()
        if len(came) <= 8:
            # All that are in flight stay so until one of them is refused.
            await others.wait()
            if not refused:
                refused.append(time.monotonic())
                return refusal(headers=headers)
            await heard.wait()
        return await handler(request)

    house.intercept = intercept
    async with house.uploader(tmp_path / "j.db", options=PATIENT) as uploader:
        await uploader.upload(tmp_path / "a.bin", purpose="user_data", on_event=hear)
    after = [at - refused[0] for at in came[8:]]
    assert min(after) >= wait
    # Each wakes at a moment of its own: the first ones are apart.
    assert pstdev(sorted(after)[:4]) > 0.002


@pytest.mark.parametrize("call", ["create", "part", "complete", "list"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "100000"},
        {"Retry-After": "1e300"},
        {"retry-after-ms": "1e12"},
        {"Retry-After": formatdate(time.time() + 40_000_000, usegmt=True)},
    ],
    ids=["beyond the Upload's life", "absurd", "absurd ms", "next year"],
)
async def test_a_wait_that_cannot_be_ends_at_once_and_what_was_accepted_is_kept(
    house: House, tmp_path: Path, call: str, headers: dict[str, str]
) -> None:
    make_source(tmp_path / "a.bin", 5 * PART)
    refusing = True

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if refusing and call_of(request) == call and house.calls.count(call) > (call == "part"):
            await request.read()
            return refusal(headers=headers)
        if refusing and call == "list" and call_of(request) == "complete":
            return web.json_response({}, status=502)
        return await handler(request)

    house.intercept = intercept
    began = time.monotonic()
    async with house.uploader(tmp_path / "j.db", options=PATIENT) as uploader:
        with pytest.raises(errors.Stopped) as caught:
            await uploader.upload(tmp_path / "a.bin", purpose="user_data")
        assert time.monotonic() - began < 5
        assert caught.value.exit_code == 75
        assert "too long to wait" in caught.value.message
        counted = house.calls.count(call)
        assert counted <= (8 if call == "part" else 1)
        refusing = False
        file = await uploader.upload(tmp_path / "a.bin", purpose="user_data")
    assert house.content(file.id) == (tmp_path / "a.bin").read_bytes()
    assert len(house.store.files()) == 1


@pytest.mark.parametrize(
    "wish",
    ["0", "-5", "soon", "", formatdate(0, usegmt=True), "nan", "inf"],
)
async def test_a_wish_that_says_nothing_leaves_the_usual_backoff(
    house: House, tmp_path: Path, wish: str
) -> None:
    """A server that says "now" to a storm must not be taken at its word."""
    make_source(tmp_path / "a.bin", 1 * PART)
    came: list[float] = []

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            came.append(time.monotonic())
            await request.read()
            return refusal(headers={"Retry-After": wish})
        return await handler(request)

    house.intercept = intercept
    told: list[events.Event] = []
    options = Options(retries=4, looks=(0.0,), patience=0.0)
    async with house.uploader(tmp_path / "j.db", options=options) as uploader:
        with pytest.raises(errors.Throttled):
            await uploader.upload(tmp_path / "a.bin", purpose="user_data", on_event=told.append)
    assert len(came) == 5
    waits = [event.wait for event in told if isinstance(event, events.Paused)]
    assert len(waits) == 4
    assert sum(waits) > 0
    for wait, (before, after) in zip(waits, pairwise(came), strict=True):
        assert after - before >= wait


@pytest.mark.parametrize("call", ["create", "part", "complete"])
async def test_a_used_up_account_is_no_throttle(house: House, tmp_path: Path, call: str) -> None:
    make_source(tmp_path / "a.bin", 5 * PART)

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == call:
            await request.read()
            return refusal("insufficient_quota", {"Retry-After": "1"})
        return await handler(request)

    house.intercept = intercept
    told: list[events.Event] = []
    async with house.uploader(tmp_path / "j.db", options=PATIENT) as uploader:
        with pytest.raises(errors.OutOfQuota) as caught:
            await uploader.upload(tmp_path / "a.bin", purpose="user_data", on_event=told.append)
    assert caught.value.exit_code == 1
    assert "raise the account's limit" in caught.value.message
    assert house.calls.count(call) <= (5 if call == "part" else 1)
    assert not any(isinstance(event, events.Paused | events.PartRetried) for event in told)
