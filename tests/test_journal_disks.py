"""The journal's disk fills up, fails, or takes no writes, at any moment.

What the journal could not note is sent again, and nothing else; a command says so and stops.
"""

import asyncio
import os
import random
import re
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web
from house import Handler, House, call_of, make_source
from ills import failing_disk, remount, small_disk, strace
from sqlite_utils import Database
from test_cli import AS_USED, SIZE, Result, Shell
from test_cli import shell as shell  # noqa: PLC0414  (the fixture)

from chunkup import AsyncUploader, Options
from chunkup.errors import JournalTrouble
from chunkup.journal import Journal

SEED = int(os.environ.get("CHUNKUP_SEED", "20261121"))
LONG = bool(os.environ.get("CHUNKUP_LONG"))
PARTS = 60
# Where among a command's own calls those of the upload itself are.
MIDST = {"fsync,fdatasync": (100, 160), "pwrite64": (260, 420), "ftruncate": (20, 32)}
# A File whose making was not noted is looked for when the job goes on.
LOOKING = Options(retries=3, looks=(0.0, 0.2), patience=0.0, offline_wait=0.0)


def fill(disk: Path, *, but: int = 0) -> None:
    """Leave so many bytes on it."""
    found = os.statvfs(disk)
    left = found.f_bavail * found.f_frsize - but
    with (disk / "ballast").open("ab", buffering=0) as ballast, suppress(OSError):
        while left > 0:
            left -= ballast.write(bytes(min(left, 4096)))


def uploader(house: House, journal: Path) -> AsyncUploader:
    return house.uploader(journal, options=LOOKING)


async def opened(journal: Path) -> None:
    """Make it, with no job in it."""
    await (await Journal.open(journal)).close()


async def receipts(journal: Path) -> int:
    """How many parts the journal knows of, in all its jobs."""
    book = await Journal.open(journal)
    try:
        return sum(line.parts for line in await book.lines())
    finally:
        await book.close()


async def upload_again(house: House, journal: Path, source: Path, md5: str) -> None:
    """The same once more: one right File, and only what had no receipt went out."""
    known = await receipts(journal)
    house.arrivals.clear()
    async with uploader(house, journal) as again:
        file = await again.upload(source, purpose="user_data")
    await house.idle()
    (kept,) = house.files
    assert kept.id == file.id
    assert house.store.md5_of(file.id) == md5
    assert len(house.arrivals) == PARTS - known


async def fails_with(pages: int, house: House, folder: Path) -> bool:
    """Let the journal grow by so many pages at most; whether that was too little."""
    source = folder / "a.bin"
    md5 = make_source(source, PARTS * 1000)
    with small_disk(folder / f"disk-{pages}", size="2m") as disk:
        journal = disk / "state" / "journal.db"
        await opened(journal)
        fill(disk, but=4096 * pages)
        trouble: JournalTrouble | None = None
        async with uploader(house, journal) as first:
            try:
                await first.upload(source, purpose="user_data")
            except JournalTrouble as error:
                trouble = error
        await house.idle()
        sent = len(house.arrivals)
        (disk / "ballast").unlink()
        if trouble is not None:
            assert "no space is left" in trouble.message
            # It does not go on sending what it cannot note: what was in flight, and no more.
            assert sent <= await receipts(journal) + 16
            await upload_again(house, journal, source, md5)
    for file in house.files:
        house.store.delete_file(file.id)
    house.arrivals.clear()
    return trouble is not None


async def test_a_disk_that_is_full_sooner_or_later_costs_only_what_has_no_receipt(
    house: House, tmp_path: Path
) -> None:
    points = list(range(24))
    print("seed", SEED)
    if not LONG:
        points = [0, *random.Random(SEED).sample(points[1:8], 3), 23]
    failed = [pages for pages in points if await fails_with(pages, house, tmp_path)]
    assert failed
    assert failed == points[: len(failed)]
    assert failed != points


async def test_a_job_that_the_disk_stopped_says_so_once(house: House, tmp_path: Path) -> None:
    """Giving back what was claimed fails as well, and has nothing to add."""
    source = tmp_path / "a.bin"
    make_source(source, PARTS * 1000)
    async with uploader(house, tmp_path / "state" / "journal.db") as first:
        journal = await first.journal()

        def fill_up(db: Database) -> None:
            db.execute("PRAGMA max_page_count = 1").fetchall()
            db.execute("INSERT INTO meta VALUES ('ballast', zeroblob(1000000))")

        async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
            if call_of(request) == "part" and house.calls.count("part") == 10:
                with suppress(JournalTrouble):
                    await journal._do(fill_up, writes=True)
            return await handler(request)

        house.intercept = intercept
        (result,) = [one async for one in first.upload_all([source], purpose="user_data")]
        assert isinstance(result.error, JournalTrouble)


async def test_an_uploader_goes_on_once_there_is_room_again(house: House, tmp_path: Path) -> None:
    """As in a notebook, where nobody knows that it would have to be made anew."""
    source, other = tmp_path / "a.bin", tmp_path / "b.bin"
    md5 = make_source(source, PARTS * 1000)
    make_source(other, PARTS * 1000, seed=2)
    with small_disk(tmp_path / "disk", size="2m") as disk:
        journal = disk / "state" / "journal.db"
        async with uploader(house, journal) as one:
            await one.jobs()
            fill(disk, but=4096 * 3)
            both = (one.upload(path, purpose="user_data") for path in (source, other))
            ends = await asyncio.gather(*both, return_exceptions=True)
            assert [type(end) for end in ends] == [JournalTrouble] * 2
            with pytest.raises(JournalTrouble, match="no space is left"):
                await one.upload(source, purpose="user_data")
            (disk / "ballast").unlink()
            file = await one.upload(source, purpose="user_data")
            await house.idle()
            assert house.store.md5_of(file.id) == md5
            assert [kept.id for kept in house.files] == [file.id]
            assert not {job.state for job in await one.jobs()} & {"running", "waiting"}


# --- as a person meets it --------------------------------------------------------------------


@pytest.fixture
async def disk(shell: Shell, tmp_path: Path) -> AsyncIterator[Path]:
    """A small disk, which the shell's journal is on."""
    with small_disk(tmp_path / "disk", size="1m") as folder:
        shell.environ["CHUNKUP_JOURNAL"] = str(folder / "state" / "journal.db")
        yield folder


def troubled(done: Result, *says: str) -> str:
    """The command that the hint of a journal's trouble is."""
    assert (done.code, done.out) == (75, ""), done.err
    (sentence,) = re.findall(r"^error\[journal-trouble\]: (.*)$", done.err, re.MULTILINE)
    assert all(words in sentence for words in says), sentence
    (hint,) = re.findall(r"^hint: (chunkup .*)$", done.err, re.MULTILINE)
    return str(hint)


async def goes_on(shell: Shell, done: Result) -> None:
    """The hint is pasted once the disk is in order: one File, and nothing is sent twice."""
    known = await receipts(shell.journal)
    shell.forget()
    after = await shell.paste(troubled(done, str(shell.journal)))
    assert after.code == 0, after.err
    (kept,) = shell.house.files
    assert after.out == f"{kept.id}\n"
    assert shell.house.content(kept.id) == (shell.folder / "a.bin").read_bytes()
    assert shell.house.calls.count("part") == -(-SIZE // 1000) - known


async def test_a_full_disk_is_a_sentence_and_a_command_that_goes_on(
    shell: Shell, disk: Path
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if shell.house.calls.count("part") == 8:
            fill(disk)
        return await handler(request)

    shell.house.intercept = intercept
    done = await shell.upload("a.bin")
    (disk / "ballast").unlink()
    assert troubled(done, "no space is left").startswith("chunkup resume ")
    await goes_on(shell, done)


async def test_a_disk_that_is_full_before_anything_is_a_sentence_too(
    shell: Shell, disk: Path
) -> None:
    fill(disk, but=8192)
    done = await shell.upload("a.bin")
    assert troubled(done, "no space is left").startswith("chunkup doctor ")
    assert shell.house.calls == []
    (disk / "ballast").unlink()
    assert (await shell.upload("a.bin")).code == 0


@pytest.mark.parametrize("names", [4, 5])
async def test_a_disk_without_names_left_is_a_sentence(
    shell: Shell, tmp_path: Path, names: int
) -> None:
    with small_disk(tmp_path / "disk", inodes=names) as disk:
        shell.environ["CHUNKUP_JOURNAL"] = str(disk / "state" / "journal.db")
        done = await shell.upload("a.bin")
        troubled(done)
        assert "part" not in shell.house.calls
        remount(disk, "nr_inodes=100")
        assert (await shell.upload("a.bin")).code == 0


@pytest.mark.parametrize("words", [("jobs",), ("upload", "a.bin", "-p", "user_data")])
async def test_a_read_only_disk_is_a_sentence_and_a_look_at_it(
    shell: Shell, disk: Path, words: tuple[str, ...]
) -> None:
    await opened(shell.journal)
    before = shell.journal.read_bytes()
    remount(disk, "ro")
    done = await shell.run(*words)
    hint = troubled(done, "Read-only file system")
    assert hint.startswith("chunkup doctor ")
    look = await shell.paste(hint)
    assert look.code == 1
    assert re.search(r"^fail +journal", look.out, re.MULTILINE), look.out
    remount(disk, "rw")
    assert shell.journal.read_bytes() == before


async def test_what_cannot_be_opened_at_all_is_a_sentence_and_a_look_at_it(shell: Shell) -> None:
    lock = shell.journal.with_name(shell.journal.name + "-lock")
    lock.mkdir(parents=True)
    assert troubled(await shell.run("jobs"), "Is a directory").startswith("chunkup doctor ")


@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP"])
async def test_a_file_system_without_locks_is_refused(shell: Shell, error: str) -> None:
    done = await struck(shell, f"flock:error={error}")
    assert done.code == 2
    assert done.err.startswith("error[bad-journal]: the file system of ")
    assert shell.house.calls == []


async def struck(shell: Shell, inject: str) -> Result:
    """An upload some of whose system calls fail."""
    words = [*strace(inject), sys.executable, "-m", "chunkup", "upload", "a.bin", *AS_USED]
    return await shell.end(await shell._started(words, {}))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        ("fsync,fdatasync", "EIO", "disk I/O error"),
        ("pwrite64", "EROFS", "disk I/O error"),
        ("pwrite64", "ENOSPC", "no space is left"),
        ("ftruncate", "EIO", "disk I/O error"),
    ],
)
async def test_whichever_call_fails_but_once_the_command_stops_and_can_go_on(
    shell: Shell, call: str, error: str, says: str
) -> None:
    """After a failure nobody knows what is on the disk, so nothing more is written."""
    points = list(range(1, 1000, 17))
    print("seed", SEED)
    if not LONG:
        # The first ones make the journal; what an upload does comes after them.
        points = [random.Random(f"{SEED} {call} {error}").randrange(*MIDST[call])]
    failed = 0
    for nth in points:
        shell.environ["CHUNKUP_JOURNAL"] = str(shell.folder / f"state-{nth}" / "journal.db")
        done = await struck(shell, f"{call}:error={error}:when={nth}")
        if done.code == 0:
            break
        failed += 1
        if " resume " in troubled(done, says):
            await goes_on(shell, done)
        else:
            assert (await shell.upload("a.bin")).code == 0
        for file in shell.house.files:
            shell.house.store.delete_file(file.id)
        shell.forget()
    print(failed, "of", call)
    assert failed


async def test_a_disk_that_breaks_under_its_promises_stops_the_command(
    shell: Shell, tmp_path: Path
) -> None:
    """Writes succeed, and what they wrote is gone: only the flush says so."""
    with failing_disk(tmp_path / "disk", room="4m", size="64m") as disk:
        shell.environ["CHUNKUP_JOURNAL"] = str(disk / "state" / "journal.db")
        await opened(shell.journal)
        with (disk / "ballast").open("wb") as ballast, suppress(OSError):
            ballast.write(bytes(16 << 20))
            os.fsync(ballast.fileno())
        done = await shell.upload("a.bin")
        troubled(done, "disk I/O error")
        remount(tmp_path / "disk-under", "size=128m")
        done = await shell.upload("a.bin")
        assert done.code == 0, done.err
        (kept,) = shell.house.files
        assert done.out == f"{kept.id}\n"
        assert shell.house.content(kept.id) == (shell.folder / "a.bin").read_bytes()
