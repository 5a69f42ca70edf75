"""A ``complete`` in doubt, while somebody else makes a File of equal name, size and purpose."""

import json
from pathlib import Path

import pytest
from aiohttp import web
from asks import (
    LOST,
    PART,
    QUICK,
    SECOND,
    SIZE,
    Script,
    assert_the_one,
    ended,
    quicken,
)
from house import Handler, House, call_of, drop, make_source

from chunkup import OutcomeUnknown, RemoteFile
from chunkup.machine import Phase
from chunkup.providers import OPENAI
from chunkup.server.store import NewUpload


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    make_source(path, SIZE)
    return path


def make_theirs(house: House, source: Path, *, later: float) -> str:
    """A File of equal name, size and purpose, of an Upload ``later`` than now; its id."""
    house.clock.offset += later
    row = house.store.create_upload(
        NewUpload(filename=source.name, bytes=SIZE, mime_type="text/plain", purpose="user_data")
    )
    incoming = house.store.receive()
    incoming.write([memoryview(bytes(SIZE))])
    part = house.store.add_part(row.id, incoming)
    _, file = house.store.complete_upload(row.id, [part.id])
    house.clock.offset -= later
    return file.id


@pytest.mark.parametrize("later", [0, 60, 3000])
async def test_two_files_that_fit_are_named_and_none_is_taken(
    house: House, journal: Path, source: Path, later: float
) -> None:
    theirs = ""

    async def with_theirs(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        nonlocal theirs
        theirs = make_theirs(house, source, later=later)
        return drop(request)

    end, phase, _ = await ended(house, journal, source, Script(with_theirs))
    assert isinstance(end, OutcomeUnknown)
    assert (end.exit_code, phase) == (4, Phase.ASKED)
    assert set(end.candidates) == {row.id for row in house.files}
    (ours,) = set(end.candidates) - {theirs}
    assert house.content(ours) == source.read_bytes()


async def test_ours_that_is_listed_after_theirs_is_not_overlooked(
    house: House, journal: Path, source: Path
) -> None:
    theirs = ""

    async def with_theirs(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        nonlocal theirs
        theirs = make_theirs(house, source, later=60)
        return drop(request)

    script = Script(with_theirs)

    async def lagging(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await script(request, handler)
        if call_of(request) == "list" and script.looks == 1:
            assert isinstance(answer, web.Response)
            page = json.loads(answer.text or "")
            page["data"] = [file for file in page["data"] if file["id"] == theirs]
            return web.json_response(page)
        return answer

    house.intercept = lagging
    async with house.uploader(journal, part_size=PART, options=QUICK) as uploader:
        with pytest.raises(OutcomeUnknown) as caught:
            await uploader.upload(source, purpose="user_data")
    assert len(caught.value.candidates) == 2


async def test_where_a_file_has_its_uploads_moment_theirs_alone_is_not_taken(
    house: House, journal: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The official API stamps Files so; then a File of a later moment is of another Upload."""

    async def with_theirs(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        make_theirs(house, source, later=60)
        return drop(request)

    # Its address is not this one's.
    monkeypatch.setattr("chunkup.endpoint.provider_at", lambda host: OPENAI)
    script = Script(with_theirs, done=False)
    end, _, _ = await ended(house, journal, source, script)
    assert isinstance(end, RemoteFile)
    assert house.content(end.id) == source.read_bytes()
    assert script.asked == 2


@pytest.mark.parametrize(("first", "asks"), [("reset", 2), ("completed", 1)])
async def test_where_it_has_another_moment_the_servers_word_that_it_is_done_makes_it_ours(
    house: House,
    journal: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    asks: int,
) -> None:
    """Should the official API ever stamp Files otherwise than all recordings show."""
    monkeypatch.setattr("chunkup.endpoint.provider_at", lambda host: OPENAI)
    heard = LOST[first] if first in LOST else SECOND[first]
    assert heard is not None
    script = Script(heard)

    async def otherwise(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await script(request, handler)
        if call_of(request) == "list":
            assert isinstance(answer, web.Response)
            page = json.loads(answer.text or "")
            for file in page["data"]:
                file["created_at"] += 30
            return web.json_response(page)
        return answer

    house.intercept = otherwise
    async with house.uploader(journal, part_size=PART, options=QUICK) as uploader:
        file = await uploader.upload(source, purpose="user_data")
    assert_the_one(house, source, file)
    assert script.asked == asks


@pytest.mark.parametrize("later", [4000, 86400])
async def test_a_file_of_much_later_is_nowhere_taken_for_ours(
    house: House, journal: Path, source: Path, later: float
) -> None:
    async def with_theirs(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        make_theirs(house, source, later=later)
        return drop(request)

    end, _, _ = await ended(house, journal, source, Script(with_theirs, done=False))
    assert isinstance(end, RemoteFile)
    assert house.content(end.id) == source.read_bytes()
