"""What is no journal of ours, or one no longer, is refused and left as it was."""

import asyncio
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from journals import FACTS, facts, made, make, opened, refuses
from sqlite_utils import Database, Migrations
from strategies import plain_job

from chunkup.errors import BadJournal, ChunkupError, JournalTrouble
from chunkup.journal import Journal
from chunkup.journal.schema import APPLICATION_ID, migrations
from chunkup.machine import Created
from chunkup.models import Upload


def stranger(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_another_programs_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    stranger(path, "CREATE TABLE bookmarks (url TEXT)", "INSERT INTO bookmarks VALUES ('x')")
    before = path.read_bytes()
    refuses(path, "other program")
    assert path.read_bytes() == before


def test_another_program_that_uses_migrations_too_is_another_program(tmp_path: Path) -> None:
    path = tmp_path / "logs.db"
    theirs = Migrations("llm")

    @theirs()
    def m001_initial(db: Database) -> None:
        db.execute("CREATE TABLE responses (id TEXT)")

    with closing(sqlite3.connect(path)) as connection:
        theirs.apply(Database(connection))
    before = path.read_bytes()
    refuses(path, "other program")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        b"dear diary\n",
        b"dear diary\n" * 1000,
        bytes(100),
        bytes(8192),
        b"SQLite format 3\0",
        b"SQLite format 3\0" + bytes(10_000),
        b"SQLite format 2\0" + bytes(10_000),
    ],
)
def test_what_is_no_database_is_refused_and_left_as_it_was(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    refuses(path, "damaged")
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    (tmp_path / "journal.db").touch(0o600)
    opened(tmp_path / "journal.db")


def test_a_newer_schema_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    made(path)
    stranger(
        path,
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
        " VALUES ('chunkup', 'm999_telepathy', 'one day')",
    )
    before = path.read_bytes()
    refuses(path, "newer version")
    assert path.read_bytes() == before


@pytest.mark.parametrize("done", [0, 1])
def test_a_journal_whose_making_was_killed_is_finished(tmp_path: Path, done: int) -> None:
    path = tmp_path / "journal.db"
    # What a kill leaves after the mark that it is ours and some of the migrations.
    db = Database(path, execute_plugins=False)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    migrations.apply(db, stop_before=[one.name for one in migrations.pending(db)][done])
    db.close()
    path.chmod(0o600)
    job = made(path)
    assert facts(path, job) == FACTS


# Each child dies at its own statement, the first at the first, until one lives to the end.
KILLED = """
import asyncio, os, sqlite3, sys
from pathlib import Path
from chunkup.journal import Journal

connect = sqlite3.connect

def dying(at):
    def connect_and_count(*arguments, **options):
        connection = connect(*arguments, **options)
        seen = []
        def trace(statement):
            seen.append(statement)
            if len(seen) == at:
                os._exit(9)
        connection.set_trace_callback(trace)
        return connection
    return connect_and_count

for at in range(1, 1000):
    child = os.fork()
    if child == 0:
        sqlite3.connect = dying(at)
        asyncio.run(Journal.open(Path(sys.argv[1]) / str(at) / "journal.db"))
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(at)
"""


async def adopts(path: Path) -> bool:
    journal = await Journal.open(path)
    job, existed = await journal.adopt(plain_job())
    known = await journal.job(job.id)
    await journal.close()
    return known == job and not existed and len(journal.salt) == 16


def test_a_making_that_is_killed_at_any_statement_is_finished_by_the_next(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    statements = int(done.stdout)
    assert statements > 20
    for at in range(1, statements):
        assert asyncio.run(adopts(tmp_path / str(at) / "journal.db"))


def test_an_older_journal_is_brought_up_to_date_and_keeps_all_it_held(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    job = made(path)

    async def salt() -> bytes:
        journal = await Journal.open(path)
        await journal.close()
        return journal.salt

    before = asyncio.run(salt())
    # As it was before the last migration.
    stranger(path, "DROP TABLE runs", "DELETE FROM _sqlite_migrations WHERE name = 'm002_notes'")
    assert asyncio.run(salt()) == before
    assert facts(path, job) == FACTS


def test_the_salt_is_made_once(tmp_path: Path) -> None:
    async def salt() -> bytes:
        journal = await Journal.open(tmp_path / "journal.db")
        await journal.close()
        return journal.salt

    first, second = asyncio.run(salt()), asyncio.run(salt())
    assert first == second
    assert len(first) == 16


@cache
def good() -> tuple[bytes, str]:
    """The bytes of a journal, and the id of the job in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        job = made(path)
        return path.read_bytes(), job


@given(at=st.integers(0, 99), flip=st.integers(1, 255))
@settings(max_examples=100, deadline=None)
@example(at=0, flip=1)
@example(at=18, flip=4)
@example(at=47, flip=1)
def test_a_flipped_header_is_harmless_or_refused_with_the_file_untouched(
    at: int, flip: int
) -> None:
    content, job = good()
    flipped = content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        path.write_bytes(flipped)
        refusal: ChunkupError | None = None
        try:
            assert facts(path, job) == FACTS
        except (BadJournal, JournalTrouble) as error:
            refusal = error
        if refusal:
            assert refusal.hint
            assert path.read_bytes() == flipped


@given(st.floats(0, 1, exclude_max=True))
@settings(max_examples=40, deadline=None)
def test_a_truncated_journal_is_refused_with_the_file_untouched(share: float) -> None:
    content, job = good()
    # SQLite takes a file of one byte for an empty one, and cannot tell if bytes are gone from
    # the end of the last page.
    length = max(2, int((len(content) - 4096) * share))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        path.write_bytes(content[:length])
        with pytest.raises(BadJournal):
            facts(path, job)
        assert path.read_bytes() == content[:length]


async def test_damage_that_shows_later_is_named_and_nothing_more_is_written(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.db"
    job = await make(path)
    content = path.read_bytes()
    journal = await Journal.open(path)
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    damaged = path.read_bytes()
    with pytest.raises(BadJournal, match="damaged"):
        await journal.lines()
    with pytest.raises(JournalTrouble):
        await journal.record(job, Created(Upload("upload_2", 0, 100)))
    await journal.close()
    assert path.read_bytes() == damaged
