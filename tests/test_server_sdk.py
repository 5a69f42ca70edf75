"""The embedded server as the official SDK sees it, blocking and async."""

import asyncio
import hashlib
import io
import random
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import openai
import pytest
from elsewhere import in_a_thread, listening
from openai.types import FileObject, Upload

from chunkup.server.app import create_app
from chunkup.server.store import ServerLimits, Store

KEY = "sk-test-one"
LIMITS = ServerLimits(part_bytes=4 << 20, file_bytes=1 << 20)


class Clock:
    def __init__(self) -> None:
        self.now = 1_750_000_000.5

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class Served:
    url: str
    store: Store
    clock: Clock


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    clock = Clock()
    store = Store(tmp_path, clock=clock, limits=LIMITS)
    app = create_app(store, key=KEY)
    try:
        with in_a_thread(lambda: listening(app)) as url:
            yield Served(url, store, clock)
    finally:
        store.close()


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=served.url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def aclient(served: Served) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=served.url, api_key=KEY, max_retries=0) as client:
        yield client


def content_of(size: int) -> bytes:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed).randbytes(size)


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def created(client: openai.OpenAI, size: int) -> Upload:
    return client.uploads.create(
        bytes=size, filename="你好.jsonl", mime_type="text/jsonl", purpose="batch"
    )


def check_pending(upload: Upload) -> None:
    assert re.fullmatch("upload_[0-9a-f]{32}", upload.id)
    assert (upload.status, upload.object) == ("pending", "upload")
    assert upload.expires_at - upload.created_at == 3600
    assert "file" not in upload.model_fields_set


def check_completed(upload: Upload, done: Upload, size: int) -> FileObject:
    assert done.file is not None
    assert re.fullmatch("file-[0-9A-Za-z]{22}", done.file.id)
    assert (done.id, done.status) == (upload.id, "completed")
    assert done.file.created_at == upload.created_at
    assert done.file.expires_at == upload.created_at + 2_592_000
    assert (done.file.bytes, done.file.filename) == (size, "你好.jsonl")
    assert (done.file.purpose, done.file.status) == ("batch", "processed")
    return done.file


def test_an_upload_lives_and_becomes_a_file(served: Served, client: openai.OpenAI) -> None:
    content = content_of(300_000)
    upload = created(client, len(content))
    check_pending(upload)
    late = client.uploads.parts.create(upload.id, data=content[200_000:])
    orphan = client.uploads.parts.create(upload.id, data=b"never listed")
    early = client.uploads.parts.create(upload.id, data=io.BytesIO(content[:200_000]))
    assert re.fullmatch("part_[0-9a-f]{32}", early.id)
    assert (early.object, early.upload_id) == ("upload.part", upload.id)

    done = client.uploads.complete(upload.id, part_ids=[early.id, late.id], md5=md5(content))

    file = check_completed(upload, done, len(content))
    assert client.files.content(file.id).read() == content
    assert client.files.retrieve(file.id) == file
    assert [part.id for part in served.store.parts()] == [late.id, orphan.id, early.id]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(file.id)


async def test_an_upload_lives_and_becomes_a_file_async(aclient: openai.AsyncOpenAI) -> None:
    content = content_of(300_000)
    upload = await aclient.uploads.create(
        bytes=len(content), filename="你好.jsonl", mime_type="text/jsonl", purpose="batch"
    )
    check_pending(upload)
    pieces = [content[begin : begin + 100_000] for begin in range(0, len(content), 100_000)]
    parts = await asyncio.gather(
        *(aclient.uploads.parts.create(upload.id, data=piece) for piece in pieces)
    )

    done = await aclient.uploads.complete(
        upload.id, part_ids=[part.id for part in parts], md5=md5(content)
    )

    file = check_completed(upload, done, len(content))
    async with aclient.files.with_streaming_response.content(file.id) as answer:
        assert await answer.read() == content
    assert await aclient.files.retrieve(file.id) == file
    assert (await aclient.files.delete(file.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await aclient.files.retrieve(file.id)


def test_the_sdk_uploads_in_parts_by_itself(client: openai.OpenAI) -> None:
    content = content_of(3_000_000)
    done = client.uploads.upload_file_chunked(
        file=content,
        filename="a.jsonl",
        bytes=len(content),
        mime_type="text/jsonl",
        purpose="fine-tune",
        part_size=1 << 20,
        md5=md5(content),
    )
    assert done.file is not None
    assert client.files.content(done.file.id).read() == content


async def test_the_sdk_uploads_in_parts_by_itself_async(
    served: Served, aclient: openai.AsyncOpenAI, tmp_path: Path
) -> None:
    content = content_of(3_000_000)
    source = tmp_path / 'a "quoted" né.jsonl'
    source.write_bytes(content)
    done = await aclient.uploads.upload_file_chunked(
        file=source, mime_type="text/jsonl", purpose="user_data", part_size=1 << 20
    )
    assert done.file is not None
    assert done.file.filename == source.name
    assert b"".join(served.store.read_file(done.file.id)) == content


def test_files_are_made_listed_and_paged(client: openai.OpenAI) -> None:
    name = 'a "quoted" né.pdf'
    made = [
        client.files.create(file=(name, f"{number}".encode()), purpose="user_data")
        for number in range(5)
    ]
    other = client.files.create(
        file=("b.jsonl", b"{}"),
        purpose="evals",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert made[0].filename == name
    assert made[0].expires_at is None
    assert other.expires_at == other.created_at + 3600

    newest_first = client.files.list(limit=2)
    assert newest_first.has_more
    assert list(newest_first) == [other, *reversed(made)]
    assert list(client.files.list(purpose="user_data", order="asc", limit=3)) == made
    assert list(client.files.list(after=made[3].id, order="asc")) == [made[4], other]
    assert list(client.files.list(purpose="vision")) == []


async def test_files_are_made_listed_and_paged_async(aclient: openai.AsyncOpenAI) -> None:
    made = [
        await aclient.files.create(file=("a.txt", b"text"), purpose="assistants") for _ in range(3)
    ]
    assert [file async for file in aclient.files.list(limit=1)] == made[::-1]


@pytest.mark.parametrize(
    ("ask", "param", "words"),
    [
        (
            lambda client: client.uploads.create(
                bytes=1, filename="a", mime_type="b", purpose="world_domination"
            ),
            "purpose",
            re.escape(
                "'world_domination' is not one of ['fine-tune', 'assistants', 'batch',"
                " 'user_data', 'vision', 'evals'] - 'purpose'"
            ),
        ),
        (
            lambda client: client.files.create(file=("a", b"x"), purpose="world_domination"),
            "purpose",
            "'world_domination' is not one of",
        ),
        (lambda client: created(client, 0), "bytes", "Invalid 'bytes'"),
        (lambda client: created(client, (8 << 30) + 1), "bytes", "Invalid 'bytes'"),
        (
            lambda client: client.files.create(
                file=("a", b"x"),
                purpose="batch",
                expires_after={"anchor": "created_at", "seconds": 3599},
            ),
            "expires_after[seconds]",
            "3600 to 2592000",
        ),
        (lambda client: client.files.list(limit=0), "limit", "1 to 10000"),
        (lambda client: client.files.list(limit=10_001), "limit", "1 to 10000"),
        (
            lambda client: client.uploads.complete(created(client, 1).id, part_ids=["part_x"]),
            "part_ids",
            "No such Part",
        ),
        (
            lambda client: client.uploads.complete(created(client, 1).id, part_ids=[]),
            "bytes",
            "0 bytes.*1 bytes",
        ),
        (
            lambda client: client.uploads.complete(
                created(client, 1).id, part_ids=[], md5="not an md5"
            ),
            "md5",
            "32 hexadecimal",
        ),
    ],
)
def test_refusals_are_bad_requests(
    client: openai.OpenAI, ask: Callable[[openai.OpenAI], object], param: str, words: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=words) as refused:
        ask(client)
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


async def test_the_async_client_gets_the_same_refusals(
    served: Served, aclient: openai.AsyncOpenAI
) -> None:
    with pytest.raises(openai.NotFoundError, match="No such File object: file-x") as unknown:
        await aclient.files.retrieve("file-x")
    assert (unknown.value.param, unknown.value.code) == ("id", None)
    with pytest.raises(openai.BadRequestError):
        await aclient.uploads.create(bytes=0, filename="a", mime_type="b", purpose="batch")
    async with openai.AsyncOpenAI(base_url=served.url, api_key="sk-wrong") as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.files.list()


def test_unknown_things_are_not_found(client: openai.OpenAI) -> None:
    asks: list[Callable[[], object]] = [
        lambda: client.files.retrieve("file-x"),
        lambda: client.files.delete("file-x"),
        lambda: client.files.content("file-x"),
        lambda: client.uploads.cancel("upload_x"),
        lambda: client.uploads.complete("upload_x", part_ids=[]),
        lambda: client.uploads.parts.create("upload_x", data=b"x" * 1_000_000),
    ]
    for ask in asks:
        with pytest.raises(openai.NotFoundError, match=r"No such (File|Upload) object") as refused:
            ask()
        assert refused.value.param == "id"


def test_a_wrong_key_is_refused_and_never_repeated(served: Served) -> None:
    with (
        openai.OpenAI(base_url=served.url, api_key="sk-wrong-key") as stranger,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        stranger.files.list()
    assert refused.value.code == "invalid_api_key"
    assert "sk-wrong-key" not in refused.value.response.text
    assert KEY not in refused.value.response.text


def test_what_is_too_large_is_413(client: openai.OpenAI) -> None:
    upload = created(client, 1)
    asks: list[Callable[[], object]] = [
        lambda: client.uploads.parts.create(upload.id, data=bytes(LIMITS.part_bytes + 1)),
        lambda: client.uploads.parts.create(upload.id, data=bytes(LIMITS.part_bytes * 2)),
        lambda: client.files.create(file=("a", bytes(LIMITS.file_bytes + 1)), purpose="batch"),
    ]
    for ask in asks:
        with pytest.raises(openai.APIStatusError) as refused:
            ask()
        assert (refused.value.status_code, refused.value.code) == (413, "file_too_large")
    client.uploads.parts.create(upload.id, data=bytes(LIMITS.part_bytes))
    client.files.create(file=("a", bytes(LIMITS.file_bytes)), purpose="batch")


def test_a_cancelled_upload_is_over(client: openai.OpenAI) -> None:
    upload = created(client, 3)
    part = client.uploads.parts.create(upload.id, data=b"abc")
    cancelled = client.uploads.cancel(upload.id)
    assert cancelled.status == "cancelled"
    assert "file" not in cancelled.model_fields_set
    with pytest.raises(openai.BadRequestError, match="already cancelled"):
        client.uploads.cancel(upload.id)
    with pytest.raises(openai.BadRequestError, match="not pending: it is cancelled"):
        client.uploads.complete(upload.id, part_ids=[part.id])
    with pytest.raises(openai.BadRequestError, match="not pending: it is cancelled"):
        client.uploads.parts.create(upload.id, data=b"abc")


def test_a_completed_upload_is_over(client: openai.OpenAI) -> None:
    upload = created(client, 3)
    part = client.uploads.parts.create(upload.id, data=b"abc")
    client.uploads.complete(upload.id, part_ids=[part.id])
    with pytest.raises(openai.BadRequestError, match="not pending: it is completed"):
        client.uploads.complete(upload.id, part_ids=[part.id])
    with pytest.raises(openai.BadRequestError, match="not pending: it is completed"):
        client.uploads.cancel(upload.id)
    assert len(list(client.files.list())) == 1


def test_time_is_the_servers(served: Served, client: openai.OpenAI) -> None:
    raw = client.uploads.with_raw_response.create(
        bytes=3, filename="a", mime_type="b", purpose="batch"
    )
    upload = raw.parse()
    told = parsedate_to_datetime(raw.headers["Date"]).timestamp()
    assert told == upload.created_at == int(served.clock.now)
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["openai-version"] == "2020-10-01"
    assert int(raw.headers["openai-processing-ms"]) >= 0

    served.clock.now += 3600
    for ask in (
        lambda: client.uploads.parts.create(upload.id, data=b"abc"),
        lambda: client.uploads.complete(upload.id, part_ids=[]),
        lambda: client.uploads.cancel(upload.id),
    ):
        with pytest.raises(openai.BadRequestError, match="expired"):
            ask()


def test_uploads_take_an_expiry_for_their_file(client: openai.OpenAI) -> None:
    upload = client.uploads.create(
        bytes=1,
        filename="a",
        mime_type="b",
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    part = client.uploads.parts.create(upload.id, data=b"x")
    file = client.uploads.complete(upload.id, part_ids=[part.id]).file
    assert file is not None
    assert file.expires_at == upload.created_at + 3600
