"""Jobs that are claimed for runs to come, and jobs that somebody wants to be stopped."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sets import adopted

from chunkup.errors import Busy, Stopped
from chunkup.journal import Journal


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = await Journal.open(tmp_path / "journal.db")
    yield opened
    await opened.close()


@pytest.fixture
async def other(journal: Journal) -> AsyncIterator[Journal]:
    opened = await Journal.open(journal.path)
    yield opened
    await opened.close()


async def held(journal: Journal, *names: str) -> list[str]:
    """The files whose jobs a living process has."""
    lines = await journal.lines()
    return [line.job.filename for line in lines if journal.holder_lives(line)]


# --- reserving --------------------------------------------------------------------------------


async def test_what_is_reserved_is_held_without_a_run(journal: Journal, other: Journal) -> None:
    one, two, _ = await adopted(journal, "abc")
    await journal.reserve([one.id, two.id])
    assert await held(other) == ["a", "b"]
    assert await other.runs(one.id) == []
    assert not (await other.line(one.id)).run_open
    with pytest.raises(Busy, match="this process"):
        await other.claim(one.id, "upload")


async def test_a_reserved_job_is_begun_once(journal: Journal) -> None:
    (job,) = await adopted(journal, "a")
    await journal.reserve([job.id])
    run = await journal.claim(job.id, "upload a")
    assert [note.command for note in await journal.runs(job.id)] == ["upload a"]
    with pytest.raises(Busy):
        await journal.claim(job.id, "upload b")
    await journal.release(job.id, run, None)
    assert await held(journal) == []


async def test_what_another_has_is_passed_over_and_the_rest_reserved(
    journal: Journal, other: Journal
) -> None:
    one, two, three = await adopted(journal, "abc")
    await other.claim(two.id, "upload")
    await journal.reserve([one.id, two.id, three.id])
    assert await held(journal) == ["a", "b", "c"]
    with pytest.raises(Busy):
        await journal.claim(two.id, "upload")
    await journal.unreserve([one.id, two.id, three.id])
    assert await held(journal) == ["b"]


async def test_only_what_no_run_was_begun_for_is_given_back(
    journal: Journal, other: Journal
) -> None:
    one, two, three = await adopted(journal, "abc")
    await journal.reserve([one.id, two.id, three.id])
    await journal.claim(one.id, "upload")
    await journal.unreserve([one.id, two.id])
    assert await held(other) == ["a", "c"]
    await other.claim(two.id, "upload")
    # What was given back is no reservation any more.
    with pytest.raises(Busy):
        await journal.claim(two.id, "upload")
    await journal.unreserve([two.id])
    assert await held(other) == ["a", "b", "c"]


async def test_closing_gives_back_what_was_reserved(journal: Journal, other: Journal) -> None:
    (job,) = await adopted(journal, "a")
    await journal.reserve([job.id])
    await journal.close()
    assert await held(other) == []
    await other.claim(job.id, "upload")


async def test_a_reservation_that_was_taken_over_begins_no_run(
    journal: Journal, other: Journal
) -> None:
    (job,) = await adopted(journal, "a")
    await journal.reserve([job.id])
    await other.claim(job.id, "upload elsewhere", takeover=True)
    with pytest.raises(Busy):
        await journal.claim(job.id, "upload here")
    assert [run.command for run in await journal.runs(job.id)] == ["upload elsewhere"]


async def test_a_reservation_that_was_revoked_begins_no_run_once(
    journal: Journal, other: Journal
) -> None:
    one, two, three = await adopted(journal, "abc")
    await journal.reserve([one.id, two.id])
    assert await journal.revoke(one.id)
    assert not await journal.revoke(one.id)
    assert not await journal.revoke(three.id)
    assert await held(other) == ["b"]
    with pytest.raises(Stopped) as caught:
        await journal.claim(one.id, "upload")
    assert (caught.value.job_id, caught.value.exit_code) == (one.id, 75)
    assert caught.value.hint
    assert await journal.runs(one.id) == []
    await journal.claim(one.id, "upload")
    assert await held(other) == ["a", "b"]


@pytest.mark.parametrize("way", ["unreserved", "reserved again", "taken over"])
async def test_what_was_revoked_is_forgotten_with_what_it_was_about(
    journal: Journal, way: str
) -> None:
    (job,) = await adopted(journal, "a")
    await journal.reserve([job.id])
    await journal.revoke(job.id)
    if way == "unreserved":
        await journal.unreserve([job.id])
    elif way == "reserved again":
        await journal.reserve([job.id])
    await journal.claim(job.id, "upload", takeover=way == "taken over")
    assert len(await journal.runs(job.id)) == 1


async def test_a_job_that_runs_cannot_be_revoked(journal: Journal) -> None:
    (job,) = await adopted(journal, "a")
    await journal.reserve([job.id])
    await journal.claim(job.id, "upload")
    assert not await journal.revoke(job.id)
    assert await held(journal) == ["a"]


# --- asking for a stop ------------------------------------------------------------------------


async def test_the_owner_hears_who_is_asked_to_stop_and_nobody_else(
    journal: Journal, other: Journal
) -> None:
    one, two, three = await adopted(journal, "abc")
    await journal.claim(one.id, "upload")
    await journal.reserve([two.id])
    await other.claim(three.id, "upload")
    assert await journal.asked_to_stop() == []
    for job in (one, two, three):
        await other.ask_to_stop(job.id)
    assert sorted(await journal.asked_to_stop()) == sorted([one.id, two.id])
    assert await other.asked_to_stop() == [three.id]


async def test_a_job_that_nobody_has_cannot_be_asked(journal: Journal, other: Journal) -> None:
    (job,) = await adopted(journal, "a")
    await other.ask_to_stop(job.id)
    await journal.claim(job.id, "upload")
    assert await journal.asked_to_stop() == []


@pytest.mark.parametrize("way", ["released", "unreserved", "taken over", "died"])
async def test_a_request_ends_with_the_claim_that_it_was_about(
    journal: Journal, other: Journal, way: str
) -> None:
    (job,) = await adopted(journal, "a")
    await journal.reserve([job.id])
    await journal.ask_to_stop(job.id)
    assert await journal.asked_to_stop() == [job.id]
    if way == "released":
        await journal.release(job.id, await journal.claim(job.id, "upload"), None)
    elif way == "unreserved":
        await journal.unreserve([job.id])
    elif way == "died":
        await journal.close()
    await other.claim(job.id, "upload", takeover=way == "taken over")
    assert await other.asked_to_stop() == []
