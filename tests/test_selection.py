"""What is gone on with when nothing is named: whole sets, and not everybody's."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from aiohttp import web
from house import KEY, Handler, House, call_of, open_house
from many import (
    USER_DATA,
    assert_are,
    elsewhere,
    hold,
    job_of,
    lines_of,
    make_files,
    run_all,
    tell,
    upload_all,
    working,
)

from chunkup.asked import asked_for
from chunkup.engine import Engine, Orders
from chunkup.errors import JobEnded, SourceChanged
from chunkup.machine import Phase
from chunkup.selection import Selection, label, named, unfinished

DAY = 86400.0


def names(selection: Selection) -> list[str]:
    """The files that are gone on with, in order."""
    return [Path(member.path).name for member in selection.dataset.members]


def reasons(selection: Selection) -> dict[str, str]:
    return {Path(line.job.path).name: reason for line, reason in selection.left}


def taken(selection: Selection) -> list[str]:
    return [Path(line.job.path).name for line in selection.taken]


def held_by_others(selection: Selection) -> list[str]:
    return [Path(line.job.path).name for line in selection.held]


async def wanted(engine: Engine, paths: list[str]) -> None:
    """A command that was killed before it sent anything."""
    await asked_for(engine, paths, USER_DATA)


def age(journal: Path, *paths: str, days: float) -> None:
    """Let all that happened to these have happened so long ago."""
    with closing(sqlite3.connect(journal)) as outside, outside:
        for path in paths:
            outside.execute(
                "UPDATE runs SET started_at = started_at - ?1, ended_at = ended_at - ?1"
                " WHERE job_id IN (SELECT id FROM jobs WHERE path = ?2)",
                [days * DAY, os.fsencode(os.path.realpath(path))],
            )
            outside.execute(
                "UPDATE jobs SET created_at = created_at - ? WHERE path = ?",
                [days * DAY, os.fsencode(os.path.realpath(path))],
            )


def failing(house: House, call: str, name: str | None = None, status: int = 503) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        met = call_of(request) == call
        if met and (name is None or name.encode() in await request.read()):
            return web.json_response({"error": {"message": "no"}}, status=status)
        return await handler(request)

    house.intercept = intercept


@asynccontextmanager
async def two_accounts(folder: Path, journal: Path) -> AsyncIterator[tuple[House, Engine, Engine]]:
    async with (
        open_house(folder / "open", key=None) as house,
        working(house, journal) as ours,
        working(house, journal, key="sk-other") as theirs,
    ):
        yield house, ours, theirs


# --- which ----------------------------------------------------------------------------------------


async def test_where_nothing_is_left_nothing_is_gone_on_with(
    house: House, journal: Path, tmp_path: Path
) -> None:
    async with working(house, journal) as engine:
        assert names(await unfinished(engine, any_age=True)) == []
        await upload_all(engine, make_files(tmp_path, 2), told=True)
        selection = await unfinished(engine, any_age=True)
        assert (names(selection), selection.left, selection.held) == ([], [], [])
        assert await run_all(selection.dataset) == []


async def test_a_set_is_gone_on_with_whole_and_in_its_order(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 4)
    failing(house, "create", "002.bin")
    async with working(house, journal) as engine:
        first = await upload_all(engine, paths, told=True)
        house.intercept = None
        house.calls.clear()
        selection = await unfinished(engine, any_age=False)
        assert names(selection) == ["000.bin", "001.bin", "002.bin", "003.bin"]
        assert taken(selection) == ["002.bin"]
        results = await run_all(selection.dataset)
    assert_are(house, results, paths)
    assert [result.reused for result in results] == [True, True, False, True]
    assert results[0].file == first[0].file
    assert house.calls.count("create") == 1


async def test_an_id_that_was_never_told_is_told_without_asking_anybody(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 2)
    async with working(house, journal) as engine:
        await upload_all(engine, paths)
    house.calls.clear()
    async with working(house, journal) as engine:
        selection = await unfinished(engine, any_age=False)
        assert taken(selection) == ["000.bin", "001.bin"]
        results = await run_all(selection.dataset)
        assert_are(house, results, paths)
        await tell(engine, results)
        assert names(await unfinished(engine, any_age=False)) == []
    assert house.calls == []


async def test_of_a_set_that_another_process_works_for_nothing_is_told_twice(
    house: House, journal: Path, tmp_path: Path
) -> None:
    """What is done of it is told by whoever does the rest."""
    paths = make_files(tmp_path, 3)
    failing(house, "create", "001.bin")
    async with working(house, journal) as engine, working(house, journal) as other:
        await upload_all(engine, paths)
        held = hold(house, "create")
        task = asyncio.create_task(upload_all(engine, paths))
        await held.are(1)
        selection = await unfinished(other, any_age=False)
        assert names(selection) == []
        assert held_by_others(selection) == ["001.bin"]
        held.go.set()
        await task


async def test_a_set_is_left_after_seven_days_in_which_nothing_happened(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 5)
    async with working(house, journal) as engine:
        await wanted(engine, paths[:2])
        await wanted(engine, paths[2:4])
        await wanted(engine, paths[4:])
        age(journal, *paths[:2], days=7.01)
        # Something happened to one of these.
        age(journal, paths[2], days=30)
        age(journal, paths[4], days=6.99)
        selection = await unfinished(engine, any_age=False)
        assert sorted(names(selection)) == ["002.bin", "003.bin", "004.bin"]
        assert set(reasons(selection)) == {"000.bin", "001.bin"}
        assert "seven days" in reasons(selection)["000.bin"]
        every = await unfinished(engine, any_age=True)
        assert sorted(names(every)) == [Path(path).name for path in paths]
        assert every.left == []


async def test_a_run_that_ended_lately_makes_an_old_job_recent(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (path,) = make_files(tmp_path, 1)
    async with working(house, journal) as engine:
        await wanted(engine, [path])
        age(journal, path, days=30)
        failing(house, "create")
        await upload_all(engine, [path])
        assert names(await unfinished(engine, any_age=False)) == ["000.bin"]
        age(journal, path, days=8)
        assert names(await unfinished(engine, any_age=False)) == []


async def test_jobs_of_another_account_are_left_and_named(journal: Path, tmp_path: Path) -> None:
    paths = make_files(tmp_path, 2)
    async with two_accounts(tmp_path, journal) as (house, ours, theirs):
        await wanted(theirs, paths[:1])
        await wanted(ours, paths[1:])
        selection = await unfinished(ours, any_age=False)
        assert names(selection) == taken(selection) == ["001.bin"]
        assert "account" in reasons(selection)["000.bin"]
        # What of another account is merely not told is none of ours either.
        await upload_all(theirs, paths[:1])
        selection = await unfinished(ours, any_age=False)
        assert (names(selection), reasons(selection)) == (["001.bin"], {})
        assert names(await unfinished(theirs, any_age=False)) == ["000.bin"]
        assert house.calls.count("create") == 1


async def test_jobs_of_another_destination_are_left_and_named(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 1)
    async with open_house(tmp_path / "other", key=KEY) as elsewhere_house:
        async with working(elsewhere_house, journal) as engine:
            await wanted(engine, paths)
        async with working(house, journal) as engine:
            selection = await unfinished(engine, any_age=True)
    assert (names(selection), list(reasons(selection))) == ([], ["000.bin"])


async def test_what_another_process_runs_is_held_and_the_rest_of_its_set_is_not(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 3)
    held = hold(house, "part")
    async with working(house, journal) as engine:
        await wanted(engine, paths)
        async with elsewhere(house, journal, [paths[1]]) as process:
            await process.started("001.bin")
            await held.are(1)
            selection = await unfinished(engine, any_age=False)
            assert held_by_others(selection) == ["001.bin"]
            assert names(selection) == taken(selection) == ["000.bin", "002.bin"]
            age(journal, *paths, days=30)
            assert held_by_others(await unfinished(engine, any_age=False)) == ["001.bin"]
            age(journal, *paths, days=-30)
            await process.kill()
        held.go.set()
        selection = await unfinished(engine, any_age=False)
        assert names(selection) == ["000.bin", "001.bin", "002.bin"]
        assert_are(house, await run_all(selection.dataset), paths)


async def test_what_waits_in_another_process_is_held_too(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 12)
    held = hold(house, "create")
    async with working(house, journal) as engine:
        async with elsewhere(house, journal, paths) as process:
            await held.are(3)
            selection = await unfinished(engine, any_age=False)
            assert len(selection.held) == 12
            assert (names(selection), selection.left) == ([], [])
            await process.kill()
        held.go.set()


async def test_a_cancelled_member_is_no_part_of_its_set_any_more(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 3)
    async with working(house, journal) as engine:
        await wanted(engine, paths)
        await engine.cancel(await job_of(engine, paths[1]))
        selection = await unfinished(engine, any_age=False)
        assert names(selection) == ["000.bin", "002.bin"]


async def test_a_failed_member_is_told_again_with_its_set_and_keeps_none_alive(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 3)
    failing(house, "create", "001.bin", status=400)
    async with working(house, journal) as engine:
        await upload_all(engine, paths[1:2])
        assert names(await unfinished(engine, any_age=False)) == []
        await wanted(engine, paths)
        failing(house, "create", "001.bin", status=400)
        await run_all((await unfinished(engine, any_age=False)).dataset)
        await wanted(engine, [paths[0]])
        selection = await unfinished(engine, any_age=False)
        assert names(selection) == ["000.bin", "001.bin", "002.bin"]
        results = await run_all(selection.dataset)
    assert isinstance(results[1].error, JobEnded)
    assert_are(house, [results[0], results[2]], [paths[0], paths[2]])


# --- how ------------------------------------------------------------------------------------------


async def test_a_changed_source_is_refused_and_not_sent(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (path,) = make_files(tmp_path, 1)
    async with working(house, journal) as engine:
        await wanted(engine, [path])
        Path(path).write_bytes(b"another")
        (result,) = await run_all((await unfinished(engine, any_age=False)).dataset)
    assert isinstance(result.error, SourceChanged)
    assert house.calls == []


async def test_orders_reach_each_job(house: House, journal: Path, tmp_path: Path) -> None:
    paths = make_files(tmp_path, 2)
    async with working(house, journal) as engine:
        await wanted(engine, paths)
        orders = Orders(part_size=500)
        results = await run_all((await unfinished(engine, any_age=False, orders=orders)).dataset)
    assert_are(house, results, paths)
    assert house.calls.count("part") == 2 * 5


async def test_jobs_that_are_named_are_taken_alone(
    house: House, journal: Path, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 3)
    async with working(house, journal) as engine:
        await wanted(engine, paths)
        job = await job_of(engine, paths[1])
        results = await run_all(named(engine, [job], Orders(part_size=500)))
        assert_are(house, results, [paths[1]])
        assert {name: line.phase for name, line in (await lines_of(engine)).items()} == {
            "000.bin": Phase.NEW,
            "001.bin": Phase.COMPLETED,
            "002.bin": Phase.NEW,
        }
    assert house.calls.count("part") == 5


async def test_a_result_is_called_as_its_command_called_it_while_that_means_the_file(
    house: House, journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = make_files(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    async with working(house, journal) as engine:
        await wanted(engine, ["000.bin"])
        job = await job_of(engine, path)
        assert label(job) == "000.bin"
        (tmp_path / "below").mkdir()
        monkeypatch.chdir(tmp_path / "below")
        assert label(job) == os.path.realpath(path)


async def test_to_look_at_what_is_left_does_not_make_it_recent(
    house: House, journal: Path, tmp_path: Path
) -> None:
    (path,) = make_files(tmp_path, 1)
    async with working(house, journal) as engine:
        await wanted(engine, [path])
        before = (await lines_of(engine))["000.bin"]
        await unfinished(engine, any_age=False)
        assert (await lines_of(engine))["000.bin"] == before
