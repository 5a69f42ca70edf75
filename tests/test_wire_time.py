"""Uploads that die: midway, between runs, at the very end; and clocks that are wrong."""

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from gateway import Returning, gateway
from house import HASTY, KEY, Handler, House, call_of, make_source, open_house
from test_cli import Shell, shell
from test_cli_output import told
from test_uploader import PARTS, SIZE, assert_is, source, stop_half_way
from toxics import Toxics

from chunkup import AsyncUploader, Options, events
from chunkup.errors import Forbidden, Rejected, TooSlow
from chunkup.machine import Phase

__all__ = ["shell", "source"]

# One part after another, so that what was sent before an event is known.
ONE = Options(workers=1, retries=2, looks=(0.0,), patience=0.0)


def reasons(seen: list[events.Event]) -> list[str]:
    return [event.reason for event in seen if isinstance(event, events.UploadExpired)]


def refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)


def uploader_at(url: str, journal: Path, part_size: int, options: Options) -> AsyncUploader:
    return AsyncUploader(
        base_url=url, api_key=KEY, journal=journal, part_size=part_size, options=options
    )


# --- midway -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (400, "Upload has expired.", "expired"),
        (400, "This Upload expired at 12:00", "expired"),
        (404, "No such Upload object", "gone"),
        (404, "Upload expired", "expired"),
        (410, "Gone", "gone"),
        (410, "", "gone"),
        (400, "no such upload", "gone"),
    ],
)
async def test_an_upload_that_is_no_more_is_replaced_and_none_of_its_parts_is_used(
    house: House, journal: Path, source: Path, status: int, message: str, reason: str
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        first = house.calls.count("create") == 1
        if call_of(request) == "part" and first and house.calls.count("part") > 4:
            return refusal(status, message)
        return await handler(request)

    house.intercept = intercept
    seen: list[events.Event] = []
    async with house.uploader(journal, options=ONE) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert_is(house, file, source)
    (over,) = [event for event in seen if isinstance(event, events.UploadExpired)]
    assert (over.reason, over.lost) == (reason, 4000)
    first, second = house.store.uploads()
    assert over.upload_id == first.id
    # The server takes no ids of another Upload, so all of them are new.
    assert len(house.store.parts(second.id)) == PARTS
    made = [event.generation for event in seen if isinstance(event, events.UploadCreated)]
    assert made == [1, 2]


@pytest.mark.parametrize("after", [-1.0, 0.0, 0.5])
async def test_the_very_second_of_its_end_decides_for_one_side_only(
    house: House, journal: Path, source: Path, after: float
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") == 5:
            (upload,) = house.store.uploads()
            house.clock.offset = upload.expires_at + after - time.time()
        return await handler(request)

    house.intercept = intercept
    seen: list[events.Event] = []
    async with house.uploader(journal, options=ONE) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert_is(house, file, source)
    assert len(house.files) == 1
    assert len(reasons(seen)) == house.calls.count("create") - 1 <= 1


async def test_a_life_too_short_for_one_part_ends_finitely_and_can_be_resumed(shell: Shell) -> None:
    house = shell.house

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            house.clock.offset += 3601
        return await handler(request)

    house.intercept = intercept
    done = await shell.upload("a.bin", "--json", "--workers", "1")
    lines = told(done)
    names = [line["event"] for line in lines]
    assert done.code == 1
    assert names.count("upload_created") == names.count("upload_expired") == 3
    (failed,) = [line for line in lines if line["event"] == "failed"]
    assert failed["code"] == "too-slow"
    assert "3 Uploads expired" in failed["message"]
    assert "faster link or disk, or smaller files" in failed["message"]
    assert house.files == []
    house.intercept = None
    again = await shell.paste(failed["resume"])
    assert again.code == 0, again.err
    assert house.content(again.out.strip()) == (shell.folder / "a.bin").read_bytes()


async def test_uploads_that_are_lost_otherwise_are_not_called_slow(
    house: House, journal: Path, source: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            return web.Response(status=404, text="<html>nothing here</html>")
        return await handler(request)

    house.intercept = intercept
    async with house.uploader(journal, options=ONE) as uploader:
        with pytest.raises(Rejected, match=r"lost 3 Uploads one after another \(gone, gone, gone"):
            await uploader.upload(source, purpose="user_data")
        (line,) = await (await uploader.journal()).lines()
        assert line.phase is Phase.NEW
        assert house.calls.count("create") == 3
        house.intercept = None
        assert_is(house, await uploader.resume(line.job.id), source)


# --- between runs -----------------------------------------------------------------------------


async def test_an_end_between_runs_is_said_aloud_in_lines_and_in_json(shell: Shell) -> None:
    job = await shell.half_sent(parts=5)
    shell.house.clock.offset += 3601
    spoken = await shell.run("resume", job, "--progress", "lines")
    assert spoken.code == 0, spoken.err
    assert "is over (expired); 5 kB are sent again" in spoken.err
    assert shell.house.calls.count("part") == 21

    shell.make("b.bin", size=SIZE)
    job = await shell.half_sent("b.bin", parts=5)
    shell.house.clock.offset += 3601
    lines = told(await shell.run("resume", job, "--json"))
    names = [line["event"] for line in lines]
    assert names[:3] == ["job_started", "upload_expired", "upload_created"]
    assert (lines[0]["done"], lines[1]["lost"], lines[2]["generation"]) == (5000, 5000, 2)
    assert names[-2:] == ["completed", "summary"]


@pytest.mark.parametrize("status", [403, 404, 405, 500])
async def test_the_time_is_known_though_files_may_not_be_listed(
    house: House, journal: Path, source: Path, status: int
) -> None:
    async with house.uploader(journal) as uploader:
        job = await stop_half_way(house, uploader, source)
    house.clock.offset += 3601

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "list":
            return refusal(status, "not for this key")
        return await handler(request)

    house.intercept = intercept
    async with house.uploader(journal) as uploader:
        assert_is(house, await uploader.resume(job), source)
    assert house.calls.count("create") == 1
    assert house.calls.count("part") == PARTS


# --- while completing -------------------------------------------------------------------------


@pytest.mark.parametrize("made", [False, True])
async def test_complete_answered_with_expired_makes_one_file_at_last(
    house: House, journal: Path, source: Path, *, made: bool
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "complete" and house.calls.count("complete") == 1:
            if made:
                await handler(request)
            return refusal(400, "Upload has expired.")
        return await handler(request)

    house.intercept = intercept
    seen: list[events.Event] = []
    async with house.uploader(journal) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert_is(house, file, source)
    assert len(house.files) == 1
    assert reasons(seen) == ([] if made else ["expired"])
    assert house.calls.count("create") == (1 if made else 2)


async def test_an_upload_that_dies_under_the_pass_is_not_asked_to_complete(
    tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is done at once; reading for the MD5 takes longer than an Upload lives."""
    slow_down_md5(monkeypatch, seconds=0.1)
    path = tmp_path / "a.jsonl"
    make_source(path, 75_000)
    async with (
        open_house(tmp_path / "short", ttl=3) as house,
        house.uploader(journal, options=replace(HASTY, workers=16, generations=2)) as uploader,
    ):
        with pytest.raises(TooSlow, match=r"MD5 takes .* --no-md5"):
            await uploader.upload(path, purpose="user_data")
        assert "complete" not in house.calls
        assert house.calls.count("create") == 1


# --- how fast ---------------------------------------------------------------------------------


def slow_down_md5(monkeypatch: pytest.MonkeyPatch, *, seconds: float) -> None:
    """Let every update of an MD5 in this process take so long."""
    import hashlib  # noqa: PLC0415  (the real one, before it is replaced)

    real = hashlib.md5

    class Slow:
        def __init__(self, content: bytes = b"", **options: Any) -> None:
            self._digest = real(content, **options)

        def update(self, block: bytes) -> None:
            time.sleep(seconds)
            self._digest.update(block)

        def hexdigest(self) -> str:
            return self._digest.hexdigest()

    monkeypatch.setattr("chunkup.reading.hashlib.md5", Slow)


async def test_a_link_that_cannot_make_one_life_is_too_slow_at_once(
    tmp_path: Path, journal: Path
) -> None:
    path = tmp_path / "a.jsonl"
    make_source(path, 200_000)
    seen: list[events.Event] = []
    async with (
        open_house(tmp_path / "short", ttl=5) as house,
        Toxics(house.url, up=20_000) as line,
        uploader_at(line.url, journal, 4000, replace(ONE, workers=3, generations=2)) as uploader,
    ):
        with pytest.raises(TooSlow, match=r"need .* and an Upload lives 5 s") as caught:
            await uploader.upload(path, purpose="user_data", on_event=seen.append)
        assert "faster link or disk, or smaller files" in caught.value.message
        assert house.calls.count("create") == 1
    assert reasons(seen) == ["expired"]
    # It was foreseen, once, and before it came.
    names = [type(event).__name__ for event in seen]
    assert names.count("Late") == 1
    assert names.index("Late") < names.index("UploadExpired")


async def test_what_an_earlier_run_sent_is_no_proof_of_speed(tmp_path: Path, journal: Path) -> None:
    """Three quarters went fast; the rest is slow, and so would be the next Upload."""
    path = tmp_path / "a.jsonl"
    make_source(path, 400_000)

    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") > 15:
            return refusal(403, "enough")
        return await handler(request)

    async with open_house(tmp_path / "short", ttl=6) as house, Toxics(house.url) as line:
        house.intercept = refuse
        async with uploader_at(line.url, journal, 20_000, ONE) as uploader:
            with pytest.raises(Forbidden):
                await uploader.upload(path, purpose="user_data")
            (job,) = await uploader.jobs()
        house.intercept = None
        house.clock.offset += 2
        line.up = 20_000
        async with uploader_at(line.url, journal, 20_000, ONE) as uploader:
            with pytest.raises(TooSlow, match="an Upload lives 6 s"):
                await uploader.resume(job.id)
        assert job.done == 300_000
        assert house.calls.count("create") == 1


async def test_an_upload_lost_at_once_proves_no_link_too_slow(
    tmp_path: Path, journal: Path
) -> None:
    path = tmp_path / "a.jsonl"
    make_source(path, 200_000)

    async def lose(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") == 5:
            line.up = None
            return refusal(404, "No such Upload")
        return await handler(request)

    async with open_house(tmp_path / "short", ttl=8) as house:
        house.intercept = lose
        async with (
            Toxics(house.url, up=20_000) as line,
            uploader_at(line.url, journal, 5000, ONE) as uploader,
        ):
            assert_is(house, await uploader.upload(path, purpose="user_data"), path)


async def test_a_pass_slower_than_the_link_is_foreseen(
    tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link would make it, the reading would not: that is told while parts are still sent."""
    slow_down_md5(monkeypatch, seconds=0.1)
    path = tmp_path / "a.jsonl"
    make_source(path, 100_000)
    options = replace(HASTY, workers=16, fail_if_late=True, generations=1)
    async with (
        open_house(tmp_path / "short", ttl=6) as house,
        Toxics(house.url, up=40_000) as line,
        uploader_at(line.url, journal, 1000, options) as uploader,
    ):
        seen: list[events.Event] = []
        with pytest.raises(TooSlow):
            await uploader.upload(path, purpose="user_data", on_event=seen.append)
    (late,) = [event for event in seen if isinstance(event, events.Late)]
    assert 1 < late.seconds < 10
    assert reasons(seen) == []


# --- clocks -----------------------------------------------------------------------------------


def saying(**fields: object) -> Callable[[Returning], None]:
    """Whatever the server made, its moments are answered as these; None takes one out."""

    def change(returning: Returning) -> None:
        if returning.call == "create":
            made = json.loads(returning.body) | fields
            kept = {name: value for name, value in made.items() if value is not ...}
            returning.body = json.dumps(kept).encode()

    return change


NOW = int(time.time())


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": None},
        {"expires_at": ...},
        {"expires_at": 0},
        {"expires_at": -5},
        {"expires_at": NOW - 7200},
        {"expires_at": "in an hour"},
        {"expires_at": True},
        {"expires_at": NOW * 1000},
        {"expires_at": NOW * 1000, "created_at": NOW * 1000 - 3_600_000},
        {"expires_at": 1e300},
        {"expires_at": NOW - 7200, "created_at": ...},
        {"expires_at": 0, "created_at": 0},
        {"expires_at": NOW + 3600, "created_at": 1},
        {"expires_at": NOW + 3600, "created_at": ...},
    ],
    # Names without the moments in them: tests that run side by side are collected at others.
    ids=[
        *("none", "left out", "zero", "negative", "over", "words", "true", "in ms"),
        *("both in ms", "endless", "over, unborn", "both zero", "born in 1970", "unborn"),
    ],
)
async def test_moments_that_cannot_be_end_no_upload(
    house: House, journal: Path, source: Path, fields: dict[str, object]
) -> None:
    async with gateway(house.url) as between:
        between.back = saying(**fields)
        seen: list[events.Event] = []
        async with uploader_at(between.url, journal, 1000, ONE) as uploader:
            job = await stop_half_way(house, uploader, source)
        async with uploader_at(between.url, journal, 1000, ONE) as uploader:
            file = await uploader.resume(job, on_event=seen.append)
    assert_is(house, file, source)
    assert between.calls.count("create") == 1
    assert between.calls.count("part") == PARTS + 1
    assert reasons(seen) == []


def dating(hours: float | None) -> Callable[[Returning], None]:
    """Answers are stamped by a clock that is wrong, or not at all."""

    def change(returning: Returning) -> None:
        moment = time.time() + (hours or 0) * 3600
        returning.headers["Date"] = "" if hours is None else formatdate(moment, usegmt=True)

    return change


@pytest.mark.parametrize("ours", [-5, 0, 5])
@pytest.mark.parametrize("stamped", [None, -5, 5])
async def test_the_uploads_own_moments_outweigh_stamps_that_are_wrong_or_missing(
    house: House, journal: Path, source: Path, ours: int, stamped: int | None
) -> None:
    """``ours``: by how many hours this machine's clock is ahead of the server's."""
    house.clock.offset = -3600.0 * ours

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") == 5:
            house.clock.offset += 3601
        return await handler(request)

    house.intercept = intercept
    seen: list[events.Event] = []
    async with gateway(house.url) as between:
        between.back = dating(stamped)
        async with uploader_at(between.url, journal, 1000, ONE) as uploader:
            file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert_is(house, file, source)
    # It dies once, when the server says so, and not before.
    assert reasons(seen) == ["expired"]
    assert house.calls.count("create") == 2


@pytest.mark.parametrize("hours", ["-5h", "+5h"])
async def test_a_clock_of_ours_that_is_wrong_by_hours_changes_nothing(
    shell: Shell, hours: str
) -> None:
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("the program faketime is not installed")
    job = await shell.half_sent(parts=5)
    command = [sys.executable, "-m", "chunkup", "resume", job, "--json"]
    done = await shell.end(await shell._started([faketime, "-f", hours, *command], {}))
    lines = told(done)
    assert done.code == 0
    assert [line for line in lines if line["event"] in {"upload_expired", "late"}] == []
    assert shell.house.calls.count("create") == 0
    assert shell.house.calls.count("part") == 16
