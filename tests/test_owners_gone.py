"""What is left of a claim when its process is killed, stopped, forked, or meets its like."""

import asyncio
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from ills import strace, tool
from strategies import plain_job
from test_cli import AS_USED, Shell, hold_parts_after, shell
from test_journal_claims import HOLD, PRELUDE, hear, job, journal, other, running

from chunkup.errors import Busy, JournalTrouble
from chunkup.journal import Journal, claims
from chunkup.machine import AnswerLost, Created
from chunkup.models import Upload

__all__ = ["job", "journal", "other", "shell"]

CREATED = Created(Upload("upload_1", 0, None))
LONG = bool(os.environ.get("CHUNKUP_LONG"))
TESTS = Path(__file__).parent


def owners(journal: Journal) -> Path:
    return journal.path.with_name(journal.path.name + "-owners")


def write_row(journal: Journal, **fields: object) -> None:
    """Have the job's row say something else."""
    said = ", ".join(f"{name} = ?" for name in fields)
    with closing(sqlite3.connect(journal.path)) as outside, outside:
        outside.execute(f"UPDATE jobs SET {said}", [*fields.values()])


# --- killed while it claims -------------------------------------------------------------------

CLAIM = (
    PRELUDE
    + """
from chunkup.machine import AnswerLost
async def main():
    journal, job = await Journal.open(path), sys.argv[3]
    run = await journal.claim(job, "upload")
    await journal.record(job, AnswerLost("upload_1"))
    await journal.release(job, run, None)
    await journal.close()
asyncio.run(main())
"""
)
CALLS = ("mkdir", "flock", "unlink", "pwrite64", "fdatasync", "ftruncate")


def claimant(journal: Path, job: str, *before: str) -> "subprocess.CompletedProcess[bytes]":
    words = [*before, sys.executable, "-c", CLAIM, str(TESTS), str(journal), job]
    return subprocess.run(words, check=False, capture_output=True)


async def test_killed_at_any_call_of_a_claim_it_keeps_the_job_from_nobody(tmp_path: Path) -> None:
    made = tmp_path / "made"
    book = await Journal.open(made / "journal.db")
    job = (await book.adopt(plain_job()))[0].id
    await book.record(job, CREATED)
    await book.close()

    def fresh(name: str) -> Path:
        return Path(shutil.copytree(made, tmp_path / name)) / "journal.db"

    log = tmp_path / "log"
    seen = strace("flock:delay_enter=0", trace=",".join(CALLS), log=log)
    assert claimant(fresh("seen"), job, *seen).returncode == 0
    # The journal's own thread makes them all: another thread's calls are counted apart.
    thread = max(Counter(line.split()[0] for line in log.read_text().splitlines()).items())[0]
    mine = [line for line in log.read_text().splitlines() if line.split()[0] == thread]
    counts = {call: sum(f" {call}(" in line for line in mine) for call in CALLS}
    assert counts["flock"] == 2
    points = [(call, nth) for call in CALLS for nth in range(1, counts[call] + 1)]
    seed = random.randrange(1 << 32)
    print(f"{counts}, seed {seed}")
    # The owner's file made and not locked; released and not removed.
    chosen = {("flock", 2), ("unlink", counts["unlink"])}
    chosen |= set(points if LONG else random.Random(seed).sample(points, 3))
    for call, nth in sorted(chosen):
        path = fresh(f"{call}-{nth}")
        done = claimant(path, job, *strace(f"{call}:signal=SIGKILL:when={nth}"))
        assert done.returncode in {-9, 137}, (call, nth, done.stderr)
        after = await Journal.open(path)
        try:
            assert not after.holder_lives(await after.line(job)), (call, nth)
            facts = await after.facts(job)
            assert facts in ([CREATED], [CREATED, AnswerLost("upload_1")]), (call, nth)
            run = await after.claim(job, "resume")
            assert len(list(owners(after).iterdir())) == 1, (call, nth)
            await after.release(job, run, None)
        finally:
            await after.close()
        assert list(owners(after).iterdir()) == []


async def test_a_command_that_is_killed_leaves_a_job_that_the_next_one_has_at_once(
    shell: Shell,
) -> None:
    held, go = hold_parts_after(shell.house, 3)
    first = await shell.start("upload", "a.bin", *AS_USED)
    await held.wait()
    first.kill()
    await first.wait()
    shell.house.intercept = None
    go.set()
    done = await shell.run("resume")
    assert done.code == 0, done.err
    assert list(shell.journal.with_name("journal.db-owners").iterdir()) == []


# --- who it is --------------------------------------------------------------------------------


@pytest.mark.parametrize("pid", [1, os.getppid(), "own"])
async def test_a_number_that_somebody_else_has_now_is_nobodys_claim(
    journal: Journal, job: str, pid: object
) -> None:
    with running(HOLD, journal.path, job) as holder:
        assert hear(holder) == "claimed"
        holder.kill()
        holder.wait()
    write_row(journal, owner_pid=os.getpid() if pid == "own" else pid)
    assert not journal.holder_lives(await journal.line(job))
    await journal.claim(job, "resume")


async def test_a_holder_with_our_number_in_another_container_is_not_called_this_process(
    journal: Journal, job: str
) -> None:
    with running(HOLD, journal.path, job) as holder:
        assert hear(holder) == "claimed"
        write_row(journal, owner_pid=os.getpid())
        with pytest.raises(Busy) as caught:
            await journal.claim(job, "resume")
        assert f"process {os.getpid()} on {socket.gethostname()}" in caught.value.message
        assert "this process" not in caught.value.message


IN_A_CONTAINER = """
async def main():
    assert os.getpid() == 1
    journal = await Journal.open(path)
    try:
        await journal.claim(sys.argv[3], "upload")
        say("claimed")
        sys.stdin.readline()
    except Busy as error:
        say(error.message)
asyncio.run(main())
"""


@contextmanager
def contained(journal: Path, job: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that is number 1 of a namespace of its own."""
    words = [tool("unshare"), "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable]
    with subprocess.Popen(
        [*words, "-c", PRELUDE + IN_A_CONTAINER, str(TESTS), str(journal), job],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_two_containers_that_share_a_journal_know_each_other_by_their_locks(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.db"

    async def make() -> str:
        journal = await Journal.open(path)
        job = (await journal.adopt(plain_job()))[0].id
        await journal.close()
        return job

    job = asyncio.run(make())
    with contained(path, job) as first:
        heard = hear(first)
        if not heard and first.stderr and "permitted" in first.stderr.read():
            pytest.skip("unshare: it takes root")
        assert heard == "claimed"
        with contained(path, job) as second:
            assert f"job {job} is held by process 1 on " in hear(second)
    with contained(path, job) as third:
        assert hear(third) == "claimed"


async def test_a_journal_copied_with_its_owners_is_free_and_the_original_is_not(
    journal: Journal, job: str, tmp_path: Path
) -> None:
    await journal.claim(job, "upload")
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(journal.path, copy)
    shutil.copytree(owners(journal), copy / "journal.db-owners")
    there = await Journal.open(copy / "journal.db")
    await there.claim(job, "resume")
    await there.close()
    assert journal.holder_lives(await journal.line(job))


async def test_by_another_way_to_the_same_folder_it_is_the_same_owner(
    journal: Journal, job: str, tmp_path: Path
) -> None:
    await journal.claim(job, "upload")
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    there = await Journal.open(tmp_path / "link" / "journal.db")
    with pytest.raises(Busy):
        await there.claim(job, "resume")
    await there.close()


async def test_an_owner_in_the_journal_that_is_a_path_leads_nowhere(
    journal: Journal, job: str, tmp_path: Path
) -> None:
    """A journal may come from somebody else."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    owners(journal).mkdir()
    for name in ("../precious", str(precious), "..", "", "\x00"):
        write_row(journal, owner=name, owner_pid=1, owner_host="h", owner_since=0.0)
        assert not journal.holder_lives(await journal.line(job))
        await journal.release(job, await journal.claim(job, "resume"), None)
    assert precious.read_text() == "mine"


# --- what is left -----------------------------------------------------------------------------


async def test_files_of_the_dead_are_cleared_away_and_nothing_else(
    journal: Journal, other: Journal
) -> None:
    jobs = [(await journal.adopt(plain_job(f"/data/{at}")))[0].id for at in range(2)]
    await other.claim(jobs[0], "upload")
    (living,) = owners(journal).iterdir()
    dead = [owners(journal) / f"{at:032x}" for at in range(20)]
    for path in dead:
        path.touch()
    odd = [owners(journal) / name for name in ("notes.txt", "0" * 31, "F" * 32)]
    for path in odd:
        path.touch()
    (owners(journal) / ("f" * 32)).mkdir()
    await journal.claim(jobs[1], "upload")
    assert not any(path.exists() for path in dead)
    assert all(path.exists() for path in [living, *odd])
    for each in (journal, other):
        with pytest.raises(Busy):
            await each.claim(jobs[0], "resume")
    assert other._owner._handle is not None
    os.close(other._owner._handle)
    other._owner._handle = None
    await journal.claim(jobs[0], "resume")
    assert not living.exists()


async def test_a_lock_that_cannot_be_looked_at_is_trouble_and_no_traceback(
    journal: Journal, other: Journal, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await other.claim(job, "upload")

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(claims, "flock", refuse)
    with pytest.raises(JournalTrouble, match="No locks available"):
        journal.holder_lives(await journal.line(job))


async def test_what_the_disk_did_not_let_it_give_back_is_free_all_the_same(
    journal: Journal, other: Journal
) -> None:
    """Free some space, then resume: that may be in another terminal."""
    one, two = [(await journal.adopt(plain_job(f"/data/{at}")))[0].id for at in range(2)]
    run = await journal.claim(one, "upload")
    await journal.reserve([one, two])
    journal._scribe._broken = JournalTrouble("no space is left")
    with pytest.raises(JournalTrouble):
        await journal.unreserve([one])
    assert other.holder_lives(await other.line(one))
    with pytest.raises(JournalTrouble):
        await journal.release(one, run, None)
    # The other one may still be completed by who has it.
    assert other.holder_lives(await other.line(two))
    with pytest.raises(JournalTrouble):
        await journal.unreserve([two])
    for free in (one, two):
        assert not other.holder_lives(await other.line(free))
        await other.claim(free, "resume")


async def test_who_could_not_give_a_job_back_can_have_it_again(
    journal: Journal, other: Journal, job: str
) -> None:
    run = await journal.claim(job, "upload")
    before = journal._owner.id
    journal._scribe._broken = JournalTrouble("locked")
    with pytest.raises(JournalTrouble):
        await journal.release(job, run, None)
    journal._scribe._broken = None
    await journal.claim(job, "resume")
    assert journal._owner.id != before
    with pytest.raises(Busy):
        await other.claim(job, "resume")


async def test_a_job_that_was_taken_and_is_free_again_is_not_run_twice_in_one_process(
    journal: Journal, other: Journal, job: str
) -> None:
    """The first run still lives, and would pass for the second one."""
    run = await journal.claim(job, "upload")
    taken = await other.claim(job, "resume --takeover", takeover=True)
    await other.release(job, taken, None)
    for takeover in (False, True):
        with pytest.raises(Busy, match="this process"):
            await journal.claim(job, "resume", takeover=takeover)
    with pytest.raises(Busy):
        await journal.record(job, CREATED)
    await journal.release(job, run, None)
    await journal.claim(job, "resume")
    await journal.record(job, CREATED)


async def test_a_turn_that_was_taken_over_is_no_reason_to_refuse_the_next(
    journal: Journal, other: Journal, job: str
) -> None:
    await journal.reserve([job])
    taken = await other.claim(job, "resume --takeover", takeover=True)
    await other.release(job, taken, None)
    with pytest.raises(Busy, match="taken over"):
        await journal.claim(job, "upload")
    await journal.claim(job, "upload")


async def test_a_file_that_was_checked_by_one_who_lost_it_is_not_noted(
    journal: Journal, other: Journal, job: str
) -> None:
    await journal.claim(job, "upload")
    await other.claim(job, "resume --takeover", takeover=True)
    with pytest.raises(Busy):
        await journal.checked(job, 7)
    assert (await other.job(job)).lines is None
