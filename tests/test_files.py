"""The Files API as a program with a loop has it, against the real server and worse ones."""

import asyncio
import io
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from house import HASTY, KEY, Handler, House, call_of, drop, make_source
from wire import Asked, Caller, answering, listening, reply

from chunkup import AsyncUploader, ChunkupError, Limits, Result, Stopped
from chunkup.errors import (
    BadAnswer,
    BadOption,
    EmptyFile,
    NotFound,
    OutcomeUnknown,
    Rejected,
    SourceChanged,
    SourceGone,
    TooLarge,
)
from chunkup.models import RemoteFile
from chunkup.providers import COMPATIBLE, Paging

BIG = 8 << 20
FILE = {"object": "file", "created_at": 1_700_000_000, "purpose": "batch", "status": "processed"}


def file_of(number: int, **more: object) -> dict[str, object]:
    return {**FILE, "id": f"file-{number}", "bytes": 7, "filename": f"{number}.jsonl", **more}


def page_of(*files: dict[str, object], more: bool = False) -> bytes:
    return reply({"object": "list", "data": list(files), "has_more": more})


def uploader_at(url: str, journal: Path, **more: Any) -> AsyncUploader:
    more = {"options": HASTY, **more}
    return AsyncUploader(base_url=url, api_key=KEY, journal=journal, **more)


def on_call(
    house: House, call: str, *turns: Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]
) -> None:
    """Let requests of one kind meet these in turn, and then the server."""
    left = list(turns)

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == call and left:
            return await left.pop(0)(request, handler)
        return await handler(request)

    house.intercept = intercept


async def lost(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The server does it, and nobody hears so."""
    await handler(request)
    return drop(request)


async def unheard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """All of it arrives, and the server makes nothing of it."""
    await request.read()
    return drop(request)


# --- create: what goes out --------------------------------------------------------------------


async def test_a_form_has_its_fields_before_the_file_and_a_type_and_a_browsers_name(
    journal: Path,
) -> None:
    made = reply(file_of(1, filename='ä"\r\n.txt', purpose="user_data", bytes=3), 201)
    async with listening(answering(made)) as wire, uploader_at(wire.url, journal) as uploader:
        file = await uploader.files.create(
            b"abc", filename='ä"\r\n.txt', purpose="user_data", expires_after=3600
        )
    (asked,) = wire.asked
    assert file.id == "file-1"
    assert (asked.method, asked.target) == ("POST", "/v1/files")
    boundary = asked.headers["content-type"].partition("boundary=")[2]
    assert asked.body.decode().split(f"--{boundary}") == [
        "",
        '\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n',
        '\r\nContent-Disposition: form-data; name="expires_after[anchor]"\r\n\r\ncreated_at\r\n',
        '\r\nContent-Disposition: form-data; name="expires_after[seconds]"\r\n\r\n3600\r\n',
        (
            '\r\nContent-Disposition: form-data; name="file"; filename="ä%22%0D%0A.txt"\r\n'
            "Content-Type: text/plain\r\n\r\nabc\r\n"
        ),
        "--\r\n",
    ]


class Endless(io.RawIOBase):
    """A stream that cannot be wound back; ``size`` bytes in all."""

    def __init__(self, size: int) -> None:
        self.left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self.left)
        buffer[:count] = b"x" * count
        self.left -= count
        return count


def started_in_the_middle() -> io.BytesIO:
    handle = io.BytesIO(b"not this" + b"but that")
    handle.seek(8)
    return handle


@pytest.mark.parametrize(
    ("source", "content"),
    [
        pytest.param(b"bytes", b"bytes", id="bytes"),
        pytest.param(bytearray(b"array"), b"array", id="bytearray"),
        pytest.param(memoryview(b"a view of it")[2:6], b"view", id="memoryview"),
        pytest.param(b"z" * 1_500_000, b"z" * 1_500_000, id="more than one read"),
        pytest.param(started_in_the_middle(), b"but that", id="from where it stands"),
        pytest.param(Endless(1_500_000), b"x" * 1_500_000, id="a pipe"),
    ],
)
async def test_what_is_handed_over_arrives(
    house: House, journal: Path, source: Any, content: bytes
) -> None:
    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(source, filename="a.bin", purpose="user_data")
    assert house.content(file.id) == content
    assert (file.bytes, file.filename) == (len(content), "a.bin")
    assert "create" not in house.calls


async def test_an_open_file_has_a_name_of_its_own_and_is_left_open(
    house: House, journal: Path, tmp_path: Path
) -> None:
    make_source(tmp_path / "own.jsonl", 5000)
    with (tmp_path / "own.jsonl").open("rb") as handle:
        async with house.uploader(journal) as uploader:
            file = await uploader.files.create(handle, purpose="batch")
        assert not handle.closed
    assert file.filename == "own.jsonl"
    assert house.content(file.id) == (tmp_path / "own.jsonl").read_bytes()


async def test_a_path_is_a_job_like_any_upload(house: House, journal: Path, tmp_path: Path) -> None:
    make_source(tmp_path / "a.bin", 5000)
    heard: list[str] = []
    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(
            tmp_path / "a.bin",
            purpose="user_data",
            on_event=lambda event: heard.append(type(event).__name__),
        )
        (job,) = await uploader.jobs()
    assert job.file_id == file.id
    assert "Completed" in heard
    assert "create" not in house.calls
    assert house.calls.count("post") == 1


# --- create: what cannot be -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "changes", "said"),
    [
        (17, {}, "source is a int"),
        (None, {}, "source is a NoneType"),
        (b"/bytes/path", {"filename": None}, "no name of its own"),
        (io.StringIO("text"), {}, "gives str"),
        (b"a", {"purpose": ""}, "the purpose is empty"),
        (b"a", {"purpose": None}, "the purpose is empty"),
        (b"a", {"purpose": 3}, "purpose is a int"),
        (b"a", {"purpose": "a\nb"}, "is not a purpose"),
        (b"a", {"filename": 3}, "filename is a int"),
        (b"a", {"filename": "\udc80.txt"}, "is no valid text"),
        (b"a", {"mime_type": "text/plain\r\nX: y"}, "MIME type"),
        (b"a", {"expires_after": 3599}, "1 h to 30 d"),
        (b"a", {"expires_after": 2_592_001}, "1 h to 30 d"),
        (b"a", {"expires_after": 3600.0}, "expires_after is a float"),
        (b"a", {"expires_after": True}, "expires_after is a bool"),
    ],
    ids=range(15),
)
async def test_an_argument_that_cannot_be_is_named_and_nothing_is_sent(
    house: House, journal: Path, source: Any, changes: dict[str, Any], said: str
) -> None:
    arguments = {"purpose": "user_data", "filename": "a.txt", **changes}
    async with house.uploader(journal) as uploader:
        with pytest.raises(BadOption, match=said):
            await uploader.files.create(source, **arguments)
    assert house.calls == []


async def test_too_much_and_nothing_are_refused_before_anything_is_sent(
    house: House, journal: Path
) -> None:
    limits = Limits(file=1000)
    async with uploader_at(house.url, journal, limits=limits) as uploader:
        endless = Endless(1 << 24)
        for source in (b"x" * 1001, io.BytesIO(b"x" * 1001), endless):
            with pytest.raises(TooLarge, match=r"more than the 1 kB"):
                await uploader.files.create(source, filename="a", purpose="user_data")
        assert endless.left > 1 << 23, "it was copied on beyond what can be sent"
        for empty in (b"", io.BytesIO(), Endless(0)):
            with pytest.raises(EmptyFile):
                await uploader.files.create(empty, filename="a", purpose="user_data")
    assert house.calls == []


async def test_what_a_provider_is_known_not_to_take_is_refused(house: House, journal: Path) -> None:
    lasting = replace(COMPATIBLE, expires=False)
    async with uploader_at(house.url, journal, preset=lasting) as uploader:
        with pytest.raises(BadOption, match="lets nobody choose when a File expires"):
            await uploader.files.create(
                b"a", filename="a.txt", purpose="user_data", expires_after=3600
            )
        with pytest.raises(BadOption, match="lets nobody choose when a File expires"):
            await uploader.uploads.create(
                bytes=1, filename="a.txt", purpose="user_data", expires_after=3600
            )
    assert house.calls == []


async def test_a_stream_that_has_nothing_now_is_not_taken_for_one_that_ended(
    house: House, journal: Path
) -> None:
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.write(write, b"half of it")
    with os.fdopen(read, "rb", buffering=0) as stream, os.fdopen(write, "wb"):
        async with house.uploader(journal) as uploader:
            with pytest.raises(SourceGone, match="may have more later"):
                await uploader.files.create(stream, filename="a", purpose="user_data")
    assert house.calls == []


async def test_a_file_object_that_cannot_be_read_is_an_error_of_ours(
    house: House, journal: Path
) -> None:
    handle = io.BytesIO(b"abc")
    handle.close()
    async with house.uploader(journal) as uploader:
        with pytest.raises(SourceGone, match="closed file"):
            await uploader.files.create(handle, filename="a", purpose="user_data")
    assert house.calls == []


# --- create: what becomes of it ---------------------------------------------------------------


async def test_a_lost_answer_is_looked_for_and_one_file_is_made(
    house: House, journal: Path
) -> None:
    on_call(house, "post", lost)
    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(b"abc", filename="a", purpose="user_data")
    assert [row.id for row in house.files] == [file.id]
    assert house.calls == ["post", "list", "list"]


@pytest.mark.parametrize("hours", [-5, 5])
async def test_a_lost_answer_is_found_by_the_servers_clock_though_ours_is_wrong(
    house: House, journal: Path, hours: int
) -> None:
    house.clock.offset = hours * 3600
    on_call(house, "post", lost)
    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(b"abc", filename="a", purpose="user_data")
    assert [row.id for row in house.files] == [file.id]
    assert house.calls.count("post") == 1


async def test_a_body_that_broke_off_is_sent_again_without_a_look(
    house: House, journal: Path
) -> None:
    async def broken(request: web.Request, handler: Handler) -> web.StreamResponse:
        await request.content.readany()
        return drop(request)

    on_call(house, "post", broken, broken)
    content = os.urandom(BIG)
    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(content, filename="a", purpose="user_data")
    assert house.content(file.id) == content
    assert house.calls == ["post", "post", "post"]


async def test_what_surely_came_to_nothing_is_looked_for_before_it_is_sent_again(
    house: House, journal: Path
) -> None:
    on_call(house, "post", unheard)
    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(b"abc", filename="a", purpose="user_data")
    assert [row.id for row in house.files] == [file.id]
    assert house.calls[:2] == ["post", "list"]
    assert house.calls.count("post") == 2


async def test_a_doubt_that_remains_is_told_with_the_way_to_look(
    house: House, journal: Path
) -> None:
    on_call(house, "post", unheard, unheard, unheard)
    async with house.uploader(journal) as uploader:
        with pytest.raises(OutcomeUnknown, match="may or may not exist") as caught:
            await uploader.files.create(b"abc", filename="a", purpose="user_data")
    assert caught.value.hint == "chunkup files list --purpose user_data"
    assert caught.value.job_id is None
    assert caught.value.candidates == ()


async def test_two_files_that_fit_are_candidates(house: House, journal: Path) -> None:
    async def twice(request: web.Request, handler: Handler) -> web.StreamResponse:
        content = await request.read()
        for _ in range(2):
            async with uploader.files._engine.workshop.api.transport._session.post(  # type: ignore[union-attr]
                house.url + "/files",
                data=content,
                headers={
                    "Content-Type": request.headers["Content-Type"],
                    "Authorization": f"Bearer {KEY}",
                },
            ):
                pass
        return drop(request)

    on_call(house, "post", twice)
    async with house.uploader(journal) as uploader:
        with pytest.raises(OutcomeUnknown) as caught:
            await uploader.files.create(b"abc", filename="a", purpose="user_data")
    assert sorted(caught.value.candidates) == sorted(row.id for row in house.files)
    assert len(caught.value.candidates) == 2


async def test_a_file_object_that_changes_between_attempts_makes_nothing_more(
    house: House, journal: Path
) -> None:
    handle = io.BytesIO(b"first")

    async def changed(request: web.Request, handler: Handler) -> web.StreamResponse:
        await request.read()
        handle.seek(0)
        handle.write(b"other")
        return drop(request)

    on_call(house, "post", changed)
    async with house.uploader(journal) as uploader:
        with pytest.raises(ChunkupError) as caught:
            await uploader.files.create(handle, filename="a", purpose="user_data")
    assert isinstance(caught.value, SourceChanged)
    assert house.files == []


async def test_a_refusal_is_the_servers_word_and_is_not_repeated(
    house: House, journal: Path
) -> None:
    async def refused(request: web.Request, handler: Handler) -> web.StreamResponse:
        await request.read()
        body = {"error": {"message": "Invalid file format for Batch API. Must be .jsonl"}}
        return web.json_response(body, status=400)

    on_call(house, "post", refused)
    async with house.uploader(journal) as uploader:
        with pytest.raises(Rejected, match=r"Must be \.jsonl"):
            await uploader.files.create(b"abc", filename="a.txt", purpose="batch")
    assert house.calls.count("post") == 1


# --- on_done ----------------------------------------------------------------------------------


async def test_on_done_hears_the_file_or_the_error_once(house: House, journal: Path) -> None:
    heard: list[Result] = []
    async with house.uploader(journal) as uploader:
        run = uploader.files.start(
            b"abc", filename="a.txt", purpose="user_data", on_done=heard.append
        )
        assert not heard
        file = await run
        with pytest.raises(TooLarge):
            await uploader.files.start(
                Endless(1 << 40), filename="b.txt", purpose="batch", on_done=heard.append
            )
    assert [(result.path, result.file) for result in heard] == [("a.txt", file), ("b.txt", None)]
    assert heard[0].error is None
    assert isinstance(heard[1].error, TooLarge)


async def test_leaving_waits_for_what_was_started_and_a_stop_is_told(
    house: House, journal: Path
) -> None:
    heard: list[Result] = []
    async with house.uploader(journal) as uploader:
        uploader.files.start(b"abc", filename="a", purpose="user_data", on_done=heard.append)
    assert [result.error for result in heard] == [None]

    arrived = asyncio.Event()

    async def held(request: web.Request, handler: Handler) -> web.StreamResponse:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    on_call(house, "post", held)
    async with house.uploader(journal) as uploader:
        run = uploader.files.start(b"abc", filename="a", purpose="batch", on_done=heard.append)
        await arrived.wait()
        run.stop()
    assert isinstance(heard[1].error, Stopped)


async def test_an_on_done_that_raises_is_logged_and_harms_nothing(
    house: House, journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def raising(_: Result) -> None:
        raise LookupError("of the listener")

    async with house.uploader(journal) as uploader:
        run = uploader.files.start(b"abc", filename="a", purpose="user_data", on_done=raising)
        assert (await run).bytes == 3
    assert "on_done raised" in caplog.text


# --- retrieve and delete ----------------------------------------------------------------------


@pytest.mark.parametrize("call", ["retrieve", "delete", "content", "wait"])
@pytest.mark.parametrize("name", ["", ".", "..", "a\x1b", "x" * 5000, 7, None], ids=range(7))
async def test_an_id_that_cannot_be_is_refused_before_anything_is_asked(
    house: House, journal: Path, call: str, name: Any
) -> None:
    async with house.uploader(journal) as uploader:
        waiting = getattr(uploader.files, call)(name)
        with pytest.raises(BadOption):
            await (anext(waiting) if call == "content" else waiting)
    assert house.calls == []


async def test_an_id_stays_one_segment_of_the_path(journal: Path) -> None:
    async with (
        listening(answering(reply(file_of(1)))) as wire,
        uploader_at(wire.url, journal) as uploader,
    ):
        await uploader.files.retrieve("../uploads?x#y")
        await uploader.files.delete("a/b")
    assert [asked.target for asked in wire.asked] == [
        "/v1/files/..%2Fuploads%3Fx%23y",
        "/v1/files/a%2Fb",
    ]


async def test_a_file_is_deleted_once_even_if_the_answer_is_lost(
    house: House, journal: Path
) -> None:
    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(b"abc", filename="a", purpose="user_data")
        on_call(house, "delete", lost)
        assert await uploader.files.delete(file.id)
        with pytest.raises(NotFound):
            await uploader.files.delete(file.id)
        with pytest.raises(NotFound):
            await uploader.files.retrieve(file.id)
    assert house.files == []


async def test_a_server_that_did_not_delete_is_believed(journal: Path) -> None:
    said = reply({"id": "file-1", "object": "file", "deleted": False})
    async with listening(answering(said)) as wire, uploader_at(wire.url, journal) as uploader:
        assert not await uploader.files.delete("file-1")


# --- list -------------------------------------------------------------------------------------


async def listed(uploader: AsyncUploader, *arguments: Any, **more: Any) -> list[RemoteFile]:
    return [file async for file in uploader.files.list(*arguments, **more)]


async def test_every_file_is_listed_once_whatever_the_length_of_a_page(
    house: House, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkup.files.stored._PAGE", 3)
    async with house.uploader(journal) as uploader:
        made = []
        for number in range(8):
            purpose = "batch" if number % 2 else "user_data"
            house.clock.offset = float(number)
            made.append(
                await uploader.files.create(b"abc", filename=f"{number}.jsonl", purpose=purpose)
            )
        house.calls.clear()
        assert await listed(uploader) == made[::-1]
        assert house.calls == ["list"] * 3
        assert await listed(uploader, order="asc") == made
        assert await listed(uploader, "batch", order="asc") == made[1::2]
        assert await listed(uploader, limit=4) == made[:3:-1]
        house.calls.clear()
        assert await listed(uploader, limit=2) == made[:5:-1]
        assert house.calls == ["list"]


@pytest.mark.parametrize("arguments", [{"order": "newest"}, {"purpose": ""}, {"limit": 0}], ids=str)
async def test_a_list_that_cannot_be_is_refused(
    house: House, journal: Path, arguments: dict[str, Any]
) -> None:
    async with house.uploader(journal) as uploader:
        with pytest.raises(BadOption):
            await listed(uploader, **arguments)
    assert house.calls == []


async def test_a_server_that_ignores_what_it_is_asked_is_survived(
    journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # No filter, no cursor, and always more (LiteLLM 36326, 37855): the same page for ever.
    same = page_of(
        file_of(1), file_of(1), file_of(2, purpose="vision"), file_of(3, purpose=""), more=True
    )
    async with listening(answering(same)) as wire, uploader_at(wire.url, journal) as uploader:
        assert [file.id for file in await listed(uploader, "batch")] == ["file-1", "file-3"]
    assert len(wire.asked) == 2
    assert "the same Files again" in caplog.text


async def test_an_empty_page_is_the_last_one(journal: Path) -> None:
    pages = (page_of(file_of(1), more=True), page_of(more=True))
    async with listening(answering(*pages)) as wire, uploader_at(wire.url, journal) as uploader:
        assert [file.id for file in await listed(uploader)] == ["file-1"]
    assert [asked.target for asked in wire.asked] == [
        "/v1/files?order=desc&limit=100",
        "/v1/files?order=desc&limit=100&after=file-1",
    ]


async def test_a_list_without_an_end_is_given_up(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkup.files.stored._ENDLESS", 20)
    number = 0

    async def serve(caller: Caller) -> None:
        nonlocal number
        while True:
            await caller.request()
            number += 1
            await caller.say(page_of(file_of(number), more=True))

    async with listening(serve) as wire, uploader_at(wire.url, journal) as uploader:
        with pytest.raises(BadAnswer, match="no end"):
            await listed(uploader)
    assert len(wire.asked) == 21


async def test_pages_are_counted_where_a_provider_counts_them(journal: Path) -> None:
    counting = replace(COMPATIBLE, paging=Paging.PAGES)

    async def serve(caller: Caller) -> None:
        while True:
            asked = await caller.request()
            number = int(asked.target.partition("page=")[2].partition("&")[0])
            data = [file_of(100 * number + at) for at in range(100 if number < 2 else 5)]
            await caller.say(reply({"object": "list", "data": data, "total": 205}))

    async with (
        listening(serve) as wire,
        uploader_at(wire.url, journal, preset=counting) as uploader,
    ):
        assert len(await listed(uploader)) == 205
    assert len(wire.asked) == 3


async def test_a_list_that_comes_whole_is_sorted_here(journal: Path) -> None:
    whole = replace(COMPATIBLE, paging=Paging.WHOLE)
    page = page_of(*(file_of(number, created_at=number % 3) for number in range(4)))
    async with (
        listening(answering(page)) as wire,
        uploader_at(wire.url, journal, preset=whole) as uploader,
    ):
        newest = [file.created_at for file in await listed(uploader)]
        oldest = [file.created_at for file in await listed(uploader, order="asc", limit=2)]
    assert (newest, oldest) == ([2, 1, 0, 0], [0, 0])
    assert {asked.target for asked in wire.asked} == {"/v1/files"}


def secret_of(asked: Asked) -> str:
    return asked.headers["authorization"]


async def test_every_call_goes_as_the_account(journal: Path) -> None:
    async with (
        listening(answering(reply(file_of(1)))) as wire,
        uploader_at(
            wire.url, journal, headers={"x-portkey-virtual-key": "vk"}, organization="org-1"
        ) as uploader,
    ):
        await uploader.files.retrieve("file-1")
        await uploader.files.delete("file-1")
    for asked in wire.asked:
        assert secret_of(asked) == f"Bearer {KEY}"
        assert asked.headers["x-portkey-virtual-key"] == "vk"
        assert asked.headers["openai-organization"] == "org-1"
