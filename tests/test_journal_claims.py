"""One owner per job, whatever dies, however many ask."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from strategies import plain_job

from chunkup.errors import Busy
from chunkup.journal import Journal

PRELUDE = """
import asyncio, json, os, sys
from pathlib import Path
from chunkup.errors import Busy
from chunkup.journal import Journal
sys.path.insert(0, sys.argv[1])
from strategies import plain_job
path = Path(sys.argv[2])
def say(*words): os.write(1, (" ".join(map(str, words)) + "\\n").encode())
"""


@contextmanager
def running(code: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """A Python process that talks over its standard streams; killed at the end if need be."""
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, str(Path(__file__).parent), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def hear(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def tell(process: "subprocess.Popen[str]") -> None:
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = await Journal.open(tmp_path / "journal.db")
    yield opened
    await opened.close()


@pytest.fixture
async def job(journal: Journal) -> str:
    return (await journal.adopt(plain_job()))[0].id


@pytest.fixture
async def other(journal: Journal) -> AsyncIterator[Journal]:
    opened = await Journal.open(journal.path)
    yield opened
    await opened.close()


# --- within one process ---------------------------------------------------------------------


async def test_a_held_job_is_refused_and_the_holder_named(
    journal: Journal, other: Journal, job: str
) -> None:
    before = time.time()
    await journal.claim(job, "upload a")
    for claimant in (journal, other):
        with pytest.raises(Busy) as caught:
            await claimant.claim(job, "upload b")
        error = caught.value
        assert (error.exit_code, error.job_id) == (3, job)
        assert error.hint
        assert socket.gethostname() in error.message
        assert "this process" in error.message
    line = await other.line(job)
    assert line.holder is not None
    assert (line.holder.pid, line.holder.host) == (os.getpid(), socket.gethostname())
    assert before - 1 <= line.holder.since <= time.time() + 1
    assert other.holder_lives(line)
    assert [run.command for run in await other.runs(job)] == ["upload a"]


async def test_a_released_job_is_free(journal: Journal, other: Journal, job: str) -> None:
    run = await journal.claim(job, "upload")
    await journal.release(job, run, None)
    assert (await journal.line(job)).holder is None
    await other.claim(job, "upload")
    # A second release by the first does not take it from the second.
    await journal.release(job, run, None)
    with pytest.raises(Busy):
        await journal.claim(job, "upload")


async def test_closing_gives_every_job_back(journal: Journal, other: Journal) -> None:
    jobs = [(await journal.adopt(plain_job(f"/data/{number}")))[0].id for number in range(3)]
    for job in jobs:
        await journal.claim(job, "upload")
    await journal.close()
    for job in jobs:
        assert not other.holder_lives(await other.line(job))
        await other.claim(job, "upload")
    owners = journal.path.with_name("journal.db-owners")
    assert len(list(owners.iterdir())) == 1


async def test_claims_of_other_jobs_do_not_meet(journal: Journal, other: Journal) -> None:
    first, _ = await journal.adopt(plain_job("/data/1"))
    second, _ = await journal.adopt(plain_job("/data/2"))
    await journal.claim(first.id, "upload")
    await other.claim(second.id, "upload")


# --- between processes ----------------------------------------------------------------------

HOLD = """
async def main():
    journal = await Journal.open(path)
    for job in sys.argv[3:]:
        await journal.claim(job, "upload in another process")
    say("claimed")
    sys.stdin.read()
asyncio.run(main())
"""


async def test_a_holder_in_another_process_is_named_by_its_number(
    journal: Journal, job: str
) -> None:
    with running(HOLD, journal.path, job) as holder:
        assert hear(holder) == "claimed"
        with pytest.raises(Busy) as caught:
            await journal.claim(job, "upload")
        assert f"process {holder.pid} on {socket.gethostname()}" in caught.value.message
        assert time.strftime("%Y-%m-%d %H:") in caught.value.message


async def test_jobs_of_a_killed_process_can_be_taken(journal: Journal) -> None:
    jobs = [(await journal.adopt(plain_job(f"/data/{number}")))[0].id for number in range(2)]
    with running(HOLD, journal.path, *jobs) as holder:
        assert hear(holder) == "claimed"
        holder.kill()
        holder.wait()
    for job in jobs:
        line = await journal.line(job)
        assert line.holder is not None
        assert line.holder.pid == holder.pid
        assert not journal.holder_lives(line)
        await journal.claim(job, "upload")
    assert [run.exit_code for run in await journal.runs(jobs[0])] == [None, None]


async def test_the_owner_file_of_a_dead_process_is_cleared_away(journal: Journal, job: str) -> None:
    owners = journal.path.with_name("journal.db-owners")
    with running(HOLD, journal.path, job) as holder:
        assert hear(holder) == "claimed"
        (left,) = owners.iterdir()
        holder.kill()
    await journal.claim(job, "upload")
    assert left not in set(owners.iterdir())


FORK = """
async def main():
    journal = await Journal.open(path)
    await journal.claim(sys.argv[3], "upload")
    if os.fork() == 0:
        say("child", os.getpid())
        sys.stdin.read()
        os._exit(0)
    say("parent", os.getpid())
    os.waitpid(-1, 0)
asyncio.run(main())
"""


async def test_a_forked_child_that_outlives_its_parent_holds_nothing(
    journal: Journal, job: str
) -> None:
    with running(FORK, journal.path, job) as parent:
        said = dict(hear(parent).split() for _ in range(2))
        assert said["parent"] == str(parent.pid)
        with pytest.raises(Busy):
            await journal.claim(job, "upload")
        parent.kill()
        parent.wait()
        os.kill(int(said["child"]), 0)
        await journal.claim(job, "upload")
        assert parent.stdin
        parent.stdin.close()
        assert parent.stdout
        assert parent.stdout.read() == ""


FORK_AND_OUTLIVE = """
async def main():
    journal = await Journal.open(path)
    await journal.claim(sys.argv[3], "upload")
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    say("alone")
    sys.stdin.read()
asyncio.run(main())
"""


async def test_a_forked_child_that_ends_takes_nothing_from_its_parent(
    journal: Journal, job: str
) -> None:
    with running(FORK_AND_OUTLIVE, journal.path, job) as parent:
        assert hear(parent) == "alone"
        with pytest.raises(Busy):
            await journal.claim(job, "upload")


async def test_two_who_look_at_a_dead_holder_do_not_take_each_other_for_it(
    journal: Journal, job: str
) -> None:
    with running(HOLD, journal.path, job) as holder:
        assert hear(holder) == "claimed"
    line = await journal.line(job)
    start = threading.Barrier(4)

    def look() -> int:
        start.wait()
        return sum(journal.holder_lives(line) for _ in range(2000))

    assert await asyncio.gather(*(asyncio.to_thread(look) for _ in range(4))) == [0] * 4


# --- many at once ---------------------------------------------------------------------------

ADOPT = """
async def main():
    say("ready")
    sys.stdin.readline()
    journal = await Journal.open(path)
    job, existed = await journal.adopt(plain_job())
    say(json.dumps([job.id, existed, journal.salt.hex()]))
    await journal.close()
asyncio.run(main())
"""


def test_processes_that_open_a_new_journal_at_once_adopt_one_job_in_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal.db"
    with ExitStack() as stack:
        processes = [stack.enter_context(running(ADOPT, path)) for _ in range(6)]
        for process in processes:
            assert hear(process) == "ready"
        for process in processes:
            tell(process)
        said = [json.loads(hear(process)) for process in processes]
    assert len({job for job, _, _ in said}) == 1
    assert sorted(existed for _, existed, _ in said) == [False] + [True] * 5
    assert len({salt for _, _, salt in said}) == 1


CROWD = """
async def main():
    jobs, wanted = sys.argv[4:], int(sys.argv[3])
    say("ready")
    sys.stdin.readline()
    journal = await Journal.open(path)
    claims = busy = at = 0
    while claims < wanted:
        at += 1
        job = jobs[at % len(jobs)]
        try:
            run = await journal.claim(job, "upload")
        except Busy:
            busy += 1
            continue
        marker = path.with_name("held-" + job)
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        claims += 1
        marker.unlink()
        await journal.release(job, run, None)
    await journal.close()
    say(json.dumps([claims, busy]))
asyncio.run(main())
"""


def test_of_two_thousand_claims_by_eight_processes_no_two_hold_one_job(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"

    async def make() -> list[str]:
        journal = await Journal.open(path)
        jobs = [(await journal.adopt(plain_job(str(number))))[0].id for number in range(3)]
        await journal.close()
        return jobs

    jobs = asyncio.run(make())
    with ExitStack() as stack:
        crowd = [stack.enter_context(running(CROWD, path, 250, *jobs)) for _ in range(8)]
        for process in crowd:
            assert hear(process) == "ready"
        for process in crowd:
            tell(process)
        # A second owner, or a lock that was lost, ends its process without an answer.
        said = [json.loads(hear(process) or "null") for process in crowd]
    assert [claims for claims, _ in said] == [250] * 8
    assert sum(busy for _, busy in said) > 0
