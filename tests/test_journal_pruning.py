"""What is forgotten, and what never is."""

import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from sets import adopted, cancel, command, complete, fail, standings, told
from test_journal_claims import hear, running

from chunkup.journal import Journal
from chunkup.machine import Accepted, CompleteAsked, Completed, Created
from chunkup.models import Job, Receipt, RemoteFile, Span, Upload

Ending = Callable[[Journal, Job], Awaitable[object]]
LATER = 3600.0


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = await Journal.open(tmp_path / "journal.db")
    yield opened
    await opened.close()


def names(jobs: list[Job]) -> list[str]:
    return sorted(job.filename for job in jobs)


async def left(journal: Journal) -> list[str]:
    return sorted(line.job.filename for line in await journal.lines())


async def finished(journal: Journal, files: str, set_id: str = "first") -> list[Job]:
    """A set that became Files, all told."""
    jobs = await adopted(journal, files, set_id=set_id)
    for job in jobs:
        await complete(journal, job)
    await told(journal, *jobs)
    return jobs


def end_long_ago(journal: Journal, *jobs: Job, ago: float) -> None:
    with closing(sqlite3.connect(journal.path)) as outside, outside:
        for job in jobs:
            outside.execute(
                "UPDATE endings SET ended_at = ? WHERE job_id = ?", [time.time() - ago, job.id]
            )


# --- what is over ----------------------------------------------------------------------------


async def test_a_finished_set_is_forgotten_with_all_that_belongs_to_it(journal: Journal) -> None:
    jobs = await finished(journal, "ab")
    (third,) = await adopted(journal, "c", at=2.0, set_id="second")
    run = await journal.claim(third.id, "upload")
    for fact in (
        Created(Upload("upload_1", 0, None)),
        Accepted("upload_1", Receipt(Span(0, third.size), "part_1", "aa")),
        CompleteAsked("upload_1", ("part_1",), None, 1.0),
        Completed(RemoteFile("file-1", third.size, 0, "c", "batch")),
    ):
        await journal.record(third.id, fact)
    await journal.release(third.id, run, None)
    await told(journal, third)
    gone = await journal.prune(time.time() + LATER)
    assert gone == [*jobs, third]
    with closing(sqlite3.connect(journal.path)) as outside:
        for table in ("jobs", "uploads", "parts", "asks", "endings", "runs"):
            assert outside.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert await journal.prune(time.time() + LATER) == []


async def test_a_dry_run_names_the_same_and_writes_nothing(journal: Journal) -> None:
    await finished(journal, "ab")
    await adopted(journal, "c", set_id="second")
    before = journal.path.read_bytes()
    assert names(await journal.prune(time.time() + LATER, dry=True)) == ["a", "b"]
    assert journal.path.read_bytes() == before
    assert await left(journal) == ["a", "b", "c"]
    assert names(await journal.prune(time.time() + LATER)) == ["a", "b"]
    assert await left(journal) == ["c"]


async def test_only_what_ended_before_then_is_forgotten(journal: Journal) -> None:
    jobs = await finished(journal, "ab")
    later = await finished(journal, "c", set_id="second")
    end_long_ago(journal, jobs[0], ago=100.0)
    end_long_ago(journal, jobs[1], ago=50.0)
    end_long_ago(journal, *later, ago=10.0)
    now = time.time()
    assert await journal.prune(now - 101.0) == []
    # The first ended before then, but its set went on.
    assert await journal.prune(now - 75.0) == []
    assert names(await journal.prune(now - 25.0)) == ["a", "b"]
    assert names(await journal.prune(now)) == ["c"]


@pytest.mark.parametrize("ending", [fail, cancel])
async def test_what_failed_or_was_cancelled_is_over_too(journal: Journal, ending: Ending) -> None:
    one, two = await adopted(journal, "ab")
    await ending(journal, one)
    await complete(journal, two)
    await told(journal, two)
    assert names(await journal.prune(time.time() + LATER)) == ["a", "b"]


# --- what is not -----------------------------------------------------------------------------


async def open_still(journal: Journal, job: Job) -> None:
    """Nothing became of it yet."""


@pytest.mark.parametrize("ending", [open_still, complete], ids=["open", "not told"])
async def test_an_unfinished_set_is_kept_whole(journal: Journal, ending: Ending) -> None:
    """Without its finished members the same command would send these again."""
    one, two, three = await adopted(journal, "abc")
    for job in (one, three):
        await complete(journal, job)
        await told(journal, job)
    await ending(journal, two)
    await finished(journal, "d", set_id="second")
    assert names(await journal.prune(time.time() + LATER)) == ["d"]
    assert await left(journal) == ["a", "b", "c"]
    again = await journal.adopt_all(command("abc", at=9.0, set_id="third"))
    assert standings(again)[::2] == ["done", "done"]


@pytest.mark.parametrize("what", ["reserved", "running"])
async def test_what_is_held_is_kept_with_its_set(journal: Journal, what: str) -> None:
    jobs = await finished(journal, "ab")
    other = await Journal.open(journal.path)
    try:
        if what == "reserved":
            await other.reserve([jobs[0].id])
        else:
            await other.claim(jobs[0].id, "resume")
        assert await journal.prune(time.time() + LATER) == []
        assert await journal.prune(time.time() + LATER, dry=True) == []
        assert await left(journal) == ["a", "b"]
    finally:
        await other.close()
    assert names(await journal.prune(time.time() + LATER)) == ["a", "b"]


HOLD = """
async def main():
    journal = await Journal.open(path)
    await journal.claim(sys.argv[3], "upload")
    say("claimed")
    sys.stdin.read()
asyncio.run(main())
"""


async def test_what_a_dead_process_held_is_forgotten(journal: Journal) -> None:
    (job,) = await finished(journal, "a")
    with running(HOLD, journal.path, job.id) as holder:
        assert hear(holder) == "claimed"
        assert await journal.prune(time.time() + LATER) == []
        holder.kill()
        holder.wait()
    assert (await journal.line(job.id)).owner is not None
    assert names(await journal.prune(time.time() + LATER)) == ["a"]
