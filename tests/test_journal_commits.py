"""When a fact counts: commits are shared, not abandoned, and stop when the disk failed."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlite_utils import Database
from strategies import plain_job

from chunkup.errors import JournalTrouble
from chunkup.journal import Journal
from chunkup.journal.facts import write_fact
from chunkup.machine import (
    Accepted,
    AnswerLost,
    CompleteRefused,
    Created,
    Fact,
    Failed,
    GenerationEnded,
)
from chunkup.models import Receipt, Span, Upload

CREATED = Created(Upload("upload_1", 0, 100))


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = await Journal.open(tmp_path / "journal.db")
    yield opened
    await opened.close()


@pytest.fixture
async def job(journal: Journal) -> str:
    added, _ = await journal.adopt(plain_job())
    await journal.record(added.id, CREATED)
    return added.id


def accepted(number: int, part_id: str | None = None) -> Accepted:
    return Accepted(
        "upload_1", Receipt(Span(number, number + 1), part_id or f"part_{number:03}", "aa")
    )


@asynccontextmanager
async def busy(journal: Journal) -> AsyncIterator[None]:
    """The journal's thread is held up; what is begun meanwhile waits together."""
    begun, gate = threading.Event(), threading.Event()

    def wait(_: Database) -> None:
        begun.set()
        assert gate.wait(30)

    held = asyncio.create_task(journal._do(wait))
    assert await asyncio.to_thread(begun.wait, 30)
    try:
        yield
        # One turn of the loop, in which all tasks begun above reach the queue.
        await asyncio.sleep(0)
    finally:
        gate.set()
        await held


def begin(journal: Journal, job: str, fact: Fact) -> "asyncio.Task[None]":
    return asyncio.create_task(journal.record(job, fact))


async def test_a_cancelled_record_is_committed_before_the_task_is_cancelled(
    journal: Journal, job: str
) -> None:
    async with busy(journal):
        recording = begin(journal, job, accepted(0))
        for _ in range(3):
            await asyncio.sleep(0)
            recording.cancel()
        await asyncio.sleep(0)
        assert not recording.done()
    with pytest.raises(asyncio.CancelledError):
        await recording
    reopened = await Journal.open(journal.path)
    assert await reopened.facts(job) == [CREATED, accepted(0)]
    await reopened.close()


async def test_facts_that_wait_together_share_one_commit(journal: Journal, job: str) -> None:
    statements: list[str] = []
    await journal._do(lambda db: db.conn.set_trace_callback(statements.append))
    async with busy(journal):
        recording = [begin(journal, job, accepted(number)) for number in range(50)]
    await asyncio.gather(*recording)
    assert statements.count("COMMIT") == 1
    assert statements.count("BEGIN IMMEDIATE") == 1
    assert len(await journal.facts(job)) == 51


async def test_every_transaction_takes_the_lock_before_it_reads(journal: Journal, job: str) -> None:
    statements: list[str] = []
    await journal._do(lambda db: db.conn.set_trace_callback(statements.append))
    await journal.adopt(plain_job("/data/other"))
    await journal.claim(job, "upload")
    await journal.record(job, accepted(0))
    begins = [statement for statement in statements if statement.startswith("BEGIN")]
    assert begins == ["BEGIN IMMEDIATE"] * 3


async def test_nobody_hears_of_success_before_the_commit(journal: Journal, job: str) -> None:
    outside = sqlite3.connect(journal.path, check_same_thread=False)
    seen: list[int] = []

    def look(_: object) -> None:
        seen.append(outside.execute("SELECT count(*) FROM parts").fetchone()[0])

    for number in range(5):
        recording = begin(journal, job, accepted(number))
        recording.add_done_callback(look)
        await recording
        await asyncio.sleep(0)
    outside.close()
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(accepted(0, "part_again"), id="a second receipt"),
        pytest.param(Accepted("upload_9", accepted(7).receipt), id="an unknown upload"),
        pytest.param(accepted(7, "part_\ud800"), id="a text that is no Unicode"),
        pytest.param(Created(Upload("upload_2", 0, 10**30)), id="a time beyond all numbers"),
    ],
)
async def test_a_refused_fact_takes_no_other_with_it(
    journal: Journal, job: str, refused: Fact
) -> None:
    async with busy(journal):
        recording = [begin(journal, job, fact) for fact in (accepted(0), refused, accepted(1))]
    outcomes = await asyncio.gather(*recording, return_exceptions=True)
    assert outcomes[0] is outcomes[2] is None
    assert isinstance(outcomes[1], Exception)
    assert await journal.facts(job) == [CREATED, accepted(0), accepted(1)]
    await journal.record(job, accepted(2))


async def test_what_is_refused_half_way_leaves_nothing_of_its_first_half(
    journal: Journal, job: str
) -> None:
    def half(db: Database) -> None:
        write_fact(db, job, accepted(1))
        raise ValueError("half-way")

    async with busy(journal):
        halved = asyncio.create_task(journal._do(half, writes=True))
        recording = begin(journal, job, accepted(0))
    with pytest.raises(ValueError, match="half-way"):
        await halved
    await recording
    assert await journal.facts(job) == [CREATED, accepted(0)]


@pytest.mark.parametrize(
    "fact",
    [
        accepted(0),
        CompleteRefused("upload_1", "503"),
        GenerationEnded("upload_1", "gone"),
        AnswerLost("upload_1"),
        Failed("code", "message"),
    ],
)
async def test_facts_about_a_job_that_is_not_there_are_refused(
    journal: Journal, fact: Fact
) -> None:
    with pytest.raises((sqlite3.IntegrityError, ValueError)):
        await journal.record("nobody", fact)


async def test_facts_about_an_upload_that_is_not_open_are_refused(
    journal: Journal, job: str
) -> None:
    for fact in (
        AnswerLost("upload_9"),
        GenerationEnded("upload_9", "gone"),
        CompleteRefused("upload_1", "was never asked"),
    ):
        with pytest.raises((sqlite3.IntegrityError, ValueError)):
            await journal.record(job, fact)


# --- the disk -------------------------------------------------------------------------------


def fill(db: Database) -> None:
    """Have SQLite itself find the disk full, as far as it can tell."""
    db.execute("PRAGMA max_page_count = 1").fetchall()
    try:
        db.execute("INSERT INTO meta VALUES ('ballast', zeroblob(1000000))")
    finally:
        db.execute("PRAGMA max_page_count = 1000000").fetchall()


async def test_after_a_full_disk_nothing_more_is_written_but_reading_goes_on(
    journal: Journal, job: str
) -> None:
    await journal.record(job, accepted(0))
    with pytest.raises(JournalTrouble, match="no space") as caught:
        await journal._do(fill, writes=True)
    assert caught.value.exit_code == 75
    assert caught.value.hint
    for _ in range(2):
        with pytest.raises(JournalTrouble):
            await journal.record(job, accepted(1))
    with pytest.raises(JournalTrouble):
        await journal.claim(job, "upload")
    assert await journal.facts(job) == [CREATED, accepted(0)]


async def test_what_waited_behind_a_full_disk_is_not_written_either(
    journal: Journal, job: str
) -> None:
    begun, gate = threading.Event(), threading.Event()

    def fill_later(db: Database) -> None:
        begun.set()
        assert gate.wait(30)
        fill(db)

    filling = asyncio.create_task(journal._do(fill_later, writes=True))
    assert await asyncio.to_thread(begun.wait, 30)
    recording = begin(journal, job, AnswerLost("upload_1"))
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(JournalTrouble):
        await filling
    with pytest.raises(JournalTrouble):
        await recording
    assert await journal.facts(job) == [CREATED]


async def test_what_shared_a_failed_commit_is_reported_as_failed(
    journal: Journal, job: str
) -> None:
    async with busy(journal):
        recording = begin(journal, job, accepted(0))
        filling = asyncio.create_task(journal._do(fill, writes=True))
    for waiting in (recording, filling):
        with pytest.raises(JournalTrouble):
            await waiting
    assert await journal.facts(job) == [CREATED]


async def test_a_fresh_process_goes_on_after_a_full_disk(journal: Journal, job: str) -> None:
    with pytest.raises(JournalTrouble):
        await journal._do(fill, writes=True)
    reopened = await Journal.open(journal.path)
    await reopened.record(job, accepted(0))
    assert await reopened.facts(job) == [CREATED, accepted(0)]
    await reopened.close()


async def test_what_was_begun_before_closing_is_finished(journal: Journal, job: str) -> None:
    async with busy(journal):
        recording = [begin(journal, job, accepted(number)) for number in range(5)]
        closing = asyncio.create_task(journal.close())
    await asyncio.gather(*recording, closing)
    reopened = await Journal.open(journal.path)
    assert len(await reopened.facts(job)) == 6
    await reopened.close()
