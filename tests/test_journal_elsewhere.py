"""A journal that is not what or where it was: cut short, garbled, copied, or in a strange place.

It is refused with a sentence or gone on with safely; whatever is in it, no other File is taken
for a job's, nothing goes to another place, and no File mixes.
"""

import asyncio
import os
import random
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from house import House, make_source
from journals import FACTS, facts, made, opened, refuses
from strategies import plain_job
from test_cli import Shell, hold_parts_after, kill_half_way
from test_cli import shell as shell  # noqa: PLC0414  (the fixture)

from chunkup.errors import BadJournal, ChunkupError, SourceGone
from chunkup.journal import Journal
from chunkup.machine import Accepted, Fact
from chunkup.models import Receipt, Span

SEED = int(os.environ.get("CHUNKUP_SEED", "20261121"))
LONG = bool(os.environ.get("CHUNKUP_LONG"))
PAGE = 4096
NOBODY = 65534


def test_a_journal_that_is_cut_short_anywhere_is_refused_and_left_as_it_was(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.db"
    job = made(path)
    content = path.read_bytes()
    pages = range(PAGE, len(content), PAGE)
    for length in (*pages, *(edge + 1 for edge in pages), *(edge - 1 for edge in pages)):
        path.write_bytes(content[:length])
        with pytest.raises(BadJournal, match="damaged"):
            facts(path, job)
        assert path.read_bytes() == content[:length]


# --- garbled ---------------------------------------------------------------------------------


@dataclass
class Garden:
    """A journal with a job that is half sent and one that is done, and the files of both."""

    house: House
    folder: Path
    content: bytes
    half: str
    done: str
    file: str

    def source(self, job: str) -> Path:
        return self.folder / ("half.bin" if job == self.half else "done.bin")

    async def goes_on(self, content: bytes, job: str) -> str | ChunkupError:
        """The File that a resume of this job ends in with such a journal, or its error."""
        path = self.folder / "changed" / "journal.db"
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        path.write_bytes(content)
        try:
            async with self.house.uploader(path) as uploader:
                return (await uploader.resume(job)).id
        except ChunkupError as error:
            return error

    def found(self, what: bytes) -> list[int]:
        """Where in the journal this stands."""
        return [match.start() for match in re.finditer(re.escape(what), self.content)]

    def with_bytes(self, at: int, *flips: int) -> bytes:
        changed = bytearray(self.content)
        for place, flip in enumerate(flips, at):
            changed[place] ^= flip
        return bytes(changed)


@pytest.fixture
async def garden(house: House, tmp_path: Path) -> Garden:
    make_source(tmp_path / "half.bin", 8000, 1)
    make_source(tmp_path / "done.bin", 8000, 2)
    path = tmp_path / "good" / "journal.db"
    async with house.uploader(path) as uploader:
        file = await uploader.upload(tmp_path / "done.bin", purpose="user_data")
        (done,) = await uploader.jobs()
        held, go = hold_parts_after(house, house.calls.count("part") + 4)
        run = uploader.start(tmp_path / "half.bin", purpose="user_data")
        await held.wait()
        half = await run.ready()
        assert half is not None
        while not any(info.id == half and info.parts == 4 for info in await uploader.jobs()):
            continue
        run.stop()
        await run.wait()
    go.set()
    house.intercept = None
    await house.idle()
    return Garden(house, tmp_path, path.read_bytes(), half, done.id, file.id)


def judge(garden: Garden, job: str, ended: str | ChunkupError, where: str) -> None:
    """Either the right File, or a sentence of ours."""
    if isinstance(ended, ChunkupError):
        assert ended.message, where
        return
    assert garden.house.content(ended) == garden.source(job).read_bytes(), where
    if job == garden.done:
        assert ended == garden.file, where


async def test_whatever_byte_is_another_no_other_file_is_taken_and_none_mixes(
    garden: Garden,
) -> None:
    chance = random.Random(SEED)
    print("seed", SEED)
    # What is all zeros is free space, where a change is not seen by anybody.
    places = [at for at, byte in enumerate(garden.content) if byte]
    # The tables' definitions are most of that; the rows are what matters.
    rows = [at for at in places if not garden.content[at : at + 40].isascii()]
    for turn in range(1500 if LONG else 25):
        at = chance.choice(rows if turn % 4 else places)
        flip = chance.choice([1 << chance.randrange(8), chance.randrange(1, 256)])
        content = garden.with_bytes(at, flip)
        for job in (garden.half, garden.done):
            ended = await garden.goes_on(content, job)
            judge(garden, job, ended, f"byte {at} ^ {flip}, {garden.content[at - 9 : at + 9]!r}")


async def test_a_file_id_that_is_another_is_no_file_of_the_job(garden: Garden) -> None:
    """It stands in two columns, so that a changed one is seen."""
    places = garden.found(garden.file.encode())
    assert len(places) >= 2
    for at in places:
        ended = await garden.goes_on(garden.with_bytes(at + 9, 1), garden.done)
        if isinstance(ended, ChunkupError):
            assert isinstance(ended, BadJournal)
            assert "damaged" in ended.message
        else:
            assert ended == garden.file  # an index, which nobody asked


def rows_of(content: bytes, sql: str) -> list[str]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.deserialize(content)
        return [str(value) for (value,) in db.execute(sql).fetchall()]


@pytest.mark.parametrize("column", ["part_id", "xxh3"])
async def test_a_receipt_that_is_another_is_no_receipt(garden: Garden, column: str) -> None:
    """The server knows no such part, or the proof sees that it is of other content."""
    (text, *_) = rows_of(
        garden.content, f"SELECT {column} FROM parts WHERE job_id = '{garden.half}' ORDER BY start"
    )
    (at, *_) = garden.found(text.encode())
    # One hexadecimal digit to another.
    at += 9
    ended = await garden.goes_on(garden.with_bytes(at, 1), garden.half)
    judge(garden, garden.half, ended, column)


async def test_a_text_that_became_bytes_is_damage_and_is_met_where_it_is_read(
    garden: Garden,
) -> None:
    """The head of a row says of each value whether it is text or bytes, by one bit."""
    head = bytes([2 * 6 + 13, 2 * 16 + 13, 7, 2 * len(garden.house.url) + 13])  # id to base URL
    rows = garden.found(head)
    assert len(rows) == 2
    met = 0
    for at in rows:
        for job in (garden.half, garden.done):
            ended = await garden.goes_on(garden.with_bytes(at + 3, 1), job)
            judge(garden, job, ended, f"{at}, {job}")
            if isinstance(ended, ChunkupError):
                assert "is damaged: a row has bytes" in ended.message
                met += 1
    assert met >= 2  # by the job of that row, at least


async def test_what_no_run_can_have_written_is_damage(garden: Garden) -> None:
    """Receipts that overlap, a text that is none, a column without its name."""
    job = garden.half.encode()
    (receipt, *_) = garden.found(job + b"\x03\xe8\x07\xd0part_")
    (column, *_) = garden.found(b"set_id TEXT NOT NULL")
    (record, *_) = garden.found(b'", "bytes": 8000')
    cases = [
        (garden.half, "receipts that overlap", receipt + len(job), 1),
        (garden.half, "a column without its name", column, 1),
        (garden.half, "a definition that is no text", column - 2, 0x80),
        (garden.done, "a File that is no JSON", record, 1),
        (garden.done, "a File that is no text", record - 1, 0x80),
    ]
    for which, name, at, flip in cases:
        ended = await garden.goes_on(garden.with_bytes(at, flip), which)
        assert isinstance(ended, BadJournal), f"{name}: {ended!r}"
        assert "damaged" in ended.message


async def test_a_damaged_journal_is_moved_aside_and_never_over_another(shell: Shell) -> None:
    shell.journal.parent.mkdir(parents=True)
    for times in (1, 2):
        shell.journal.write_bytes(f"damaged, number {times} ".encode() * 500)
        done = await shell.upload("a.bin")
        assert (done.code, done.out) == (2, "")
        assert "is damaged: file is not a database; it was left as it is" in done.err
        hint = done.err.rpartition("hint: ")[2]
        moved = await shell.paste(hint)
        assert moved.code == 0, moved.err
    aside = sorted(shell.journal.parent.glob("*.damaged*"))
    assert [path.read_bytes()[:17] for path in aside] == [
        b"damaged, number 1",
        b"damaged, number 2",
    ]
    assert shell.house.calls == []


# --- a transaction that was cut off ----------------------------------------------------------

# So small a cache is written back in the midst of a transaction, which is never committed.
CUT_OFF = """
import os, sqlite3, sys

db = sqlite3.connect(sys.argv[1], isolation_level=None)
for pragma in ("journal_mode = TRUNCATE", "synchronous = EXTRA", "cache_size = 1"):
    db.execute("PRAGMA " + pragma).fetchall()
db.execute("BEGIN IMMEDIATE")
db.execute("DELETE FROM parts WHERE start % 2 = 0")
rows = [(sys.argv[2], n, n + 1, f"part_{n:04}", "a" * 32) for n in range(300, 600)]
db.executemany("INSERT INTO parts VALUES (?, 1, ?, ?, ?, ?)", rows)
os._exit(9)
"""


def cut_off(path: Path) -> str:
    """A journal whose last transaction was killed half-way; the job in it."""
    job = made(path)
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", CUT_OFF, str(path), job], check=False)
    assert done.returncode == 9
    assert path.read_bytes() != before
    assert rollback(path).stat().st_size > 512
    return job


def rollback(path: Path) -> Path:
    return path.with_name(path.name + "-journal")


def known(path: Path, job: str) -> list[Fact] | None:
    """What the journal says of the job; None if it is refused, with a sentence."""
    try:
        return facts(path, job)
    except ChunkupError:
        return None


def test_a_transaction_that_was_killed_half_way_is_undone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    job = cut_off(path)
    assert facts(path, job) == FACTS
    assert not rollback(path).exists() or rollback(path).stat().st_size == 0
    # It takes new ones.
    assert facts(path, job) == FACTS


def test_half_a_transaction_without_what_undoes_it_is_no_wrong_receipt(tmp_path: Path) -> None:
    """A copy of the one file alone, made in the midst of a commit."""
    path = tmp_path / "journal.db"
    job = cut_off(path)
    rollback(path).unlink()
    found = known(path, job)
    possible = {*map(repr, FACTS), *map(repr, new_facts())}
    assert found is None or {*map(repr, found)} <= possible


def test_what_undoes_another_journals_transaction_makes_no_wrong_receipt(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours" / "journal.db", tmp_path / "theirs" / "journal.db"
    job, other = made(ours), cut_off(theirs)
    shutil.copy(rollback(theirs), rollback(ours))
    found = known(ours, job)
    assert found is None or {*map(repr, found)} <= {*map(repr, FACTS)}
    assert facts(theirs, other) == FACTS


def new_facts() -> list[Fact]:
    return [
        Accepted("upload_1", Receipt(Span(at, at + 1), f"part_{at:04}", "a" * 32))
        for at in range(300, 600)
    ]


def test_what_is_left_of_a_journal_that_was_moved_away_gets_into_no_new_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.db"
    job = cut_off(path)
    path.rename(tmp_path / "journal.db.damaged")
    opened(path)
    assert facts(path, job) == []
    fresh = tmp_path / "fresh" / "journal.db"
    assert facts(fresh, made(fresh)) == FACTS


# --- elsewhere -------------------------------------------------------------------------------


async def test_a_journal_on_another_machine_asks_where_the_file_is_and_goes_on(
    shell: Shell, tmp_path: Path
) -> None:
    """Another host, another path; the row still names a process, which is not here."""
    shell.environ["CHUNKUP_JOURNAL"] = str(tmp_path / "state" / "journal.db")
    await kill_half_way(shell, signal.SIGKILL)
    ((job, line),) = (await shell.jobs()).items()
    there = tmp_path / "there" / "journal.db"
    there.parent.mkdir(mode=0o700)
    shutil.copy(shell.journal, there)
    shutil.rmtree(shell.journal.parent)
    shell.environ["CHUNKUP_JOURNAL"] = str(there)
    shell.change("UPDATE jobs SET owner_host = 'elsewhere', owner_pid = 1")
    source = (shell.folder / "a.bin").rename(tmp_path / "moved.bin")
    shell.forget()

    lost = await shell.run("resume", job)
    assert lost.code == 1, lost.err
    hint = lost.err.rpartition("hint: ")[2]
    assert "--source NEW_PATH" in hint
    done = await shell.paste(hint.replace("NEW_PATH", str(source)))

    assert done.code == 0, done.err
    (file,) = shell.house.files
    assert done.out == f"{file.id}\n"
    assert shell.house.content(file.id) == source.read_bytes()
    assert shell.house.calls.count("part") == 21 - line.parts


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("suffix", ["", "-journal", "-lock", "-owners"])
def test_what_another_user_left_beside_a_journal_is_not_believed(
    tmp_path: Path, suffix: str
) -> None:
    """In a sticky folder others may put a file, and SQLite would play it back into ours."""
    folder = tmp_path / "sticky"
    folder.mkdir()
    folder.chmod(0o1777)
    path = folder / "journal.db"
    job = cut_off(path)
    if suffix == "-owners":
        (folder / "journal.db-owners").mkdir()
    os.chown(f"{path}{suffix}", NOBODY, NOBODY)
    before = path.read_bytes()
    refuses(path, "belongs to another user")
    assert path.read_bytes() == before
    os.chown(f"{path}{suffix}", os.geteuid(), os.getegid())
    assert facts(path, job) == FACTS


@pytest.mark.parametrize("place", ["/dev/null", "pipe", "."])
async def test_a_strange_place_is_refused_and_not_waited_for(shell: Shell, place: str) -> None:
    os.mkfifo(shell.folder / "pipe")
    done = await shell.upload("a.bin", "--journal", place)
    assert (done.code, done.out) == (2, "")
    assert "is not a regular file" in done.err
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert shell.house.calls == []


@pytest.mark.skipif(sys.platform != "linux", reason="names are text there")
async def test_a_file_whose_name_is_no_text_and_that_is_gone_gives_its_job_back(
    house: House, tmp_path: Path
) -> None:
    """The sentence that names it is noted, and can be."""
    source = tmp_path / os.fsdecode(b"caf\xe9.bin")
    make_source(source, 3000)
    async with house.uploader(tmp_path / "state" / "journal.db") as uploader:
        held, go = hold_parts_after(house, 1)
        run = uploader.start(source, purpose="user_data", filename="coffee.bin")
        async with asyncio.timeout(30):
            await held.wait()
            job = await run.ready()
            run.stop()
            await run.wait()
        assert job is not None
        go.set()
        source.unlink()
        for _ in range(2):
            with pytest.raises(SourceGone):
                await uploader.resume(job)
        journal = await uploader.journal()
        notes = await journal.runs(job)
        assert "caf\\udce9.bin" in (notes[-1].message or "")
        assert (await journal.line(job)).owner is None


async def test_any_sentence_can_be_noted(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "journal.db")
    try:
        job, _ = await journal.adopt(plain_job())
        run = await journal.claim(job.id, "upload")
        await journal.release(job.id, run, SourceGone("caf\udce9.bin is gone"))
        (note,) = await journal.runs(job.id)
        assert note.message == "caf\\udce9.bin is gone"
        assert (await journal.line(job.id)).owner is None
    finally:
        await journal.close()
