"""The journal keeps what it was told: facts, jobs, runs, and the list of them."""

import asyncio
import dataclasses
import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Life, jobs, lives, plain_job

from chunkup.errors import Interrupted, NoSuchJob, ServerTrouble
from chunkup.journal import JobLine, Journal, default_path
from chunkup.machine import (
    Accepted,
    Cancelled,
    CompleteAsked,
    Completed,
    Created,
    Fact,
    Failed,
    GenerationEnded,
    Phase,
    State,
    fold,
)
from chunkup.models import Fingerprint, Job, Receipt, RemoteFile, Span, Upload

IO = settings(max_examples=40, deadline=None)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = await Journal.open(tmp_path / "journal.db")
    yield opened
    await opened.close()


async def record_all(journal: Journal, job: Job, life: Life) -> None:
    for fact in life.facts:
        await journal.record(job.id, fact)


def agrees(line: JobLine, state: State) -> None:
    assert line.phase is state.phase
    assert line.done == state.done
    assert line.parts == len(state.receipts)
    assert line.generation == state.generation
    assert line.expires_at == (state.upload.expires_at if state.upload else None)
    assert line.file_id == (state.file.id if state.file else None)
    assert line.reused is state.reused
    if state.failure:
        assert line.why == (state.failure.message or None)


# --- facts ----------------------------------------------------------------------------------


@IO
@given(st.lists(lives(), min_size=1, max_size=3))
def test_what_is_read_back_folds_to_the_state_that_was_lived_and_listed(some: list[Life]) -> None:
    async def scenario(path: Path) -> None:
        journal = await Journal.open(path)
        adopted: list[Job] = []
        for number, life in enumerate(some):
            job = dataclasses.replace(plain_job(f"/data/{number}"), span=life.span)
            adopted.append((await journal.adopt(job))[0])
        await asyncio.gather(
            *(record_all(journal, job, life) for job, life in zip(adopted, some, strict=True))
        )
        await check(journal, adopted)
        await journal.close()
        reopened = await Journal.open(path)
        await check(reopened, adopted)
        await reopened.close()

    async def check(journal: Journal, adopted: list[Job]) -> None:
        lines = {line.job.id: line for line in await journal.lines()}
        assert len(lines) == len(some)
        for job, life in zip(adopted, some, strict=True):
            assert fold(life.span, await journal.facts(job.id)) == life.state
            assert lines[job.id].job == job
            agrees(lines[job.id], life.state)
            assert await journal.line(job.id) == lines[job.id]

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder) / "journal.db"))


async def test_an_upload_id_that_a_server_gives_twice_keeps_each_generation_apart(
    journal: Journal,
) -> None:
    job, _ = await journal.adopt(plain_job())
    facts: list[Fact] = [
        Created(Upload("upload_1", 0, 100)),
        GenerationEnded("upload_1", "expired"),
        Created(Upload("upload_1", 50, 150)),
        GenerationEnded("upload_1", "gone"),
    ]
    for fact in facts:
        await journal.record(job.id, fact)
    assert await journal.facts(job.id) == facts


async def test_the_list_counts_only_what_the_open_upload_holds(journal: Journal) -> None:
    job, _ = await journal.adopt(plain_job())
    facts: list[Fact] = [
        Created(Upload("upload_1", 0, 100)),
        Accepted("upload_1", Receipt(Span(0, 600), "part_1", "aa")),
        Accepted("upload_1", Receipt(Span(600, 1000), "part_2", "aa")),
        GenerationEnded("upload_1", "expired"),
        Created(Upload("upload_2", 50, 150)),
        Accepted("upload_2", Receipt(Span(100, 300), "part_3", "aa")),
    ]
    for fact in facts:
        await journal.record(job.id, fact)
    line = await journal.line(job.id)
    assert (line.done, line.parts, line.generation, line.expires_at) == (200, 1, 2, 150)
    agrees(line, fold(job.span, facts))


async def test_a_job_without_facts_is_new(journal: Journal) -> None:
    job, _ = await journal.adopt(plain_job())
    assert await journal.facts(job.id) == []
    assert (await journal.line(job.id)).phase is Phase.NEW


# --- jobs -----------------------------------------------------------------------------------


@IO
@given(jobs())
def test_a_job_comes_back_as_it_was_given(job: Job) -> None:
    async def scenario(path: Path) -> None:
        journal = await Journal.open(path)
        added, existed = await journal.adopt(job)
        assert not existed
        assert dataclasses.replace(added, id="") == job
        assert await journal.job(added.id) == added
        assert await journal.adopt(dataclasses.replace(job, set_id="other")) == (added, True)
        await journal.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder) / "journal.db"))


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1])
async def test_an_inode_or_device_may_have_all_of_its_64_bits(
    journal: Journal, number: int
) -> None:
    seen = Fingerprint(1000, 1, number, number)
    job, _ = await journal.adopt(dataclasses.replace(plain_job(), fingerprint=seen))
    assert (await journal.job(job.id)).fingerprint == seen


async def test_a_path_may_be_any_that_the_file_system_has(journal: Journal) -> None:
    path = os.fsdecode(b"/data/caf\xe9.jsonl")
    job, _ = await journal.adopt(plain_job(path))
    assert await journal.adopt(plain_job(path)) == (job, True)
    assert (await journal.job(job.id)).path == path


UPLOAD = Upload("upload_1", 0, 100)
ENDINGS: list[list[Fact]] = [
    [Failed("source-gone", "it vanished")],
    [Cancelled()],
    [
        Created(UPLOAD),
        CompleteAsked("upload_1", (), None, 1.0),
        Completed(RemoteFile("file-1", 1000, 0, "a", "batch")),
    ],
]


@pytest.mark.parametrize("facts", ENDINGS)
async def test_only_open_jobs_are_adopted(journal: Journal, facts: list[Fact]) -> None:
    ended, _ = await journal.adopt(plain_job())
    for fact in facts:
        await journal.record(ended.id, fact)
    fresh, existed = await journal.adopt(plain_job())
    assert not existed
    assert fresh.id != ended.id


@pytest.mark.parametrize("facts", [[], [Created(UPLOAD)], ENDINGS[2][:2]])
async def test_a_job_that_has_not_ended_is_adopted(journal: Journal, facts: list[Fact]) -> None:
    job, _ = await journal.adopt(plain_job())
    for fact in facts:
        await journal.record(job.id, fact)
    assert await journal.adopt(plain_job()) == (job, True)


@IO
@given(st.lists(jobs(), max_size=6), st.data())
def test_a_job_is_adopted_by_its_identity_and_nothing_else(
    some: list[Job], data: st.DataObject
) -> None:
    async def scenario(path: Path) -> None:
        journal = await Journal.open(path)
        known: dict[tuple[object, ...], str] = {}
        # One path for all, so that only the rest of the identity tells them apart.
        for job in (dataclasses.replace(job, path="/data/a") for job in (*some, *some)):
            found, existed = await journal.adopt(job)
            assert existed is (job.identity in known)
            assert known.setdefault(job.identity, found.id) == found.id
        await journal.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder) / "journal.db"))


async def test_a_fresh_start_looks_for_no_earlier_job_and_is_the_one_found_next(
    journal: Journal,
) -> None:
    old, _ = await journal.adopt(plain_job(created_at=1.0))
    new, existed = await journal.adopt(plain_job(created_at=2.0), fresh=True)
    assert (existed, new.id == old.id) == (False, False)
    assert await journal.adopt(plain_job()) == (new, True)


async def test_adopting_at_the_same_time_gives_one_job(journal: Journal) -> None:
    found = await asyncio.gather(*(journal.adopt(plain_job()) for _ in range(20)))
    assert len({job.id for job, _ in found}) == 1
    assert sorted(existed for _, existed in found) == [False] + [True] * 19


async def test_any_prefix_that_fits_one_job_is_enough_and_others_are_explained(
    journal: Journal,
) -> None:
    ids = [(await journal.adopt(plain_job(f"/data/{number}")))[0].id for number in range(40)]
    prefixes = {job_id[:length] for job_id in ids for length in range(1, 7)}
    for prefix in prefixes:
        fitting = [job_id for job_id in ids if job_id.startswith(prefix)]
        if len(fitting) == 1:
            assert (await journal.job(f" {prefix.upper()} ")).id == fitting[0]
        else:
            with pytest.raises(NoSuchJob) as caught:
                await journal.job(prefix)
            assert all(job_id in caught.value.message for job_id in fitting[:5])


@pytest.mark.parametrize("prefix", ["", " ", "%", "_", "______", "nope00", "'; --", "\0", "x" * 99])
async def test_what_fits_no_job_is_no_job(journal: Journal, prefix: str) -> None:
    await journal.adopt(plain_job())
    with pytest.raises(NoSuchJob) as caught:
        await journal.job(prefix)
    assert caught.value.hint


async def test_ids_can_be_read_aloud(journal: Journal) -> None:
    ids = [(await journal.adopt(plain_job(str(number))))[0].id for number in range(30)]
    assert {len(job_id) for job_id in ids} == {6}
    assert set("".join(ids)).isdisjoint("01oil")


async def test_jobs_are_listed_oldest_first(journal: Journal) -> None:
    for age in (3, 1, 2):
        await journal.adopt(plain_job(f"/data/{age}", created_at=float(age)))
    assert [line.job.path for line in await journal.lines()] == ["/data/1", "/data/2", "/data/3"]


async def test_files_that_jobs_ended_in_are_known_by_destination(journal: Journal) -> None:
    job, _ = await journal.adopt(plain_job())
    for fact in ENDINGS[2]:
        await journal.record(job.id, fact)
    assert await journal.claimed_files(job.account.base_url) == {"file-1"}
    assert await journal.claimed_files("https://other.example.com/v1") == frozenset()


async def test_what_was_printed_is_remembered(journal: Journal) -> None:
    first, _ = await journal.adopt(plain_job("/data/1"))
    second, _ = await journal.adopt(plain_job("/data/2"))
    await journal.mark_printed([first.id])
    assert (await journal.line(first.id)).printed
    assert not (await journal.line(second.id)).printed


# --- runs -----------------------------------------------------------------------------------


async def test_a_run_is_noted_with_how_it_ended(journal: Journal) -> None:
    job, _ = await journal.adopt(plain_job())
    ends = [Interrupted("asked to stop", signal=15), ServerTrouble("it failed"), None]
    for number, error in enumerate(ends):
        run = await journal.claim(job.id, f"upload {number}")
        assert (await journal.runs(job.id))[-1].exit_code is None
        await journal.release(job.id, run, error)
    notes = await journal.runs(job.id)
    assert [note.command for note in notes] == ["upload 0", "upload 1", "upload 2"]
    assert [(note.exit_code, note.code, note.message) for note in notes] == [
        (143, "interrupted", "asked to stop"),
        (75, "server-trouble", "it failed"),
        (0, None, None),
    ]
    assert {note.pid for note in notes} == {os.getpid()}
    assert all(note.ended_at is not None and note.ended_at >= note.started_at for note in notes)


async def test_the_list_says_why_the_last_run_stopped(journal: Journal) -> None:
    job, _ = await journal.adopt(plain_job())
    run = await journal.claim(job.id, "upload")
    await journal.release(job.id, run, ServerTrouble("it failed"))
    assert (await journal.line(job.id)).why == "it failed"
    await journal.record(job.id, Failed("source-gone", "it vanished"))
    assert (await journal.line(job.id)).why == "it vanished"


async def test_the_list_tells_a_run_that_has_not_ended(journal: Journal) -> None:
    job, _ = await journal.adopt(plain_job())
    assert not (await journal.line(job.id)).run_open
    run = await journal.claim(job.id, "upload")
    assert (await journal.line(job.id)).run_open
    await journal.release(job.id, run, None)
    assert not (await journal.line(job.id)).run_open


async def test_facts_need_no_notes(journal: Journal) -> None:
    job, _ = await journal.adopt(plain_job())
    run = await journal.claim(job.id, "upload")
    await journal.record(job.id, Created(UPLOAD))
    await journal.release(job.id, run, None)
    with closing(sqlite3.connect(journal.path)) as outside, outside:
        outside.execute("DELETE FROM runs")
    assert await journal.facts(job.id) == [Created(UPLOAD)]


def test_the_usual_place_is_the_users_own() -> None:
    assert default_path().is_absolute()
    assert default_path().name == "journal.db"
    assert "chunkup" in default_path().parts
