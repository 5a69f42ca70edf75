"""A job that was taken from a process that lives: what that one still wants to write is refused."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sets import adopted
from test_journal_claims import hear, running

from chunkup.errors import Busy
from chunkup.journal import Journal
from chunkup.machine import (
    Accepted,
    AnswerLost,
    Cancelled,
    CompleteAsked,
    Completed,
    Created,
    Doubted,
    Fact,
    Failed,
    GenerationEnded,
)
from chunkup.models import Job, Receipt, RemoteFile, Span, Upload

CREATED = Created(Upload("upload_1", 0, None))
LATE: list[Fact] = [
    Accepted("upload_1", Receipt(Span(0, 10), "part_1", "aa")),
    AnswerLost("upload_1"),
    GenerationEnded("upload_1", "gone"),
    CompleteAsked("upload_1", (), None, 1.0),
    Doubted("upload_1"),
    Completed(RemoteFile("file-1", 1000, 0, "a", "batch")),
    Failed("rejected", "no"),
    Cancelled(),
]


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = await Journal.open(tmp_path / "journal.db")
    yield opened
    await opened.close()


@pytest.fixture
async def taker(journal: Journal) -> AsyncIterator[Journal]:
    opened = await Journal.open(journal.path)
    yield opened
    await opened.close()


@pytest.fixture
async def job(journal: Journal) -> Job:
    """A job that the first journal runs, and that has an Upload."""
    (job,) = await adopted(journal, "a")
    await journal.claim(job.id, "upload")
    await journal.record(job.id, CREATED)
    return job


def everything(journal: Journal) -> list[object]:
    """All rows that facts become."""
    with closing(sqlite3.connect(journal.path)) as outside:
        tables = ("uploads", "parts", "asks", "endings", "jobs")
        return [outside.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


@pytest.mark.parametrize("fact", LATE, ids=lambda fact: type(fact).__name__)
async def test_after_a_takeover_the_first_owner_records_nothing(
    journal: Journal, taker: Journal, job: Job, fact: Fact
) -> None:
    await journal.check(job.id)
    await taker.claim(job.id, "resume --takeover", takeover=True)
    with pytest.raises(Busy):
        await journal.check(job.id)
    before = everything(journal)
    with pytest.raises(Busy) as caught:
        await journal.record(job.id, fact)
    assert (caught.value.exit_code, caught.value.job_id) == (3, job.id)
    assert "held by" in caught.value.message
    assert everything(journal) == before
    await taker.record(job.id, fact)
    assert (await taker.facts(job.id))[1:] == [fact]


async def test_a_refused_record_takes_no_other_job_with_it(
    journal: Journal, taker: Journal
) -> None:
    one, two = await adopted(journal, "ab")
    for job in (one, two):
        await journal.claim(job.id, "upload")
    await taker.claim(one.id, "resume", takeover=True)
    with pytest.raises(Busy):
        await journal.record(one.id, CREATED)
    await journal.record(two.id, CREATED)
    assert await journal.facts(two.id) == [CREATED]


async def test_when_the_taker_is_through_the_first_owner_still_records_nothing(
    journal: Journal, taker: Journal, job: Job
) -> None:
    run = await taker.claim(job.id, "resume", takeover=True)
    await taker.release(job.id, run, None)
    assert (await journal.line(job.id)).owner is None
    with pytest.raises(Busy, match="taken over") as caught:
        await journal.record(job.id, Cancelled())
    assert caught.value.job_id == job.id
    assert await journal.facts(job.id) == [CREATED]


async def test_what_was_taken_over_is_not_moved(journal: Journal, taker: Journal, job: Job) -> None:
    await taker.claim(job.id, "resume", takeover=True)
    with pytest.raises(Busy):
        await journal.move(replace(job, path="/elsewhere"))
    assert await taker.job(job.id) == job


async def test_the_first_owner_cannot_give_away_what_it_lost(
    journal: Journal, taker: Journal, job: Job
) -> None:
    await taker.claim(job.id, "resume", takeover=True)
    await journal.release(job.id, 1, None)
    line = await taker.line(job.id)
    assert line.owner is not None
    assert taker.holder_lives(line)
    with pytest.raises(Busy):
        await journal.claim(job.id, "upload again")


async def test_after_giving_it_up_the_first_owner_can_have_it_again(
    journal: Journal, taker: Journal, job: Job
) -> None:
    await taker.release(job.id, await taker.claim(job.id, "resume", takeover=True), None)
    await journal.release(job.id, 1, Busy("taken over"))
    await journal.claim(job.id, "resume")
    await journal.record(job.id, AnswerLost("upload_1"))
    assert (await journal.facts(job.id))[-1] == AnswerLost("upload_1")


async def test_what_was_given_back_was_not_taken_over(journal: Journal, job: Job) -> None:
    await journal.release(job.id, 1, None)
    await journal.check(job.id)
    await journal.record(job.id, AnswerLost("upload_1"))
    assert (await journal.facts(job.id))[-1] == AnswerLost("upload_1")


async def test_without_takeover_a_living_owner_keeps_its_job(
    journal: Journal, taker: Journal, job: Job
) -> None:
    with pytest.raises(Busy):
        await taker.claim(job.id, "resume")
    await journal.record(job.id, AnswerLost("upload_1"))


async def test_nobody_takes_a_job_over_from_itself(journal: Journal, job: Job) -> None:
    with pytest.raises(Busy, match="this process"):
        await journal.claim(job.id, "resume", takeover=True)


async def test_a_job_that_nobody_holds_is_simply_claimed_by_a_takeover(
    journal: Journal, taker: Journal
) -> None:
    (job,) = await adopted(journal, "b")
    await taker.claim(job.id, "resume", takeover=True)
    await taker.record(job.id, CREATED)


RECORD = """
from chunkup.machine import AnswerLost, Created
from chunkup.models import Upload
async def main():
    journal = await Journal.open(path)
    job = sys.argv[3]
    await journal.claim(job, "upload")
    await journal.record(job, Created(Upload("upload_1", 0, None)))
    say("claimed")
    sys.stdin.readline()
    try:
        await journal.record(job, AnswerLost("upload_1"))
    except Busy as error:
        say(error.message)
    await journal.release(job, 1, None)
    await journal.close()
asyncio.run(main())
"""


async def test_a_living_process_that_lost_its_job_is_told_who_has_it(taker: Journal) -> None:
    (job,) = await adopted(taker, "a")
    with running(RECORD, taker.path, job.id) as first:
        assert hear(first) == "claimed"
        await taker.claim(job.id, "resume", takeover=True)
        # The lock of the first is left alone: its other jobs are still its own.
        assert len(list(taker.path.with_name("journal.db-owners").iterdir())) == 2
        assert first.stdin
        first.stdin.write("go\n")
        first.stdin.flush()
        assert f"job {job.id} is held by process" in hear(first)
        assert first.wait() == 0
    assert await taker.facts(job.id) == [CREATED]
    line = await taker.line(job.id)
    assert taker.holder_lives(line)
