"""What the journal knows of Files whose content might be wanted once more."""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sets import MD5, adopted, cancel, command, complete, fail, told
from strategies import plain_job

from chunkup.journal import Journal, Kept, Standing
from chunkup.machine import Accepted, CompleteAsked, Completed, Created, GenerationEnded
from chunkup.models import Account, Job, Receipt, RemoteFile, Span, Upload

OURS = Account("https://api.example.com/v1", "org", "proj", (), "salted")
SOUGHT = frozenset({("batch", 1000)})


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = await Journal.open(tmp_path / "journal.db")
    yield opened
    await opened.close()


async def made(journal: Journal, job: Job, md5: str | None = MD5) -> RemoteFile:
    """A job of its own that became a File."""
    added, _ = await journal.adopt(job, fresh=True)
    return await complete(journal, added, md5=md5)


def ours(**fields: Any) -> Job:
    return replace(plain_job(), **{"account": OURS, **fields})


async def kept(journal: Journal, account: Account = OURS) -> list[Kept]:
    found = await journal.kept(account, SOUGHT)
    assert set(found) <= SOUGHT
    return [one for like in found.values() for one in like]


async def test_what_was_made_is_known_newest_first_whatever_it_was_called(
    journal: Journal,
) -> None:
    first = await made(journal, ours())
    second = await made(
        journal, ours(path="/else/where", filename="other.bin", mime_type="a/b"), md5="other"
    )
    assert await kept(journal) == [Kept(second, "other"), Kept(first, MD5)]


@pytest.mark.parametrize(
    "other",
    [
        {"base_url": "https://api.example.com/v2"},
        {"organization": "other"},
        {"organization": None},
        {"project": "other"},
        {"project": None},
        {"key_hash": "other"},
    ],
    ids=str,
)
async def test_what_is_another_accounts_is_not_ours(
    journal: Journal, other: dict[str, Any]
) -> None:
    them = replace(OURS, **other)
    await made(journal, ours(account=them))
    assert await kept(journal) == []
    assert len(await kept(journal, them)) == 1
    theirs = await made(journal, ours())
    assert [one.file for one in await kept(journal)] == [theirs]


@pytest.mark.parametrize(("then", "now"), [(None, "salted"), ("salted", None)])
async def test_a_key_that_is_not_known_speaks_against_nothing(
    journal: Journal, then: str | None, now: str | None
) -> None:
    file = await made(journal, ours(account=replace(OURS, key_hash=then)))
    assert await kept(journal, replace(OURS, key_hash=now)) == [Kept(file, MD5)]


async def test_headers_are_no_part_of_whose_a_file_is(journal: Journal) -> None:
    file = await made(journal, ours(account=replace(OURS, headers=("x-trace",))))
    assert await kept(journal) == [Kept(file, MD5)]


async def test_only_what_has_a_purpose_and_size_that_are_sought_is_read(journal: Journal) -> None:
    await made(journal, ours(purpose="user_data"))
    await made(journal, ours(span=Span(0, 999)))
    piece = await made(journal, ours(span=Span(500, 1500)))
    assert await kept(journal) == [Kept(piece, MD5)]


async def test_only_finished_jobs_with_an_md5_made_anything(journal: Journal) -> None:
    await made(journal, ours(), md5=None)
    jobs = [(await journal.adopt(ours(), fresh=True))[0] for _ in range(4)]
    await fail(journal, jobs[0])
    await cancel(journal, jobs[1])
    await journal.record(jobs[2].id, Created(Upload("upload_1", 0, None)))
    await journal.record(jobs[2].id, CompleteAsked("upload_1", (), MD5, 1.0))
    assert await kept(journal) == []


async def test_the_md5_is_the_one_that_was_asked_last(journal: Journal) -> None:
    job, _ = await journal.adopt(ours(), fresh=True)
    for number, md5 in enumerate(["first", "second"], 1):
        upload = f"upload_{number}"
        await journal.record(job.id, Created(Upload(upload, 0, None)))
        await journal.record(job.id, Accepted(upload, Receipt(job.span, f"part_{number}", "aa")))
        await journal.record(job.id, CompleteAsked(upload, (f"part_{number}",), md5, 1.0))
        if number == 1:
            await journal.record(job.id, GenerationEnded(upload, "gone"))
    file = RemoteFile("file-1", 1000, 1, "a", "batch")
    await journal.record(job.id, Completed(file))
    assert await kept(journal) == [Kept(file, "second")]


async def test_what_was_reused_is_remembered_with_its_content(journal: Journal) -> None:
    job, _ = await journal.adopt(ours(), fresh=True)
    fact = Completed(RemoteFile("file-1", 1000, 1, "a", "batch"), reused=True, md5=MD5)
    await journal.record(job.id, fact)
    assert await journal.facts(job.id) == [fact]
    assert await kept(journal) == [Kept(fact.file, MD5)]
    line = await journal.line(job.id)
    assert (line.reused, line.file_id, line.done) == (True, "file-1", job.size)
    assert await journal.claimed_files(OURS.base_url) == {"file-1"}


async def test_what_was_reused_counts_as_done_in_its_set_even_when_its_time_moved(
    journal: Journal,
) -> None:
    one, other = await adopted(journal, "ab")
    file = RemoteFile("file-1", 1000, 1, "a", "batch")
    await journal.record(one.id, Completed(file, reused=True, md5=MD5))
    await told(journal, one)
    again = command("ab", mtime=7)
    (suspect,) = await journal.suspects(again)
    assert (suspect.job.id, suspect.md5) == (one.id, MD5)
    members = await journal.adopt_all(again, proven=[one.id])
    assert [member.standing for member in members] == [Standing.DONE, Standing.OPEN]
    assert members[0].file == file
    assert members[1].job == other


async def test_ten_thousand_sizes_in_as_many_finished_jobs_are_one_short_query(
    journal: Journal, tmp_path: Path
) -> None:
    count = 10_000
    file = '{"id": "file-NUMBER", "bytes": 1, "created_at": 0, "filename": "", "purpose": "batch"}'
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        columns = (
            "id, set_id, created_at, base_url, organization, project, headers, path, start, stop,"
            " size, mtime_ns, inode, device, purpose, filename, mime_type, part_size, md5, method"
        )
        db.executemany(
            f"INSERT INTO jobs ({columns}) VALUES (?, 's', 1, ?, 'org', 'proj', '[]', x'00', 0, ?,"
            " 1, 1, '1', '1', 'batch', 'f', 'm', 1, 1, 'auto')",
            [(f"j{number}", OURS.base_url, number + 1) for number in range(count)],
        )
        db.executemany(
            "INSERT INTO uploads (job_id, generation, id, created_at) VALUES (?, 1, 'u', 0)",
            [(f"j{number}",) for number in range(count)],
        )
        db.executemany(
            "INSERT INTO asks (job_id, generation, number, part_ids, md5, asked_at)"
            " VALUES (?, 1, 0, '[]', ?, 1)",
            [(f"j{number}", f"{number:032x}") for number in range(count)],
        )
        db.executemany(
            "INSERT INTO endings (job_id, kind, ended_at, file_id, file)"
            " VALUES (?, 'completed', 1, ?, ?)",
            [
                (f"j{number}", f"file-{number}", file.replace("NUMBER", str(number)))
                for number in range(count)
            ],
        )
        db.commit()
    sought = frozenset(("batch", number + 1) for number in range(count))
    began = time.monotonic()
    found = await journal.kept(OURS, sought)
    took = time.monotonic() - began
    assert {place[1]: like[0].md5 for place, like in found.items()} == {
        number + 1: f"{number:032x}" for number in range(count)
    }
    assert took < 30, f"{took:.1f} s"
    print(f"{took:.2f} s")
