"""``kill -9`` while a ``complete`` is in doubt."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from asks import (
    PART,
    QUICK,
    SIZE,
    Answer,
    Script,
    assert_the_one,
    quicken,
    reset,
    saying,
)
from house import KEY, Handler, House, call_of, make_source, open_house

from chunkup.journal import Journal
from chunkup.machine import Phase


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    make_source(path, SIZE)
    return path


VICTIM = """
import asyncio, sys
from chunkup import AsyncUploader, Options
from house import HASTY

async def main():
    url, journal, source, key = sys.argv[1:]
    async with AsyncUploader(
        base_url=url, api_key=key, journal=journal, part_size=1000, options=HASTY
    ) as uploader:
        await uploader.upload(source, purpose="user_data")

asyncio.run(main())
"""


async def killed(house: House, journal: Path, source: Path, moment: asyncio.Event) -> None:
    """Upload in a process of its own, and kill it at this moment."""
    victim = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", VICTIM, house.url, str(journal), str(source), KEY),
        env={"PYTHONPATH": f"{Path(__file__).parent}:{':'.join(sys.path)}"},
    )
    async with asyncio.timeout(30):
        await moment.wait()
    victim.kill()
    assert await victim.wait() == -9


@pytest.mark.parametrize(
    ("first", "done", "second_done"),
    [(None, True, False), (reset, True, False), (reset, False, True), (reset, False, False)],
    ids=["at the first", "at the look", "at the second", "before the second"],
)
async def test_killed_at_the_worst_moments_there_is_one_file(
    journal: Path,
    source: Path,
    tmp_path: Path,
    first: Answer | None,
    *,
    done: bool,
    second_done: bool,
) -> None:
    async with open_house(tmp_path / "server") as house:
        moment = asyncio.Event()

        async def hold(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
            moment.set()
            await asyncio.Event().wait()
            return answer

        async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
            call = call_of(request)
            asked = house.calls.count("complete")
            if call == "list" and done:
                return await hold(request, web.Response())
            if call != "complete":
                return await handler(request)
            if asked == 1:
                answer = await handler(request) if done else web.Response()
                return await (first or hold)(request, answer)
            answer = await handler(request) if second_done else web.Response()
            return await hold(request, answer)

        house.intercept = intercept
        await killed(house, journal, source, moment)
        # Files are listed only a while later, and what it has of the Upload it says.
        house.calls.clear()
        house.intercept = Script(saying({}), second=None, seen=1)
        house.intercept.asked = 1
        book = await Journal.open(journal)
        (line,) = await book.lines()
        await book.close()
        assert line.phase is Phase.ASKED
        options = replace(QUICK, looks=(0.0,))
        async with house.uploader(journal, part_size=PART, options=options) as uploader:
            file = await uploader.resume(line.job.id)
        assert_the_one(house, source, file)
        assert "part" not in house.calls
