"""Through a real nginx: what it refuses, drops and gives up on, at each kind of request."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web
from asks import quicken
from behind import ENOUGH, PART, PATIENT, SIZE, assert_the_one, plain, through
from house import Handler, House, call_of, make_source
from nginx import origin
from wire import Caller, listening

from chunkup import ChunkupError, OutcomeUnknown, events
from chunkup.models import Method

RETRIES: Final = (events.Paused, events.PartRetried)

# Requests by method and path, as nginx sees them.
ROUTES: Final = {
    "create": "^POST /v1/uploads$",
    "part": "/parts$",
    "complete": "/complete$",
    "file": "^POST /v1/files$",
}
# What nginx does by itself, and what people put into its configuration.
FAILURES: Final = {
    "429": "add_header Retry-After 1 always; return 429;",
    "444": "return 444;",
    "502": "proxy_pass http://127.0.0.1:{dead};",
    "503": "add_header Retry-After 1 always; return 503;",
    "504": "rewrite ^ /hole last;",
}


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    make_source(path, SIZE)
    return path


@dataclass
class Door:
    """Requests of one kind fail at nginx while the door is shut, and go through while it is open.

    ``text`` is a server's: nginx looks for a file each time.
    """

    flag: Path
    text: str
    told: list[events.Event] = field(default_factory=list)

    def shut(self) -> None:
        self.flag.touch()

    def open(self) -> None:
        self.flag.unlink(missing_ok=True)

    def hear(self, event: events.Event) -> None:
        """Open up as soon as anybody was turned away."""
        self.told.append(event)
        if isinstance(event, RETRIES):
            self.open()


@pytest.fixture
async def black_hole() -> AsyncIterator[int]:
    """A port at which everything is taken and nothing is ever answered."""

    async def swallow(caller: Caller) -> None:
        while await caller.reader.read(1 << 16):
            pass

    async with listening(swallow) as wire:
        yield int(wire.url.rpartition(":")[2].removesuffix("/v1"))


@pytest.fixture
def dead_end() -> Iterator[int]:
    """A port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@dataclass
class Doors:
    """Makes doors."""

    folder: Path
    house: House
    ports: dict[str, int]

    def door(self, route: str, failure: str) -> Door:
        flag = self.folder / "shut"
        answer = FAILURES[failure].format(**self.ports)
        return Door(
            flag,
            f"""
            location = /hole {{
                proxy_pass http://127.0.0.1:{self.ports["hole"]};
                proxy_read_timeout 300ms;
            }}
            location / {{
                set $asked "$request_method $uri";
                set $shut "";
                if (-f {flag}) {{ set $shut "s"; }}
                if ($asked ~ "{ROUTES[route]}") {{ set $shut "${{shut}}r"; }}
                if ($shut = "sr") {{ {answer} }}
                proxy_pass {origin(self.house.url)};
            }}
            """,
        )


@pytest.fixture
def doors(tmp_path: Path, house: House, black_hole: int, dead_end: int) -> Doors:
    return Doors(tmp_path, house, {"dead": dead_end, "hole": black_hole})


# --- for a while ------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("route", ["create", "part", "complete"])
async def test_a_failure_of_any_kind_that_passes_ends_in_one_whole_file(
    doors: Doors, house: House, tmp_path: Path, source: Path, route: str, failure: str
) -> None:
    door = doors.door(route, failure)
    door.shut()

    async def open_to_who_looks(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "list":
            door.open()
        return await handler(request)

    house.intercept = open_to_who_looks
    async with through(tmp_path, door.text, part=SIZE // 3) as uploader, asyncio.timeout(ENOUGH):
        file = await uploader.upload(source, purpose="user_data", on_event=door.hear)
    assert not door.flag.exists()
    assert_the_one(house, file, source)
    assert house.calls.count("complete") == 1
    if failure == "429" or (failure == "503" and route != "complete"):
        assert any(event.wait >= 1 for event in door.told if isinstance(event, RETRIES))


# --- for good ---------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", ["429", "444", "502", "504"])
async def test_a_failure_that_stays_is_a_stop_and_resume_goes_on_from_there(
    doors: Doors, house: House, tmp_path: Path, source: Path, failure: str
) -> None:
    door = doors.door("part", failure)
    accepted: list[events.PartAccepted] = []

    def shut_after_two(event: events.Event) -> None:
        if isinstance(event, events.PartAccepted):
            accepted.append(event)
            if len(accepted) == 2:
                door.shut()

    impatient = replace(PATIENT, retries=1, workers=2)
    async with through(tmp_path, door.text, options=impatient) as uploader:
        async with asyncio.timeout(ENOUGH):
            with pytest.raises(ChunkupError) as stopped:
                await uploader.upload(source, purpose="user_data", on_event=shut_after_two)
        assert stopped.value.exit_code == 75, stopped.value
        assert stopped.value.job_id is not None
        kept, before = len(accepted), house.calls.count("part")
        assert 2 <= kept < SIZE // PART
        door.open()
        file = await uploader.resume(stopped.value.job_id)
    assert_the_one(house, file, source)
    # What was accepted is not sent again.
    assert house.calls.count("part") - before == SIZE // PART - kept
    assert house.calls.count("create") == 1


# --- the server did it, and nginx gave up on the answer -------------------------------------------


@pytest.mark.parametrize("route", ["part", "complete", "file"])
async def test_what_the_server_did_behind_a_504_is_not_done_twice(
    house: House, tmp_path: Path, source: Path, route: str
) -> None:
    late = asyncio.Event()

    async def answer_too_late(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        first = house.calls.count(call_of(request)) == 1
        if first and request.path.endswith({"file": "/files"}.get(route, f"/{route}")):
            await late.wait()
        return answer

    house.intercept = answer_too_late
    text = plain(house, "proxy_read_timeout 1s;")
    method: Method = "files" if route == "file" else "uploads"
    told: list[events.Event] = []
    options = replace(PATIENT, looks=(0.0, 0.1))
    try:
        async with through(tmp_path, text, options=options) as uploader:
            file = await uploader.upload(
                source, purpose="user_data", method=method, on_event=told.append
            )
    finally:
        late.set()
    assert_the_one(house, file, source)
    (completed,) = (event for event in told if isinstance(event, events.Completed))
    assert completed.recovered == (route != "part")


async def test_a_complete_that_never_comes_through_is_in_doubt_until_a_person_says(
    doors: Doors, house: House, tmp_path: Path, source: Path
) -> None:
    door = doors.door("complete", "504")
    door.shut()
    async with through(tmp_path, door.text) as uploader:
        with pytest.raises(OutcomeUnknown, match="asked twice") as caught:
            await uploader.upload(source, purpose="user_data")
        assert caught.value.exit_code == 4
        assert caught.value.job_id is not None
        door.open()
        # It looks, and asks for nothing.
        with pytest.raises(OutcomeUnknown):
            await uploader.resume(caught.value.job_id)
        assert house.calls.count("complete") == 0
        file = await uploader.settle(caught.value.job_id, again=True)
    assert_the_one(house, file, source)


# --- one request that is the whole upload -------------------------------------------------------


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failure_of_the_one_request_that_passes_ends_in_one_whole_file(
    doors: Doors, house: House, tmp_path: Path, source: Path, failure: str
) -> None:
    door = doors.door("file", failure)
    door.shut()
    looked: list[str] = []

    async def open_to_who_looks(request: web.Request, handler: Handler) -> web.StreamResponse:
        looked.append(request.method)
        if request.method == "GET" and request.query.get("limit") != "1":
            door.open()
        return await handler(request)

    house.intercept = open_to_who_looks
    async with through(tmp_path, door.text) as uploader, asyncio.timeout(ENOUGH):
        file = await uploader.upload(
            source, purpose="user_data", method="files", on_event=door.hear
        )
    assert not door.flag.exists()
    assert_the_one(house, file, source)
    assert looked.count("POST") == 1
