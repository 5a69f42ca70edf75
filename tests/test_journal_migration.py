"""A journal of an earlier version is brought up to date and keeps all that it held."""

import asyncio
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from journals import refuses
from sqlite_utils import Database, Migrations

from chunkup.journal import Journal, Standing
from chunkup.journal.schema import APPLICATION_ID, STEPS, m001_facts, m002_notes, migrations
from chunkup.machine import (
    Accepted,
    AnswerLost,
    CompleteAsked,
    Completed,
    CompleteRefused,
    Created,
    Doubted,
    Fact,
    GenerationEnded,
    Phase,
)
from chunkup.models import Account, Fingerprint, Job, Receipt, RemoteFile, Span, Upload

PATH = os.fsdecode(b"/data/caf\xe9.jsonl")
SALT = b"salt of the journal"
FILE = RemoteFile("file-1", 1000, 1, "b.jsonl", "batch")

# As the first release wrote them: two jobs of two commands, one in doubt and one complete.
ROWS = """
    UPDATE meta SET value = :salt;
    INSERT INTO jobs VALUES ('aaa222', 'set_a', 1.5, 'https://api.example.com/v1', 'org-1', NULL,
        '["x-a"]', 'abcdef', :path, 0, 1000, 1000, 7, '18446744073709551615', '9', 'batch',
        'a.jsonl', 'application/jsonl', 7200, 600, 1, 'uploads', NULL, NULL, NULL, NULL, 0);
    INSERT INTO jobs VALUES ('bbb333', 'set_b', 2.5, 'https://api.example.com/v1', NULL, NULL,
        '[]', NULL, :other, 0, 1000, 1000, 7, '8', '9', 'batch',
        'b.jsonl', 'application/jsonl', NULL, 600, 0, 'uploads', NULL, NULL, NULL, NULL, 1);
    INSERT INTO uploads VALUES ('aaa222', 1, 'upload_1', 10, 20, 1, 'expired');
    INSERT INTO uploads VALUES ('aaa222', 2, 'upload_2', 30, NULL, 0, NULL);
    INSERT INTO uploads VALUES ('bbb333', 1, 'upload_3', 10, 20, 0, NULL);
    INSERT INTO parts VALUES ('aaa222', 1, 0, 600, 'part_1', 'aa');
    INSERT INTO parts VALUES ('aaa222', 2, 0, 600, 'part_2', 'aa');
    INSERT INTO parts VALUES ('aaa222', 2, 600, 1000, 'part_3', 'bb');
    INSERT INTO parts VALUES ('bbb333', 1, 0, 1000, 'part_4', 'cc');
    INSERT INTO asks VALUES ('aaa222', 2, 0, '["part_2", "part_3"]', 'd4', 31.0, 'unauthorized');
    INSERT INTO asks VALUES ('aaa222', 2, 1, '["part_2", "part_3"]', 'd4', 32.0, NULL);
    INSERT INTO asks VALUES ('bbb333', 1, 0, '["part_4"]', NULL, 11.0, NULL);
    INSERT INTO endings VALUES ('bbb333', 'completed', 12.0, 'file-1', :file, 1, NULL, NULL);
    INSERT INTO runs VALUES
        (1, 'aaa222', 1.5, 1.75, 4711, 'box', 'upload', 75, 'unreachable', 'no net', 'req_1');
"""

JOBS = [
    Job(
        id="aaa222",
        set_id="set_a",
        account=Account("https://api.example.com/v1", "org-1", None, ("x-a",), "abcdef"),
        path=PATH,
        span=Span(0, 1000),
        fingerprint=Fingerprint(1000, 7, 2**64 - 1, 9),
        purpose="batch",
        filename="a.jsonl",
        mime_type="application/jsonl",
        created_at=1.5,
        expires_after=7200,
        part_size=600,
    ),
    Job(
        id="bbb333",
        set_id="set_b",
        account=Account("https://api.example.com/v1"),
        path="/data/b.jsonl",
        span=Span(0, 1000),
        fingerprint=Fingerprint(1000, 7, 8, 9),
        purpose="batch",
        filename="b.jsonl",
        mime_type="application/jsonl",
        created_at=2.5,
        part_size=600,
        md5=False,
    ),
]
ASKED = ("part_2", "part_3")
FACTS: list[list[Fact]] = [
    [
        Created(Upload("upload_1", 10, 20)),
        Accepted("upload_1", Receipt(Span(0, 600), "part_1", "aa")),
        AnswerLost("upload_1"),
        GenerationEnded("upload_1", "expired"),
        Created(Upload("upload_2", 30, None)),
        Accepted("upload_2", Receipt(Span(0, 600), "part_2", "aa")),
        Accepted("upload_2", Receipt(Span(600, 1000), "part_3", "bb")),
        CompleteAsked("upload_2", ASKED, "d4", 31.0),
        CompleteRefused("upload_2", "unauthorized"),
        CompleteAsked("upload_2", ASKED, "d4", 32.0),
    ],
    [
        Created(Upload("upload_3", 10, 20)),
        Accepted("upload_3", Receipt(Span(0, 1000), "part_4", "cc")),
        CompleteAsked("upload_3", ("part_4",), None, 11.0),
        Completed(FILE, recovered=True),
    ],
]
VALUES = {
    "salt": SALT,
    "path": os.fsencode(PATH),
    "other": b"/data/b.jsonl",
    "file": '{"id": "file-1", "bytes": 1000, "created_at": 1, "filename": "b.jsonl",'
    ' "purpose": "batch"}',
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A journal that only the first two migrations made."""
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        earlier = Migrations("chunkup")
        earlier()(m001_facts)
        earlier()(m002_notes)
        earlier.apply(Database(connection, execute_plugins=False))
        connection.execute("PRAGMA foreign_keys = ON")
        for statement in ROWS.split(";")[:-1]:
            used = {name: VALUES[name] for name in VALUES if f":{name}" in statement}
            connection.execute(statement, used)
    path.chmod(0o600)
    return path


async def test_an_older_journal_reads_as_before(old: Path) -> None:
    # A second opening finds nothing left to change.
    for _ in range(2):
        journal = await Journal.open(old)
        try:
            assert journal.salt == SALT
            lines = await journal.lines()
            assert [line.job for line in lines] == JOBS
            assert [await journal.facts(job.id) for job in JOBS] == FACTS
            assert [line.phase for line in lines] == [Phase.ASKED, Phase.COMPLETED]
            assert [line.printed for line in lines] == [False, True]
            assert [line.doubted for line in lines] == [False, False]
            (run,) = await journal.runs("aaa222")
            assert (run.pid, run.host, run.command) == (4711, "box", "upload")
            assert (run.exit_code, run.code, run.message) == (75, "unreachable", "no net")
            assert run.request_id == "req_1"
        finally:
            await journal.close()


async def test_an_older_journal_takes_what_is_new(old: Path) -> None:
    journal = await Journal.open(old)
    try:
        await journal.record("aaa222", Doubted("upload_2"))
        assert (await journal.line("aaa222")).doubted
        await journal.claim("aaa222", "resume")
        await journal.ask_to_stop("aaa222")
        assert await journal.asked_to_stop() == ["aaa222"]
        assert await journal.set_of("set_a") == JOBS[:1]
        assert await journal.files("set_b") == {"bbb333": FILE}
        (found,) = await journal.adopt_all(JOBS[:1])
        assert (found.job, found.standing) == (JOBS[0], Standing.OPEN)
    finally:
        await journal.close()


async def test_a_migration_that_was_killed_half_way_is_done_whole_the_next_time(
    old: Path,
) -> None:
    """Its first statements are in no file without its last."""
    script = """
import os, sys
from pathlib import Path
from chunkup.journal.opening import open_database
import sqlite_utils

execute = sqlite_utils.Database.execute

def mortal(self, sql, *arguments):
    if "CREATE INDEX jobs_by_set" in sql:
        os.kill(os.getpid(), 9)
    return execute(self, sql, *arguments)

sqlite_utils.Database.execute = mortal
open_database(Path(sys.argv[1]))
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(old))
    assert await process.wait() == -9
    journal = await Journal.open(old)
    try:
        assert [await journal.facts(job.id) for job in JOBS] == FACTS
        assert [line.job for line in await journal.lines()] == JOBS
    finally:
        await journal.close()


MORTAL = """
import os, sys
from pathlib import Path
import sqlite_utils
from chunkup.journal.opening import open_database

execute, left = sqlite_utils.Database.execute, [int(sys.argv[2])]

def mortal(self, sql, *arguments):
    if sql.startswith(("ALTER", "CREATE", "UPDATE", "INSERT")):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), 9)
    return execute(self, sql, *arguments)

sqlite_utils.Database.execute = mortal
open_database(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("done", range(2, len(STEPS) + 1))
async def test_a_journal_of_any_earlier_version_keeps_all_even_if_a_kill_comes_between(
    old: Path, done: int
) -> None:
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        partly = Database(connection, execute_plugins=False)
        todo = [one.name for one in migrations.pending(partly)]
        migrations.apply(partly, stop_before=todo[done - 2 : done - 1])
        assert len(migrations.pending(partly)) == len(STEPS) - done
    # Whatever came into the file before a kill, the next takes it further.
    for statements in (0, 1, 4):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", MORTAL, str(old), str(statements)
        )
        assert await process.wait() in {0, -9}
    journal = await Journal.open(old)
    try:
        assert [await journal.facts(job.id) for job in JOBS] == FACTS
        assert [line.job for line in await journal.lines()] == JOBS
        assert journal.salt == SALT
    finally:
        await journal.close()


def test_a_journal_of_a_later_version_is_refused_and_kept(old: Path) -> None:
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('chunkup', 'm999_later', 'then')"
        )
    before = old.read_bytes()
    refuses(old, "newer")
    assert old.read_bytes() == before
