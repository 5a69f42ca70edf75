"""The official SDK for Python beside chunkup, at one server and at the same time."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import openai
import pytest
from aiohttp import web
from house import HASTY, KEY, Handler, House, call_of, drop, make_source
from openai.types import FileObject
from test_serve import serving

from chunkup import AsyncUploader, OutcomeUnknown, RemoteFile, events
from chunkup.providers import OPENAI

SIZE, PART = 20_500, 1000
NAME = 'a "quoted" né 你好.jsonl'
LOOKING = replace(HASTY, looks=(0.0, 0.01, 0.02), patience=5.0)


@pytest.fixture
async def sdk(house: House) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=house.url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    make_source(path, SIZE, seed=1)
    return path


def same(ours: RemoteFile, theirs: FileObject) -> bool:
    """Whether both clients say the same of a File, attribute by attribute."""
    names = ("id", "bytes", "created_at", "filename", "purpose", "status", "expires_at")
    return all(getattr(ours, name) == getattr(theirs, name) for name in names)


# --- at the same time -------------------------------------------------------------------------


async def test_each_sees_the_files_that_the_other_sends_at_the_same_time(tmp_path: Path) -> None:
    sources = [tmp_path / f"{number}.jsonl" for number in range(6)]
    for number, path in enumerate(sources):
        make_source(path, SIZE, seed=number)

    with serving("--dir", str(tmp_path / "server")) as (url, _):
        async with (
            openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as sdk,
            AsyncUploader(
                base_url=url, api_key=KEY, journal=tmp_path / "j.db", part_size=PART, options=HASTY
            ) as uploader,
        ):

            async def by_the_sdk(path: Path) -> str:
                done = await sdk.uploads.upload_file_chunked(
                    file=path, mime_type="text/jsonl", purpose="user_data", part_size=PART
                )
                assert done.file is not None
                return done.file.id

            async def by_chunkup(path: Path) -> str:
                return (await uploader.upload(path, purpose="user_data")).id

            makers = [by_the_sdk, by_chunkup]
            ids = await asyncio.gather(
                *(makers[number % 2](path) for number, path in enumerate(sources))
            )
            theirs = {file.id: file async for file in sdk.files.list(limit=2)}
            ours = {file.id: file async for file in uploader.files.list()}

            assert list(ours) == list(theirs)
            assert set(ours) == set(ids)
            assert all(same(ours[file_id], theirs[file_id]) for file_id in ids)
            for file_id, path in zip(ids, sources, strict=True):
                assert (await sdk.files.content(file_id)).read() == path.read_bytes()
                assert same(await uploader.files.retrieve(file_id), theirs[file_id])
            # What one deletes is gone for the other.
            assert await uploader.files.delete(ids[0])
            with pytest.raises(openai.NotFoundError):
                await sdk.files.retrieve(ids[0])
            assert (await sdk.files.delete(ids[1])).deleted
            left = {file.id async for file in uploader.files.list()}
            assert left == set(ids[2:])


async def test_an_upload_that_the_sdk_cancels_midway_is_begun_anew_and_said(
    house: House, sdk: openai.AsyncOpenAI, journal: Path, source: Path
) -> None:
    cancelled: list[str] = []

    async def cancel_it_once(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") == 5 and not cancelled:
            cancelled.append(request.path.split("/")[-2])
            await sdk.uploads.cancel(cancelled[0])
        return await handler(request)

    house.intercept = cancel_it_once
    told: list[events.Event] = []
    async with house.uploader(journal, part_size=PART) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=told.append)
    (over,) = (event for event in told if isinstance(event, events.UploadExpired))
    assert (over.upload_id, over.reason) == (cancelled[0], "cancelled")
    assert [row.id for row in house.files] == [file.id]
    assert house.content(file.id) == source.read_bytes()


async def test_a_file_that_the_sdk_deleted_is_not_given_out_as_new(
    house: House, sdk: openai.AsyncOpenAI, journal: Path, source: Path
) -> None:
    async with house.uploader(journal) as uploader:
        first = await uploader.upload(source, purpose="user_data")
        await sdk.files.delete(first.id)
        second = await uploader.upload(source, purpose="user_data")
    assert second.id != first.id
    assert [row.id for row in house.files] == [second.id]


# --- Files of one name, size and purpose --------------------------------------------------------


class Doubt:
    """Lets the first request for our File go unanswered, while the SDK makes its own.

    That has the name, the size and the purpose of ours, and other content. ``done`` says whether
    the server carries out ours; ``call`` which request makes it.
    """

    def __init__(
        self,
        house: House,
        sdk: openai.AsyncOpenAI,
        *,
        done: bool,
        call: str = "complete",
    ) -> None:
        self.house, self.sdk, self.done, self.call = house, sdk, done, call
        self.theirs = ""
        self._struck = self._theirs_now = False

    async def make_theirs(self, later: float) -> None:
        self.house.clock.offset += later
        self._theirs_now = True
        made = await self.sdk.files.create(file=(NAME, bytes(SIZE)), purpose="user_data")
        self._theirs_now = False
        self.house.clock.offset -= later
        self.theirs = made.id

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) != self.call or self._struck or self._theirs_now:
            return await handler(request)
        self._struck = True
        if self.done:
            await handler(request)
        else:
            await request.read()
        if not self.theirs:
            await self.make_theirs(60)
        return drop(request)


@pytest.mark.parametrize("stamps", [True, False], ids=["official", "compatible"])
@pytest.mark.parametrize("done", [True, False], ids=["done", "not-done"])
async def test_a_file_that_the_sdk_made_before_is_never_taken_for_ours(
    house: House,
    sdk: openai.AsyncOpenAI,
    journal: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    stamps: bool,
    done: bool,
) -> None:
    if stamps:  # whose address is not this one's
        monkeypatch.setattr("chunkup.endpoint.provider_at", lambda host: OPENAI)
    house.intercept = doubt = Doubt(house, sdk, done=done)
    await doubt.make_theirs(-60)
    async with house.uploader(journal, options=LOOKING) as uploader:
        file = await uploader.upload(source, purpose="user_data")
    assert file.id != doubt.theirs
    assert house.content(file.id) == source.read_bytes()
    assert len(house.files) == 2


@pytest.mark.parametrize("done", [True, False], ids=["done", "not-done"])
async def test_nor_is_it_where_ours_goes_in_one_request(
    house: House, sdk: openai.AsyncOpenAI, journal: Path, source: Path, *, done: bool
) -> None:
    house.intercept = doubt = Doubt(house, sdk, done=done, call="post")
    await doubt.make_theirs(-60)
    options = replace(LOOKING, patience=0.1)
    async with house.uploader(journal, options=options) as uploader:
        file = await uploader.upload(source, purpose="user_data", method="files")
    assert file.id != doubt.theirs
    assert house.content(file.id) == source.read_bytes()
    assert len(house.files) == 2


@pytest.mark.parametrize("done", [True, False], ids=["done", "not-done"])
async def test_one_that_the_sdk_makes_meanwhile_is_not_taken_at_the_official_api(
    house: House,
    sdk: openai.AsyncOpenAI,
    journal: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    done: bool,
) -> None:
    monkeypatch.setattr("chunkup.endpoint.provider_at", lambda host: OPENAI)
    house.intercept = doubt = Doubt(house, sdk, done=done)
    async with house.uploader(journal, options=LOOKING) as uploader:
        file = await uploader.upload(source, purpose="user_data")
    assert file.id != doubt.theirs
    assert house.content(file.id) == source.read_bytes()
    assert len(house.files) == 2


async def test_elsewhere_it_makes_two_that_fit_and_a_person_says_which(
    house: House, sdk: openai.AsyncOpenAI, journal: Path, source: Path
) -> None:
    house.intercept = doubt = Doubt(house, sdk, done=True)
    async with house.uploader(journal, options=LOOKING) as uploader:
        with pytest.raises(OutcomeUnknown) as caught:
            await uploader.upload(source, purpose="user_data")
        (ours,) = set(caught.value.candidates) - {doubt.theirs}
        assert len(caught.value.candidates) == 2
        assert caught.value.job_id is not None
        file = await uploader.settle(caught.value.job_id, accept=ours)
    assert house.content(file.id) == source.read_bytes()
    assert house.calls.count("complete") == 1


# --- what the SDK makes of our server's answers --------------------------------------------------

CLASSES = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    413: openai.APIStatusError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
}


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return tmp_path / "plan.jsonl"


def strike(plan: Path, *faults: dict[str, object]) -> str:
    plan.write_text("".join(json.dumps(fault) + "\n" for fault in faults))
    return str(plan)


def test_every_refusal_is_an_error_of_the_sdks_own_class(plan: Path, tmp_path: Path) -> None:
    faults = strike(
        plan,
        *(
            {"call": "part", "nth": number, "status": status}
            for number, status in enumerate(CLASSES, start=1)
        ),
    )
    with (
        serving("--dir", str(tmp_path / "server"), "--faults", faults) as (url, _),
        openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client,
    ):
        upload = client.uploads.create(
            bytes=3, filename="a", mime_type="text/plain", purpose="user_data"
        )
        for status, kind in CLASSES.items():
            with pytest.raises(kind) as refused:
                client.uploads.parts.create(upload.id, data=b"abc")
            assert type(refused.value) is kind
            assert refused.value.status_code == status
            assert refused.value.request_id is not None
            assert refused.value.request_id.startswith("req_")
            assert isinstance(refused.value.body, dict)
            assert {"message", "type", "param", "code"} == refused.value.body.keys()
        part = client.uploads.parts.create(upload.id, data=b"abc")
        done = client.uploads.complete(upload.id, part_ids=[part.id])
    assert done.status == "completed"


def test_what_breaks_is_a_connection_error_and_what_is_silent_a_time_out(
    plan: Path, tmp_path: Path
) -> None:
    faults = strike(
        plan,
        {"call": "file", "nth": 1, "reset": True},
        {"call": "file", "nth": 2, "drop_answer": True},
        {"call": "file", "nth": 3, "hang": True},
    )
    with (
        serving("--dir", str(tmp_path / "server"), "--faults", faults) as (url, _),
        openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client,
    ):
        for kind in (openai.APIConnectionError, openai.APIConnectionError, openai.APITimeoutError):
            impatient = client.with_options(timeout=1 if kind is openai.APITimeoutError else 30)
            with pytest.raises(kind) as broken:
                impatient.files.create(file=("a.txt", b"abc"), purpose="user_data")
            assert type(broken.value) is kind


def test_what_the_sdk_repeats_by_itself_makes_no_second_file(plan: Path, tmp_path: Path) -> None:
    # It asks again after each of these, as its own defaults say.
    faults = strike(
        plan,
        {"call": "part", "nth": 1, "drop_answer": True},
        {"call": "part", "nth": 3, "status": 429, "headers": {"retry-after-ms": "20"}},
        {"call": "complete", "nth": 1, "status": 503},
    )
    with (
        serving("--dir", str(tmp_path / "server"), "--faults", faults) as (url, _),
        openai.OpenAI(base_url=url, api_key=KEY) as client,
    ):
        done = client.uploads.upload_file_chunked(
            file=b"abcdef",
            filename="a.txt",
            bytes=6,
            mime_type="text/plain",
            purpose="user_data",
            part_size=3,
        )
        assert done.file is not None
        assert client.files.content(done.file.id).read() == b"abcdef"
        assert [file.id for file in client.files.list()] == [done.file.id]
