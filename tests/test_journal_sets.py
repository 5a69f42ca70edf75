"""Jobs of one command: what of it is there already, and when it is finished."""

import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sets import MD5, adopted, cancel, command, complete, fail, standings, told, wish

from chunkup.journal import Adopted, Arrived, Journal, Standing
from chunkup.machine import CompleteAsked, Created, GenerationEnded
from chunkup.models import Job, Span, Upload

Ending = Callable[[Journal, Job], Awaitable[object]]


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = await Journal.open(tmp_path / "journal.db")
    yield opened
    await opened.close()


async def ids(journal: Journal, set_id: str) -> list[str]:
    return [job.id for job in await journal.set_of(set_id)]


async def open_still(journal: Journal, job: Job) -> None:
    """Nothing became of it yet."""


# --- a command for the first time -----------------------------------------------------------


async def test_the_jobs_of_a_command_are_one_set_in_its_order(journal: Journal) -> None:
    members = await journal.adopt_all(command("cab"))
    assert standings(members) == ["new", "new", "new"]
    assert [member.job.filename for member in members] == ["c", "a", "b"]
    assert {member.job.set_id for member in members} == {"first"}
    assert [member.file for member in members] == [None] * 3
    assert await journal.set_of("first") == [member.job for member in members]
    assert [line.job for line in await journal.lines()] == [member.job for member in members]


async def test_the_jobs_of_a_command_are_known_all_or_not_at_all(journal: Journal) -> None:
    jobs = command("abc")
    jobs[1] = replace(jobs[1], part_size=0)
    with pytest.raises(sqlite3.IntegrityError):
        await journal.adopt_all(jobs)
    assert await journal.lines() == []


async def test_a_file_that_is_named_twice_is_one_job(journal: Journal) -> None:
    first, other, second = await journal.adopt_all(command("aba"))
    assert first == second
    assert first.job.id != other.job.id
    assert len(await journal.lines()) == 2
    again = await journal.adopt_all(command("aba", at=9.0, set_id="second"))
    assert [member.job.id for member in again] == [first.job.id, other.job.id, first.job.id]


# --- the same command again -----------------------------------------------------------------


async def test_the_same_command_again_goes_on_with_its_open_jobs(journal: Journal) -> None:
    jobs = await adopted(journal, "abc")
    again = await journal.adopt_all(command("abc", at=9.0, set_id="second"))
    assert again == [Adopted(job, Standing.OPEN) for job in jobs]


async def test_what_an_unfinished_set_has_finished_counts_as_done(journal: Journal) -> None:
    one, two, three = await adopted(journal, "abc")
    files = {two.id: await complete(journal, two), three.id: await complete(journal, three)}
    await told(journal, two, three)
    again = await journal.adopt_all(command("abc", at=9.0, set_id="second"))
    assert again == [
        Adopted(one, Standing.OPEN),
        Adopted(two, Standing.DONE, files[two.id]),
        Adopted(three, Standing.DONE, files[three.id]),
    ]
    assert await journal.files("first") == files
    assert await journal.files("second") == {}


@pytest.mark.parametrize("ending", [open_still, fail, complete])
async def test_a_set_is_unfinished_while_one_of_it_is(journal: Journal, ending: Ending) -> None:
    """Open, failed, or a File that nobody was told of."""
    one, two = await adopted(journal, "ab")
    await complete(journal, one)
    await told(journal, one)
    await ending(journal, two)
    first, _ = await journal.adopt_all(command("ab", at=9.0, set_id="second"))
    assert (first.job.id, first.standing) == (one.id, Standing.DONE)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_finished_set_is_sent_again_as_another(
    journal: Journal, *, cancelled: bool
) -> None:
    one, two = await adopted(journal, "ab")
    await complete(journal, one)
    if cancelled:
        await cancel(journal, two)  # and of that there is nothing to tell
        await told(journal, one)
    else:
        await complete(journal, two)
        await told(journal, one, two)
    again = await journal.adopt_all(command("ab", at=9.0, set_id="second"))
    assert standings(again) == ["new", "new"]
    assert {member.job.set_id for member in again} == {"second"}
    assert {member.job.id for member in again}.isdisjoint({one.id, two.id})


async def test_the_last_that_was_not_ended_by_a_person_counts(journal: Journal) -> None:
    one, _ = await adopted(journal, "ab")
    file = await complete(journal, one)
    (fresh,) = await journal.adopt_all([wish("a", at=5.0, set_id="fresh")], fresh=True)
    await cancel(journal, fresh.job)
    first, _ = await journal.adopt_all(command("ab", at=9.0, set_id="second"))
    assert first == Adopted(one, Standing.DONE, file)


async def test_an_open_job_counts_before_a_later_one_that_ended(journal: Journal) -> None:
    (old,) = await adopted(journal, "a")
    (later,) = await journal.adopt_all([wish("a", at=5.0, set_id="second")], fresh=True)
    await complete(journal, later.job)
    (again,) = await journal.adopt_all([wish("a", at=9.0, set_id="third")])
    assert again == Adopted(old, Standing.OPEN)


async def test_what_came_last_is_told_by_the_journal_and_not_by_the_clock(
    journal: Journal,
) -> None:
    """A machine whose clock was put back between two commands."""
    jobs = await adopted(journal, "ab", at=1000.0)
    for job in jobs:
        await complete(journal, job)
    await told(journal, *jobs)
    one, _ = await adopted(journal, "ab", at=10.0, set_id="second")
    file = await complete(journal, one)
    first, _ = await journal.adopt_all(command("ab", at=20.0, set_id="third"))
    assert first == Adopted(one, Standing.DONE, file)


async def test_a_fresh_start_looks_for_nothing(journal: Journal) -> None:
    one, two = await adopted(journal, "ab")
    await complete(journal, two)
    fresh = await journal.adopt_all(command("ab", at=9.0, set_id="second"), fresh=True)
    assert standings(fresh) == ["new", "new"]
    assert {member.job.set_id for member in fresh} == {"second"}
    assert {member.job.id for member in fresh}.isdisjoint({one.id, two.id})


# --- members that are replaced ---------------------------------------------------------------


async def test_a_failed_member_is_made_anew_in_its_place(journal: Journal) -> None:
    jobs = await adopted(journal, "abc")
    await complete(journal, jobs[0])
    await fail(journal, jobs[1])
    await complete(journal, jobs[2])
    await told(journal, jobs[0], jobs[2])
    again = await journal.adopt_all(command("abc", at=9.0, set_id="second"))
    assert standings(again) == ["done", "new", "done"]
    assert again[1].job.id != jobs[1].id
    assert await ids(journal, "first") == [member.job.id for member in again]
    # When the new one is done, the set is finished: the failed one is none of it any more.
    await complete(journal, again[1].job)
    await told(journal, again[1].job)
    old = await journal.job(jobs[1].id)
    assert await journal.set_of(old.set_id) == [old] == [replace(jobs[1], set_id=old.set_id)]
    assert standings(await journal.adopt_all(command("abc", at=19.0, set_id="third"))) == [
        *("new", "new", "new")
    ]


async def test_a_command_whose_only_job_failed_is_made_anew_in_its_set(journal: Journal) -> None:
    (job,) = await adopted(journal, "a")
    await fail(journal, job)
    (again,) = await journal.adopt_all([wish("a", at=9.0, set_id="second")])
    assert again.standing is Standing.NEW
    assert again.job.set_id == "first"


async def test_a_failure_that_is_made_good_twice_keeps_no_set_unfinished(
    journal: Journal,
) -> None:
    """It is a set of its own by then, and the last attempt takes its place in that."""
    (job,) = await adopted(journal, "a")
    await fail(journal, job)
    (second,) = await adopted(journal, "a", at=2.0, set_id="second")
    await cancel(journal, second)
    (third,) = await adopted(journal, "a", at=3.0, set_id="third")
    assert await journal.set_of(third.set_id) == [third]
    await complete(journal, third)
    await told(journal, third)
    (again,) = await journal.adopt_all([wish("a", at=9.0, set_id="fourth")])
    assert again.standing is Standing.NEW


async def test_succeeding_takes_the_place_in_the_set(journal: Journal) -> None:
    jobs = await adopted(journal, "abc")
    await fail(journal, jobs[1])
    heir = await journal.succeed(jobs[1], wish("b", at=50.0, set_id="other", mtime=7))
    assert heir.id not in {job.id for job in jobs}
    assert (heir.set_id, heir.created_at) == ("first", jobs[1].created_at)
    assert heir.fingerprint.mtime_ns == 7
    assert await ids(journal, "first") == [jobs[0].id, heir.id, jobs[2].id]
    assert await ids(journal, "other") == []


async def test_a_failure_that_was_made_good_in_another_set_keeps_no_set_unfinished(
    journal: Journal,
) -> None:
    await adopted(journal, "a", set_id="first")
    failed, four = await adopted(journal, "bd", at=2.0, set_id="second")
    await fail(journal, failed)
    await complete(journal, four)
    await told(journal, four)
    # With the first set's job among its files, the command is of the first set.
    one, two = await journal.adopt_all(command("ab", at=3.0, set_id="third"))
    assert (one.job.set_id, two.job.set_id) == ("first", "first")
    for member in (one, two):
        await complete(journal, member.job)
        await told(journal, member.job)
    again = await journal.adopt_all(command("bd", at=9.0, set_id="fourth"))
    assert standings(again) == ["new", "new"]


# --- commands that share files ----------------------------------------------------------------


async def test_a_command_that_shares_a_file_joins_that_ones_set(journal: Journal) -> None:
    one, two = await adopted(journal, "ab")
    file = await complete(journal, two)
    members = await journal.adopt_all(command("cb", at=5.0, set_id="second"))
    assert members[1] == Adopted(two, Standing.DONE, file)
    assert (members[0].standing, members[0].job.set_id) == (Standing.NEW, "first")
    assert set(await ids(journal, "first")) == {one.id, two.id, members[0].job.id}


@pytest.mark.parametrize(
    "change",
    [
        {"purpose": "user_data"},
        {"filename": "other"},
        {"mime_type": "text/plain"},
        {"expires_after": 7200},
        {"span": Span(0, 500)},
    ],
)
async def test_what_is_wanted_otherwise_is_another_job(
    journal: Journal, change: dict[str, object]
) -> None:
    (job,) = await adopted(journal, "a")
    (other,) = await journal.adopt_all([replace(wish("a", set_id="b"), **change)])  # type: ignore[arg-type]  # the fields are of many types
    assert other.standing is Standing.NEW
    assert other.job.set_id == "b"
    assert other.job.id != job.id


# --- files that changed since ------------------------------------------------------------------


async def test_a_finished_member_of_another_size_or_time_is_sent_again(journal: Journal) -> None:
    one, two, three, four = await adopted(journal, "abcd")
    for job in (one, two, three):
        await complete(journal, job)
    await told(journal, one, two, three)
    wanted = command("abcd", at=9.0, set_id="second")
    longer = replace(wanted[0].fingerprint, size=1001)
    wanted[0] = replace(wanted[0], fingerprint=longer, span=Span(0, 1001))
    wanted[1] = wish("b", set_id="second", mtime=7)
    wanted[2] = wish("c", set_id="second")
    wanted[2] = replace(wanted[2], fingerprint=replace(wanted[2].fingerprint, inode=99, device=98))
    again = await journal.adopt_all(wanted)
    assert standings(again) == ["new", "new", "done", "open"]
    assert await ids(journal, "first") == [*(again[0].job.id, again[1].job.id, three.id, four.id)]
    # What it was before is a File of its own.
    assert await ids(journal, (await journal.job(one.id)).set_id) == [one.id]


async def test_a_member_whose_content_was_proven_is_done(journal: Journal) -> None:
    one, two, _ = await adopted(journal, "abc")
    file = await complete(journal, one)
    await complete(journal, two)
    touched = command("abc", at=9.0, set_id="second", mtime=7)
    again = await journal.adopt_all(touched, proven=[one.id])
    assert standings(again) == ["done", "new", "open"]
    assert again[0] == Adopted(one, Standing.DONE, file)


async def test_only_time_speaks_against_a_suspect(journal: Journal) -> None:
    jobs = await adopted(journal, "abcdefg")
    for job in jobs[:3]:
        await complete(journal, job)
    await complete(journal, jobs[3], md5=None)
    await fail(journal, jobs[4])
    await cancel(journal, jobs[5])
    wanted = command("abcdefg", mtime=7)
    wanted[1] = wish("b")
    wanted[2] = replace(
        wanted[2], fingerprint=replace(wanted[2].fingerprint, size=9), span=Span(0, 9)
    )
    assert await journal.suspects([*wanted, wanted[0]]) == [
        Arrived(jobs[0], MD5),
    ]


async def test_in_a_finished_set_nobody_is_suspected(journal: Journal) -> None:
    (job,) = await adopted(journal, "a")
    await complete(journal, job)
    assert await journal.suspects([wish("a", mtime=7)])
    await told(journal, job)
    assert await journal.suspects([wish("a", mtime=7)]) == []


async def test_the_md5_of_a_suspect_is_that_of_the_last_ask(journal: Journal) -> None:
    (job,) = await adopted(journal, "a")
    for number, (upload, asks) in enumerate([("u1", 2), ("u2", 1)]):
        await journal.record(job.id, Created(Upload(upload, 0, None)))
        for ask in range(asks):
            md5 = f"{number}{ask}"
            await journal.record(job.id, CompleteAsked(upload, (), md5, 1.0))
        await journal.record(job.id, GenerationEnded(upload, "gone"))
    await complete(journal, job, md5="last")
    assert [suspect.md5 for suspect in await journal.suspects([wish("a", mtime=7)])] == ["last"]


async def test_a_file_that_expired_on_the_server_is_sent_again(journal: Journal) -> None:
    one, two, _ = await adopted(journal, "abc")
    await complete(journal, one, expires_at=int(time.time()) - 1)
    await complete(journal, two, expires_at=int(time.time()) + 3600)
    again = await journal.adopt_all(command("abc", at=9.0, set_id="second"))
    assert standings(again) == ["new", "done", "open"]


# --- open jobs of the same meaning, and files that moved ---------------------------------------


async def test_open_jobs_of_the_same_meaning_are_found_each_once(journal: Journal) -> None:
    one, two, three = await adopted(journal, "abc")
    await fail(journal, two)
    (second,) = await journal.adopt_all([wish("a", at=5.0, set_id="b")], fresh=True)
    wanted = command("aab", at=9.0)
    assert [job.id for job in await journal.open_like(wanted)] == [one.id, second.job.id]
    assert three.id not in {job.id for job in await journal.open_like(wanted)}


async def test_a_moved_file_is_looked_for_where_it_is_now(journal: Journal) -> None:
    job, other = await adopted(journal, "ab")
    seen = replace(job.fingerprint, mtime_ns=2**62, inode=2**64 - 1, device=2**64 - 2)
    moved = replace(job, path="/data/caf\udce9", fingerprint=seen)
    await journal.move(moved)
    assert await journal.job(job.id) == moved
    assert await journal.job(other.id) == other
    (found,) = await journal.adopt_all([replace(wish("a"), path=moved.path)])
    assert found == Adopted(moved, Standing.OPEN)
    (fresh,) = await journal.adopt_all([wish("a", set_id="second")])
    assert fresh.standing is Standing.NEW
