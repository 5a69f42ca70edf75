"""Many files, engines for them in this process, and another process that uploads them."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from house import HASTY, KEY, Handler, House, call_of, make_source

from chunkup import events
from chunkup.asked import asked_for
from chunkup.dataset import Dataset, Result
from chunkup.endpoint import resolve
from chunkup.engine import Engine
from chunkup.intake import Content
from chunkup.journal import JobLine
from chunkup.ledger import Emit
from chunkup.models import Job, Options
from chunkup.stops import Home

SIZE, PART = 2500, 1000
USER_DATA = Content("user_data")
ENOUGH = 30.0


def silent(_: events.Event) -> None:
    """Nobody listens."""


def make_files(folder: Path, count: int, size: int = SIZE) -> list[str]:
    """Files of different content; their paths."""
    paths = [folder / f"{number:03}.bin" for number in range(count)]
    for number, path in enumerate(paths):
        make_source(path, size, seed=number)
    return [str(path) for path in paths]


@asynccontextmanager
async def working(
    house: House, journal: Path, *, key: str = KEY, options: Options = HASTY, md5: bool = True
) -> AsyncIterator[Engine]:
    """An engine with a journal handle of its own, as another process would have it."""
    endpoint = resolve(base_url=house.url, api_key=key)
    engine = Engine(endpoint, Home(journal), part_size=PART, md5=md5, options=options)
    try:
        yield engine
    finally:
        await engine.aclose()


async def run_all(dataset: Dataset, emit: Emit = silent) -> list[Result]:
    """The results in the members' order; all of them, each once."""
    found: dict[int, Result] = {}
    async with aclosing(dataset.results(emit)) as results:
        async for place, result in results:
            assert place not in found
            found[place] = result
    assert sorted(found) == list(range(len(dataset.members)))
    return [found[place] for place in range(len(found))]


async def upload_all(
    engine: Engine, paths: Sequence[str], emit: Emit = silent, *, told: bool = False
) -> list[Result]:
    """What the command ``upload PATH...`` does; ``told`` if it lives to print the ids."""
    results = await run_all(await asked_for(engine, paths, USER_DATA), emit)
    if told:
        await tell(engine, results)
    return results


async def tell(engine: Engine, results: Sequence[Result]) -> None:
    """The ids reach whoever asked."""
    done = [result.job_id for result in results if result.file is not None]
    await (await engine.journal()).mark_printed(done)


def assert_are(house: House, results: Sequence[Result], paths: Sequence[str]) -> None:
    """Each path has a File of its content."""
    assert [result.path for result in results] == list(paths)
    for result in results:
        assert result.error is None
        assert result.file is not None
        assert house.content(result.file.id) == Path(result.path).read_bytes()


async def lines_of(engine: Engine) -> dict[str, JobLine]:
    """The journal's lines by the last part of their path; a later job hides an earlier one."""
    lines = await (await engine.journal()).lines()
    return {Path(line.job.path).name: line for line in lines}


async def job_of(engine: Engine, path: str) -> Job:
    return (await lines_of(engine))[Path(path).name].job


@dataclass
class Held:
    """Requests that wait at the server until ``go``; ``count`` of them arrived."""

    count: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self) -> None:
        self.count += 1
        self._more.set()
        await self.go.wait()

    async def are(self, count: int) -> None:
        """Wait until so many are held."""
        async with asyncio.timeout(ENOUGH):
            while self.count < count:
                self._more.clear()
                await self._more.wait()


def hold(house: House, call: str, *, after: int = 0) -> Held:
    """Hold every request of a kind beyond the first ``after``."""
    held = Held()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == call and house.calls.count(call) > after:
            await held.wait()
        return await handler(request)

    house.intercept = intercept
    return held


# --- another process ------------------------------------------------------------------------

_PROGRAM = """
import asyncio, json, sys
sys.path.insert(0, sys.argv[1])
from house import HASTY, KEY
from chunkup import AsyncUploader

def say(**words):
    sys.stdout.write(json.dumps(words) + "\\n")
    sys.stdout.flush()

def hear(event):
    say(event=type(event).__name__, job=event.job, path=event.path)

async def main():
    url, journal, *paths = sys.argv[2:]
    uploader = AsyncUploader(
        base_url=url, api_key=KEY, journal=journal, part_size=1000, options=HASTY
    )
    async with uploader:
        async for result in uploader.upload_all(paths, purpose="user_data", on_event=hear):
            say(
                path=result.path,
                job=result.job_id,
                file=result.file.id if result.file else None,
                code=result.error.code if result.error else None,
            )
    say(event="Left")

asyncio.run(main())
"""


@dataclass
class Elsewhere:
    """A process that uploads files as one set and says what happens, a line for each."""

    process: asyncio.subprocess.Process
    said: list[dict[str, Any]] = field(default_factory=list)

    async def hear(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read on until it says something that fits."""
        assert self.process.stdout is not None
        async with asyncio.timeout(ENOUGH):
            while line := await self.process.stdout.readline():
                self.said.append(json.loads(line))
                if fits(self.said[-1]):
                    return self.said[-1]
        raise AssertionError(f"it ended without saying so: {self.said}")

    async def started(self, name: str) -> str:
        """Wait until it has begun the file of this name; the job's id."""
        said = await self.hear(
            lambda line: line.get("event") == "JobStarted" and line["path"].endswith(name)
        )
        return str(said["job"])

    async def result(self, name: str) -> dict[str, Any]:
        """Wait for what became of the file of this name."""
        return await self.hear(lambda line: "code" in line and line["path"].endswith(name))

    async def left(self) -> None:
        """Wait until it has ended by itself."""
        await self.hear(lambda line: line.get("event") == "Left")
        assert await self.process.wait() == 0

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def elsewhere(house: House, journal: Path, paths: Sequence[str]) -> AsyncIterator[Elsewhere]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM, str(Path(__file__).parent), house.url, str(journal)),
        *paths,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Elsewhere(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
