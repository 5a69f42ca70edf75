"""What the journal knows of finished jobs, as a manifest says it."""

import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sets import MD5, adopted, cancel, complete, fail, told, wish

from chunkup.journal import Adopted, Journal
from chunkup.journal.sets import Habits
from chunkup.machine import (
    SINGLE,
    CompleteAsked,
    Completed,
    CompleteRefused,
    Created,
    GenerationEnded,
)
from chunkup.manifest import Attempts, Entry
from chunkup.models import Account, Fingerprint, Job, RemoteFile, Span, Upload


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = await Journal.open(tmp_path / "journal.db")
    yield opened
    await opened.close()


async def entry_of(book: Journal, job: Job) -> Entry:
    found = await book.arrived_as([job.id])
    assert list(found) == [job.id]
    return found[job.id]


async def new(book: Journal, job: Job) -> Job:
    (member,) = await book.adopt_all([job])
    assert isinstance(member, Adopted)
    return member.job


async def test_a_job_that_became_a_file_is_all_of_this(book: Journal) -> None:
    account = Account("https://files.example/v1", "org-1", "proj_1", ("x-team",), "5ec4e7")
    wanted = replace(wish("a", at=5.0), account=account, given="./a")
    job = await new(book, wanted)
    run = await book.claim(job.id, "chunkup upload a")
    file = await complete(book, job, expires_at=99)
    await book.release(job.id, run, None)
    one = await entry_of(book, job)
    started, (note,) = one.started_at, await book.runs(job.id)
    assert started == note.started_at
    assert one.completed_at >= started
    assert one == Entry(
        source="/data/a",
        given="./a",
        start=0,
        stop=1000,
        bytes=1000,
        md5=MD5,
        file=file.id,
        filename="a",
        purpose="batch",
        mime_type="application/jsonl",
        created_at=file.created_at,
        expires_at=99,
        account=Account("https://files.example/v1", "org-1", "proj_1"),
        job=job.id,
        started_at=started,
        completed_at=one.completed_at,
        attempts=Attempts(1, 1),
    )


async def test_only_files_are_arrived(book: Journal) -> None:
    done, failed, cancelled, still = await adopted(book, "abcd")
    await complete(book, done)
    await fail(book, failed)
    await cancel(book, cancelled)
    ids = [still.id, cancelled.id, failed.id, done.id, "none"]
    assert list(await book.arrived_as(ids)) == [done.id]


async def test_a_piece_says_which_lines_it_is(book: Journal) -> None:
    piece = replace(
        wish("big-00002-of-00003.jsonl"),
        path="/data/big.jsonl",
        span=Span(400, 700),
        fingerprint=Fingerprint(1000, 1, 2, 3),
        first_line=5,
        lines=3,
    )
    job = await new(book, piece)
    await complete(book, job)
    one = await entry_of(book, job)
    assert (one.start, one.stop, one.bytes, one.cut) == (400, 700, 300, True)
    assert (one.first_line, one.lines) == (5, 3)
    assert one.shown == "big-00002-of-00003.jsonl"


async def test_every_upload_and_run_counts_and_the_last_md5(book: Journal) -> None:
    (job,) = await adopted(book, "a")
    for _ in range(3):
        await book.release(job.id, await book.claim(job.id, "chunkup resume"), None)
    await book.record(job.id, Created(Upload("upload_0", 0, None)))
    await book.record(job.id, CompleteAsked("upload_0", (), "0" * 32, 1.0))
    await book.record(job.id, CompleteRefused("upload_0", "no"))
    await book.record(job.id, GenerationEnded("upload_0", "no"))
    await complete(book, job)
    one = await entry_of(book, job)
    assert one.attempts == Attempts(3, 2)
    assert one.md5 == MD5


async def test_a_single_request_counts_as_one(book: Journal) -> None:
    (job,) = await adopted(book, "a")
    await book.record(job.id, CompleteAsked(SINGLE, (), MD5, 1.0, 1))
    await book.record(job.id, Completed(RemoteFile("file-1", 1000, 1, "a", "batch")))
    one = await entry_of(book, job)
    assert (one.attempts.uploads, one.md5, one.reused) == (1, MD5, False)


async def test_without_an_md5_there_is_none(book: Journal) -> None:
    (job,) = await adopted(book, "a")
    await complete(book, job, md5=None)
    assert (await entry_of(book, job)).md5 is None


async def test_a_file_that_was_there_already_is_told_from_one_that_was_sent(book: Journal) -> None:
    (job,) = await adopted(book, "a")
    file = RemoteFile("file-older", 1000, 1, "other name", "batch")
    await book.record(job.id, Completed(file, reused=True, md5=MD5))
    one = await entry_of(book, job)
    assert (one.file, one.md5, one.reused) == ("file-older", MD5, True)
    assert one.attempts == Attempts(0, 0)
    assert one.started_at == job.created_at


async def test_a_path_that_is_no_text_comes_out_as_it_was(book: Journal) -> None:
    raw = b"/data/\xff"
    path = os.fsdecode(raw)
    job = await new(book, replace(wish("a"), path=path, given=path))
    await complete(book, job)
    one = await entry_of(book, job)
    assert os.fsencode(one.source) == raw
    assert one.given == one.source


async def test_many_are_asked_for_at_once(book: Journal) -> None:
    jobs = [member.job for member in await book.adopt_all([wish(str(n)) for n in range(100)])]
    for job in jobs[::10]:
        await complete(book, job)
    found = await book.arrived_as([job.id for job in jobs])
    assert list(found) == [job.id for job in jobs[::10]]


async def test_what_is_forgotten_of_a_set_is_where_its_manifest_is_too(book: Journal) -> None:
    old, young = [(await adopted(book, name, set_id=name))[0] for name in ("a", "b")]
    await book.keep_habits([old.set_id, young.set_id], Habits("/data/m.jsonl"))
    await complete(book, old)
    await told(book, old)
    assert [job.id for job in await book.prune(time.time() + 1)] == [old.id]
    assert (await book.habits(old.set_id)).manifest is None
    assert (await book.habits(young.set_id)).manifest == "/data/m.jsonl"
