"""What a job is believed to be: never more than what is committed."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from strategies import Life, lives, plain_job

from chunkup import events
from chunkup.errors import JournalTrouble
from chunkup.journal import Journal
from chunkup.ledger import Ledger
from chunkup.machine import (
    Accepted,
    AnswerLost,
    Cancelled,
    CompleteAsked,
    Completed,
    Created,
    Fact,
    IllegalFact,
    Phase,
    State,
)
from chunkup.models import Receipt, RemoteFile, Span, Upload

CREATED = Created(Upload("upload_1", 100, 3700))
RECEIPT = Receipt(Span(0, 600), "part_1", "0" * 32)
REST = Receipt(Span(600, 1000), "part_2", "1" * 32)
ASKED = CompleteAsked("upload_1", ("part_1", "part_2"), None, 200.0)
FILE = RemoteFile("file-1", 1000, 100, "train.jsonl", "batch")
COMPLETED = Completed(FILE)


@pytest.fixture
async def opened(journal: Path) -> AsyncIterator[Journal]:
    book = await Journal.open(journal)
    yield book
    await book.close()


async def ledger_of(book: Journal, emitted: list[events.Event] | None = None) -> Ledger:
    job, _ = await book.adopt(plain_job(), fresh=True)
    return Ledger(job, book, (emitted if emitted is not None else []).append)


async def reread(book: Journal, ledger: Ledger) -> State:
    other = Ledger(ledger.job, book, lambda event: None)
    await other.load()
    return other.state


async def test_a_job_without_facts_is_new(opened: Journal) -> None:
    ledger = await ledger_of(opened)
    await ledger.load()
    assert ledger.state == State(ledger.job.span)


@settings(deadline=None, max_examples=30)
@given(lives(steps=12))
def test_what_is_believed_is_what_another_process_would_read(
    tmp_path_factory: pytest.TempPathFactory, life: Life
) -> None:
    async def live() -> None:
        book = await Journal.open(tmp_path_factory.mktemp("life") / "journal.db")
        try:
            job, _ = await book.adopt(replace(plain_job(size=life.span.stop), span=life.span))
            ledger = Ledger(job, book, lambda event: None)
            await ledger.load()
            for fact in life.facts:
                await ledger.record(fact)
                assert await reread(book, ledger) == ledger.state
            assert ledger.state == life.state
        finally:
            await book.close()

    asyncio.run(live())


@pytest.mark.parametrize(
    ("before", "fact"),
    [
        ([], Accepted("upload_1", RECEIPT)),
        ([], COMPLETED),
        ([CREATED], CREATED),
        ([CREATED], Accepted("upload_2", RECEIPT)),
        ([CREATED], Accepted("upload_1", Receipt(Span(900, 1001), "p", "0"))),
        ([CREATED, Accepted("upload_1", RECEIPT)], Accepted("upload_1", RECEIPT)),
        ([CREATED, Accepted("upload_1", RECEIPT)], ASKED),
        ([CREATED], AnswerLost("upload_2")),
        ([Cancelled()], CREATED),
        (
            [CREATED, Accepted("upload_1", RECEIPT), Accepted("upload_1", REST), ASKED],
            Completed(replace(FILE, bytes=999)),
        ),
    ],
)
async def test_a_fact_that_cannot_be_is_neither_written_nor_believed(
    opened: Journal, before: list[Fact], fact: Fact
) -> None:
    ledger = await ledger_of(opened)
    for one in before:
        await ledger.record(one)
    state, written = ledger.state, await opened.facts(ledger.job.id)
    with pytest.raises(IllegalFact):
        await ledger.record(fact)
    assert ledger.state == state
    assert await opened.facts(ledger.job.id) == written
    assert await reread(opened, ledger) == state


async def test_a_fact_that_could_not_be_written_is_not_believed(journal: Path) -> None:
    book = await Journal.open(journal)
    ledger = await ledger_of(book)
    await ledger.record(CREATED)
    await book.close()
    before = ledger.state
    with pytest.raises(JournalTrouble):
        await ledger.record(AnswerLost("upload_1"))
    assert ledger.state == before
    book = await Journal.open(journal)
    assert await reread(book, ledger) == before
    await book.close()


async def test_a_commit_under_way_is_finished_even_if_the_recording_is_cancelled(
    opened: Journal,
) -> None:
    ledger = await ledger_of(opened)
    recording = asyncio.ensure_future(ledger.record(CREATED))
    await asyncio.sleep(0)
    recording.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recording
    assert (await reread(opened, ledger)).phase is Phase.SENDING


async def test_files_of_other_jobs_at_this_destination_are_claimed(opened: Journal) -> None:
    ledger = await ledger_of(opened)
    assert await ledger.claimed_files() == frozenset()
    for fact in (CREATED, Accepted("upload_1", RECEIPT), Accepted("upload_1", REST), ASKED):
        await ledger.record(fact)
    assert await ledger.claimed_files() == frozenset()
    await ledger.record(COMPLETED)
    assert await ledger.claimed_files() == {"file-1"}
    elsewhere = replace(plain_job().account, base_url="https://elsewhere.example/v1")
    job, _ = await opened.adopt(replace(plain_job(), account=elsewhere))
    assert await Ledger(job, opened, lambda event: None).claimed_files() == frozenset()


async def test_an_event_names_the_job_and_its_file(opened: Journal) -> None:
    emitted: list[events.Event] = []
    ledger = await ledger_of(opened, emitted)
    ledger.tell(events.Completing, md5=None)
    (event,) = emitted
    assert isinstance(event, events.Completing)
    assert (event.job, event.path) == (ledger.job.id, ledger.job.path)
    assert event.time > 0
