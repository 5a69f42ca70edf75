"""SIGKILL from outside at every boundary of a run that was recorded undisturbed."""

import asyncio
import random
import sys
from pathlib import Path

import pytest
from house import HASTY, House, make_source, open_house

from chunkup.journal import Journal
from chunkup.machine import Phase
from chunkup.models import Method

SIZE, PART = 6_300, 1_000
VICTIM = Path(__file__).with_name("victim.py")
# As many at a time as keep two cores busy.
TOGETHER = 4


async def run_victim(
    house: House,
    journal: Path,
    source: Path,
    *,
    workers: int,
    survive: int | None,
    method: Method = "auto",
) -> list[str]:
    """Run the victim past ``survive`` boundaries, then kill it; the boundaries it passed.

    With None it lives to the end.
    """
    victim = await asyncio.create_subprocess_exec(
        *(sys.executable, str(VICTIM), house.url, str(journal), str(source)),
        *(str(PART), str(workers), method),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert victim.stdout is not None
    assert victim.stdin is not None
    passed: list[str] = []
    while line := await victim.stdout.readline():
        if len(passed) == survive:
            victim.kill()
            break
        passed.append(line.decode().strip())
        victim.stdin.write(b"go\n")
    code = await victim.wait()
    assert code == (0 if survive is None else -9), (code, survive, passed)
    victim.stdin.close()
    # What the dead had put on the wire still arrives, and is nobody's doing.
    await house.idle()
    return passed


async def check_recovery(
    house: House, journal: Path, source: Path, point: str, method: Method
) -> None:
    """Go on as a user would; only what has no receipt travels, and there is one right File."""
    book = await Journal.open(journal)
    lines = await book.lines()
    await book.close()
    house.arrivals.clear()
    async with house.uploader(journal, part_size=PART, options=HASTY) as uploader:
        if lines:
            file = await uploader.resume(lines[0].job.id)
        else:
            file = await uploader.upload(source, purpose="user_data", method=method)
    assert len(lines) <= 1, point
    assert [row.id for row in house.files] == [file.id], point
    assert house.content(file.id) == source.read_bytes(), point
    if method == "files":
        return
    done = lines[0].done if lines else 0
    settled = bool(lines) and lines[0].phase in {Phase.ASKED, Phase.COMPLETED}
    assert house.whole_bytes == (0 if settled else SIZE - done), point


async def one_kill(folder: Path, *, workers: int, survive: int, method: Method = "auto") -> None:
    folder.mkdir()
    source, journal = folder / "source.bin", folder / "state" / "journal.db"
    make_source(source, SIZE, seed=survive)
    async with open_house(folder / "server") as house:
        passed = await run_victim(
            house, journal, source, workers=workers, survive=survive, method=method
        )
        point = f"killed after {survive}: {passed[-3:]}, {workers} workers"
        await check_recovery(house, journal, source, point, method)


async def recorded(folder: Path, workers: int, method: Method = "auto") -> list[str]:
    folder.mkdir()
    source = folder / "source.bin"
    make_source(source, SIZE)
    async with open_house(folder / "server") as house:
        return await run_victim(
            *(house, folder / "state" / "journal.db", source),
            workers=workers,
            survive=None,
            method=method,
        )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", [1, 4])
async def test_kill_at_every_boundary_and_go_on(tmp_path: Path, workers: int) -> None:
    points = await recorded(tmp_path / "recorded", workers)
    posts = [point for point in points if "POST" in point]
    assert posts.count("before POST parts") == posts.count("after POST parts") == 7
    assert {"before POST complete", "after POST complete"} <= set(posts)
    assert points.count("before commit") == points.count("after commit") >= 7 + 4
    seed = random.randrange(1 << 32)
    # With one worker the order is always the same, so every boundary is met. With four it
    # varies, and a third of them, drawn anew each time, adds what one worker cannot show.
    chosen = list(range(len(points)))
    if workers > 1:
        chosen = sorted(random.Random(seed).sample(chosen, len(chosen) // 3))
    print(f"{len(chosen)} of {len(points)} kill points, {workers} workers, seed {seed}")
    turns = asyncio.Semaphore(TOGETHER)

    async def in_turn(survive: int) -> None:
        async with turns:
            await one_kill(tmp_path / str(survive), workers=workers, survive=survive)

    async with asyncio.TaskGroup() as group:
        for survive in chosen:
            group.create_task(in_turn(survive))


@pytest.mark.timeout(300)
async def test_kill_a_single_request_at_every_boundary_and_go_on(tmp_path: Path) -> None:
    points = await recorded(tmp_path / "recorded", 1, "files")
    assert [point for point in points if "POST" in point] == [
        "before POST files",
        "after POST files",
    ]
    # The end of the body waits for the commit in the middle of the request.
    first = points.index("before POST files")
    assert {"before commit", "after commit"} <= set(
        points[first : points.index("after POST files")]
    )
    turns = asyncio.Semaphore(TOGETHER)

    async def in_turn(survive: int) -> None:
        async with turns:
            await one_kill(tmp_path / str(survive), workers=1, survive=survive, method="files")

    async with asyncio.TaskGroup() as group:
        for survive in range(len(points)):
            group.create_task(in_turn(survive))
