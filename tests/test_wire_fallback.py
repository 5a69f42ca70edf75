"""Servers without Uploads: one request instead of parts, where that fits."""

from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from asks import LOST, quicken
from house import Handler, House, call_of, make_source
from posts import PATIENT, SIZE, instead, on_posts, sent

from chunkup import AsyncUploader, RemoteFile, events
from chunkup.errors import Rejected, TooLarge
from chunkup.models import Limits
from chunkup.providers import COMPATIBLE


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    make_source(path, SIZE)
    return path


# --- one request instead of parts ---------------------------------------------------------------


def without_uploads(house: House, status: int, body: object = None) -> None:
    async def play(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "create":
            return web.json_response(body or {"error": {"message": "Not found"}}, status=status)
        return await handler(request)

    house.intercept = play


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_server_without_uploads_gets_one_request_and_that_is_said(
    house: House, journal: Path, source: Path, status: int
) -> None:
    without_uploads(house, status)
    end, _, seen = await sent(house, journal, source, method="auto")
    assert isinstance(end, RemoteFile), end
    assert house.calls.count("post") == 1
    (said,) = [event for event in seen if isinstance(event, events.Paused)]
    assert said.wait == 0
    assert "sending the file in one request" in said.message


async def test_a_purpose_that_uploads_do_not_take_is_no_end(
    house: House, journal: Path, source: Path
) -> None:
    words = "'evals' is not one of ['fine-tune', 'assistants'] - 'purpose'"
    without_uploads(house, 400, {"error": {"message": words, "param": "purpose", "code": None}})
    end, _, _ = await sent(house, journal, source, method="auto")
    assert isinstance(end, RemoteFile), end


async def test_any_other_refusal_of_an_upload_is_one(
    house: House, journal: Path, source: Path
) -> None:
    without_uploads(house, 400, {"error": {"message": "bytes is too small"}})
    end, _, _ = await sent(house, journal, source, method="auto")
    assert isinstance(end, Rejected), end
    assert "post" not in house.calls


async def test_who_asks_for_uploads_gets_nothing_else(
    house: House, journal: Path, source: Path
) -> None:
    without_uploads(house, 404)
    end, _, _ = await sent(house, journal, source, method="uploads")
    assert isinstance(end, Rejected), end
    assert "post" not in house.calls


async def test_what_does_not_fit_into_one_request_is_refused_before_it_is_sent(
    house: House, journal: Path, source: Path
) -> None:
    without_uploads(house, 404)
    async with AsyncUploader(
        base_url=house.url,
        api_key="sk-test-0123456789",
        journal=journal,
        limits=Limits(upload=1 << 30, file=SIZE - 1),
        options=PATIENT,
    ) as uploader:
        with pytest.raises(TooLarge, match="in one request"):
            await uploader.upload(source, purpose="user_data", method="files")
        assert house.calls == []
        with pytest.raises(TooLarge, match="in one request"):
            await uploader.upload(source, purpose="user_data")
    assert "post" not in house.calls


async def test_a_provider_that_is_known_to_have_none_is_not_asked(
    house: House, journal: Path, source: Path
) -> None:
    async with AsyncUploader(
        base_url=house.url,
        api_key="sk-test-0123456789",
        journal=journal,
        preset=replace(COMPATIBLE, uploads=False),
        options=PATIENT,
    ) as uploader:
        file = await uploader.upload(source, purpose="user_data")
    assert house.calls == ["list", "post"]
    assert [row.id for row in house.files] == [file.id]


async def test_an_upload_that_was_begun_is_gone_on_with(
    house: House, journal: Path, source: Path
) -> None:
    """Only a new one can be refused: 404 to a part means that this one is gone."""
    parts = 0

    async def play(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal parts
        if call_of(request) == "part":
            parts += 1
            if parts == 3:
                without_uploads(house, 404)
                return web.json_response({"error": {"message": "No such Upload"}}, status=404)
        return await handler(request)

    house.intercept = play
    async with house.uploader(journal, options=replace(PATIENT, workers=1)) as uploader:
        with pytest.raises(Rejected):
            await uploader.upload(source, purpose="user_data")
    assert "post" not in house.calls


async def test_cancelling_one_in_doubt_gives_its_file_or_ends_it(
    house: House, journal: Path, source: Path
) -> None:
    on_posts(house, instead(LOST["reset"]), instead(LOST["reset"]))
    _, job, _ = await sent(house, journal, source)
    async with house.uploader(journal, options=PATIENT) as uploader:
        assert await uploader.cancel(job.id) is None
        assert [line.state for line in await uploader.jobs()] == ["cancelled"]
    assert "cancel" not in house.calls
