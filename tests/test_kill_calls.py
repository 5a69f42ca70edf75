"""SIGKILL at real system calls of the real command, which then is gone on with as a user would.

A run is recorded first, undisturbed; then there is one for each call that it made. A seeded
sample of them by default, all of them with ``CHUNKUP_LONG=1``.
"""

import asyncio
import os
import random
import re
import shutil
import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import ills
import pytest
from aiohttp import web
from house import KEY, Handler, House, call_of, make_source, open_house

from chunkup.journal import JobLine, Journal
from chunkup.machine import Phase

SIZE, PART = 4_300, 1_000
PIPE = asyncio.subprocess.PIPE
LONG = os.environ.get("CHUNKUP_LONG") == "1"
NOTHING = Path(os.devnull)
# As many at a time as keep two cores busy.
TOGETHER = 2
# What reaches the disk, a lock, the wire or a stream.
CALLS = (
    *("pwrite64", "fdatasync", "fsync", "sendto", "sendmsg", "write", "ftruncate", "unlink"),
    *("rename", "mkdir", "flock"),
)
ENTERED = re.compile(r"^(\d+) +(\w+)\(")
# What may lie beside the journal when nobody is at it.
BESIDE = {"journal.db", "journal.db-journal", "journal.db-lock", "journal.db-owners"}


@dataclass(frozen=True)
class Point:
    """Before the ``nth`` of these calls by any one thread."""

    call: str
    nth: int

    @property
    def inject(self) -> str:
        return f"{self.call}:signal=SIGKILL:when={self.nth}"


@dataclass
class Desk:
    """A folder with a source, a disk that holds the journal, and a server."""

    folder: Path
    house: House

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    @property
    def journal(self) -> Path:
        return self.disk / "state" / "journal.db"

    @property
    def source(self) -> Path:
        return self.folder / "here" / "a.bin"

    async def run(
        self,
        *words: str,
        under: tuple[str, ...] = (),
        cwd: Path | None = None,
        stdin: Path = NOTHING,
    ) -> tuple[int, str, str]:
        """What the command says; killed, its code is 137 of strace or -9."""
        # The bytecode is there already, and whoever is killed writing it proves nothing.
        environ = {
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
            "HOME": str(self.folder),
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": self.house.url,
            "CHUNKUP_JOURNAL": str(self.journal),
            "CHUNKUP_RETRIES": "2",
            "CHUNKUP_OFFLINE_WAIT": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with stdin.open("rb") as given:
            process = await asyncio.create_subprocess_exec(
                *(*under, sys.executable, "-m", "chunkup", *words),
                cwd=cwd or self.source.parent,
                env=environ,
                stdin=given,
                stdout=PIPE,
                stderr=PIPE,
            )
        out, err = await process.communicate()
        assert process.returncode is not None
        assert b"Traceback" not in err, err.decode()
        return process.returncode, out.decode(), err.decode()

    async def upload(self, workers: int, under: tuple[str, ...] = ()) -> tuple[int, str, str]:
        flags = ("-p", "user_data", "--part-size", str(PART), "--workers", str(workers))
        return await self.run("upload", "a.bin", *flags, under=under)

    async def seen(self) -> list[JobLine]:
        """What the journal holds, read from a copy: nobody has opened the real one since."""
        if not self.journal.exists():
            return []
        copy = self.folder / "copy"
        shutil.copytree(self.journal.parent, copy)
        book = await Journal.open(copy / "journal.db")
        try:
            return await book.lines()
        finally:
            await book.close()
            shutil.rmtree(copy)


def opened(folder: Path, house: House) -> Desk:
    desk = Desk(folder, house)
    desk.source.parent.mkdir(parents=True)
    desk.disk.mkdir()
    make_source(desk.source, SIZE, seed=5)
    return desk


def watching(log: Path, calls: Sequence[str] = CALLS) -> tuple[str, ...]:
    """The words before a command whose calls are to be counted."""
    return (ills.tool("strace"), "-qq", "-f", "-o", str(log), "-e", f"trace={','.join(calls)}")


def points(log: Path, calls: Sequence[str] = CALLS) -> list[Point]:
    """Every call of an undisturbed run before which it could be killed."""
    counted: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in log.read_text().splitlines():
        if entered := ENTERED.match(line):
            counted[entered[2]][entered[1]] += 1
    return [
        Point(call, nth)
        for call in calls
        for nth in range(1, max(counted[call].values(), default=0) + 1)
    ]


async def one_kill(folder: Path, workers: int, point: Point) -> bool:
    """Kill it there and go on; whether the run came so far."""
    async with open_house(folder / "server") as house:
        desk = opened(folder, house)
        code, out, _ = await desk.upload(workers, ills.strace(point.inject))
        await house.idle()
        assert code in {0, 137, -9}, (point, code)
        lines = await desk.seen()
        assert len(lines) <= 1, point
        house.arrivals.clear()
        after = await (desk.run("resume") if lines else desk.upload(workers))
        assert after[0] == 0, (point, after)
        (file,) = house.files
        assert house.content(file.id) == desk.source.read_bytes(), point
        # An id that anybody could have read stays the id, and one that nobody read is printed.
        printed = [line.partition("\t")[0] for line in (out + after[1]).splitlines()]
        assert set(printed) == {file.id}, (point, out, after)
        if lines and lines[0].phase is Phase.COMPLETED:
            assert lines[0].file_id == file.id, point
        settled = bool(lines) and lines[0].phase in {Phase.ASKED, Phase.COMPLETED}
        done = lines[0].done if lines else 0
        assert house.whole_bytes == (0 if settled else SIZE - done), point
        check_left(desk, point)
        return code != 0


def check_left(desk: Desk, point: object) -> None:
    """Nobody holds anything, and nothing half-done lies about."""
    assert [path.name for path in desk.source.parent.iterdir()] == ["a.bin"], point
    assert {path.name for path in desk.journal.parent.iterdir()} <= BESIDE, point
    # Whoever was killed leaves one, and the next who needs one of its own takes that away.
    owners = desk.journal.with_name("journal.db-owners")
    assert not owners.exists() or len(list(owners.iterdir())) <= 1, point
    assert desk.journal.with_name("journal.db-journal").stat().st_size == 0, point
    with closing(sqlite3.connect(desk.journal)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], point
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (1,), point
        held = db.execute("SELECT count(*) FROM jobs WHERE owner IS NOT NULL AND NOT printed")
        assert held.fetchone() == (0,), point


def sampled(found: list[Point], chance: random.Random, most: int) -> list[Point]:
    """One of each kind of call in turn, so that the many do not crowd out the few."""
    if LONG:
        return found
    shuffled = chance.sample(found, len(found))
    calls = dict.fromkeys(point.call for point in found)
    kinds = [[point for point in shuffled if point.call == call] for call in calls]
    rounds = zip_longest(*kinds)
    return [point for turn in rounds for point in turn if point is not None][:most]


@pytest.mark.timeout(3000 if LONG else 180)
@pytest.mark.parametrize(("workers", "share"), [(1, 7), (4, 4)])
async def test_killed_at_a_system_call_it_is_gone_on_with(
    tmp_path: Path, workers: int, share: int
) -> None:
    seed = random.randrange(1 << 32)
    recorded = tmp_path / "recorded"
    async with open_house(recorded / "server") as house:
        desk = opened(recorded, house)
        code, _, err = await desk.upload(workers, watching(recorded / "log"))
        assert code == 0, err
    found = points(recorded / "log")
    kinds = Counter(point.call for point in found)
    assert kinds["pwrite64"] > 50
    assert kinds["fdatasync"] + kinds["fsync"] > 20
    assert kinds["sendto"] >= SIZE // PART // workers
    chosen = sampled(found, random.Random(seed), share)
    print(f"{len(chosen)} of {len(found)} calls, {workers} workers, seed {seed}: {dict(kinds)}")
    turns = asyncio.Semaphore(TOGETHER)
    killed: list[bool] = []

    async def in_turn(point: Point) -> None:
        async with turns:
            folder = tmp_path / f"{point.call}-{point.nth}"
            killed.append(await one_kill(folder, workers, point))
            shutil.rmtree(folder)

    async with asyncio.TaskGroup() as group:
        for point in chosen:
            group.create_task(in_turn(point))
    # A few lie behind the last call of a run that took fewer.
    assert sum(killed) >= len(killed) * 2 // 3


# As a neighbour in the same container takes what is left of its memory.
NEIGHBOUR = "print(len(b'x' * (512 << 20)))"
FIRST_TO_GO = 'echo 1000 > /proc/self/oom_score_adj; exec "$@"'


async def test_killed_for_want_of_memory_it_is_gone_on_with(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def three(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") > 3:
            held.set()
            await asyncio.Event().wait()
        return await handler(request)

    with ills.cage("memory", limit_in_bytes="256M") as cage:
        async with open_house(tmp_path / "server") as house:
            desk = opened(tmp_path, house)
            house.intercept = three
            under = cage.command("bash", "-c", FIRST_TO_GO, "victim")
            running = asyncio.create_task(desk.upload(1, under))
            waiting = asyncio.create_task(held.wait())
            await asyncio.wait([waiting, running], return_when=asyncio.FIRST_COMPLETED)
            assert not running.done(), await running
            neighbour = await asyncio.create_subprocess_exec(
                *cage.command(sys.executable, "-c", NEIGHBOUR), stdout=PIPE
            )
            assert (await running)[0] == -9
            await neighbour.communicate()
            house.intercept = None
            (line,) = await desk.seen()
            assert line.parts == 3
            house.arrivals.clear()
            code, out, err = await desk.run("resume")
            assert code == 0, err
            (file,) = house.files
            assert out.partition("\t")[0].strip() == file.id
            assert house.content(file.id) == desk.source.read_bytes()
            assert house.whole_bytes == SIZE - line.done
            check_left(desk, "memory")
