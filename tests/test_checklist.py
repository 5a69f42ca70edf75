"""What the programs that chunkup follows can do, item by item: it can be done here too.

Rust, ``openai-interface``, files
    one request of up to 512 MB       test_a_few_megabytes_go_up_in_one_request
                                      test_more_than_512_mb_is_refused_before_anything_is_sent
    a File object                     test_a_file_has_the_attributes_of_the_sdks_file_object
    six purposes, and any other       test_every_purpose_goes_through_and_so_does_one_of_a_provider
    batch Files live 30 days          test_a_batch_file_expires_after_thirty_days
    expiration policy                 test_an_expiry_is_taken_from_an_hour_to_thirty_days
    URL and key for each call         test_each_call_may_have_an_address_and_a_key_of_its_own
    limits                            test_the_limits_are_stated_and_kept
    error taxonomy                    test_each_kind_of_error_is_one_of_its_own

Elixir, ``ExOpenAI.Uploads``
    create, part, complete, cancel    test_the_four_calls_make_a_file_in_the_order_of_the_ids
    MD5                               test_an_md5_is_compared
    data, or a file name and data     test_a_part_is_bytes_or_a_stretch_of_a_file
    base URL, key, organization       test_each_call_may_have_an_address_and_a_key_of_its_own
    errors as values                  test_errors_are_values_where_many_files_go_up
    a stream while it completes       test_the_end_can_be_watched

Portkey
    its two headers on every request  test_portkeys_headers_are_on_every_request
    file and purpose, a File object   the same

4D AIKit, ``OpenAIFilesAPI``
    create, retrieve, list, delete    test_create_retrieve_list_and_delete_block_or_not
    a file or a blob                  the same
    success, errors, file, deleted    the same, and test_a_result_tells_success_and_error
    blocking, or with a callback      test_a_callback_hears_the_end
    expires_after 3600 to 2592000     test_an_expiry_is_taken_from_an_hour_to_thirty_days
    argument errors                   test_arguments_that_cannot_be_are_refused_by_name
    formats                           test_a_format_that_the_server_does_not_take_is_its_own_error
                                      test_a_type_follows_from_the_name
    list by purpose, limit, order     test_a_list_has_purpose_limit_and_order

A 1 TB or 100 GB limit of a whole account is in some of them and is out of date: the official API
has 2.5 TB a project by now, and only the server can count what is there.
"""

import asyncio
import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from elsewhere import in_a_thread
from house import HASTY, KEY, Handler, House, call_of, make_source, open_house
from openai.types import FileObject
from test_files import file_of, uploader_at
from wire import answering, listening, reply

import chunkup
from chunkup import AsyncUploader, RemoteFile, Result, Uploader
from chunkup.errors import (
    BadOption,
    NoSuchFile,
    Rejected,
    TooLarge,
    Unauthorized,
    Unreachable,
    Unreadable,
)
from chunkup.providers import OPENAI
from chunkup.source import mime_type_of

MB = 10**6
# Of the API reference, 2026-11-21.
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")


@pytest.fixture
def thread_house(tmp_path: Path) -> Iterator[House]:
    """A server for blocking calls, which would hold up one in the same loop."""
    with in_a_thread(lambda: open_house(tmp_path / "server")) as house:
        yield house


def blocking(house: House, tmp_path: Path) -> Uploader:
    journal = tmp_path / "state" / "journal.db"
    return Uploader(base_url=house.url, api_key=KEY, journal=journal, options=HASTY, progress=False)


# --- openai-interface -------------------------------------------------------------------------


async def test_a_few_megabytes_go_up_in_one_request(
    house: House, journal: Path, tmp_path: Path
) -> None:
    md5 = make_source(tmp_path / "a.bin", 5 * MB)
    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(tmp_path / "a.bin", purpose="user_data")
    assert hashlib.md5(house.content(file.id)).hexdigest() == md5
    assert house.calls.count("post") == 1
    assert "create" not in house.calls


async def test_more_than_512_mb_is_refused_before_anything_is_sent(
    house: House, journal: Path, tmp_path: Path
) -> None:
    limit = OPENAI.limits.largest("user_data", single=True)
    assert limit is not None
    assert 512 * MB <= limit <= 512 << 20
    path = tmp_path / "large.bin"
    path.touch()
    os.truncate(path, limit + 1)
    async with house.uploader(journal) as uploader:
        with pytest.raises(TooLarge, match="in one request"):
            await uploader.files.create(path, purpose="user_data")
        with path.open("rb") as handle, pytest.raises(TooLarge, match="in one request"):
            await uploader.files.create(handle, purpose="user_data")
    assert house.calls == []


def test_a_file_has_the_attributes_of_the_sdks_file_object() -> None:
    ours = {field.name for field in fields(RemoteFile)}
    assert ours == set(FileObject.model_fields)


@pytest.mark.parametrize("purpose", [*PURPOSES, "file-extract"])
async def test_every_purpose_goes_through_and_so_does_one_of_a_provider(
    journal: Path, purpose: str
) -> None:
    made = reply(file_of(1, purpose=purpose, filename="a.jsonl", bytes=2))
    async with listening(answering(made)) as wire, uploader_at(wire.url, journal) as uploader:
        file = await uploader.files.create(b"{}", filename="a.jsonl", purpose=purpose)
    assert file.purpose == purpose
    assert f'name="purpose"\r\n\r\n{purpose}\r\n'.encode() in wire.asked[0].body


async def test_a_batch_file_expires_after_thirty_days(house: House, journal: Path) -> None:
    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(b"{}", filename="a.jsonl", purpose="batch")
    assert file.expires_at == file.created_at + 30 * 86400


@pytest.mark.parametrize("method", ["files", "uploads"])
@pytest.mark.parametrize("seconds", [3599, 3600, 2_592_000, 2_592_001])
async def test_an_expiry_is_taken_from_an_hour_to_thirty_days(
    house: House, journal: Path, tmp_path: Path, seconds: int, method: Any
) -> None:
    make_source(tmp_path / "a.bin", 3000)
    async with house.uploader(journal) as uploader:
        work = uploader.upload(
            tmp_path / "a.bin", purpose="user_data", expires_after=seconds, method=method
        )
        if 3600 <= seconds <= 2_592_000:
            file = await work
            assert file.expires_at == file.created_at + seconds
        else:
            with pytest.raises(BadOption, match="1 h to 30 d"):
                await work
            assert house.calls == []


async def test_each_call_may_have_an_address_and_a_key_of_its_own(
    house: House, journal: Path
) -> None:
    made = reply(file_of(1, purpose="file-extract", filename="a.txt", bytes=3))
    async with listening(answering(made)) as wire:
        dashscope = wire.url.replace("/v1", "/compatible-mode/v1")
        async with (
            AsyncUploader(
                base_url=dashscope,
                api_key="sk-theirs",
                organization="org-theirs",
                journal=journal,
                options=HASTY,
            ) as theirs,
            house.uploader(journal) as ours,
        ):
            await theirs.files.create(b"abc", filename="a.txt", purpose="file-extract")
            await ours.files.create(b"abc", filename="a.txt", purpose="user_data")
    (asked,) = wire.asked
    assert asked.target == "/compatible-mode/v1/files"
    assert asked.headers["authorization"] == "Bearer sk-theirs"
    assert asked.headers["openai-organization"] == "org-theirs"
    assert len(house.files) == 1


async def test_the_limits_are_stated_and_kept(house: House, journal: Path, tmp_path: Path) -> None:
    limits = OPENAI.limits
    assert limits.largest("batch") == limits.largest("batch", single=True) == 200 * MB
    assert limits.part == 64 << 20
    assert limits.upload == 8 << 30
    path = tmp_path / "batch.jsonl"
    path.touch()
    os.truncate(path, 200 * MB + 1)
    async with house.uploader(journal, part_size=1 << 20) as uploader:
        for method in ("files", "uploads"):
            with pytest.raises(TooLarge, match="200 MB"):
                await uploader.upload(path, purpose="batch", method=method)
    assert house.calls == []


async def test_each_kind_of_error_is_one_of_its_own(
    house: House, journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"

    async def refused(kind: type[chunkup.ChunkupError], **settings: Any) -> None:
        async with uploader_at(house.url, journal, **settings) as uploader:
            with pytest.raises(kind) as caught:
                await uploader.files.create(path, purpose="user_data")
        assert type(caught.value) is kind

    await refused(NoSuchFile)
    make_source(path, 100)
    with monkeypatch.context() as patch:
        patch.setattr("chunkup.source.os.access", lambda *_: False)
        await refused(Unreadable)
    await refused(TooLarge, limits=chunkup.Limits(file=99))
    async with AsyncUploader(
        base_url=house.url, api_key="sk-wrong", journal=journal, options=HASTY
    ) as uploader:
        with pytest.raises(Unauthorized):
            await uploader.files.create(path, purpose="user_data")
    async with uploader_at("http://127.0.0.1:1/v1", journal) as uploader:
        with pytest.raises(Unreachable):
            await uploader.files.create(path, purpose="user_data")


# --- ExOpenAI.Uploads -------------------------------------------------------------------------


async def test_the_four_calls_make_a_file_in_the_order_of_the_ids(
    house: House, journal: Path
) -> None:
    async with house.uploader(journal) as uploader:
        upload = await uploader.uploads.create(
            bytes=6, filename="a.jsonl", mime_type="text/jsonl", purpose="fine-tune"
        )
        three, one, two = await asyncio.gather(
            *(uploader.uploads.add_part(upload.id, data) for data in (b"56", b"12", b"34"))
        )
        file = await uploader.uploads.complete(upload.id, [one, two, three])
        cancelled = await uploader.uploads.create(bytes=6, filename="a", purpose="batch")
        await uploader.uploads.cancel(cancelled.id)
    assert house.content(file.id) == b"123456"
    assert upload.expires_at == upload.created_at + 3600


async def test_an_md5_is_compared(house: House, journal: Path) -> None:
    async with house.uploader(journal) as uploader:
        upload = await uploader.uploads.create(bytes=3, filename="a", purpose="batch")
        part = await uploader.uploads.add_part(upload.id, b"abc")
        with pytest.raises(Rejected):
            await uploader.uploads.complete(upload.id, [part], "0" * 32)
        md5 = hashlib.md5(b"abc").hexdigest()
        assert (await uploader.uploads.complete(upload.id, [part], md5)).bytes == 3


async def test_a_part_is_bytes_or_a_stretch_of_a_file(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(b"0123456789")
    async with house.uploader(journal) as uploader:
        upload = await uploader.uploads.create(bytes=6, filename="a", purpose="user_data")
        ids = [
            await uploader.uploads.add_part(upload.id, b"ab"),
            await uploader.uploads.add_part(upload.id, tmp_path / "a.bin", start=2, stop=4),
            await uploader.uploads.add_part(upload.id, tmp_path / "a.bin", start=8),
        ]
        file = await uploader.uploads.complete(upload.id, ids)
    assert house.content(file.id) == b"ab2389"


async def test_errors_are_values_where_many_files_go_up(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async def some(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "create" and (await request.json())["filename"] == "b.bin":
            return web.json_response({"error": {"message": "not this one"}}, status=400)
        return await handler(request)

    house.intercept = some
    for name in ("a.bin", "b.bin"):
        make_source(tmp_path / name, 2000)
    async with house.uploader(journal) as uploader:
        ok, error = [
            result
            async for result in uploader.upload_all(
                [tmp_path / "a.bin", tmp_path / "b.bin"], purpose="user_data"
            )
        ]
    assert ok.file is not None
    assert ok.error is None
    assert error.file is None
    assert isinstance(error.error, Rejected)


async def test_the_end_can_be_watched(house: House, journal: Path, tmp_path: Path) -> None:
    make_source(tmp_path / "a.bin", 2500)
    heard: list[str] = []
    async with house.uploader(journal) as uploader:
        await uploader.upload(
            tmp_path / "a.bin",
            purpose="user_data",
            on_event=lambda event: heard.append(type(event).__name__),
        )
    assert heard[-2:] == ["Completing", "Completed"]


# --- Portkey ----------------------------------------------------------------------------------


async def test_portkeys_headers_are_on_every_request(
    house: House, journal: Path, tmp_path: Path
) -> None:
    make_source(tmp_path / "a.bin", 2500)
    ours = {"x-portkey-api-key": "pk-canary", "x-portkey-virtual-key": "vk-canary"}
    seen: list[dict[str, str | None]] = []

    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        seen.append({name: request.headers.get(name) for name in ours})
        return await handler(request)

    house.intercept = watch
    async with uploader_at(house.url, journal, headers=ours, part_size=1000) as uploader:
        upload = await uploader.upload(tmp_path / "a.bin", purpose="assistants")
        file = await uploader.files.create(b"abc", filename="a.txt", purpose="assistants")
        assert (file.status, file.object, file.status_details) == ("processed", "file", None)
        assert await uploader.files.retrieve(file.id) == file
        await uploader.files.download(file.id, tmp_path / "copy")
        assert {each.id async for each in uploader.files.list()} == {file.id, upload.id}
        await uploader.files.delete(file.id)
        cancelled = await uploader.uploads.create(bytes=3, filename="a", purpose="vision")
        await uploader.uploads.cancel(cancelled.id)
    assert seen == [ours] * len(seen)
    assert set(house.calls) >= {
        *("create", "part", "complete", "cancel"),
        *("post", "retrieve", "content", "list", "delete"),
    }
    for path in journal.parent.rglob("*"):
        assert path.is_dir() or b"canary" not in path.read_bytes()


# --- 4D AIKit ---------------------------------------------------------------------------------


def test_create_retrieve_list_and_delete_block_or_not(thread_house: House, tmp_path: Path) -> None:
    make_source(tmp_path / "a.bin", 3000)
    with blocking(thread_house, tmp_path) as uploader:
        from_path = uploader.files.create(tmp_path / "a.bin", purpose="user_data")
        from_blob = uploader.files.create(b"abc", filename="b.txt", purpose="user_data")
        assert uploader.files.retrieve(from_blob.id) == from_blob
        assert uploader.files.wait(from_blob.id) == from_blob
        assert {file.id for file in uploader.files.list()} == {from_path.id, from_blob.id}
        # Leaving early is no harm.
        assert next(iter(uploader.files.list())) in {from_path, from_blob}
        assert b"".join(uploader.files.content(from_path.id)) == (tmp_path / "a.bin").read_bytes()
        copy = uploader.files.download(from_blob.id, tmp_path / "copy.txt")
        assert copy.read_bytes() == b"abc"
        assert uploader.files.delete(from_blob.id) is True
        with pytest.raises(Rejected):
            uploader.files.retrieve(from_blob.id)

    async def not_blocking() -> None:
        journal = tmp_path / "state" / "journal.db"
        async with uploader_at(thread_house.url, journal) as uploader:
            file = await uploader.files.create(b"abc", filename="c.txt", purpose="user_data")
            assert await uploader.files.retrieve(file.id) == file
            assert [each.id async for each in uploader.files.list(limit=1)]
            assert await uploader.files.delete(file.id)

    asyncio.run(not_blocking())
    assert [row.id for row in thread_house.files] == [from_path.id]


def test_an_upload_by_hand_blocks_too(thread_house: House, tmp_path: Path) -> None:
    with blocking(thread_house, tmp_path) as uploader:
        upload = uploader.uploads.create(bytes=4, filename="a", purpose="user_data")
        parts = [uploader.uploads.add_part(upload.id, data) for data in (b"ab", b"cd")]
        file = uploader.uploads.complete(upload.id, parts)
        other = uploader.uploads.create(bytes=4, filename="a", purpose="user_data")
        uploader.uploads.cancel(other.id)
    assert thread_house.content(file.id) == b"abcd"


def test_a_callback_hears_the_end(thread_house: House, tmp_path: Path) -> None:
    heard: Future[tuple[Result, str]] = Future()
    with blocking(thread_house, tmp_path) as uploader:
        run = uploader.files.start(
            b"abc",
            filename="a.txt",
            purpose="user_data",
            on_done=lambda result: heard.set_result((result, threading.current_thread().name)),
        )
        result, where = heard.result(30)
        assert run.result() == result.file
        assert run.done
    assert where == "chunkup-engine"
    assert result.path == "a.txt"


def test_a_result_tells_success_and_error(thread_house: House, tmp_path: Path) -> None:
    heard: list[Result] = []
    with blocking(thread_house, tmp_path) as uploader:
        for name, limit in (("a.txt", None), ("b.txt", "none.txt")):
            source: Any = b"abc" if limit is None else tmp_path / limit
            run = uploader.files.start(
                source, filename=name, purpose="user_data", on_done=heard.append
            )
            run.wait()
    success, failure = heard
    assert success.error is None  # what is .success there
    assert success.file is not None
    assert failure.file is None
    assert isinstance(failure.error, NoSuchFile)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        pytest.param(lambda files: files.create(7, purpose="batch"), "source is a int", id="type"),
        pytest.param(
            lambda files: files.create(b"a", filename="a", purpose=""),
            "purpose is empty",
            id="purpose",
        ),
        pytest.param(lambda files: files.retrieve(""), "the id is empty", id="retrieve"),
        pytest.param(lambda files: files.delete(""), "the id is empty", id="delete"),
        pytest.param(lambda files: list(files.content("")), "the id is empty", id="content"),
        pytest.param(lambda files: list(files.list(order="up")), "no order", id="order"),
    ],
)
def test_arguments_that_cannot_be_are_refused_by_name(
    thread_house: House, tmp_path: Path, act: Any, said: str
) -> None:
    with blocking(thread_house, tmp_path) as uploader, pytest.raises(BadOption, match=said):
        act(uploader.files)
    assert thread_house.calls == []


async def test_a_list_has_purpose_limit_and_order(house: House, journal: Path) -> None:
    async with house.uploader(journal) as uploader:
        ids = []
        for number in range(4):
            house.clock.offset = float(number)
            file = await uploader.files.create(
                b"{}", filename=f"{number}.jsonl", purpose="batch" if number else "vision"
            )
            ids.append(file.id)
        found = [file.id async for file in uploader.files.list("batch", limit=2, order="asc")]
    assert found == ids[1:3]


async def test_a_format_that_the_server_does_not_take_is_its_own_error(
    house: House, journal: Path
) -> None:
    async def strict(request: web.Request, handler: Handler) -> web.StreamResponse:
        await request.read()
        # As the official API has it since 2025 (LiteLLM 37527).
        said = {"message": "Invalid file format for Batch API. Must be .jsonl", "param": None}
        return web.json_response({"error": {**said, "code": None}}, status=400)

    house.intercept = strict
    async with house.uploader(journal) as uploader:
        with pytest.raises(Rejected, match=r"Invalid file format for Batch API. Must be \.jsonl"):
            await uploader.files.create(b"a,b", filename="a.csv", purpose="batch")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("train.jsonl", "text/jsonl"),
        ("paper.pdf", "application/pdf"),
        ("photo.PNG", "image/png"),
        ("notes.md", "text/markdown"),
        ("what", "application/octet-stream"),
    ],
)
def test_a_type_follows_from_the_name(name: str, kind: str) -> None:
    assert mime_type_of(name) == kind


def test_every_test_that_the_table_names_exists() -> None:
    named = {word for word in (__doc__ or "").replace(",", " ").split() if word[:5] == "test_"}
    assert named
    assert named <= set(globals())
