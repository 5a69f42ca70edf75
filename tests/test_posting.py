"""A file in a single request: what goes out, and what may break before its end."""

import asyncio
import os
from pathlib import Path

import pytest
from aiohttp import web
from asks import quicken
from house import Handler, House, make_source
from posts import LARGE, PATIENT, SIZE, cut, on_posts, phase_of, sent
from wire import answering, listening, reply

from chunkup import AsyncUploader, RemoteFile, SourceChanged, events
from chunkup.errors import BadOption, Stopped
from chunkup.machine import Phase
from chunkup.posting import form_fields


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    make_source(path, SIZE)
    return path


# --- what goes out ------------------------------------------------------------------------------


async def test_it_takes_one_request_and_the_file_is_whole(
    house: House, journal: Path, source: Path
) -> None:
    end, job, seen = await sent(house, journal, source, expires_after=7200)
    assert isinstance(end, RemoteFile)
    assert house.content(end.id) == source.read_bytes()
    assert (end.filename, end.purpose, end.bytes) == ("a.jsonl", "user_data", SIZE)
    assert end.expires_at == end.created_at + 7200
    # One look at the server's clock, by which the File would be known.
    assert house.calls == ["list", "post"]
    assert job.state == "completed"
    assert [type(event) for event in seen if not isinstance(event, events.Progress)] == [
        events.JobStarted,
        events.Completing,
        events.Completed,
    ]


async def test_the_fields_stand_before_the_file_and_names_are_spelt_as_browsers_do(
    journal: Path, tmp_path: Path
) -> None:
    name = 'a "b" é 你\r\n\\.jsonl'
    source = tmp_path / "plain"
    make_source(source, 100)
    made = {"id": "file-1", "bytes": 100, "filename": name, "purpose": "user_data", "created_at": 1}
    async with listening(answering(reply({"data": []}), reply(made))) as wire:
        async with AsyncUploader(base_url=wire.url, api_key="k", journal=journal) as uploader:
            await uploader.upload(
                source, purpose="user_data", method="files", filename=name, expires_after=3600
            )
        asked = wire.asked[-1]
    assert asked.headers["content-length"] == str(len(asked.body))
    heads = [piece.partition(b"\r\n\r\n")[0].strip() for piece in asked.body.split(b"\r\n--")]
    assert [head.partition(b'name="')[2].partition(b'"')[0] for head in heads[:-1]] == [
        *(b"purpose", b"expires_after[anchor]", b"expires_after[seconds]", b"file"),
    ]
    assert 'filename="a %22b%22 é 你%0D%0A\\.jsonl"'.encode() in heads[3]
    assert b"Content-Type: text/jsonl" in heads[3]


def test_an_expiry_is_only_sent_if_there_is_one() -> None:
    assert form_fields("user_data", None) == [("purpose", "user_data")]
    assert form_fields("user_data", 3600)[1:] == [
        ("expires_after[anchor]", "created_at"),
        ("expires_after[seconds]", "3600"),
    ]


async def test_a_type_that_would_break_the_form_is_refused(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal) as uploader:
        with pytest.raises(BadOption, match="MIME type"):
            await uploader.upload(
                source, purpose="user_data", method="files", mime_type="a/b\r\nX: y"
            )
    assert house.calls == []


# --- before its end -----------------------------------------------------------------------------


async def test_a_body_that_was_cut_is_no_doubt_and_is_sent_again(
    house: House, journal: Path, tmp_path: Path
) -> None:
    source = tmp_path / "large.bin"
    make_source(source, LARGE)
    on_posts(house, cut, cut)
    end, job, seen = await sent(house, journal, source)
    assert isinstance(end, RemoteFile)
    assert house.content(end.id) == source.read_bytes()
    assert house.calls == ["list", "post", "post", "post"]
    assert [type(event) for event in seen].count(events.PartRetried) == 2
    assert [type(event) for event in seen].count(events.Completing) == 1
    assert job.state == "completed"


async def test_a_stop_in_the_middle_leaves_nothing_to_be_settled(
    house: House, journal: Path, tmp_path: Path
) -> None:
    source = tmp_path / "large.bin"
    make_source(source, LARGE)
    reading = asyncio.Event()

    async def hold(request: web.Request, handler: Handler) -> web.StreamResponse:
        await request.content.readany()
        reading.set()
        await asyncio.Event().wait()
        raise AssertionError

    on_posts(house, hold)
    async with house.uploader(journal, options=PATIENT) as uploader:
        run = uploader.start(source, purpose="user_data", method="files")
        await reading.wait()
        run.stop()
        with pytest.raises(Stopped):
            await run
        assert await phase_of(uploader) is Phase.NEW
    house.calls.clear()
    end, _, _ = await sent(house, journal, source)
    assert isinstance(end, RemoteFile)
    assert house.calls == ["list", "post"]
    assert len(house.files) == 1


async def test_content_that_was_changed_on_its_way_is_never_a_file(
    house: House, journal: Path, tmp_path: Path
) -> None:
    """Its size and time are put back, so that nothing but the digests can tell."""
    source = tmp_path / "large.bin"
    make_source(source, LARGE)
    before, moving = source.stat(), asyncio.Event()

    def heard(event: events.Event) -> None:
        if isinstance(event, events.Progress) and event.sent:
            moving.set()

    async def slowly(request: web.Request, handler: Handler) -> web.StreamResponse:
        # It takes nothing more until then, so that the end of the file is still to be read.
        await moving.wait()
        with source.open("r+b") as handle:
            handle.seek(LARGE - 10)
            handle.write(b"0123456789")
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
        return await handler(request)

    on_posts(house, slowly)
    async with house.uploader(journal, options=PATIENT) as uploader:
        with pytest.raises(SourceChanged):
            await uploader.upload(source, purpose="user_data", method="files", on_event=heard)
        assert await phase_of(uploader) is Phase.NEW
    assert house.files == []
