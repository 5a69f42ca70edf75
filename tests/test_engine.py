"""What holds for each job of an engine: whose it is, where its file is, what is sent of it."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from house import HASTY, Handler, House, call_of, make_source, open_house
from many import (
    PART,
    USER_DATA,
    assert_are,
    hold,
    job_of,
    lines_of,
    make_files,
    run_all,
    silent,
    upload_all,
    working,
)

from chunkup import events
from chunkup.asked import Manner, asked_for
from chunkup.engine import Engine, Orders
from chunkup.errors import BadOption, Busy, ChunkupError, NoSuchFile, SourceChanged, TooLarge
from chunkup.machine import Phase
from chunkup.models import Job, Limits, Options
from chunkup.source import inspect

SIZE = 10_500
ONE = replace(HASTY, workers=1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    make_source(path, SIZE)
    return path


async def half_way(house: House, engine: Engine, path: Path, parts: int = 5) -> Job:
    """Upload until so many parts have receipts."""

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") > parts:
            return web.json_response({"error": {"message": "no more"}}, status=401)
        return await handler(request)

    house.intercept = intercept
    (result,) = await upload_all(engine, [str(path)])
    assert result.error is not None
    house.intercept = None
    house.calls.clear()
    house.arrivals.clear()
    return await job_of(engine, str(path))


async def line(engine: Engine, job: Job) -> tuple[Phase, int]:
    found = await (await engine.journal()).line(job.id)
    return found.phase, found.done


# --- where the file is --------------------------------------------------------------------------


async def test_a_moved_file_is_gone_on_with_where_it_is_now(
    house: House, journal: Path, source: Path, tmp_path: Path
) -> None:
    async with working(house, journal, options=ONE) as engine:
        job = await half_way(house, engine, source)
        _, done = await line(engine, job)
        moved = source.rename(tmp_path / "moved.bin")
        os.utime(moved, ns=(1, 1))
        seen: list[events.Event] = []
        file = await engine.carry_out(job, seen.append, orders=Orders(source=moved))
        assert house.content(file.id) == moved.read_bytes()
        assert (file.filename, file.bytes) == ("a.bin", SIZE)
        assert house.whole_bytes == SIZE - done
        # The journal follows it: path, time and all.
        kept = await (await engine.journal()).job(job.id)
        assert (kept.path, kept.fingerprint) == inspect(moved)
        assert kept == replace(job, path=kept.path, fingerprint=kept.fingerprint)
        assert {event.path for event in seen if isinstance(event, events.PartAccepted)} == {
            os.path.realpath(moved)
        }


async def test_a_proven_move_is_known_however_the_run_ends(
    house: House, journal: Path, source: Path, tmp_path: Path
) -> None:
    async with working(house, journal, options=ONE) as engine:
        job = await half_way(house, engine, source)
        moved = source.rename(tmp_path / "moved.bin")
        held = hold(house, "part", after=1)
        task = asyncio.create_task(
            engine.carry_out(job, silent, orders=Orders(source=moved, part_size=500))
        )
        await held.are(1)
        task.cancel()
        await asyncio.wait([task])
        house.intercept = None
        held.go.set()
        kept = await (await engine.journal()).job(job.id)
        assert kept.path == os.path.realpath(moved)
        # How it was sent is no part of what it is.
        assert kept.part_size == job.part_size
        file = await engine.carry_out(kept, silent)
        assert house.content(file.id) == moved.read_bytes()


@pytest.mark.parametrize("size", [SIZE, SIZE - 1])
async def test_a_moved_file_of_other_content_is_refused_and_the_journal_stays(
    house: House, journal: Path, source: Path, tmp_path: Path, size: int
) -> None:
    async with working(house, journal, options=ONE) as engine:
        job = await half_way(house, engine, source)
        before = await line(engine, job)
        other = tmp_path / "other.bin"
        make_source(other, size, seed=7)
        # The same time, too: it is the move itself that makes it a suspect.
        os.utime(other, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
        seen: list[events.Event] = []
        with pytest.raises(SourceChanged) as caught:
            await engine.carry_out(job, seen.append, orders=Orders(source=other))
        assert caught.value.job_id == job.id
        assert [type(event).__name__ for event in seen].count("Failed") == 1
        assert house.calls in ([], ["list"])
        assert await (await engine.journal()).job(job.id) == job
        assert await line(engine, job) == before
        file = await engine.carry_out(job, silent)
        assert house.content(file.id) == source.read_bytes()


async def test_a_moved_file_that_is_not_there_is_refused(
    house: House, journal: Path, source: Path, tmp_path: Path
) -> None:
    async with working(house, journal, options=ONE) as engine:
        job = await half_way(house, engine, source)
        with pytest.raises(NoSuchFile):
            await engine.carry_out(job, silent, orders=Orders(source=tmp_path / "nowhere"))
        assert (await (await engine.journal()).line(job.id)).owner is None
    assert house.calls == []


async def test_without_being_told_nobody_looks_elsewhere(
    house: House, journal: Path, source: Path, tmp_path: Path
) -> None:
    async with working(house, journal, options=ONE) as engine:
        job = await half_way(house, engine, source)
        source.rename(tmp_path / "moved.bin")
        with pytest.raises(ChunkupError) as caught:
            await engine.carry_out(job, silent)
        assert caught.value.code == "source-gone"


async def test_a_moved_file_of_which_nothing_was_sent_is_taken_as_it_is(
    house: House, journal: Path, source: Path, tmp_path: Path
) -> None:
    async with working(house, journal) as engine:
        await asked_for(engine, [str(source)], USER_DATA)
        job = await job_of(engine, str(source))
        other = tmp_path / "other.bin"
        make_source(other, SIZE, seed=7)
        file = await engine.carry_out(job, silent, orders=Orders(source=other))
        assert house.content(file.id) == other.read_bytes()


# --- parts --------------------------------------------------------------------------------------


async def test_another_part_size_is_for_what_is_not_sent_yet(
    house: House, journal: Path, source: Path
) -> None:
    async with working(house, journal, options=ONE) as engine:
        job = await half_way(house, engine, source)
        file = await engine.carry_out(job, silent, orders=Orders(part_size=700))
        assert house.content(file.id) == source.read_bytes()
        sizes = [arrival.bytes for arrival in house.arrivals]
        assert sizes == [700] * 7 + [600]
        assert "create" not in house.calls
        assert await (await engine.journal()).job(job.id) == job


@pytest.mark.parametrize("part_size", [0, 64 * (1 << 20) + 1])
async def test_a_part_size_that_cannot_be_is_refused_before_the_job_is_touched(
    house: House, journal: Path, source: Path, part_size: int
) -> None:
    async with working(house, journal) as engine:
        await asked_for(engine, [str(source)], USER_DATA)
        job = await job_of(engine, str(source))
        with pytest.raises(BadOption, match="part size"):
            await engine.carry_out(job, silent, orders=Orders(part_size=part_size))
        assert await (await engine.journal()).runs(job.id) == []
    assert house.calls == []


# --- where it goes ------------------------------------------------------------------------------


async def test_a_job_of_another_destination_is_not_sent_here(
    house: House, journal: Path, source: Path, tmp_path: Path
) -> None:
    async with open_house(tmp_path / "other") as other, working(other, journal) as engine:
        await asked_for(engine, [str(source)], USER_DATA)
        job = await job_of(engine, str(source))
        async with working(house, journal) as here:
            with pytest.raises(BadOption, match=other.url) as caught:
                await here.carry_out(job, silent)
            assert caught.value.job_id == job.id
            assert await (await here.journal()).runs(job.id) == []
    assert house.calls == other.calls == []


async def test_what_is_described_is_neither_written_nor_sent(
    house: House, journal: Path, source: Path
) -> None:
    async with working(house, journal) as engine:
        job, plan = engine.describe(source, USER_DATA)
        assert (job.part_size, job.md5, plan.count) == (PART, True, 11)
        assert not journal.exists()
    assert house.calls == []


async def test_limits_of_the_destination_are_kept(
    house: House, journal: Path, source: Path
) -> None:
    async with working(house, journal) as engine:
        limited = replace(engine.endpoint.provider, limits=Limits(upload=SIZE - 1))
        engine.endpoint = replace(engine.endpoint, provider=limited)
        with pytest.raises(TooLarge):
            engine.describe(source, USER_DATA)


# --- starting over, and changed files -----------------------------------------------------------


async def test_fresh_ends_what_is_unfinished_of_all_files_and_makes_a_new_set(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 3)
    async with working(house, journal) as engine:
        await upload_all(engine, paths[:1])
        await asked_for(engine, paths, USER_DATA)
        old = {line.job.id: line for line in (await lines_of(engine)).values()}
        dataset = await asked_for(engine, paths, USER_DATA, Manner(fresh=True))
        assert_are(house, await run_all(dataset), paths)
        book = await engine.journal()
        phases = [(await book.line(job_id)).phase for job_id in old]
        assert phases == [Phase.COMPLETED, Phase.CANCELLED, Phase.CANCELLED]
        assert {member.job.id for member in dataset.members}.isdisjoint(old)
        assert len({member.job.set_id for member in dataset.members}) == 1


async def test_fresh_does_not_take_a_job_from_who_runs_it(
    house: House, journal: Path, source: Path
) -> None:
    held = hold(house, "part")
    async with working(house, journal) as engine, working(house, journal) as other:
        task = asyncio.create_task(upload_all(engine, [str(source)]))
        await held.are(1)
        with pytest.raises(Busy):
            await asked_for(other, [str(source)], USER_DATA, Manner(fresh=True))
        held.go.set()
        assert_are(house, await task, [str(source)])


@pytest.mark.parametrize("fresh", [True, False])
async def test_a_server_that_cannot_be_reached_does_not_keep_an_old_job_alive(
    house: House, journal: Path, source: Path, *, fresh: bool
) -> None:
    """Its Upload dies by itself; the new content does not wait for that."""
    async with working(house, journal, options=replace(ONE, retries=0)) as engine:
        old = await half_way(house, engine, source)

        async def deaf(request: web.Request, handler: Handler) -> web.StreamResponse:
            if call_of(request) == "cancel":
                return web.json_response({"error": {"message": "down"}}, status=503)
            return await handler(request)

        house.intercept = deaf
        if not fresh:
            source.write_bytes(source.read_bytes()[::-1])
        seen: list[events.Event] = []
        dataset = await asked_for(engine, [str(source)], USER_DATA, Manner(fresh=fresh))
        results = await run_all(dataset, seen.append)
        assert_are(house, results, [str(source)])
        phase, _ = await line(engine, old)
        assert phase is (Phase.CANCELLED if fresh else Phase.FAILED)
        told = [event for event in seen if isinstance(event, events.UploadExpired)]
        assert [event.lost for event in told] == ([] if fresh else [5000])


async def test_the_job_of_changed_content_takes_the_old_ones_place(
    house: House, journal: Path, source: Path
) -> None:
    async with working(house, journal, options=ONE) as engine:
        old = await half_way(house, engine, source)
        source.write_bytes(b"quite another content")
        dataset = await asked_for(engine, [str(source)], USER_DATA)
        (member,) = dataset.members
        assert member.job == old
        assert member.wanted is not None
        job, file = await engine.upload(member.adopted, member.wanted, silent)
        assert job.id != old.id
        assert job.fingerprint.size == file.bytes == len(b"quite another content")
        assert job.span.stop == file.bytes
        assert (job.set_id, job.created_at) == (old.set_id, old.created_at)
        assert await (await engine.journal()).set_of(old.set_id) == [job]


# --- siblings -----------------------------------------------------------------------------------


async def test_a_sibling_sends_otherwise_and_shares_destination_and_journal(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 2)
    async with working(house, journal) as engine:
        sibling = engine.sibling(options=Options(workers=1), part_size=500, md5=False)
        assert (sibling.part_size, sibling.md5, sibling.options.workers) == (500, False, 1)
        assert sibling.endpoint is engine.endpoint
        assert await sibling.journal() is await engine.journal()
        assert_are(house, await upload_all(sibling, paths[:1]), paths[:1])
        assert house.calls.count("part") == 5
        assert_are(house, await upload_all(engine, paths[1:]), paths[1:])
        assert house.calls.count("part") == 5 + 3
        commands = {
            (await (await engine.journal()).runs(line.job.id))[0].command
            for line in (await lines_of(engine)).values()
        }
        assert commands == {"library"}
    await house.no_connections()


async def test_a_sibling_is_closed_with_its_engine(
    house: House, journal: Path, source: Path
) -> None:
    async with working(house, journal) as engine:
        sibling = engine.sibling(options=HASTY, part_size=PART, md5=True)
        await upload_all(sibling, [str(source)])
        assert sibling._shop is not None
    assert sibling._shop is None


async def test_a_job_of_a_sibling_is_stopped_by_any_of_them_and_begins_again_in_any(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 12)
    held = hold(house, "create")
    async with working(house, journal) as engine:
        sibling = engine.sibling(options=HASTY, part_size=PART, md5=True)
        mine = asyncio.create_task(upload_all(engine, paths[:1]))
        await held.are(1)
        theirs = asyncio.create_task(upload_all(sibling, paths[1:]))
        await held.are(4)  # three files of three parts fill its slots
        runs, waits = await job_of(engine, paths[1]), await job_of(engine, paths[11])
        assert await engine.stop(runs)
        assert await engine.stop(waits)
        house.intercept = None
        held.go.set()
        assert_are(house, await mine, paths[:1])
        results = await theirs
        stopped = [results.pop(0), results.pop()]
        assert [result.error and result.error.code for result in stopped] == ["stopped"] * 2
        assert [result.job_id for result in stopped] == [runs.id, waits.id]
        assert_are(house, results, paths[2:11])
        # Nothing is left of the requests, in neither of them.
        for job in (runs, waits):
            file = await engine.carry_out(job, silent)
            assert house.content(file.id) == Path(job.path).read_bytes()
