"""Owners that are stopped by a signal, and children that a fork gives a copy of everything."""

import asyncio
import os
import signal
import sys
import threading
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest
from house import KEY, House
from many import hold, make_files
from strategies import plain_job
from test_journal_claims import PRELUDE, hear, job, journal, other, running

from chunkup.errors import Busy, JournalTrouble
from chunkup.journal import Journal, claims, opening

__all__ = ["job", "journal", "other"]

TESTS = Path(__file__).parent


# --- stopped by a signal ----------------------------------------------------------------------

FROZEN = """
import sqlite3, signal
db = sqlite3.connect(path, isolation_level=None)
db.execute("BEGIN IMMEDIATE")
say("locked")
os.kill(os.getpid(), signal.SIGSTOP)
say("goes on")
"""
FROZEN_WHILE_IT_OPENS = """
from fcntl import LOCK_EX, flock
import signal
lock = os.open(str(path) + "-lock", os.O_RDWR)
flock(lock, LOCK_EX)
say("locked")
os.kill(os.getpid(), signal.SIGSTOP)
say("goes on")
"""


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less long for a journal that another process keeps."""
    monkeypatch.setattr(opening, "PATIENCE", 0.3)


async def test_one_that_is_stopped_in_a_commit_is_said_to_be_and_costs_nobody_a_job(
    hasty: None, tmp_path: Path
) -> None:
    journal, other = [await Journal.open(tmp_path / "journal.db") for _ in range(2)]
    job = (await journal.adopt(plain_job()))[0].id
    run = await journal.claim(job, "upload")
    with running(FROZEN, journal.path) as frozen:
        assert hear(frozen) == "locked"
        for act in (other.claim(job, "resume"), journal.release(job, run, None)):
            with pytest.raises(JournalTrouble, match="Ctrl-Z") as caught:
                await act
            assert caught.value.exit_code == 75
            assert caught.value.hint
        # What the release could not write, the lock says.
        assert not other.holder_lives(await other.line(job))
        frozen.send_signal(signal.SIGCONT)
        assert hear(frozen) == "goes on"
    await other.claim(job, "resume")
    with pytest.raises(Busy):
        await journal.claim(job, "resume")
    await other.close()
    await journal.claim(job, "resume")
    await journal.close()


async def test_one_that_is_stopped_while_it_opens_the_journal_is_not_waited_for_for_ever(
    hasty: None, journal: Journal
) -> None:
    with running(FROZEN_WHILE_IT_OPENS, journal.path) as frozen:
        assert hear(frozen) == "locked"
        # Who waited for ever would do so beyond the end of this test.
        late = threading.Timer(5.0, frozen.send_signal, [signal.SIGCONT])
        late.start()
        with pytest.raises(JournalTrouble, match="Ctrl-Z"):
            await Journal.open(journal.path)
        late.cancel()
        frozen.send_signal(signal.SIGCONT)
        assert hear(frozen) == "goes on"
    await (await Journal.open(journal.path)).close()


# --- forks ------------------------------------------------------------------------------------


async def test_a_child_that_is_forked_while_a_lock_is_made_does_not_keep_it(
    journal: Journal, other: Journal, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    locking, forked = threading.Event(), threading.Event()

    def slowly(handle: int, how: int) -> None:
        if how & LOCK_EX:
            locking.set()
            forked.wait(0.5)  # as long as the fork is let wait
        flock(handle, how)

    monkeypatch.setattr(claims, "flock", slowly)
    claiming = asyncio.create_task(journal.claim(job, "upload"))
    await asyncio.to_thread(locking.wait)
    told, tell = os.pipe()
    born, bear = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(tell)
        os.write(bear, b"!")
        os.read(told, 1)
        os._exit(0)
    forked.set()
    os.close(told)
    try:
        await claiming
        os.read(born, 1)  # it has let go of its copy by now
        # As if the parent had died.
        assert journal._owner._handle is not None
        os.close(journal._owner._handle)
        journal._owner._handle = None
        assert not other.holder_lives(await other.line(job))
    finally:
        for end in (tell, born, bear):
            os.close(end)
        await asyncio.to_thread(os.waitpid, child, 0)


FORKED_IN_A_COMMIT = """
import threading
from chunkup.journal import opening
opening.PATIENCE = 0.5

async def claim(job):
    journal = await Journal.open(path)
    await journal.claim(job, "upload")
    await journal.close()

async def main():
    journal = await Journal.open(path)
    begun, forked = threading.Event(), threading.Event()

    def slow(db):
        begun.set()
        forked.wait(0.5)  # as long as the fork is let wait

    working = asyncio.create_task(journal._do(slow, writes=True))
    await asyncio.to_thread(begun.wait)
    child = os.fork()
    if child == 0:
        doing = threading.Thread(target=lambda: say(asyncio.run(claim(sys.argv[3])) or "claimed"))
        doing.start()
        doing.join()
        os._exit(0)
    forked.set()
    await working
    await asyncio.to_thread(os.waitpid, child, 0)
    say("over")
    await journal.close()

asyncio.run(main())
"""


async def test_a_child_that_is_forked_during_a_commit_can_use_the_journal(
    journal: Journal, job: str
) -> None:
    with running(FORKED_IN_A_COMMIT, journal.path, job) as parent:
        assert (hear(parent), hear(parent)) == ("claimed", "over")
        assert parent.wait() == 0


FORKED = """
import chunkup, signal
url, book, source = sys.argv[3:]
uploader = chunkup.Uploader(base_url=url, api_key="k", journal=book)
uploader.jobs()
child = os.fork()
if child == 0:
    signal.alarm(6)
    try:
        uploader.jobs()
    except chunkup.ChunkupError as error:
        say(error.code, error.exit_code, error.message, "|", error.hint)
    with chunkup.Uploader(base_url=url, api_key="k", journal=book) as fresh:
        say(len(fresh.jobs()))
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
say(len(uploader.jobs()))
"""


def test_an_uploader_that_a_fork_brought_along_says_so_and_does_not_hang(tmp_path: Path) -> None:
    book = tmp_path / "state" / "journal.db"
    with running(FORKED, book, "http://127.0.0.1:1/v1", book, "none") as parent:
        said = hear(parent)
        assert said.startswith("journal-trouble 75 this process was forked")
        assert said.endswith("make a new uploader in the child process")
        assert (hear(parent), hear(parent)) == ("0", "0")
        assert parent.wait() == 0


INHERIT = """
import subprocess
async def main():
    journal = await Journal.open(path)
    await journal.claim(sys.argv[3], "upload")
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    say("child", child.pid)
    sys.stdin.read()
asyncio.run(main())
"""


async def test_a_program_that_was_started_with_all_descriptors_holds_nothing(
    journal: Journal, job: str
) -> None:
    with running(INHERIT, journal.path, job) as parent:
        child = int(hear(parent).split()[1])
        try:
            with pytest.raises(Busy):
                await journal.claim(job, "upload")
            parent.kill()
            parent.wait()
            os.kill(child, 0)
            await journal.claim(job, "upload")
        finally:
            os.kill(child, signal.SIGKILL)


WORKERS = """
import chunkup, multiprocessing

def work(url, key, book, path, held):
    sys.stdin = open(os.devnull)
    uploader = chunkup.Uploader(
        base_url=url, api_key=key, journal=book, part_size=1000, options=chunkup.Options(retries=0)
    )
    with uploader:
        try:
            return uploader.upload(path, purpose="user_data").id
        except chunkup.ChunkupError as error:
            return f"{error.code} {error.exit_code} {error.message}"

if __name__ == "__main__":
    how, url, key, book, held, *paths = sys.argv[3:]
    own = chunkup.Uploader(base_url=url, api_key=key, journal=book, part_size=1000)
    run = own.start(held, purpose="user_data")
    run.ready()
    with multiprocessing.get_context(how).Pool(2) as pool:
        for said in pool.starmap(work, [(url, key, book, path, held) for path in [held, *paths]]):
            say(said)
    say(os.getpid())
    say(run.result().id)
"""


@pytest.mark.parametrize("how", ["fork", "spawn"])
async def test_workers_of_a_program_send_other_files_and_meet_their_parent_as_an_owner(
    house: House, tmp_path: Path, how: str
) -> None:
    paths = make_files(tmp_path, 3)
    held = hold(house, "part")
    program = tmp_path / "program.py"
    program.write_text(PRELUDE + WORKERS)
    book = tmp_path / "state" / "journal.db"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(program), str(TESTS), str(book), how, house.url, KEY, str(book)),
        *paths,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{TESTS}:{os.environ.get('PYTHONPATH', '')}"},
    )
    assert process.stdout
    try:
        await held.are(3)
        house.intercept = None
        busy, one, two, pid = [(await process.stdout.readline()).decode() for _ in range(4)]
        assert busy.startswith("busy 3 job ")
        assert f"is held by process {pid.strip()} on " in busy
        held.go.set()
        mine = (await process.stdout.readline()).decode()
        assert await process.wait() == 0
        files = [mine, one, two]
        for said, path in zip(files, paths, strict=True):
            assert house.content(said.strip()) == Path(path).read_bytes()
        assert len(house.files) == 3
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
