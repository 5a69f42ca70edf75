"""Stopping a job wherever on this machine it runs, and taking it from one that does not let go."""

import asyncio
import os
import signal
import sqlite3
import time
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any, cast

import pytest
from house import House
from many import (
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

from chunkup.asked import asked_for
from chunkup.engine import Engine, Orders
from chunkup.errors import Busy
from chunkup.journal import Journal
from chunkup.machine import Phase
from chunkup.models import Job, RemoteFile
from chunkup.selection import named
from chunkup.stops import Home, Stops


async def upload_one(engine: Engine, path: str) -> Any:
    (result,) = await upload_all(engine, [path])
    return result


def hasty(engine: Engine, patience: float) -> None:
    """Let an engine wait less long for others than people would."""
    engine._stops = Stops(engine._home, patience=patience)


def on_host(journal: Path, job: Job, host: str) -> None:
    with closing(sqlite3.connect(journal)) as outside, outside:
        outside.execute("UPDATE jobs SET owner_host = ? WHERE id = ?", [host, job.id])


# --- another process --------------------------------------------------------------------------


async def test_a_job_of_another_process_stops_soon_and_that_one_lives_on(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 2, size=20 * SIZE)
    held = hold(house, "part", after=20)
    async with elsewhere(house, journal, paths) as process, working(house, journal) as engine:
        await held.are(8)
        job = await job_of(engine, paths[0])
        began = time.monotonic()
        assert await engine.stop(job)
        assert time.monotonic() - began < 5.0
        line = await (await engine.journal()).line(job.id)
        assert (line.owner, line.phase) == (None, Phase.SENDING)
        assert line.why is not None
        assert "asked to stop" in line.why
        kept, before = line.done, house.whole_bytes
        other = (await lines_of(engine))["001.bin"]
        assert (await engine.journal()).holder_lives(other)
        house.intercept = None
        held.go.set()
        assert (await process.result("000.bin"))["code"] == "stopped"
        assert (await process.result("001.bin"))["file"] is not None
        await process.left()
        assert kept + other.done > 0
        # Its receipts are kept: only the rest is sent.
        before = house.whole_bytes
        result = await upload_one(engine, paths[0])
        assert_are(house, [result], [paths[0]])
        assert house.whole_bytes - before == 20 * SIZE - kept


async def test_a_job_that_nobody_runs_is_not_stopped(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 2)
    async with working(house, journal) as engine:
        await asked_for(engine, paths, USER_DATA)
        assert not await engine.stop(await job_of(engine, paths[0]))
        await upload_all(engine, paths)
        assert not await engine.stop(await job_of(engine, paths[0]))


async def test_what_a_dead_process_held_runs_nowhere(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (path,) = make_files(tmp_path, 1)
    held = hold(house, "part")
    async with working(house, journal) as engine:
        async with elsewhere(house, journal, [path]) as process:
            await held.are(1)
            await process.kill()
        assert (await lines_of(engine))["000.bin"].owner is not None
        assert not await engine.stop(await job_of(engine, path))
        held.go.set()


async def test_a_job_of_another_machine_is_said_to_be_its_own(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (path,) = make_files(tmp_path, 1)
    held = hold(house, "part")
    async with elsewhere(house, journal, [path]) as process, working(house, journal) as engine:
        await held.are(1)
        job = await job_of(engine, path)
        on_host(journal, job, "far-away")
        with pytest.raises(Busy, match="far-away") as caught:
            await engine.stop(job)
        assert caught.value.hint
        assert caught.value.job_id == job.id
        with closing(sqlite3.connect(journal)) as outside:
            assert outside.execute("SELECT stop_asked FROM jobs").fetchone() == (None,)
        house.intercept = None
        held.go.set()
        assert (await process.result("000.bin"))["file"] is not None


async def test_who_took_a_job_after_it_stopped_is_not_taken_for_the_one_that_was_asked(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (path,) = make_files(tmp_path, 1)
    async with working(house, journal) as asker:
        await asked_for(asker, [path], USER_DATA)
        job = await job_of(asker, path)
        first, second = await Journal.open(journal), await Journal.open(journal)
        try:
            run = await first.claim(job.id, "upload")
            asking = asyncio.create_task(asker.stop(job))
            while job.id not in await first.asked_to_stop():  # noqa: ASYNC110  (another journal tells nobody)
                await asyncio.sleep(0)
            await first.release(job.id, run, None)
            await second.reserve([job.id])
            assert await asking
            assert second.holder_lives(await second.line(job.id))
            assert await second.asked_to_stop() == []
        finally:
            await first.close()
            await second.close()


# --- one that does not react ------------------------------------------------------------------


async def test_one_that_does_not_react_is_said_to_be_busy(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (path,) = make_files(tmp_path, 1)
    held = hold(house, "part")
    async with elsewhere(house, journal, [path]) as process, working(house, journal) as engine:
        hasty(engine, 0.5)
        await held.are(1)
        job = await job_of(engine, path)
        os.kill(process.process.pid, signal.SIGSTOP)
        with pytest.raises(Busy, match=f"process {process.process.pid}") as caught:
            await engine.stop(job)
        assert caught.value.job_id == job.id
        assert (await engine.journal()).holder_lives((await lines_of(engine))["000.bin"])
        # When it comes to itself, it finds the request.
        os.kill(process.process.pid, signal.SIGCONT)
        assert (await process.result("000.bin"))["code"] == "stopped"
        held.go.set()


@pytest.mark.parametrize("at", ["create", "part", "complete"])
async def test_after_a_takeover_one_that_comes_to_itself_can_do_nothing_more(
    house: House, journal: Path, tmp_path: Path, at: str
) -> None:
    (path,) = make_files(tmp_path, 1)
    held = hold(house, at)
    async with elsewhere(house, journal, [path]) as process, working(house, journal) as engine:
        hasty(engine, 0.5)
        await held.are(1)
        job = await job_of(engine, path)
        os.kill(process.process.pid, signal.SIGSTOP)
        with pytest.raises(Busy):
            await engine.carry_out(job, silent)
        house.intercept = None
        (result,) = await run_all(named(engine, [job], Orders(takeover=True)))
        assert_are(house, [result], [path])
        facts = await (await engine.journal()).facts(job.id)
        held.go.set()
        os.kill(process.process.pid, signal.SIGCONT)
        said = await process.result("000.bin")
        await process.left()
        await house.idle()
        # Whatever the server said first of an Upload that the other has ended.
        assert (said["code"], said["file"]) == ("busy", None)
        assert await (await engine.journal()).facts(job.id) == facts
        assert (await lines_of(engine))["000.bin"].phase is Phase.COMPLETED
    assert result.file is not None
    assert [file.id for file in house.files] == [result.file.id]


async def test_who_answers_a_request_to_stop_need_not_be_overruled(
    house: House, journal: Path, tmp_path: Path
) -> None:
    """A takeover asks first: what the other has sent is kept, and it ends in peace."""
    (path,) = make_files(tmp_path, 1)
    held = hold(house, "part", after=1)
    async with elsewhere(house, journal, [path]) as process, working(house, journal) as engine:
        await held.are(2)
        job = await job_of(engine, path)
        house.intercept = None
        (result,) = await run_all(named(engine, [job], Orders(takeover=True)))
        assert_are(house, [result], [path])
        held.go.set()
        assert (await process.result("000.bin"))["code"] == "stopped"
    assert len(house.files) == 1


async def test_a_takeover_of_what_nobody_holds_is_a_resume(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (path,) = make_files(tmp_path, 1)
    async with working(house, journal) as engine:
        await asked_for(engine, [path], USER_DATA)
        job = await job_of(engine, path)
        began = time.monotonic()
        (result,) = await run_all(named(engine, [job], Orders(takeover=True)))
        # Nobody is asked and waited for, least of all this process itself.
        assert time.monotonic() - began < 5.0
    assert_are(house, [result], [path])


async def test_what_waits_while_nothing_runs_is_stopped_at_once(
    house: House, journal: Path, tmp_path: Path
) -> None:
    """Who takes results slowly keeps jobs waiting."""
    paths = make_files(tmp_path, 12)
    async with working(house, journal) as engine:
        first = await asked_for(engine, paths[:1], USER_DATA)
        await run_all(first)
        dataset = await asked_for(engine, paths, USER_DATA)
        async with aclosing(dataset.results(silent)) as results:
            # The first was done before: it is given before any other begins.
            place, _ = await anext(results)
            assert place == 0
            job = await job_of(engine, paths[5])
            assert await engine.stop(job)
            found = {place: result async for place, result in results}
        stopped = found.pop(5)
        assert stopped.error is not None
        assert stopped.error.code == "stopped"
        assert_are(house, [found[place] for place in sorted(found)], paths[1:5] + paths[6:])
        # It was this turn that was stopped, and no later one.
        assert_are(house, await upload_all(engine, paths), paths)


async def test_a_job_that_waited_and_was_stopped_in_vain_begins_the_next_time(
    house: House, journal: Path, tmp_path: Path
) -> None:
    """Its set was left before its turn came."""
    paths = make_files(tmp_path, 12)
    held = hold(house, "create")
    async with working(house, journal) as engine:
        task = asyncio.create_task(upload_all(engine, paths))
        await held.are(3)
        job = await job_of(engine, paths[-1])
        assert await engine.stop(job)
        task.cancel()
        await asyncio.wait([task])
        house.intercept = None
        held.go.set()
        file = await engine.carry_out(job, silent)
        assert house.content(file.id) == Path(paths[-1]).read_bytes()


# --- within this process ----------------------------------------------------------------------


async def test_a_stopped_job_can_be_gone_on_with_by_the_same_engine(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (path,) = make_files(tmp_path, 1)
    held = hold(house, "part")
    async with working(house, journal) as engine:
        task = asyncio.create_task(upload_one(engine, path))
        await held.are(1)
        assert await engine.stop(await job_of(engine, path))
        assert (await task).error.code == "stopped"
        house.intercept = None
        held.go.set()
        result = await upload_one(engine, path)
        assert_are(house, [result], [path])
        # Nobody looks for requests while nothing runs.
        assert engine._stops._poller is not None
        await asyncio.wait([engine._stops._poller], timeout=5)
        assert engine._stops._poller.done()


async def test_an_engine_that_rested_hears_requests_again(
    house: House, journal: Path, tmp_path: Path
) -> None:
    one, two = make_files(tmp_path, 2)
    async with working(house, journal) as engine, working(house, journal) as other:
        await upload_one(engine, one)
        held = hold(house, "part")
        task = asyncio.create_task(upload_one(engine, two))
        await held.are(1)
        assert await other.stop(await job_of(other, two))
        held.go.set()
        assert (await task).error.code == "stopped"


async def test_a_run_that_begins_as_the_last_one_ends_hears_requests(journal: Path) -> None:
    stops, rest = Stops(Home(journal)), asyncio.Event()
    runs = [asyncio.create_task(rest.wait()) for _ in range(2)]
    for number, run in enumerate(runs):
        stops.add(str(number), cast("asyncio.Task[RemoteFile]", run))
        poller = stops._poller
        if number == 0:
            await asyncio.sleep(0)
            stops.remove("0")
    assert poller is not None
    await asyncio.wait([poller], timeout=0.1)
    assert not poller.done()
    await stops.close()
    rest.set()
    await asyncio.gather(*runs)


async def test_who_awaits_a_job_and_is_cancelled_while_it_stops_is_cancelled(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (path,) = make_files(tmp_path, 1)
    held = hold(house, "part")
    async with working(house, journal) as engine:
        await asked_for(engine, [path], USER_DATA)
        job = await job_of(engine, path)
        task = asyncio.create_task(engine.carry_out(job, silent))
        await held.are(1)
        assert engine._stops.stop(job.id)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not engine._stops.stop(job.id)
        held.go.set()


async def test_a_home_opens_its_journal_once_and_again_after_it_was_closed(tmp_path: Path) -> None:
    home = Home(tmp_path / "journal.db")
    first, second = await asyncio.gather(home.journal(), home.journal())
    assert first is second
    await home.close()
    await home.close()
    third = await home.journal()
    assert third is not first
    assert await third.lines() == []
    await home.close()
