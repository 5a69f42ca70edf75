"""A life of accidents: machine, journal, source and the server's store, driven at random.

After every step: each File on the server is some whole version of the source, never a
mixture; no job made two; what has a receipt in an Upload that lives is not sent again.
"""

import asyncio
import os
import random
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web
from house import HASTY, Handler, House, call_of, drop, open_house
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chunkup import AsyncUploader, ChunkupError, SourceChanged, events
from chunkup.machine import OPEN, Phase

PART = 500
_Result = TypeVar("_Result")


class Accidents(RuleBasedStateMachine):
    """One file, one journal, one server, and everything that can happen between them."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.random = random.Random(0)
        self.versions: list[bytes] = []

    def wait(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return self.runner.run(work)

    @initialize(size=st.integers(1, 6000), seed=st.integers(0, 1 << 16))
    def begin(self, size: int, seed: int) -> None:
        self.random = random.Random(seed)
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.source, self.journal = folder / "a.jsonl", folder / "state" / "journal.db"
        self.write(self.random.randbytes(size))
        self.house: House = self.wait(self.stack.enter_async_context(open_house(folder / "server")))

    def write(self, content: bytes) -> None:
        self.source.write_bytes(content)
        self.versions.append(content)

    def teardown(self) -> None:
        self.wait(self.stack.aclose())
        self.runner.close()

    # --- what happens to the source ---

    @rule(grow=st.integers(-200, 200))
    def edit(self, grow: int) -> None:
        size = max(1, len(self.versions[-1]) + grow)
        self.write(self.random.randbytes(size))

    @rule()
    def edit_and_keep_size_and_time(self) -> None:
        times = self.source.stat()
        content = bytearray(self.versions[-1])
        content[self.random.randrange(len(content))] ^= 0xFF
        with self.source.open("r+b") as handle:
            handle.write(content)
        os.utime(self.source, ns=(times.st_atime_ns, times.st_mtime_ns))
        self.versions.append(bytes(content))

    @rule()
    def touch(self) -> None:
        os.utime(self.source)

    @rule()
    def remount(self) -> None:
        times = self.source.stat()
        copy = self.source.with_name("copy")
        copy.write_bytes(self.versions[-1])
        os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))
        copy.replace(self.source)

    # --- what happens to the server and the wire ---

    @rule(seconds=st.sampled_from([10, 1800, 3601]))
    def time_passes(self, seconds: int) -> None:
        self.house.clock.offset += seconds

    # --- what people do ---

    @rule()
    def upload(self) -> None:
        self.attempt(lambda uploader: uploader.upload(self.source, purpose="user_data"))

    @rule(after=st.integers(0, 12))
    def upload_and_crash(self, after: int) -> None:
        """Die at some request: nothing is told to anybody, the journal is as it is."""

        async def dying(_: web.Request, __: Handler) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError

        self.disturbed(after, dying, crash=True)

    @rule(after=st.integers(0, 12), call=st.sampled_from(["part", "complete"]))
    def upload_with_a_lost_answer(self, after: int, call: str) -> None:
        lost = False

        async def losing(request: web.Request, handler: Handler) -> web.StreamResponse:
            nonlocal lost
            answer = await handler(request)
            if not lost and call_of(request) == call:
                lost = True
                return drop(request)
            return answer

        self.disturbed(after, losing)

    @rule(after=st.integers(0, 12), status=st.sampled_from([400, 401, 503]))
    def upload_and_be_refused(self, after: int, status: int) -> None:
        async def refusing(request: web.Request, __: Handler) -> web.StreamResponse:
            await request.read()
            headers = {"retry-after-ms": "1"}
            body = {"error": {"message": "no"}}
            return web.json_response(body, status=status, headers=headers)

        self.disturbed(after, refusing)

    @precondition(lambda self: self.house.store.uploads())
    @rule()
    def resume(self) -> None:
        async def work(uploader: AsyncUploader) -> None:
            for line in await (await uploader.journal()).lines():
                if line.phase not in OPEN:
                    continue
                self.house.arrivals.clear()
                seen: list[events.Event] = []
                try:
                    await uploader.resume(line.job.id, on_event=seen.append)
                except SourceChanged:
                    assert len(self.versions) > 1
                    continue
                expired = any(isinstance(event, events.UploadExpired) for event in seen)
                if not expired and line.phase is Phase.SENDING:
                    assert self.house.whole_bytes == line.job.size - line.done
                if line.phase is Phase.ASKED and not expired:
                    assert self.house.whole_bytes == 0

        self.attempt(work)

    # --- how ---

    def disturbed(
        self,
        after: int,
        disturb: Callable[[web.Request, Handler], Coroutine[Any, Any, web.StreamResponse]],
        *,
        crash: bool = False,
    ) -> None:
        seen = 0
        reached = asyncio.Event()

        async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
            nonlocal seen
            seen += 1
            if seen > after:
                reached.set()
                return await disturb(request, handler)
            return await handler(request)

        self.house.intercept = intercept
        if crash:
            self.wait(self.crash(reached))
        else:
            self.attempt(lambda uploader: uploader.upload(self.source, purpose="user_data"))
        self.house.intercept = None

    async def crash(self, reached: asyncio.Event) -> None:
        uploader = self.house.uploader(self.journal, part_size=PART, options=HASTY)
        task = asyncio.create_task(uploader.upload(self.source, purpose="user_data"))
        ended = asyncio.create_task(reached.wait())
        await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
        # As after a kill: what is in flight is gone, and no ending is recorded but the note.
        task.cancel()
        await asyncio.wait([task])
        ended.cancel()
        await uploader.aclose()

    def attempt(self, work: Callable[[AsyncUploader], Coroutine[Any, Any, object]]) -> None:
        async def attempt() -> None:
            async with self.house.uploader(self.journal, part_size=PART, options=HASTY) as uploader:
                with suppress(ChunkupError):
                    await work(uploader)

        self.wait(attempt())

    # --- what must hold ---

    @invariant()
    def every_file_is_a_whole_version(self) -> None:
        if not self.versions:
            return
        for row in self.house.files:
            assert self.house.content(row.id) in self.versions

    @invariant()
    def no_job_made_two_files_and_the_journal_folds(self) -> None:
        if not self.versions or not self.journal.exists():
            return

        async def look() -> None:
            async with self.house.uploader(self.journal) as uploader:
                lines = await (await uploader.journal()).lines()
            completed = [line.file_id for line in lines if line.file_id]
            assert len(set(completed)) == len(completed)
            in_doubt = sum(line.phase is Phase.ASKED for line in lines)
            ended = sum(line.phase in {Phase.FAILED, Phase.CANCELLED} for line in lines)
            assert set(completed) <= {row.id for row in self.house.files}
            assert len(self.house.files) <= len(completed) + in_doubt + ended

        self.wait(look())


TestAccidents = pytest.mark.timeout(300)(Accidents.TestCase)
TestAccidents.settings = settings(max_examples=40, stateful_step_count=12, deadline=None)
