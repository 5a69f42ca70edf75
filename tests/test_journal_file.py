"""The file's mode and shape, and what is left of an open journal once it is closed."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database
from strategies import plain_job

from chunkup.errors import JournalTrouble
from chunkup.journal import Journal
from chunkup.machine import Accepted, CompleteAsked, Completed, Created, Fact
from chunkup.models import Receipt, RemoteFile, Span, Upload

CREATED = Created(Upload("upload_1", 0, 100))


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = await Journal.open(tmp_path / "journal.db")
    yield opened
    await opened.close()


@pytest.fixture
async def job(journal: Journal) -> str:
    return (await journal.adopt(plain_job()))[0].id


# --- the file -------------------------------------------------------------------------------


async def test_the_file_is_kept_in_the_one_mode_that_survives_power_loss(journal: Journal) -> None:
    expected = {"journal_mode": "truncate", "synchronous": 3, "foreign_keys": 1, "fullfsync": 1}

    def ask(db: Database) -> dict[str, object]:
        return {name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in expected}

    assert await journal._do(ask) == expected


async def test_tables_take_no_value_of_another_type(journal: Journal, job: str) -> None:
    facts: list[Fact] = [
        CREATED,
        Accepted("upload_1", Receipt(Span(0, 1000), "part_1", "aa")),
        CompleteAsked("upload_1", ("part_1",), None, 1.0),
        Completed(RemoteFile("file-1", 1000, 0, "a.jsonl", "batch")),
    ]
    for fact in facts:
        await journal.record(job, fact)
    await journal.claim(job, "upload")
    columns = [
        *(("jobs", "size"), ("jobs", "created_at"), ("uploads", "expires_at"), ("parts", "stop")),
        *(("asks", "asked_at"), ("endings", "ended_at"), ("runs", "exit_code")),
    ]
    with closing(sqlite3.connect(journal.path)) as outside:
        for table, column in columns:
            with pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT"):
                outside.execute(f"UPDATE {table} SET {column} = 'soon'")


# --- the end --------------------------------------------------------------------------------


def held() -> tuple[int, set[str]]:
    handles = list(Path("/dev/fd").iterdir())
    return len(handles), {thread.name for thread in threading.enumerate()}


def test_nothing_is_held_after_closing(tmp_path: Path) -> None:
    async def scenario() -> None:
        journal = await Journal.open(tmp_path / "journal.db")
        added, _ = await journal.adopt(plain_job())
        await journal.claim(added.id, "upload")
        await journal.record(added.id, CREATED)
        await journal.close()
        await journal.close()

    before = held()
    asyncio.run(scenario())
    assert held() == before


def test_nothing_is_held_after_a_refused_opening(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_text("not a database, but long enough to look like one" * 100)

    async def scenario() -> None:
        with pytest.raises(Exception, match="damaged"):
            await Journal.open(path)

    known = set(threading.enumerate())
    before = held()
    asyncio.run(scenario())
    for thread in set(threading.enumerate()) - known:
        thread.join(2)
    assert held() == before


async def test_a_cancelled_opening_leaves_no_thread_behind(tmp_path: Path) -> None:
    known = set(threading.enumerate())
    opening = asyncio.create_task(Journal.open(tmp_path / "journal.db"))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    for thread in set(threading.enumerate()) - known:
        if thread.name == "chunkup-journal":
            await asyncio.to_thread(thread.join, 2)
            assert not thread.is_alive()


async def test_a_closed_journal_says_so(journal: Journal, job: str) -> None:
    await journal.close()
    with pytest.raises(JournalTrouble, match="closed"):
        await journal.record(job, CREATED)
