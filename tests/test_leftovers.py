"""After every kind of ending nothing is left: no thread, no task, no open file."""

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from house import HASTY, Handler, House, call_of, make_source

from chunkup import AsyncUploader, ChunkupError, events

SIZE = 40_000


def count() -> tuple[set[str], int, set[str]]:
    """Our threads, our open files, our tasks."""
    gc.collect()
    threads = {t.name for t in threading.enumerate() if t.name.startswith("chunkup")}
    files = len(list(Path("/proc/self/fd").iterdir()))
    tasks = {task.get_name() for task in asyncio.all_tasks()}
    return threads, files, tasks


async def succeed(uploader: AsyncUploader, source: Path, house: House) -> None:
    await uploader.upload(source, purpose="user_data")


async def fail(uploader: AsyncUploader, source: Path, house: House) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") > 5:
            await request.read()  # or the server lingers for what was not read
            return web.json_response({"error": {"message": "no"}}, status=400)
        return await handler(request)

    house.intercept = intercept
    with pytest.raises(ChunkupError):
        await uploader.upload(source, purpose="user_data")


async def run_dry(uploader: AsyncUploader, source: Path, house: House) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            await request.read()
            return web.Response(status=503, headers={"retry-after-ms": "1"})
        return await handler(request)

    house.intercept = intercept
    with pytest.raises(ChunkupError):
        await uploader.upload(source, purpose="user_data")


async def change(uploader: AsyncUploader, source: Path, house: House) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") == 3:
            os.truncate(source, SIZE - 1)
        return await handler(request)

    house.intercept = intercept
    with pytest.raises(ChunkupError):
        await uploader.upload(source, purpose="user_data")


async def cancel(uploader: AsyncUploader, source: Path, house: House) -> None:
    enough = asyncio.Event()

    def watch(event: events.Event) -> None:
        if isinstance(event, events.PartAccepted):
            enough.set()

    task = asyncio.create_task(uploader.upload(source, purpose="user_data", on_event=watch))
    await enough.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def refuse(uploader: AsyncUploader, source: Path, house: House) -> None:
    with pytest.raises(ChunkupError):
        await uploader.upload(source.with_name("nowhere"), purpose="user_data")


ENDINGS: list[Callable[[AsyncUploader, Path, House], Awaitable[None]]] = [
    succeed,
    fail,
    run_dry,
    change,
    cancel,
    refuse,
]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_nothing_is_left(
    ending: Callable[[AsyncUploader, Path, House], Awaitable[None]],
    house: House,
    journal: Path,
    tmp_path: Path,
) -> None:
    source = tmp_path / "a.bin"
    make_source(source, SIZE)
    await asyncio.to_thread(int)  # the loop's own executor is nobody's leftover
    threads, files, tasks = count()
    async with house.uploader(journal, options=HASTY) as uploader:
        await ending(uploader, source, house)
        # Between uploads only what the uploader shares may live, and no task at all.
        mine = {t.name for t in threading.enumerate() if t.name == "chunkup-md5"}
        assert not mine
    await house.idle()
    await house.no_connections()
    after_threads, after_files, after_tasks = count()
    assert {name for name in after_threads if not name.startswith("chunkup-read")} == threads
    assert after_files == files
    assert after_tasks == tasks
