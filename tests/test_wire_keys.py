"""Keys that are revoked, replaced or not to be had while an upload is under way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from house import HASTY, KEY, Handler, House, call_of, make_source, open_house
from test_api import CALLS, UPLOAD, Call, every_call
from test_cli import Shell, shell
from wire import Caller, everything, listening, opened, reply

from chunkup import AsyncUploader, events
from chunkup.errors import (
    BadOption,
    ChunkupError,
    OtherAccount,
    Rejected,
    Unauthorized,
    Unreachable,
)
from chunkup.retry import Policy

__all__ = ["shell"]

OLD, NEW = "sk-old-0123456789", "sk-new-9876543210"
SIZE, PART = 20_500, 1000
WORKERS = 8


@dataclass
class Lock:
    """Stands before the server and lets in who has a good key."""

    house: House
    good: set[str] = field(default_factory=lambda: {OLD})
    refused: list[str] = field(default_factory=list)

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.headers["Authorization"].removeprefix("Bearer ") not in self.good:
            self.refused.append(call_of(request))
            return web.json_response({"error": {"message": "Incorrect API key"}}, status=401)
        return await handler(request)

    def change_after(self, parts: int, good: set[str], then: Callable[[], None]) -> None:
        """Other keys are good once so many parts arrived and all slots are busy with others."""
        waiting, full = 0, asyncio.Event()

        async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
            nonlocal waiting
            if call_of(request) == "part" and self.house.calls.count("part") > parts:
                waiting += 1
                if waiting == 4:
                    self.good = good
                    then()
                    full.set()
                await full.wait()
            return await self(request, handler)

        self.house.intercept = intercept


@pytest.fixture
async def lock(tmp_path: Path) -> AsyncIterator[Lock]:
    async with open_house(tmp_path / "server", key=None) as house:
        lock = Lock(house)
        house.intercept = lock
        yield lock


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    make_source(path, SIZE)
    return path


@dataclass
class Ring:
    """A source of keys as a program has one; counts how often it was asked."""

    key: str = OLD
    asked: int = 0

    def __call__(self) -> str:
        self.asked += 1
        return self.key

    async def later(self) -> str:
        await asyncio.sleep(0)
        return self()

    def turn(self) -> None:
        self.key = NEW


def uploader(lock: Lock, journal: Path, key: Any, **more: Any) -> AsyncUploader:
    return AsyncUploader(
        base_url=lock.house.url,
        api_key=key,
        journal=journal,
        part_size=PART,
        options=replace(HASTY, workers=WORKERS),
        **more,
    )


def assert_whole(house: House, source: Path) -> None:
    """One File of exactly this content, and no part of it was stored twice."""
    (file,) = house.files
    assert house.content(file.id) == source.read_bytes()
    stored = [arrival for arrival in house.arrivals if arrival.whole]
    assert len(stored) == -(-SIZE // PART)


# --- a key that is revoked ------------------------------------------------------------------


async def test_a_revoked_key_stops_all_workers_at_once_and_keeps_what_was_accepted(
    lock: Lock, journal: Path, source: Path
) -> None:
    lock.change_after(5, set(), lambda: None)
    async with uploader(lock, journal, OLD) as client:
        with pytest.raises(Unauthorized) as caught:
            await client.upload(source, purpose="user_data")
        assert len(lock.refused) <= WORKERS
        assert set(lock.refused) == {"part"}
        assert caught.value.exit_code == 1
        (info,) = await client.jobs()
        # Of the five that were accepted some answers may still have been on their way.
        assert 1 <= info.parts <= 5 + WORKERS
        lock.good, lock.house.intercept = {OLD}, lock
        await client.resume(info.id)
    assert_whole(lock.house, source)
    assert lock.house.calls.count("create") == 1


async def test_the_command_says_what_goes_on_after_the_key_is_repaired(shell: Shell) -> None:
    revoked = Lock(shell.house, {KEY})
    revoked.change_after(5, set(), lambda: None)
    done = await shell.upload("a.bin", "--workers", "8")
    assert done.code == 1
    assert "error[unauthorized]: " in done.err
    ((job, line),) = (await shell.jobs()).items()
    assert line.parts <= 5  # less those whose answer the refusal of another overtook
    assert f"\nhint: chunkup resume {job} " in done.err
    assert len(revoked.refused) <= WORKERS
    shell.house.intercept = None
    done = await shell.run("resume")
    assert done.code == 0, done.err
    (file,) = shell.house.files
    assert shell.house.content(file.id) == (shell.folder / "a.bin").read_bytes()
    assert shell.house.calls.count("create") == 1


@pytest.mark.parametrize("call", ["create", "complete"])
async def test_a_revoked_key_is_found_by_every_call(
    lock: Lock, journal: Path, source: Path, call: str
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == call:
            lock.good = set()
        return await lock(request, handler)

    lock.house.intercept = intercept
    async with uploader(lock, journal, OLD) as client:
        with pytest.raises(Unauthorized):
            await client.upload(source, purpose="user_data")
        assert lock.refused == [call]
        lock.good, lock.house.intercept = {OLD}, lock
        await client.upload(source, purpose="user_data")
    assert_whole(lock.house, source)


# --- a key that is replaced -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_parts_in_flight_go_on_with_the_new_key(
    lock: Lock, journal: Path, source: Path, kind: str
) -> None:
    ring, seen = Ring(), list[events.Event]()
    lock.change_after(5, {NEW}, ring.turn)
    async with uploader(lock, journal, ring if kind == "plain" else ring.later) as client:
        await client.upload(source, purpose="user_data", on_event=seen.append)
        workshop = client._engine._shop
        assert workshop is not None
        assert workshop.policy.budget.left == workshop.policy.budget.size
    assert_whole(lock.house, source)
    assert 4 <= len(lock.refused) <= WORKERS
    retried = [event for event in seen if isinstance(event, events.PartRetried)]
    assert len(retried) == len(lock.refused), "each part once, and no storm"
    assert all((event.code, event.wait) == ("unauthorized", 0) for event in retried)
    # Once for each request, once after each refusal, once for the account.
    assert ring.asked <= len(lock.house.calls) + len(lock.refused) + 1


async def test_a_completion_is_asked_again_with_the_new_key(
    lock: Lock, journal: Path, source: Path
) -> None:
    ring = Ring()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "complete":
            lock.good = {NEW}
            ring.turn()
        return await lock(request, handler)

    lock.house.intercept = intercept
    async with uploader(lock, journal, ring) as client:
        await client.upload(source, purpose="user_data")
    assert_whole(lock.house, source)
    assert lock.house.calls.count("complete") == 2
    assert "list" not in lock.house.calls, "a refused key leaves no doubt"


def door(*good: str, more: dict[str, str] | None = None) -> Callable[[Caller], Awaitable[None]]:
    async def serve(caller: Caller) -> None:
        while True:
            asked = await caller.request()
            fine = asked.headers["authorization"].removeprefix("Bearer ") in good
            wrong = reply({"error": {"message": "no"}}, 401, more)
            await caller.say(reply(UPLOAD | {"data": []}) if fine else wrong)

    return serve


async def persist(call: Call, url: str, key: Any, *, retries: int = 0) -> None:
    policy = Policy(retries=retries, offline_wait=0.0)
    async with asyncio.timeout(10), opened(url, key=key) as api:
        await policy.persist(
            lambda: call(api), wait_limit=lambda: 900.0, on_retry=lambda retry: None
        )


@every_call
async def test_a_request_is_sent_once_more_with_another_key(call: Call) -> None:
    """Without a retry to spare, and whole: Content-Length and body are the first ones'."""
    keys = iter([OLD, NEW, NEW])
    async with listening(door(NEW)) as wire:
        await persist(call, wire.url, lambda: next(keys))
    first, second = wire.asked
    assert first.headers["authorization"] == f"Bearer {OLD}"
    assert second.headers["authorization"] == f"Bearer {NEW}"
    assert first.target == second.target
    if b"form-data" not in first.body:  # whose boundary is new each time
        assert first.body == second.body
    assert len(first.body) == len(second.body)


@every_call
async def test_a_source_that_has_no_other_key_is_asked_once_more_and_that_is_all(
    call: Call,
) -> None:
    ring = Ring()
    async with listening(door(NEW)) as wire:
        with pytest.raises(Unauthorized) as caught:
            await persist(call, wire.url, ring, retries=5)
    assert len(wire.asked) == 1
    assert ring.asked == 2
    assert OLD not in everything(caught.value)


@every_call
async def test_a_second_refusal_is_the_last(call: Call) -> None:
    keys = (f"sk-{number}" for number in count())
    async with listening(door()) as wire:
        with pytest.raises(Unauthorized):
            await persist(call, wire.url, lambda: next(keys), retries=5)
    assert len(wire.asked) == 2


async def test_a_server_that_wants_a_bad_key_again_gets_it_once() -> None:
    async with listening(door(more={"x-should-retry": "true"})) as wire:
        with pytest.raises(Unauthorized):
            await persist(CALLS["create"], wire.url, OLD, retries=5)
    assert len(wire.asked) == 2


# --- sources that give none -----------------------------------------------------------------


def raising() -> str:
    raise LookupError(f"the safe with {OLD} is locked")


async def raising_later() -> str:
    return raising()


async def never() -> str:
    await asyncio.Event().wait()
    return OLD


def counting_out() -> str:
    raise TimeoutError


@pytest.mark.parametrize("source", [raising, raising_later, never, counting_out])
@every_call
async def test_a_source_that_fails_is_asked_again_as_a_server_would_be(
    source: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkup.key._PATIENCE", 0.02)
    async with listening(door(OLD)) as wire, opened(wire.url, key=source) as api:
        with pytest.raises(Unreachable) as caught:
            await call(api)
    assert caught.value.retryable
    assert not caught.value.sent
    assert OLD not in caught.value.message
    assert wire.connections == 0


BAD: list[Any] = [
    "",
    " \n",
    f"{OLD}\nX-Evil: 1",
    f"{OLD}\0",
    f"{OLD}é",
    None,
    b"sk-bytes",
    5,
    ["k"],
]


@pytest.mark.parametrize("bad", BAD)
@every_call
async def test_what_cannot_be_a_key_is_refused_and_nothing_is_sent(call: Call, bad: Any) -> None:
    async with listening(door(OLD)) as wire, opened(wire.url, key=lambda: bad) as api:
        with pytest.raises(BadOption) as caught:
            await call(api)
    assert wire.connections == 0
    assert OLD not in everything(caught.value)


@pytest.mark.parametrize("blank", ["\n", "\r\n", " ", "\t"])
async def test_a_key_that_was_read_from_a_file_may_end_in_a_line_end(blank: str) -> None:
    async with listening(door(OLD)) as wire, opened(wire.url, key=lambda: OLD + blank) as api:
        await CALLS["create"](api)
    assert wire.asked[0].headers["authorization"] == f"Bearer {OLD}"


async def test_a_source_that_fails_for_a_while_costs_only_a_while(
    lock: Lock, journal: Path, source: Path
) -> None:
    asked = 0

    def flickering() -> str:
        nonlocal asked
        asked += 1
        if asked in {3, 7, 26}:
            raise OSError("the safe is on another floor")
        return OLD

    async with uploader(lock, journal, flickering) as client:
        await client.upload(source, purpose="user_data")
    assert_whole(lock.house, source)


@pytest.mark.parametrize("moment", ["before", "part", "complete"])
async def test_a_source_that_breaks_leaves_a_job_that_can_go_on(
    lock: Lock, journal: Path, source: Path, moment: str
) -> None:
    broken = moment == "before"

    def key() -> str:
        return "" if broken else OLD

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal broken
        answer = await lock(request, handler)
        parts = 20 if moment == "complete" else 5
        broken = lock.house.calls.count("part") > parts
        return answer

    lock.house.intercept = intercept
    async with uploader(lock, journal, key) as client:
        with pytest.raises(BadOption):
            await client.upload(source, purpose="user_data")
        broken, lock.house.intercept = False, lock
        await client.upload(source, purpose="user_data")
    (file,) = lock.house.files
    assert lock.house.content(file.id) == source.read_bytes()
    assert lock.house.calls.count("create") == 1
    assert lock.house.calls.count("complete") == 1
    assert "list" not in lock.house.calls, "what was never sent leaves no doubt"


# --- whose jobs they are --------------------------------------------------------------------


async def stopped_halfway(client: AsyncUploader, lock: Lock, ring: Ring, source: Path) -> str:
    """A job whose key was replaced on the way, and whose next part was refused."""
    lock.change_after(5, {NEW}, ring.turn)
    change = lock.house.intercept
    assert change is not None

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and lock.house.calls.count("part") > 15:
            return web.json_response({"error": {"message": "not now"}}, status=403)
        return await change(request, handler)

    lock.house.intercept = intercept
    with pytest.raises(Rejected) as caught:
        await client.upload(source, purpose="user_data")
    assert caught.value.job_id is not None
    lock.house.intercept = lock
    return caught.value.job_id


async def test_a_new_key_within_an_uploader_is_no_other_account(
    lock: Lock, journal: Path, source: Path
) -> None:
    ring = Ring()
    async with uploader(lock, journal, ring) as client:
        job = await stopped_halfway(client, lock, ring, source)
        lock.house.clock.offset += 4000
        await client.upload(source, purpose="user_data")
        (info,) = await client.jobs()
    assert info.id == job
    assert lock.house.calls.count("create") == 2
    (file,) = lock.house.files
    assert lock.house.content(file.id) == source.read_bytes()


async def test_another_uploader_goes_on_by_the_jobs_id(
    lock: Lock, journal: Path, source: Path
) -> None:
    ring = Ring()
    async with uploader(lock, journal, ring) as client:
        job = await stopped_halfway(client, lock, ring, source)
    async with uploader(lock, journal, ring) as client:
        await client.resume(job)
    assert lock.house.calls.count("create") == 1
    assert len(lock.house.files) == 1


async def test_another_uploader_makes_no_upload_for_the_job(
    lock: Lock, journal: Path, source: Path
) -> None:
    ring = Ring()
    async with uploader(lock, journal, ring) as client:
        job = await stopped_halfway(client, lock, ring, source)
    lock.house.clock.offset += 4000
    async with uploader(lock, journal, ring) as client:
        with pytest.raises(OtherAccount):
            await client.resume(job)
    assert lock.house.calls.count("create") == 1


async def test_no_error_shows_a_key(lock: Lock, journal: Path, source: Path) -> None:
    ring = Ring()
    lock.change_after(5, set(), ring.turn)
    async with uploader(lock, journal, ring) as client:
        with pytest.raises(ChunkupError) as caught:
            await client.upload(source, purpose="user_data")
        assert ring.key not in everything(caught.value) + repr(vars(client))
        assert OLD not in everything(caught.value) + repr(vars(client))
