"""The Uploads API call by call: what a program does that drives an Upload itself."""

import asyncio
import hashlib
import random
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from house import Handler, House, drop, make_source
from test_files import on_call, unheard, uploader_at
from wire import answering, listening, reply

from chunkup.errors import (
    BadOption,
    EmptyFile,
    NoSuchFile,
    OutcomeUnknown,
    Rejected,
    TooLarge,
    Unauthorized,
)
from chunkup.journal import Journal
from chunkup.models import Limits

PENDING = {
    "id": "upload_1",
    "object": "upload",
    "created_at": 1_700_000_000,
    "expires_at": 1_700_003_600,
    "status": "pending",
}


async def test_parts_from_anywhere_in_any_order_become_a_file_in_the_order_that_is_said(
    house: House, journal: Path, tmp_path: Path
) -> None:
    md5 = make_source(tmp_path / "a.bin", 3000)
    content = (tmp_path / "a.bin").read_bytes()
    async with house.uploader(journal) as uploader:
        upload = await uploader.uploads.create(
            bytes=3000, filename="a.bin", purpose="user_data", expires_after=3600
        )
        sent: dict[int, str] = {}

        async def send(number: int, data: Any, **span: int) -> None:
            sent[number] = await uploader.uploads.add_part(upload.id, data, **span)

        tasks = [
            (0, tmp_path / "a.bin", {"stop": 1000}),
            (1, content[1000:2000], {}),
            (2, str(tmp_path / "a.bin"), {"start": 2000}),
        ]
        seed = random.randrange(1 << 30)
        print(f"seed {seed}")
        random.Random(seed).shuffle(tasks)
        await asyncio.gather(*(send(number, data, **span) for number, data, span in tasks))
        file = await uploader.uploads.complete(
            upload.id, [sent[number] for number in range(3)], md5=md5.upper()
        )
    assert house.content(file.id) == content
    assert (file.filename, file.bytes) == ("a.bin", 3000)
    (row,) = house.files
    assert row.expires_at == upload.created_at + 3600
    assert not (journal.exists() and await _jobs(journal))


async def _jobs(journal: Path) -> list[object]:
    book = await Journal.open(journal)
    try:
        return list(await book.lines())
    finally:
        await book.close()


async def test_another_md5_is_refused(house: House, journal: Path) -> None:
    async with house.uploader(journal) as uploader:
        upload = await uploader.uploads.create(bytes=3, filename="a", purpose="user_data")
        part = await uploader.uploads.add_part(upload.id, b"abc")
        with pytest.raises(Rejected, match=r"(?i)md5|checksum"):
            await uploader.uploads.complete(upload.id, [part], hashlib.md5(b"abd").hexdigest())
        file = await uploader.uploads.complete(upload.id, [part], hashlib.md5(b"abc").hexdigest())
    assert house.content(file.id) == b"abc"


async def test_cancel_ends_it_and_may_be_said_twice(house: House, journal: Path) -> None:
    async with house.uploader(journal) as uploader:
        upload = await uploader.uploads.create(bytes=3, filename="a", purpose="user_data")
        await uploader.uploads.cancel(upload.id)
        await uploader.uploads.cancel(upload.id)
        await uploader.uploads.cancel("upload_of_nobody")
        with pytest.raises(Rejected, match="cancelled"):
            await uploader.uploads.add_part(upload.id, b"abc")
        other = await uploader.uploads.create(bytes=3, filename="a", purpose="user_data")
        part = await uploader.uploads.add_part(other.id, b"abc")
        await uploader.uploads.complete(other.id, [part])
        with pytest.raises(Rejected, match="completed"):
            await uploader.uploads.cancel(other.id)


async def test_a_part_whose_answer_was_lost_is_sent_again(house: House, journal: Path) -> None:
    on_call(house, "part", unheard)
    async with house.uploader(journal) as uploader:
        upload = await uploader.uploads.create(bytes=3, filename="a", purpose="user_data")
        part = await uploader.uploads.add_part(upload.id, b"abc")
        file = await uploader.uploads.complete(upload.id, [part])
    assert house.content(file.id) == b"abc"
    assert house.calls.count("part") == 2


@pytest.mark.parametrize("carried_out", [True, False])
async def test_complete_is_never_repeated_blindly(
    house: House,
    journal: Path,
    carried_out: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    async def lost(request: web.Request, handler: Handler) -> web.StreamResponse:
        if carried_out:
            await handler(request)
        return drop(request)

    async with house.uploader(journal) as uploader:
        upload = await uploader.uploads.create(bytes=3, filename="a", purpose="user_data")
        part = await uploader.uploads.add_part(upload.id, b"abc")
        on_call(house, "complete", lost)
        with pytest.raises(OutcomeUnknown, match="may have become a File") as caught:
            await uploader.uploads.complete(upload.id, [part])
    assert caught.value.hint == "look for it with: chunkup files list"
    assert house.calls.count("complete") == 1
    assert len(house.files) == carried_out


async def test_complete_is_asked_again_where_it_surely_was_not_done(
    house: House, journal: Path
) -> None:
    async def throttled(request: web.Request, handler: Handler) -> web.StreamResponse:
        return web.json_response({}, status=429, headers={"retry-after-ms": "1"})

    on_call(house, "complete", throttled, throttled)
    async with house.uploader(journal) as uploader:
        upload = await uploader.uploads.create(bytes=3, filename="a", purpose="user_data")
        part = await uploader.uploads.add_part(upload.id, b"abc")
        assert (await uploader.uploads.complete(upload.id, [part])).bytes == 3


async def test_a_completion_that_names_no_file_is_a_doubt(journal: Path) -> None:
    said = reply({**PENDING, "status": "completed"})
    async with listening(answering(said)) as wire, uploader_at(wire.url, journal) as uploader:
        with pytest.raises(OutcomeUnknown, match="named none"):
            await uploader.uploads.complete("upload_1", ["part_1"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bytes": 0}, "at least one"),
        ({"bytes": True}, "at least one"),
        ({"bytes": "3"}, "at least one"),
        ({"filename": ""}, "filename is empty"),
        ({"purpose": ""}, "is not a purpose"),
        ({"expires_after": 10}, "1 h to 30 d"),
    ],
    ids=range(6),
)
async def test_an_upload_that_cannot_be_is_refused(
    house: House, journal: Path, changes: dict[str, Any], said: str
) -> None:
    arguments = {"bytes": 3, "filename": "a", "purpose": "user_data", **changes}
    async with house.uploader(journal) as uploader:
        with pytest.raises(BadOption, match=said):
            await uploader.uploads.create(**arguments)
    assert house.calls == []


async def test_more_than_the_provider_takes_is_refused(house: House, journal: Path) -> None:
    limits = Limits(part=10, upload=100)
    async with uploader_at(house.url, journal, limits=limits, part_size=5) as uploader:
        with pytest.raises(TooLarge):
            await uploader.uploads.create(bytes=101, filename="a", purpose="user_data")
    assert house.calls == []


async def test_a_part_or_a_completion_that_cannot_be_is_refused(
    house: House, journal: Path, tmp_path: Path
) -> None:
    make_source(tmp_path / "a.bin", 100)
    path = tmp_path / "a.bin"
    small = Limits(part=10)
    async with uploader_at(house.url, journal, limits=small, part_size=5) as uploader:
        uploads = uploader.uploads
        for upload_id, data, span, error in (
            ("", b"a", {}, BadOption),
            ("upload_1", b"", {}, EmptyFile),
            ("upload_1", 7, {}, BadOption),
            ("upload_1", b"abc", {"start": 1}, BadOption),
            ("upload_1", b"x" * 11, {}, TooLarge),
            ("upload_1", path, {}, TooLarge),
            ("upload_1", path, {"start": 50, "stop": 50}, BadOption),
            ("upload_1", path, {"start": 95, "stop": 101}, BadOption),
            ("upload_1", tmp_path / "none", {}, NoSuchFile),
        ):
            with pytest.raises(error):
                await uploads.add_part(upload_id, data, **span)  # type: ignore[arg-type]  # on purpose
        for ids, md5 in (
            ([], None),
            ("part_1", None),
            (["part_1", "part_1"], None),
            ([""], None),
            (["part_1"], "abc"),
            (["part_1"], "z" * 32),
        ):
            with pytest.raises(BadOption):
                await uploads.complete("upload_1", ids, md5)
    assert house.calls == []


async def test_a_key_that_is_refused_is_said(house: House, journal: Path) -> None:
    async with house.uploader(journal, key="sk-other") as uploader:
        with pytest.raises(Unauthorized):
            await uploader.uploads.create(bytes=3, filename="a", purpose="user_data")
