"""Many files at once: a result for each, whatever becomes of the others."""

import asyncio
import os
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from house import HASTY, Handler, House, call_of, drop
from many import (
    ENOUGH,
    PART,
    SIZE,
    USER_DATA,
    assert_are,
    elsewhere,
    hold,
    job_of,
    lines_of,
    make_files,
    run_all,
    silent,
    upload_all,
    working,
)

from chunkup import Busy, events
from chunkup.asked import asked_for
from chunkup.dataset import Result
from chunkup.errors import NoSuchFile, Rejected, Stopped
from chunkup.journal import Journal
from chunkup.machine import Phase
from chunkup.slots import FIRST_SLOTS

PARTS = -(-SIZE // PART)
# Files of PARTS parts whose creates are held: so many fill the slots that there are at first.
AT_ONCE = -(-FIRST_SLOTS // PARTS)


def name_of(body: bytes, names: list[str]) -> str | None:
    return next((name for name in names if name.encode() in body), None)


def refuse_create(house: House, name: str) -> None:
    """The server wants no File of this name."""

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "create" and name.encode() in await request.read():
            return web.json_response({"error": {"message": "not that one"}}, status=400)
        return await handler(request)

    house.intercept = intercept


# --- results ------------------------------------------------------------------------------------


async def test_each_file_has_its_result(house: House, journal: Path, tmp_path: Path) -> None:
    paths = make_files(tmp_path, 20)
    async with working(house, journal) as engine:
        results = await upload_all(engine, paths)
        lines = await lines_of(engine)
    assert_are(house, results, paths)
    assert len(house.files) == 20
    assert [result.job_id for result in results] == [
        lines[Path(path).name].job.id for path in paths
    ]
    assert not any(result.reused for result in results)
    assert len({line.job.set_id for line in lines.values()}) == 1
    assert {line.owner for line in lines.values()} == {None}


async def test_a_file_that_is_named_twice_is_sent_once_and_has_two_results(
    house: House, journal: Path, tmp_path: Path
) -> None:
    one, two = make_files(tmp_path, 2)
    winding = os.path.join(tmp_path, "..", tmp_path.name, "000.bin")  # noqa: PTH118  (pathlib would take the winding out)
    paths = [one, two, one, winding]
    async with working(house, journal) as engine:
        dataset = await asked_for(engine, paths, USER_DATA)
        assert dataset.extent == (2, 2 * SIZE, 0, 0)
        results = await run_all(dataset)
    assert_are(house, results, paths)
    assert len({result.job_id for result in results}) == 2
    assert len(house.files) == 2


async def test_one_failure_stops_no_other(house: House, journal: Path, tmp_path: Path) -> None:
    paths = make_files(tmp_path, 12)
    refuse_create(house, "003.bin")
    async with working(house, journal) as engine:
        results = await upload_all(engine, paths)
        job = await job_of(engine, paths[3])
    failed = results.pop(3)
    assert isinstance(failed.error, Rejected)
    assert (failed.path, failed.job_id, failed.file) == (paths[3], job.id, None)
    assert failed.error.job_id == job.id
    assert_are(house, results, paths[:3] + paths[4:])


async def test_a_file_that_vanishes_meanwhile_stops_no_other(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 3)
    async with working(house, journal) as engine:
        dataset = await asked_for(engine, paths, USER_DATA)
        Path(paths[1]).unlink()
        results = await run_all(dataset)
    gone = results.pop(1)
    assert gone.error is not None
    assert gone.error.code == "source-gone"
    assert_are(house, results, [paths[0], paths[2]])


async def test_a_file_that_cannot_be_is_refused_before_anything_happens(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 3)
    Path(paths[2]).unlink()
    async with working(house, journal) as engine:
        with pytest.raises(NoSuchFile):
            await asked_for(engine, paths, USER_DATA)
        assert await lines_of(engine) == {}
    assert house.calls == []


async def test_no_more_are_active_than_keep_the_slots_busy(
    house: House, journal: Path, tmp_path: Path
) -> None:
    active: set[str] = set()
    most = 0

    def watch(event: events.Event) -> None:
        nonlocal most
        if isinstance(event, events.JobStarted):
            active.add(event.job)
        elif isinstance(event, events.Completed):
            active.discard(event.job)
        most = max(most, len(active))

    held = hold(house, "create")
    async with working(house, journal, options=replace(HASTY, workers=FIRST_SLOTS)) as engine:
        paths = make_files(tmp_path, 25)
        task = asyncio.create_task(upload_all(engine, paths, watch))
        await held.are(AT_ONCE)
        assert len(active) == AT_ONCE
        held.go.set()
        assert_are(house, await task, paths)
    # Those that wait for their complete beside those that send.
    assert most <= 2 * AT_ONCE
    assert active == set()


async def test_three_hundred_small_files_finish(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 300, size=300)
    async with working(house, journal) as engine:
        assert_are(house, await upload_all(engine, paths), paths)
    assert len({file.id for file in house.files}) == 300
    assert house.calls.count("create") == house.calls.count("part") == 300


# --- before the first byte ------------------------------------------------------------------------


async def test_all_are_in_the_journal_and_claimed_before_the_first_byte(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 30)
    held = hold(house, "create")
    async with working(house, journal) as engine, working(house, journal) as onlooker:
        task = asyncio.create_task(upload_all(engine, paths))
        await held.are(1)
        book = await onlooker.journal()
        lines = await lines_of(onlooker)
        assert sorted(lines) == [Path(path).name for path in paths]
        assert all(book.holder_lives(line) for line in lines.values())
        assert set(house.calls) == {"create"}
        held.go.set()
        await task


async def test_who_starts_the_same_set_meets_its_owner_and_sends_nothing(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 12)
    held = hold(house, "create")
    async with working(house, journal) as engine, working(house, journal) as late:
        task = asyncio.create_task(upload_all(engine, paths))
        await held.are(AT_ONCE)
        calls = len(house.calls)
        results = await upload_all(late, paths)
        assert len(house.calls) == calls
        assert [result.path for result in results] == paths
        for result, path in zip(results, paths, strict=True):
            assert isinstance(result.error, Busy)
            assert result.job_id == (await job_of(engine, path)).id
        held.go.set()
        assert_are(house, await task, paths)
    assert len(house.files) == 12


# --- stopping -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["engine", "another engine", "journal"])
async def test_a_running_member_is_stopped_and_the_others_go_on(
    house: House, journal: Path, tmp_path: Path, way: str
) -> None:
    paths = make_files(tmp_path, 3)
    held = hold(house, "part")
    async with working(house, journal) as engine, working(house, journal) as other:
        task = asyncio.create_task(upload_all(engine, paths))
        await held.are(8)  # all slots that there are at first
        job = await job_of(engine, paths[1])
        if way == "journal":
            await (await other.journal()).ask_to_stop(job.id)
        else:
            assert await (engine if way == "engine" else other).stop(job)
            assert (await (await other.journal()).line(job.id)).owner is None
        house.intercept = None
        if way == "journal":
            async with asyncio.timeout(ENOUGH):
                while (await lines_of(other))["001.bin"].owner is not None:  # noqa: ASYNC110  (another engine tells nobody)
                    await asyncio.sleep(0)
        held.go.set()
        results = await task
        stopped = results.pop(1)
        assert isinstance(stopped.error, Stopped)
        assert stopped.error.exit_code == 75
        assert stopped.error.job_id == stopped.job_id == job.id
        assert_are(house, results, [paths[0], paths[2]])
        line = (await lines_of(engine))["001.bin"]
        assert line.phase is Phase.SENDING
        assert line.why is not None
        assert "asked to stop" in line.why
        # It is stopped, not ended, and nothing is left of the request.
        assert_are(house, await upload_all(engine, paths), paths)


@pytest.mark.parametrize("own", [True, False])
async def test_a_waiting_member_is_stopped_before_it_begins(
    house: House, journal: Path, tmp_path: Path, *, own: bool
) -> None:
    paths = make_files(tmp_path, AT_ONCE + 2)
    held = hold(house, "create")
    async with working(house, journal) as engine, working(house, journal) as other:
        task = asyncio.create_task(upload_all(engine, paths))
        await held.are(AT_ONCE)
        job = await job_of(engine, paths[-1])
        assert await (engine if own else other).stop(job)
        assert not (await other.journal()).holder_lives(
            (await lines_of(other))[Path(paths[-1]).name]
        )
        held.go.set()
        results = await task
        stopped = results.pop()
        assert isinstance(stopped.error, Stopped)
        assert stopped.job_id == job.id
        assert_are(house, results, paths[:-1])
        assert len(house.files) == AT_ONCE + 1
        assert house.calls.count("create") == AT_ONCE + 1
        # Nothing is left of the request.
        assert_are(house, await upload_all(engine, paths), paths)


async def test_leaving_early_stops_what_runs_and_gives_back_what_waits(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 20)
    held = hold(house, "part", after=2 * PARTS)
    async with working(house, journal) as engine:
        before = asyncio.all_tasks()
        dataset = await asked_for(engine, paths, USER_DATA)
        seen: list[Result] = []
        async with aclosing(dataset.results(silent)) as results:
            async for _, result in results:
                seen.append(result)
                await held.are(1)
                break
        lines = await lines_of(engine)
        assert {line.owner for line in lines.values()} == {None}
        assert len(seen) == 1
        assert lines["019.bin"].phase is Phase.NEW
        house.calls.clear()
        held.go.set()
        house.intercept = None
        await house.idle()
        assert house.calls == ["list"]  # which is how it is known to be idle
        kept = {task for task in asyncio.all_tasks() if "RequestHandler" not in str(task)}
        assert kept <= before
        assert_are(house, await upload_all(engine, paths), paths)
    assert len(house.files) == 20


async def test_cancelling_who_waits_for_results_gives_everything_back(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 10)
    held = hold(house, "part", after=3)
    async with working(house, journal) as engine:
        task = asyncio.create_task(upload_all(engine, paths))
        await held.are(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert {line.owner for line in (await lines_of(engine)).values()} == {None}
        held.go.set()
        house.intercept = None
        assert_are(house, await upload_all(engine, paths), paths)


# --- killed, and again ----------------------------------------------------------------------------


async def test_killed_half_way_the_same_again_sends_what_is_missing_and_gives_all(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 14)
    # One part after another is held once five files are complete.
    completed = 0
    stuck, go = asyncio.Event(), asyncio.Event()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal completed
        if call_of(request) == "part" and completed >= 5:
            stuck.set()
            await go.wait()
            return drop(request)
        answer = await handler(request)
        completed += call_of(request) == "complete"
        return answer

    house.intercept = intercept
    async with elsewhere(house, journal, paths) as process:
        await stuck.wait()
        await process.kill()
    house.intercept = None
    go.set()
    await house.idle()
    before = {file.id for file in house.files}
    # A journal that is merely looked at changes nothing.
    book = await Journal.open(journal)
    lines = await book.lines()
    await book.close()
    done = sum(line.done for line in lines)
    assert len(lines) == 14
    assert len(before) >= 5
    house.arrivals.clear()
    async with working(house, journal) as engine:
        results = await upload_all(engine, paths, told=True)
        assert_are(house, results, paths)
        assert before <= {result.file.id for result in results if result.file}
        assert sum(result.reused for result in results) == sum(
            line.phase is Phase.COMPLETED for line in lines
        )
        asked = sum(SIZE - line.done for line in lines if line.phase is Phase.ASKED)
        assert house.whole_bytes == 14 * SIZE - done - asked
        assert len(house.files) == 14
        # Now it is finished, and the same command means it once more.
        again = await upload_all(engine, paths)
        assert_are(house, again, paths)
        assert len(house.files) == 28


async def test_what_was_finished_before_comes_first_and_sends_nothing(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 4)
    refuse_create(house, "000.bin")
    async with working(house, journal) as engine:
        first = await upload_all(engine, paths, told=True)
        house.intercept = None
        house.calls.clear()
        seen: list[events.Event] = []
        dataset = await asked_for(engine, paths, USER_DATA)
        assert dataset.extent == (4, 4 * SIZE, 3, 3 * SIZE)
        places = []
        async with aclosing(dataset.results(seen.append)) as results:
            async for place, result in results:
                places.append(place)
                assert result.reused is (place != 0)
                if result.reused:
                    assert result.file == first[place].file
        assert places == [1, 2, 3, 0]
    reused = [event for event in seen if isinstance(event, events.Completed) and event.reused]
    assert [event.path for event in reused] == paths[1:]
    assert house.calls.count("create") == 1


# --- sources that changed ---------------------------------------------------------------------


async def half_done(house: House, journal: Path, tmp_path: Path) -> list[str]:
    """Three files of one set: two are complete and told, the last was refused."""
    paths = make_files(tmp_path, 3)
    refuse_create(house, "002.bin")
    async with working(house, journal) as engine:
        await upload_all(engine, paths, told=True)
    house.intercept = None
    house.calls.clear()
    return paths


async def test_a_finished_member_that_changed_since_is_sent_again(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = await half_done(house, journal, tmp_path)
    Path(paths[0]).write_bytes(b"other content")
    content = bytearray(Path(paths[1]).read_bytes())
    content[0] ^= 1
    Path(paths[1]).write_bytes(content)
    async with working(house, journal) as engine:
        results = await upload_all(engine, paths)
        lines = await (await engine.journal()).set_of((await job_of(engine, paths[2])).set_id)
    assert_are(house, results, paths)
    assert not any(result.reused for result in results)
    assert len(house.files) == 5
    assert [job.path for job in lines] == [os.path.realpath(path) for path in paths]


async def test_a_finished_member_that_was_only_touched_is_not_sent_again(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = await half_done(house, journal, tmp_path)
    os.utime(paths[0], ns=(1, 1))
    Path(paths[1]).write_bytes(Path(paths[1]).read_bytes())
    async with working(house, journal) as engine:
        results = await upload_all(engine, paths)
    assert_are(house, results, paths)
    assert [result.reused for result in results] == [True, True, False]
    assert house.calls.count("create") == 1


async def test_without_md5_a_touched_member_cannot_be_proven_and_is_sent_again(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 2)
    refuse_create(house, "001.bin")
    async with working(house, journal, md5=False) as engine:
        await upload_all(engine, paths, told=True)
        house.intercept = None
        os.utime(paths[0], ns=(1, 1))
        results = await upload_all(engine, paths)
    assert_are(house, results, paths)
    assert [result.reused for result in results] == [False, False]


async def test_an_unfinished_member_that_changed_is_sent_as_it_is_now(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 3)
    held = hold(house, "part", after=3 * PARTS - 1)
    async with working(house, journal) as engine:
        task = asyncio.create_task(upload_all(engine, paths))
        await held.are(1)
        task.cancel()
        await asyncio.wait([task])
        house.intercept = None
        held.go.set()
        stopped = [
            line.job
            for line in (await lines_of(engine)).values()
            if line.phase is not Phase.COMPLETED
        ]
        for job in stopped:
            Path(job.path).write_bytes(b"quite another content")
        results = await upload_all(engine, paths)
        old = [await (await engine.journal()).line(job.id) for job in stopped]
        jobs = await (await engine.journal()).set_of(
            next(line.job.set_id for line in (await lines_of(engine)).values())
        )
    assert_are(house, results, paths)
    assert stopped
    assert {line.phase for line in old} <= {Phase.FAILED, Phase.CANCELLED}
    assert [job.path for job in jobs] == [os.path.realpath(path) for path in paths]
    assert [result.job_id for result in results] == [job.id for job in jobs]
