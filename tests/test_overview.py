"""Jobs as people see them: one word for where a job stands, one sentence for the reason."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sets import adopted, cancel, complete, fail
from test_journal_claims import hear, running

from chunkup.errors import ServerTrouble
from chunkup.journal import Journal
from chunkup.machine import (
    Accepted,
    CompleteAsked,
    CompleteRefused,
    Created,
    GenerationEnded,
)
from chunkup.models import Job, JobInfo, Receipt, Span, Upload
from chunkup.overview import overview, state_of


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = await Journal.open(tmp_path / "journal.db")
    yield opened
    await opened.close()


@pytest.fixture
async def job(journal: Journal) -> Job:
    return (await adopted(journal, "a"))[0]


async def seen(journal: Journal, job: Job) -> JobInfo:
    return overview(journal, await journal.line(job.id))


async def said(journal: Journal, job: Job) -> tuple[str, str | None]:
    info = await seen(journal, job)
    assert info.state == state_of(journal, await journal.line(job.id))
    return info.state, info.why


async def sending(journal: Journal, job: Job) -> None:
    await journal.record(job.id, Created(Upload("upload_1", 50, 3650)))
    for span in (Span(0, 400), Span(600, 800)):
        receipt = Receipt(span, f"part_{span.start}", "aa")
        await journal.record(job.id, Accepted("upload_1", receipt))


async def test_all_of_a_job_is_there(journal: Journal, job: Job) -> None:
    await sending(journal, job)
    assert await seen(journal, job) == JobInfo(
        id=job.id,
        state="stopped",
        path="/data/a",
        purpose="batch",
        filename="a",
        size=1000,
        done=600,
        parts=2,
        base_url="https://api.example.com/v1",
        set_id="first",
        created_at=1.0,
        active_at=1.0,
        expires_at=3650,
        file_id=None,
        why="not begun yet",
    )
    run = await journal.claim(job.id, "upload")
    await journal.release(job.id, run, None)
    assert (await seen(journal, job)).active_at > 1000.0


async def test_a_job_that_was_never_begun_is_stopped_and_says_so(
    journal: Journal, job: Job
) -> None:
    assert await said(journal, job) == ("stopped", "not begun yet")


async def test_a_job_waits_and_then_runs(journal: Journal, job: Job) -> None:
    await journal.reserve([job.id])
    assert await said(journal, job) == ("waiting", None)
    run = await journal.claim(job.id, "upload")
    assert await said(journal, job) == ("running", None)
    await journal.release(job.id, run, ServerTrouble("it failed"))
    assert await said(journal, job) == ("stopped", "it failed")
    # While it waits again, or runs, the last reason is none.
    await journal.reserve([job.id])
    assert await said(journal, job) == ("waiting", None)
    await journal.claim(job.id, "resume")
    assert await said(journal, job) == ("running", None)


HOLD = """
async def main():
    journal = await Journal.open(path)
    await journal.claim(sys.argv[3], "upload")
    say("claimed")
    sys.stdin.read()
asyncio.run(main())
"""


@pytest.mark.parametrize("asked", [False, True])
async def test_a_job_whose_process_died_was_killed(
    journal: Journal, job: Job, *, asked: bool
) -> None:
    if asked:
        await journal.record(job.id, Created(Upload("upload_1", 0, None)))
        await journal.record(job.id, CompleteAsked("upload_1", (), None, 1.0))
    with running(HOLD, journal.path, job.id) as holder:
        assert hear(holder) == "claimed"
        assert await said(journal, job) == ("running", None)
        holder.kill()
        holder.wait()
    state, why = await said(journal, job)
    assert state == ("in-doubt" if asked else "stopped")
    assert why is not None
    assert "killed" in why


async def test_a_job_is_in_doubt_as_long_as_its_ask_is(journal: Journal, job: Job) -> None:
    await journal.record(job.id, Created(Upload("upload_1", 0, None)))
    await journal.record(job.id, CompleteAsked("upload_1", (), None, 1.0))
    assert await said(journal, job) == ("in-doubt", None)
    await journal.reserve([job.id])
    assert (await said(journal, job))[0] == "waiting"
    await journal.unreserve([job.id])
    run = await journal.claim(job.id, "resume")
    await journal.release(job.id, run, ServerTrouble("no list"))
    assert await said(journal, job) == ("in-doubt", "no list")
    await journal.record(job.id, CompleteRefused("upload_1", "unauthorized"))
    assert (await said(journal, job))[0] == "stopped"


async def test_ended_jobs_are_called_by_their_end(journal: Journal) -> None:
    one, two, three = await adopted(journal, "abc")
    for job, end in ((one, complete), (two, fail), (three, cancel)):
        run = await journal.claim(job.id, "upload")
        await end(journal, job)
        # Between the last fact and the end of the run it is what it is.
        assert (await seen(journal, job)).state == {one: "completed", two: "failed"}.get(
            job, "cancelled"
        )
        await journal.release(job.id, run, None)
    assert await said(journal, one) == ("completed", None)
    assert await said(journal, two) == ("failed", "no")
    assert (await said(journal, three))[0] == "cancelled"
    info = await seen(journal, one)
    assert (info.file_id, info.done) == (f"file-{one.id}", one.size)


async def test_what_killed_processes_left_of_ended_jobs_is_no_reason(
    journal: Journal, job: Job
) -> None:
    with running(HOLD, journal.path, job.id) as holder:
        assert hear(holder) == "claimed"
        await fail(journal, job)
        holder.kill()
        holder.wait()
    assert await said(journal, job) == ("failed", "no")


async def test_receipts_of_a_lost_upload_are_none(journal: Journal, job: Job) -> None:
    await sending(journal, job)
    await journal.record(job.id, GenerationEnded("upload_1", "expired"))
    info = await seen(journal, job)
    assert (info.done, info.parts, info.expires_at) == (0, 0, None)
