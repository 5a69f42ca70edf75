"""Content that is on the server already, and what only looks as if it were."""

import asyncio
import hashlib
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from house import HASTY, KEY, Handler, House, call_of, make_source, open_house
from many import silent

from chunkup import events
from chunkup.endpoint import resolve
from chunkup.engine import Engine
from chunkup.errors import Busy, ChunkupError, Forbidden, Unauthorized, Unreachable
from chunkup.existing import existing
from chunkup.intake import Content
from chunkup.journal import Adopted
from chunkup.machine import Completed, IllegalFact, Phase
from chunkup.manifest import Entry
from chunkup.models import Account, Job, RemoteFile, Span
from chunkup.stops import Home

SIZE = 2500
USER_DATA = Content("user_data")


@asynccontextmanager
async def working(
    house: House,
    journal: Path,
    *,
    key: str = KEY,
    md5: bool = True,
    organization: str | None = None,
    project: str | None = None,
) -> AsyncIterator[Engine]:
    endpoint = resolve(
        base_url=house.url, api_key=key, organization=organization, project=project, environ={}
    )
    engine = Engine(endpoint, Home(journal), part_size=1000, md5=md5, options=HASTY)
    try:
        yield engine
    finally:
        await engine.aclose()


async def adopt(
    engine: Engine, path: Path, content: Content = USER_DATA, span: Span | None = None
) -> tuple[Adopted, Job]:
    """A job that was never begun, and the job that it was asked for as."""
    wanted, _ = engine.describe(path, content)
    wanted = replace(wanted, account=await engine.account(), span=span or wanted.span)
    (adopted,) = await engine.adopt([wanted])
    return adopted, wanted


async def send(
    engine: Engine, path: Path, content: Content = USER_DATA, span: Span | None = None
) -> RemoteFile:
    """Upload it as a set that is over then, whatever may be there."""
    adopted, wanted = await adopt(engine, path, content, span)
    job, file = await engine.upload(adopted, wanted, silent)
    await (await engine.journal()).mark_printed([job.id])
    return file


async def look(
    engine: Engine,
    path: Path,
    content: Content = USER_DATA,
    span: Span | None = None,
    manifest: Sequence[Entry] = (),
) -> Completed | None:
    """What would be done for it instead of an upload."""
    adopted, wanted = await adopt(engine, path, content, span)
    there = await existing(engine, [wanted], manifest)
    return await there.look(adopted.job, wanted.fingerprint, silent)


def entry(house: House, file: RemoteFile | str, content: bytes, **fields: Any) -> Entry:
    """What a manifest says of a File."""
    said: dict[str, Any] = {
        "source": "/somewhere/else",
        "start": 0,
        "stop": len(content),
        "bytes": len(content),
        "md5": hashlib.md5(content).hexdigest(),
        "file": file if isinstance(file, str) else file.id,
        "filename": "else",
        "purpose": "user_data",
        "account": Account(house.url),
    }
    return Entry(**said | fields)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "one.bin"
    make_source(path, SIZE)
    return path


@pytest.fixture
def twin(source: Path) -> Path:
    """Another file of the same content."""
    path = source.with_name("twin.dat")
    path.write_bytes(source.read_bytes())
    return path


# --- what is there ----------------------------------------------------------------------------


async def test_the_same_content_under_another_name_is_there_already(
    house: House, journal: Path, source: Path, twin: Path
) -> None:
    async with working(house, journal) as engine:
        file = await send(engine, source)
        calls = len(house.calls)
        adopted, wanted = await adopt(engine, twin, Content("user_data", mime_type="a/b"))
        there = await existing(engine, [wanted])
        fact = await there.look(adopted.job, wanted.fingerprint, silent)
        assert fact is not None
        assert fact.file.id == file.id
        assert (fact.reused, fact.recovered) == (True, False)
        assert fact.md5 == hashlib.md5(source.read_bytes()).hexdigest()
        heard: list[events.Event] = []
        assert await engine.reuse(adopted.job, fact, heard.append) == fact.file
        assert house.calls[calls:] == ["retrieve"]
        (told,) = heard
        assert isinstance(told, events.Completed)
        assert (told.job, told.file, told.reused) == (adopted.job.id, fact.file, True)
        line = await (await engine.journal()).line(adopted.job.id)
        assert (line.phase, line.file_id, line.reused) == (Phase.COMPLETED, file.id, True)
        assert not line.owner


async def test_what_was_reused_is_known_by_its_content_even_if_its_first_job_is_forgotten(
    house: House, journal: Path, source: Path, twin: Path
) -> None:
    async with working(house, journal) as engine:
        file = await send(engine, source)
        adopted, _ = await adopt(engine, twin)
        fact = await look(engine, twin)
        assert fact is not None
        await engine.reuse(adopted.job, fact, silent)
        kept = await engine.journal()
        forgotten = await kept.prune(time.time() + 60)
        assert [job.path for job in forgotten] == [str(source)]
        await kept.mark_printed([adopted.job.id])
        again = await look(engine, source)
        assert again is not None
        assert again.file.id == file.id


async def test_a_piece_of_a_file_is_there_if_that_stretch_was_sent(
    house: House, journal: Path, source: Path, tmp_path: Path
) -> None:
    content = source.read_bytes()
    later = tmp_path / "later.bin"
    later.write_bytes(b"before" + content[600:1700] + b"after")
    async with working(house, journal) as engine:
        file = await send(engine, source, span=Span(600, 1700))
        assert house.content(file.id) == content[600:1700]
        fact = await look(engine, later, span=Span(6, 1106))
        assert fact is not None
        assert fact.file.id == file.id
        assert await look(engine, later, span=Span(5, 1105)) is None


async def test_of_several_the_newest_that_is_still_there_is_taken(
    house: House, journal: Path, source: Path, twin: Path
) -> None:
    async with working(house, journal) as engine:
        files = [await send(engine, source) for _ in range(3)]
        for gone, left in ((None, 2), (2, 1), (1, 0), (0, None)):
            if gone is not None:
                house.store.delete_file(files[gone].id)
            fact = await look(engine, twin)
            assert (fact.file.id if fact else None) == (None if left is None else files[left].id)


async def test_a_fresh_journal_takes_the_manifests_word_and_asks_the_server(
    house: House, journal: Path, source: Path, tmp_path: Path
) -> None:
    async with working(house, tmp_path / "first" / "journal.db") as engine:
        file = await send(engine, source)
    said = entry(house, file, source.read_bytes())
    async with working(house, journal) as engine:
        fact = await look(engine, source, manifest=[said])
        assert fact is not None
        assert fact.file.id == file.id
        assert await look(engine, source) is None


# --- what is not ------------------------------------------------------------------------------


async def test_another_purpose_is_another_file(house: House, journal: Path, source: Path) -> None:
    async with working(house, journal) as engine:
        await send(engine, source)
        calls = len(house.calls)
        assert await look(engine, source, Content("batch")) is None
        assert house.calls[calls:] == []


@pytest.mark.parametrize(
    "other", [{"organization": "org-2"}, {"project": "proj_2"}, {"key": "sk-other-1"}], ids=str
)
async def test_what_another_account_has_is_not_asked_for(
    tmp_path: Path, journal: Path, source: Path, other: dict[str, Any]
) -> None:
    usual: dict[str, Any] = {"organization": "org-1", "project": "proj_1"}
    async with open_house(tmp_path / "open", key=None) as house:
        async with working(house, journal, **usual) as engine:
            file = await send(engine, source)
        said = entry(
            house, file, source.read_bytes(), account=Account(house.url, "org-1", "proj_1")
        )
        calls = len(house.calls)
        async with working(house, journal, **(usual | other)) as engine:
            assert await look(engine, source) is None
            assert house.calls[calls:] == []
            # A manifest holds no key: there the server says whether it is the same account's.
            fact = await look(engine, source, manifest=[said])
            assert (fact is not None) == ("key" in other)


async def test_another_place_is_another_account(house: House, journal: Path, source: Path) -> None:
    async with working(house, journal) as engine:
        file = await send(engine, source)
    said = entry(house, file, source.read_bytes(), account=Account("https://api.example.com/v1"))
    async with working(house, journal.with_name("other.db")) as engine:
        assert await look(engine, source, manifest=[said]) is None


async def test_a_file_that_was_deleted_is_not_there(
    house: House, journal: Path, source: Path
) -> None:
    async with working(house, journal) as engine:
        file = await send(engine, source)
        house.store.delete_file(file.id)
        assert await look(engine, source) is None
        assert house.calls[-1] == "retrieve"


async def test_that_a_file_is_gone_is_asked_once_for_all_of_its_content(
    house: House, journal: Path, source: Path, twin: Path
) -> None:
    async with working(house, journal) as engine:
        gone = await send(engine, source)
        file = await send(engine, source)
        last = await send(engine, source)
        house.store.delete_file(gone.id)
        house.store.delete_file(last.id)
        calls = len(house.calls)
        members = [await adopt(engine, path) for path in (source, twin)]
        there = await existing(engine, [wanted for _, wanted in members])
        for adopted, wanted in members:
            fact = await there.look(adopted.job, wanted.fingerprint, silent)
            assert fact is not None
            assert fact.file.id == file.id
        assert house.calls[calls:] == ["retrieve"] * 3


async def test_a_file_that_has_expired_is_not_even_asked_for(
    house: House, journal: Path, source: Path
) -> None:
    content = Content("user_data", expires_after=3600)
    async with working(house, journal) as engine:
        await send(engine, source, content)
        assert await look(engine, source, content) is not None
        house.clock.offset = 3601.0
        # Which is its expiry by the server's clock: ours has not moved.
        await send(engine, source.with_name("one.bin"), Content("batch"))
        calls = len(house.calls)
        assert await look(engine, source, content) is None
        assert house.calls[calls:] == []


async def test_content_of_equal_size_that_differs_is_not_asked_for(
    house: House, journal: Path, source: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.bin"
    make_source(other, SIZE, seed=1)
    async with working(house, journal) as engine:
        await send(engine, source)
        calls = len(house.calls)
        assert await look(engine, other) is None
        assert house.calls[calls:] == []


async def test_what_was_sent_without_an_md5_is_not_known_again(
    house: House, journal: Path, source: Path
) -> None:
    async with working(house, journal, md5=False) as engine:
        file = await send(engine, source)
        calls = len(house.calls)
        assert await look(engine, source) is None
        said = entry(house, file, source.read_bytes(), md5=None)
        assert await look(engine, source, manifest=[said]) is None
        assert house.calls[calls:] == []
        # One that is to be sent without can be found all the same.
        assert (
            await look(
                engine,
                source,
                manifest=[replace(said, md5=hashlib.md5(source.read_bytes()).hexdigest())],
            )
            is not None
        )


@pytest.mark.parametrize(
    ("change", "there"),
    [
        ({}, True),
        ({"bytes": SIZE - 1}, False),
        ({"bytes": None}, True),
        ({"purpose": "batch"}, False),
        ({"purpose": None}, True),
        ({"status": "processed"}, True),
        ({"status": "error"}, False),
        ({"status": "Deleted"}, False),
        ({"expires_at": 1}, False),
        ({"expires_at": 1 << 40}, True),
        ({"id": "file-other"}, False),
    ],
    ids=str,
)
async def test_the_server_has_the_last_word(
    house: House, journal: Path, source: Path, change: dict[str, Any], *, there: bool
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if call_of(request) != "retrieve":
            return answer
        assert isinstance(answer, web.Response)
        return web.json_response(json.loads(answer.text or "") | change)

    async with working(house, journal) as engine:
        await send(engine, source)
        house.intercept = intercept
        assert (await look(engine, source) is not None) is there


@pytest.mark.parametrize("status", [400, 404, 410, 414, 422])
async def test_an_id_that_a_server_cannot_make_anything_of_is_not_there(
    house: House, journal: Path, source: Path, status: int
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "retrieve":
            return web.json_response({"error": {"message": "no such id"}}, status=status)
        return await handler(request)

    async with working(house, journal) as engine:
        await send(engine, source)
        house.intercept = intercept
        assert await look(engine, source) is None


# --- a server that cannot be asked ------------------------------------------------------------


@pytest.mark.parametrize(("status", "error"), [(401, Unauthorized), (403, Forbidden)])
async def test_where_the_server_will_not_say_nothing_is_guessed(
    house: House, journal: Path, source: Path, status: int, error: type[ChunkupError]
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "retrieve":
            return web.json_response({"error": {"message": "no"}}, status=status)
        return await handler(request)

    async with working(house, journal) as engine:
        await send(engine, source)
        house.intercept = intercept
        adopted, wanted = await adopt(engine, source)
        there, heard = await existing(engine, [wanted]), list[events.Event]()
        with pytest.raises(error) as caught:
            await there.look(adopted.job, wanted.fingerprint, heard.append)
        assert caught.value.job_id == adopted.job.id
        (told,) = heard
        assert isinstance(told, events.Failed)
        assert (told.job, told.code) == (adopted.job.id, error.code)
        house.intercept = None
        # Nothing of the job was ended by that.
        assert await look(engine, source) is not None


async def test_a_server_that_is_gone_is_no_server_without_the_file(
    house: House, journal: Path, source: Path
) -> None:
    async with working(house, journal) as engine:
        await send(engine, source)
        assert house.runner is not None
        await house.runner.cleanup()
        with pytest.raises(Unreachable):
            await look(engine, source)


async def test_a_server_in_trouble_is_asked_again(
    house: House, journal: Path, source: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "retrieve" and house.calls.count("retrieve") == 1:
            return web.json_response({}, status=503)
        return await handler(request)

    async with working(house, journal) as engine:
        await send(engine, source)
        house.intercept = intercept
        assert await look(engine, source) is not None
        assert house.calls.count("retrieve") == 2


# --- manifests that lie -----------------------------------------------------------------------


async def test_a_manifest_that_names_a_file_of_another_size_or_purpose_is_not_believed(
    house: House, journal: Path, source: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small.bin"
    make_source(small, 1000, seed=1)
    content = source.read_bytes()
    async with working(house, tmp_path / "first" / "journal.db") as engine:
        short = await send(engine, small)
        other = await send(engine, source, Content("batch"))
    async with working(house, journal) as engine:
        for lie in (short, other):
            calls = len(house.calls)
            assert await look(engine, source, manifest=[entry(house, lie, content)]) is None
            assert house.calls[calls:] == ["retrieve"]


async def test_what_the_journal_knows_of_a_file_overrules_a_manifest(
    house: House, journal: Path, source: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.bin"
    make_source(other, SIZE, seed=1)
    async with working(house, journal) as engine:
        file = await send(engine, source)
        lie = entry(house, file, other.read_bytes())
        assert await look(engine, other, manifest=[lie]) is None


@pytest.mark.parametrize(
    "file_id",
    [
        "",
        ".",
        "..",
        "../files",
        "a/b",
        "a?b=c#d",
        "a\nb",
        "\x1b[31m",
        "\udcff",
        "x" * 5000,
        "%2e%2e",
    ],
    ids=range(11),
)
async def test_a_manifests_id_never_becomes_another_address(
    house: House, journal: Path, source: Path, file_id: str
) -> None:
    asked: list[str] = []

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked.append(request.raw_path)
        return await handler(request)

    house.intercept = intercept
    lie = entry(house, file_id, source.read_bytes())
    async with working(house, journal) as engine:
        assert await look(engine, source, manifest=[lie]) is None
    for path in asked:
        assert path.startswith("/v1/files/")
        assert "/" not in path.removeprefix("/v1/files/")
        assert "?" not in path
        assert ".." not in path.split("/")
    assert len(asked) == (file_id in {"../files", "a/b", "a?b=c#d", "%2e%2e"})


async def test_the_last_word_of_a_manifest_counts_first(
    house: House, journal: Path, source: Path, tmp_path: Path
) -> None:
    content = source.read_bytes()
    async with working(house, tmp_path / "first" / "journal.db") as engine:
        files = [await send(engine, source) for _ in range(2)]
    said = [entry(house, file, content) for file in files]
    async with working(house, journal) as engine:
        fact = await look(engine, source, manifest=[*said, said[0], entry(house, "gone", content)])
        assert fact is not None
        assert fact.file.id == files[0].id
        assert house.calls[-2:] == ["retrieve", "retrieve"]


# --- files and jobs ---------------------------------------------------------------------------


async def test_a_file_that_changed_since_it_was_asked_for_is_not_there(
    house: House, journal: Path, source: Path, twin: Path
) -> None:
    async with working(house, journal) as engine:
        await send(engine, source)
        adopted, wanted = await adopt(engine, twin)
        there = await existing(engine, [wanted])
        os.utime(twin, ns=(1, 1))
        assert await there.look(adopted.job, wanted.fingerprint, silent) is None
        twin.unlink()
        assert await there.look(adopted.job, wanted.fingerprint, silent) is None


async def test_a_file_that_grew_since_its_job_was_made_is_not_what_the_job_was(
    house: House, journal: Path, source: Path, twin: Path
) -> None:
    async with working(house, journal) as engine:
        await send(engine, source)
        adopted, _ = await adopt(engine, twin)
        with twin.open("ab") as handle:
            handle.write(b"more")
        grown, wanted = await adopt(engine, twin)
        assert grown.job.id == adopted.job.id
        there = await existing(engine, [wanted, adopted.job])
        assert await there.look(grown.job, wanted.fingerprint, silent) is None


async def test_a_job_that_was_begun_goes_on_with_its_own_upload(
    house: House, journal: Path, source: Path, twin: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            return web.json_response({}, status=401)
        return await handler(request)

    async with working(house, journal) as engine:
        await send(engine, source)
        house.intercept = intercept
        adopted, wanted = await adopt(engine, twin)
        with pytest.raises(Unauthorized):
            await engine.upload(adopted, wanted, silent)
        house.intercept = None
        calls = len(house.calls)
        assert await look(engine, twin) is None
        assert house.calls[calls:] == []
        fact = Completed(RemoteFile("file-1", SIZE, 1, "a", "user_data"), reused=True)
        with pytest.raises(IllegalFact):
            await engine.reuse(adopted.job, fact, silent)


async def test_a_job_that_another_process_holds_is_not_ended_here(
    house: House, journal: Path, source: Path, twin: Path
) -> None:
    async with working(house, journal) as engine, working(house, journal) as other:
        await send(engine, source)
        adopted, wanted = await adopt(engine, twin)
        there = await existing(engine, [wanted])
        fact = await there.look(adopted.job, wanted.fingerprint, silent)
        assert fact is not None
        await (await other.journal()).claim(adopted.job.id, "elsewhere")
        heard: list[events.Event] = []
        with pytest.raises(Busy):
            await engine.reuse(adopted.job, fact, heard.append)
        (told,) = heard
        assert isinstance(told, events.Stopped)
        assert told.code == "busy"
        assert (await (await engine.journal()).line(adopted.job.id)).phase is Phase.NEW


async def test_what_has_no_like_is_neither_read_nor_asked_for(
    house: House,
    journal: Path,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_: object) -> None:
        raise AssertionError("a file was read")

    monkeypatch.setattr("chunkup.existing.md5_of", never)
    paths = []
    for number in range(2000):
        path = tmp_path / f"{number}.txt"
        path.write_bytes(b"x" * (number + 1))
        paths.append(path)
    async with working(house, journal) as engine:
        await send(engine, source)
        calls = len(house.calls)
        account = await engine.account()
        wanted = [replace(engine.describe(path, USER_DATA)[0], account=account) for path in paths]
        adopted = await engine.adopt(wanted)
        began = time.monotonic()
        there = await existing(engine, wanted)
        found = await asyncio.gather(
            *(
                there.look(member.job, job.fingerprint, silent)
                for member, job in zip(adopted, wanted, strict=True)
            )
        )
        took = time.monotonic() - began
        assert found == [None] * 2000
        assert house.calls[calls:] == []
        assert took < 60, f"{took:.1f} s"


def reading() -> int:
    """How many threads read files for their MD5."""
    return sum(thread.name == "chunkup-md5" for thread in threading.enumerate())


async def test_a_look_that_is_cancelled_leaves_no_thread_behind(
    house: House, journal: Path, tmp_path: Path
) -> None:
    big = tmp_path / "big.bin"
    with big.open("wb") as handle:
        handle.truncate(7 << 30)
    said = entry(house, "file-1", b"", bytes=7 << 30, md5="0" * 32, stop=7 << 30)
    async with working(house, journal) as engine:
        adopted, wanted = await adopt(engine, big)
        there = await existing(engine, [wanted], [said])
        looks = [asyncio.create_task(there.look(adopted.job, None, silent)) for _ in range(6)]
        async with asyncio.timeout(30):
            while not reading():  # noqa: ASYNC110  (a thread tells nobody that it began)
                await asyncio.sleep(0)
        assert reading() <= 4
        for task in looks:
            task.cancel()
        began = time.monotonic()
        await asyncio.wait(looks)
        assert time.monotonic() - began < 15
        assert all(task.cancelled() for task in looks)
        assert not reading()
