"""Two processes and one job, in every order: one has it, and the other is told who."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from house import Handler, House, call_of
from many import (
    PART,
    assert_are,
    elsewhere,
    hold,
    job_of,
    lines_of,
    make_files,
    silent,
    upload_all,
    working,
)
from strategies import plain_job
from test_cli import AS_USED, Result, Shell, hint_of, hold_parts_after, shell
from test_journal_claims import journal, other

from chunkup.asked import asked_for
from chunkup.engine import Engine, Orders
from chunkup.errors import Busy, NoSuchJob
from chunkup.intake import Content
from chunkup.journal import Journal
from chunkup.machine import Cancelled
from chunkup.models import Job
from chunkup.selection import unfinished

__all__ = ["journal", "other", "shell"]


def one_right_file(shell: Shell, out: str, name: str = "a.bin") -> None:
    (row,) = shell.house.files
    assert out.strip() == row.id
    assert shell.house.content(row.id) == (shell.folder / name).read_bytes()


# --- every order, on the command line ---------------------------------------------------------

SECOND = {
    "upload": ("upload", "a.bin", *AS_USED),
    "upload-fresh": ("upload", "a.bin", *AS_USED, "--fresh"),
    "resume": ("resume", "JOB"),
    "resume-all": ("resume",),
    "again": ("resume", "JOB", "--again"),
    "cancel": ("cancel", "JOB"),
}


@pytest.mark.parametrize("first", ["upload", "resume"])
async def test_whatever_comes_second_is_exit_3_and_names_the_first(
    shell: Shell, first: str
) -> None:
    if first == "resume":
        await shell.half_sent()
    held, go = hold_parts_after(shell.house, 2)
    process = await shell.start(*(SECOND["upload"] if first == "upload" else ("resume",)))
    await held.wait()
    (job,) = await shell.jobs()
    seconds = ["upload", "resume-all", "cancel"] if first == "resume" else list(SECOND)
    turns = asyncio.Semaphore(2)

    async def second(name: str) -> Result:
        async with turns:
            return await shell.run(*(job if word == "JOB" else word for word in SECOND[name]))

    done = dict(zip(seconds, await asyncio.gather(*map(second, seconds)), strict=True))
    for name, result in done.items():
        assert (result.code, result.out) == (3, ""), (name, result.err)
        assert f"job {job} is held by process {process.pid} on " in result.err, name
        assert hint_of(result.err).startswith(f"chunkup stop {job}"), name
    # Forgetting passes over it.
    assert (await shell.run("prune", "--older-than", "0s")).err == "forgot 0 jobs\n"
    assert await shell.runs_of(job) == (1 if first == "upload" else 2)
    go.set()
    last = await shell.end(process)
    assert last.code == 0, last.err
    one_right_file(shell, last.out.split("\t")[0])
    assert shell.house.calls.count("create") == (1 if first == "upload" else 0)


@pytest.mark.parametrize("words", [SECOND["upload"], SECOND["resume"]], ids=["upload", "resume"])
async def test_of_those_that_start_at_the_same_moment_one_goes_on(
    shell: Shell, words: tuple[str, ...]
) -> None:
    job = await shell.half_sent()
    held, go = hold_parts_after(shell.house, 0)
    words = tuple(job if word == "JOB" else word for word in words)
    crowd = [await shell.start(*words) for _ in range(3)]
    ends = {asyncio.create_task(shell.end(process)): process for process in crowd}
    over, going = set[asyncio.Task[Result]](), set(ends)
    while len(over) < 2:
        done, going = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
        over |= done
    (last,) = going
    for task in over:
        assert (task.result().code, task.result().out) == (3, "")
        assert f"is held by process {ends[last].pid} on " in task.result().err
    await held.wait()
    go.set()
    assert (await last).code == 0
    one_right_file(shell, (await last).out)


async def test_of_two_sets_that_share_a_file_each_sends_the_rest(shell: Shell) -> None:
    shell.make("d.bin", "b.bin", "c.bin")  # small ones, for which there are slots at once
    both, go, waiting = asyncio.Event(), asyncio.Event(), set[str]()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and (len(waiting) < 2 or request.path in waiting):
            waiting.add(request.path)
            if len(waiting) == 2:
                both.set()
            await go.wait()
        return await handler(request)

    shell.house.intercept = intercept
    first = await shell.start("upload", "d.bin", "b.bin", *AS_USED)
    await both.wait()
    second = await shell.upload("b.bin", "c.bin")
    assert second.code == 3
    assert [line.partition("\t")[2] for line in second.out.splitlines()] == ["c.bin"]
    assert f"is held by process {first.pid} on " in second.err
    go.set()
    assert (await shell.end(first)).code == 0
    assert sorted(row.filename for row in shell.house.files) == ["b.bin", "c.bin", "d.bin"]


async def test_stop_frees_a_job_and_the_next_goes_on_with_its_receipts(shell: Shell) -> None:
    held, go = hold_parts_after(shell.house, 5)
    first = await shell.start("upload", "a.bin", *AS_USED)
    await held.wait()
    (job,) = await shell.jobs()
    assert (await shell.run("stop", job)).err == f"{job}: stopped\n"
    shell.house.intercept = None
    kept = (await shell.jobs())[job].done
    shell.house.arrivals.clear()
    second = await shell.run("resume", job)
    assert second.code == 0, second.err
    one_right_file(shell, second.out)
    assert shell.house.whole_bytes == 20_500 - kept
    go.set()
    assert (await shell.end(first)).code == 75


async def test_of_two_takeovers_at_once_one_has_the_job_and_one_file_comes_of_it(
    shell: Shell,
) -> None:
    held, go = hold_parts_after(shell.house, 5)
    first = await shell.start("upload", "a.bin", *AS_USED)
    await held.wait()
    (job,) = await shell.jobs()
    shell.house.intercept = None
    takers = [await shell.start("resume", job, "--takeover") for _ in range(2)]
    done = [await shell.end(taker) for taker in takers]
    go.set()
    assert (await shell.end(first)).code == 75
    codes = sorted(result.code for result in done)
    # The slower one takes it from the faster one, finds it ended, or is told who has it.
    assert codes in ([0, 0], [0, 3], [0, 75]), [result.err for result in done]
    outs = {result.out.strip() for result in done if result.code == 0}
    assert outs == {shell.house.files[0].id}
    one_right_file(shell, outs.pop())


# --- every order, in the library --------------------------------------------------------------

ALONE: dict[str, Callable[[Engine, Job], Awaitable[Any]]] = {
    "carry-out": lambda engine, job: engine.carry_out(job, silent),
    "again": lambda engine, job: engine.carry_out(job, silent, orders=Orders(again=True)),
    "cancel": lambda engine, job: engine.cancel(job),
    "fresh": lambda engine, job: engine.adopt([job], fresh=True),
    "keep-back": lambda engine, job: engine.keep_back(job, Busy("bad"), silent),
}


async def test_a_program_is_refused_and_changes_nothing_while_another_one_runs_the_job(
    house: House, tmp_path: Path
) -> None:
    (path,) = make_files(tmp_path, 1, size=20 * PART)
    held = hold(house, "part", after=2)
    book = tmp_path / "state" / "journal.db"
    async with elsewhere(house, book, [path]) as process, working(house, book) as engine:
        await held.are(1)
        journal = await engine.journal()
        job = await job_of(engine, path)
        while (await journal.line(job.id)).parts < 2:
            continue
        facts = await journal.facts(job.id)
        for name, act in ALONE.items():
            with pytest.raises(Busy, match=f"by process {process.process.pid} on") as caught:
                await act(engine, job)
            assert (caught.value.job_id, caught.value.exit_code) == (job.id, 3), name
        (result,) = await upload_all(engine, [path])
        assert isinstance(result.error, Busy)
        found = await unfinished(engine, any_age=False)
        assert ([line.job.id for line in found.held], found.dataset.members) == ([job.id], [])
        assert await journal.prune(float("inf")) == []
        assert await journal.facts(job.id) == facts
        house.intercept = None
        held.go.set()
        assert (await process.result("000.bin"))["file"] is not None
        await process.left()
        assert not journal.holder_lives(await journal.line(job.id))
    assert len(house.files) == 1


async def test_who_waits_in_a_set_of_another_process_is_held_too(
    house: House, tmp_path: Path
) -> None:
    paths = make_files(tmp_path, 12)
    held = hold(house, "part")
    book = tmp_path / "state" / "journal.db"
    async with elsewhere(house, book, paths) as process, working(house, book) as engine:
        await held.are(3)
        lines = await (await engine.journal()).lines()
        assert any(not line.run_open for line in lines)
        for result in await upload_all(engine, paths):
            assert isinstance(result.error, Busy)
            assert f"process {process.process.pid} on" in result.error.message
        await process.kill()
        house.intercept = None
        held.go.set()
        # All of it at once, what ran and what waited.
        assert_are(house, await upload_all(engine, paths), paths)


async def test_a_job_that_was_forgotten_meanwhile_is_no_job_any_more(
    journal: Journal, other: Journal
) -> None:
    job, _ = await journal.adopt(plain_job())
    await journal.record(job.id, Cancelled())
    assert [gone.id for gone in await other.prune(float("inf"))] == [job.id]
    for act in (journal.claim(job.id, "resume"), journal.line(job.id)):
        with pytest.raises(NoSuchJob) as caught:
            await act
        assert caught.value.hint == "chunkup jobs"
    # And is not taken for one of ours.
    assert journal._owner._claimed == {}


# --- stopped in a process that lives on -------------------------------------------------------


async def nobody_has(book: Path) -> None:
    """Another process can have every job at once."""
    other = await Journal.open(book)
    try:
        for line in await other.lines():
            assert (line.owner, line.run_open) == (None, False)
            await other.claim(line.job.id, "resume in another process")
    finally:
        await other.close()


@pytest.mark.parametrize("way", ["stop", "cancel", "timeout"])
async def test_what_stops_in_a_living_process_is_free_at_once(
    house: House, tmp_path: Path, way: str
) -> None:
    (path,) = make_files(tmp_path, 1)
    held = hold(house, "part")
    book = tmp_path / "state" / "journal.db"
    uploader = house.uploader(book)
    try:
        run = uploader.start(path, purpose="user_data")
        await held.are(1)
        if way == "stop":
            run.stop()
        elif way == "cancel":
            run.task.cancel()
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(run, 0.01)
        await run.wait()
        await nobody_has(book)
    finally:
        await uploader.aclose()
        held.go.set()


async def test_who_is_cancelled_while_its_claim_is_committed_gives_it_back(
    journal: Journal, other: Journal
) -> None:
    job, _ = await journal.adopt(plain_job())
    claiming = asyncio.create_task(journal.claim(job.id, "upload"))
    await asyncio.sleep(0)
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    (note,) = await other.runs(job.id)
    assert (note.code, note.exit_code) == ("interrupted", 130)
    for claimant in (other, journal):
        await claimant.release(job.id, await claimant.claim(job.id, "resume"), None)


async def test_who_is_cancelled_while_it_is_refused_gives_nothing_back(
    journal: Journal, other: Journal
) -> None:
    job, _ = await journal.adopt(plain_job())
    await other.claim(job.id, "upload")
    for claimant in (journal, other):
        claiming = asyncio.create_task(claimant.claim(job.id, "resume"))
        await asyncio.sleep(0)
        claiming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claiming
        line = await journal.line(job.id)
        assert journal.holder_lives(line)
        assert line.run_open


async def test_a_run_that_is_cancelled_at_any_moment_holds_nothing_afterwards(
    house: House, tmp_path: Path
) -> None:
    (path,) = make_files(tmp_path, 1, size=30 * PART)
    book = tmp_path / "state" / "journal.db"
    async with working(house, book) as engine, working(house, book) as other:
        await asked_for(engine, [path], Content("user_data"))
        job = await job_of(engine, path)
        for turns in range(40):
            task = asyncio.create_task(engine.carry_out(job, silent))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            line = (await lines_of(other))["000.bin"]
            assert (line.owner, line.run_open) == (None, False), turns


@pytest.mark.parametrize("turns", [1, 3])
async def test_a_set_that_is_cancelled_twice_holds_nothing_afterwards(
    house: House, tmp_path: Path, turns: int
) -> None:
    """As by Ctrl-C in a cell, and once more since it took a moment."""
    paths = make_files(tmp_path, 12)
    held = hold(house, "part")
    book = tmp_path / "state" / "journal.db"
    async with working(house, book) as engine:
        task = asyncio.create_task(upload_all(engine, paths))
        await held.are(3)
        task.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        held.go.set()
        await nobody_has(book)
