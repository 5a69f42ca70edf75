"""The engine against the embedded server: the promises, one test each."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from house import HASTY, KEY, Handler, House, Intercept, call_of, drop, make_source

from chunkup import (
    AsyncUploader,
    Busy,
    Options,
    RemoteFile,
    events,
)
from chunkup.errors import (
    BadAnswer,
    BadOption,
    JobEnded,
    NoSuchJob,
    Rejected,
    ServerTrouble,
    TooLarge,
    Unauthorized,
)
from chunkup.machine import Phase

SIZE = 10_500
PARTS = 11


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    make_source(path, SIZE)
    return path


def refuse_after(house: House, parts: int, status: int = 400) -> None:
    """From the given number of parts on, refuse them all."""

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") > parts:
            return web.json_response({"error": {"message": "no more"}}, status=status)
        return await handler(request)

    house.intercept = intercept


async def stop_half_way(
    house: House,
    uploader: AsyncUploader,
    source: Path,
    through: Callable[[Intercept], Intercept] = lambda intercept: intercept,
) -> str:
    """Upload until five parts have receipts, then be refused; the job's id."""
    house.calls.clear()
    refuse_after(house, 5)
    assert house.intercept is not None
    house.intercept = through(house.intercept)
    seen: list[events.Event] = []
    with pytest.raises(Rejected):
        await uploader.upload(source, purpose="user_data", on_event=seen.append)
    house.intercept = None
    # A part that was in flight may still be on its way into the server.
    await house.idle()
    house.calls.clear()
    house.arrivals.clear()
    return seen[0].job


def assert_is(house: House, file: RemoteFile, source: Path) -> None:
    assert file.bytes == source.stat().st_size
    assert house.content(file.id) == source.read_bytes()


async def test_file_arrives_whole_with_ordered_ids_and_md5(
    house: House, journal: Path, source: Path
) -> None:
    asked: list[dict[str, object]] = []

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "complete":
            asked.append(await request.json())
        return await handler(request)

    house.intercept = intercept
    seen: list[events.Event] = []
    async with house.uploader(journal) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert_is(house, file, source)
    assert (file.filename, file.purpose) == ("a.jsonl", "user_data")
    assert house.calls.count("part") == PARTS
    assert asked[0]["md5"] == house.store.md5_of(file.id)
    names = [type(event).__name__ for event in seen]
    assert names[0] == "JobStarted"
    assert names.count("PartAccepted") == PARTS
    assert names[-2:] == ["Completing", "Completed"]


async def test_no_md5_sends_none_and_still_arrives(
    house: House, journal: Path, source: Path
) -> None:
    asked: list[dict[str, object]] = []

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "complete":
            asked.append(await request.json())
        return await handler(request)

    house.intercept = intercept
    async with house.uploader(journal, md5=False) as uploader:
        assert_is(house, await uploader.upload(source, purpose="user_data"), source)
    assert "md5" not in asked[0]


async def test_same_call_again_continues_and_sends_only_what_is_missing(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal) as uploader:
        await stop_half_way(house, uploader, source)
        (line,) = await (await uploader.journal()).lines()
        seen: list[events.Event] = []
        file = await uploader.upload(source, purpose="user_data", on_event=seen.append)
    assert_is(house, file, source)
    assert isinstance(seen[0], events.JobStarted)
    assert seen[0].continued
    assert (seen[0].done_parts, seen[0].parts) == (line.parts, PARTS)
    assert house.whole_bytes == SIZE - line.done
    assert "create" not in house.calls


async def test_resume_by_prefix_continues_and_a_completed_job_gives_its_file_again(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal) as uploader:
        job = await stop_half_way(house, uploader, source)
        file = await uploader.resume(job[:3])
        assert_is(house, file, source)
        calls = len(house.calls)
        assert await uploader.resume(job) == file
        assert len(house.calls) == calls
        with pytest.raises(NoSuchJob):
            await uploader.resume("zzzzzz")


async def test_another_part_size_continues_between_the_receipts(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal) as uploader:
        await stop_half_way(house, uploader, source)
    async with house.uploader(journal, part_size=700) as uploader:
        assert_is(house, await uploader.upload(source, purpose="user_data"), source)


async def test_fresh_ends_the_old_job_on_the_server_too_and_starts_over(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal) as uploader:
        old = await stop_half_way(house, uploader, source)
        file = await uploader.upload(source, purpose="user_data", fresh=True)
        assert_is(house, file, source)
        lines = {line.job.id: line.phase for line in await (await uploader.journal()).lines()}
    assert lines.pop(old) is Phase.CANCELLED
    assert list(lines.values()) == [Phase.COMPLETED]
    assert "cancel" in house.calls
    assert house.whole_bytes == SIZE


async def test_a_completed_upload_is_sent_again_by_the_same_call(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal) as uploader:
        first = await uploader.upload(source, purpose="user_data")
        second = await uploader.upload(source, purpose="user_data")
    assert first.id != second.id
    assert len(house.files) == 2


async def test_two_runs_never_share_a_job(house: House, journal: Path, source: Path) -> None:
    inside = asyncio.Event()
    leave = asyncio.Event()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            inside.set()
            await leave.wait()
        return await handler(request)

    house.intercept = intercept
    async with house.uploader(journal) as one, house.uploader(journal) as two:
        first = asyncio.create_task(one.upload(source, purpose="user_data"))
        await inside.wait()
        with pytest.raises(Busy, match="this process"):
            await two.upload(source, purpose="user_data")
        with pytest.raises(Busy):
            await one.upload(source, purpose="user_data")
        leave.set()
        assert_is(house, await first, source)
        # The claim was given back with the run, not with the process.
        await two.upload(source, purpose="user_data")


async def test_files_at_the_same_time_share_the_slots(
    house: House, journal: Path, tmp_path: Path
) -> None:
    now, most = 0, 0

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal now, most
        if call_of(request) != "part":
            return await handler(request)
        now += 1
        most = max(most, now)
        try:
            return await handler(request)
        finally:
            now -= 1

    house.intercept = intercept
    paths = [tmp_path / f"{number}.jsonl" for number in range(5)]
    for number, path in enumerate(paths):
        make_source(path, SIZE, seed=number)
    async with house.uploader(journal, options=Options(workers=3)) as uploader:
        files = await asyncio.gather(
            *(uploader.upload(path, purpose="user_data") for path in paths)
        )
    for path, file in zip(paths, files, strict=True):
        assert_is(house, file, path)
    assert most <= 3


async def test_rejected_create_ends_the_job_and_a_rejected_key_does_not(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal) as uploader:
        with pytest.raises(Rejected, match="purpose"):
            await uploader.upload(source, purpose="world_domination")
        (line,) = await (await uploader.journal()).lines()
        assert line.phase is Phase.FAILED
        with pytest.raises(JobEnded):
            await uploader.resume(line.job.id)
    async with house.uploader(journal, key="sk-wrong") as uploader:
        with pytest.raises(Unauthorized) as caught:
            await uploader.upload(source, purpose="user_data")
        assert caught.value.job_id is not None
        line = (await (await uploader.journal()).lines())[-1]
        assert line.phase is Phase.NEW
    assert house.calls.count("create") == 2


async def test_a_success_that_is_not_our_file_is_an_error(
    house: House, journal: Path, source: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if call_of(request) == "complete":
            assert isinstance(answer, web.Response)
            assert isinstance(answer.body, bytes)
            return web.Response(
                body=answer.body.replace(b"10500", b"10499"), content_type="application/json"
            )
        return answer

    house.intercept = intercept
    async with house.uploader(journal) as uploader:
        with pytest.raises(BadAnswer, match="10499"):
            await uploader.upload(source, purpose="user_data")
        (line,) = await (await uploader.journal()).lines()
    assert line.phase is Phase.FAILED


async def test_a_listener_that_raises_is_dropped_and_the_upload_goes_on(
    house: House, journal: Path, source: Path
) -> None:
    calls = 0

    def listener(_: events.Event) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("boom")

    async with house.uploader(journal) as uploader:
        file = await uploader.upload(source, purpose="user_data", on_event=listener)
    assert_is(house, file, source)
    assert calls == 1


async def test_cancel_ends_the_job_here_and_on_the_server(
    house: House, journal: Path, source: Path
) -> None:
    async with house.uploader(journal) as uploader:
        job = await stop_half_way(house, uploader, source)
        assert await uploader.cancel(job) is None
        assert house.store.uploads()[0].status == "cancelled"
        with pytest.raises(JobEnded, match="cancelled"):
            await uploader.resume(job)
        assert await uploader.cancel(job) is None


async def test_cancel_of_a_job_in_doubt_names_the_file_that_exists(
    house: House, journal: Path, source: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "list":
            return web.json_response({"error": {"message": "down"}}, status=503)
        answer = await handler(request)
        return drop(request) if call_of(request) == "complete" else answer

    house.intercept = intercept
    async with house.uploader(journal, options=Options(retries=0, looks=(0.0,))) as uploader:
        with pytest.raises(ServerTrouble):
            await uploader.upload(source, purpose="user_data")
        house.intercept = None
        (line,) = await (await uploader.journal()).lines()
        assert line.phase is Phase.ASKED
        file = await uploader.cancel(line.job.id)
        assert file is not None
        assert file.id == house.files[0].id
        assert await uploader.resume(line.job.id) == file


@pytest.mark.parametrize(
    ("size", "purpose", "error"),
    [(200_000_001, "batch", TooLarge), (8 * (1 << 30) + 1, "user_data", TooLarge)],
)
async def test_too_large_is_refused_before_anything_is_sent_or_written(
    house: House, journal: Path, tmp_path: Path, size: int, purpose: str, error: type[Exception]
) -> None:
    sparse = tmp_path / "big.jsonl"
    with sparse.open("wb") as handle:
        handle.truncate(size)
    uploader = house.uploader(journal, part_size=1 << 20)
    with pytest.raises(error):
        await uploader.upload(sparse, purpose=purpose)
    await uploader.aclose()
    assert house.calls == []
    assert not journal.exists()


@pytest.mark.parametrize(
    "content",
    [{"purpose": ""}, {"purpose": "x\n"}, {"purpose": "batch", "expires_after": 60}],
)
async def test_impossible_content_is_refused(
    house: House, journal: Path, source: Path, content: dict[str, object]
) -> None:
    uploader = house.uploader(journal)
    with pytest.raises(BadOption):
        await uploader.upload(source, **content)  # type: ignore[arg-type]  # that is the point
    assert house.calls == []


async def test_expiry_of_the_file_is_asked_for(house: House, journal: Path, source: Path) -> None:
    async with house.uploader(journal) as uploader:
        file = await uploader.upload(source, purpose="user_data", expires_after=7200)
    assert file.expires_at is not None
    assert file.expires_at - file.created_at == 7200


async def test_sizes_around_the_part_size_arrive_exactly(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async with house.uploader(journal) as uploader:
        for size in (1, 999, 1000, 1001, 2000, 2001):
            path = tmp_path / f"{size}.bin"
            make_source(path, size)
            assert_is(house, await uploader.upload(path, purpose="user_data"), path)


def test_a_constructor_does_no_io(tmp_path: Path) -> None:
    AsyncUploader(base_url="http://127.0.0.1:1/v1", api_key=KEY, journal=tmp_path / "x" / "j.db")
    assert list(tmp_path.iterdir()) == []


async def test_what_waits_for_a_slot_that_all_files_share_is_not_in_flight(
    house: House, journal: Path, tmp_path: Path
) -> None:
    go, told = asyncio.Event(), dict[str, int]()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            await go.wait()
        return await handler(request)

    def watch(event: events.Event) -> None:
        if isinstance(event, events.Progress) and not go.is_set():
            told[event.job] = event.in_flight
            if len(told) == 2 and sum(told.values()) >= 2:
                go.set()

    house.intercept = intercept
    paths = [tmp_path / name for name in ("a.jsonl", "b.jsonl")]
    for path in paths:
        make_source(path, SIZE)
    options = replace(HASTY, workers=2)
    async with house.uploader(journal, options=options) as uploader:
        await asyncio.gather(
            *(uploader.upload(path, purpose="user_data", on_event=watch) for path in paths)
        )
    assert sum(told.values()) == 2
