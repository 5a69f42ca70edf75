"""Many files under one budget: which they are, and one result for each.

All jobs of a command are in the journal, and claimed, before the first byte of the first one is
sent: a kill at file 150 of 300 leaves 150 that are known to be missing, and a second process
that starts the same command meets an owner instead of half of the work.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from chunkup import events
from chunkup.crowd import Crowd
from chunkup.engine import GO_ON, Engine, Orders
from chunkup.errand import Errand
from chunkup.errors import ChunkupError
from chunkup.existing import Existing, existing
from chunkup.intake import in_one_request
from chunkup.journal import Adopted, Journal, Standing
from chunkup.ledger import Emit
from chunkup.listener import tell_reused
from chunkup.models import Job, Plan, RemoteFile
from chunkup.outlast import outlast
from chunkup.processing import wait_processed
from chunkup.roll import Roll, entries

# Seconds of sending after which its speed says something about the link.
_ENOUGH: Final = 20.0


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one file of many: ``file``, or else ``error``.

    ``path`` is as it was given. ``reused`` says that an earlier run of the same set had made
    the File, and nothing was sent.
    """

    path: str
    job_id: str
    file: RemoteFile | None = None
    error: ChunkupError | None = None
    reused: bool = False


class InOrder:
    """Results as they end, given on in the order in which they were asked for."""

    def __init__(self) -> None:
        self._found: dict[int, Result] = {}
        self._next = 0

    def due(self, place: int, result: Result) -> Iterator[Result]:
        """One more result; all that it makes due."""
        self._found[place] = result
        while self._next in self._found:
            self._next += 1
            yield self._found.pop(self._next - 1)


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a dataset, or a piece of one.

    ``wanted`` is the job as it was asked for now, for one that was asked for by path: its new
    content is sent if it changed. Without, a change is an error. ``kept_back`` is why it must not
    be sent as it is.
    """

    adopted: Adopted
    path: str
    wanted: Job | None = None
    orders: Orders = GO_ON
    kept_back: ChunkupError | None = None

    @property
    def job(self) -> Job:
        """The job that it is."""
        return self.adopted.job


@dataclass(frozen=True, slots=True)
class Dataset:
    """Members in the order in which they were asked for.

    ``processed`` has each result wait until the server is through with its File. With
    ``fail_fast`` the first error is the last result.
    """

    engine: Engine
    members: Sequence[Member]
    processed: bool = False
    fail_fast: bool = False

    @property
    def extent(self) -> tuple[int, int, int, int]:
        """Files and bytes in all, and those of them that were finished before."""
        jobs = {member.job.id: member for member in self.members}.values()
        done = [member.job.size for member in jobs if member.adopted.standing is Standing.DONE]
        return len(jobs), sum(member.job.size for member in jobs), len(done), sum(done)

    async def results(self, emit: Emit) -> AsyncGenerator[tuple[int, Result]]:
        """Each member's place and result, as each ends; what was finished before comes first.

        One that fails stops no other, unless ``fail_fast``. Closing the generator stops what runs.
        """
        journal = await self.engine.journal()
        places: dict[str, list[int]] = {}
        for place, member in enumerate(self.members):
            places.setdefault(member.job.id, []).append(place)
        going = [
            self.members[found[0]]
            for found in places.values()
            if self.members[found[0]].adopted.standing is not Standing.DONE
        ]
        ids = [member.job.id for member in going]
        running: dict[asyncio.Task[Result], int] = {}
        roll = await Roll.open(journal, [member.job for member in self.members])
        try:
            await journal.reserve(ids)
            done: dict[str, dict[str, int]] = {}
            for place, member in enumerate(self.members):
                if member.adopted.standing is Standing.DONE:
                    done.setdefault(member.job.set_id, {})[member.job.id] = place
            for set_id, jobs in done.items():
                # At once: a manifest puts what is new behind what it knows to come before it.
                await roll.add(jobs, set_id)
            for place, member in enumerate(self.members):
                if member.adopted.standing is Standing.DONE:
                    yield place, await self._through(_reused(member, emit))
            async for index, result in self._run(going, running, emit):
                member = going[index]
                if result.file is not None:
                    await roll.add({result.job_id: places[member.job.id][0]}, member.job.set_id)
                for place in places[member.job.id]:
                    # One job may have been asked for under several spellings.
                    yield place, replace(result, path=self.members[place].path)
                if self.fail_fast and result.error is not None:
                    break
            await roll.close()
        finally:
            # A second cancellation must not keep what waits claimed for as long as we live.
            await outlast(_tidy(journal, roll, running, ids))

    async def _existing(self, going: Sequence[Member]) -> dict[str, Existing]:
        """By set, what may be there already, for sets that are not to send such again."""
        journal = await self.engine.journal()
        found: dict[str, Existing] = {}
        for set_id in {member.job.set_id for member in going}:
            habits = await journal.habits(set_id)
            if habits.skip_existing:
                jobs = [member.job for member in going if member.job.set_id == set_id]
                found[set_id] = await existing(self.engine, jobs, entries(habits.manifest))
        return found

    async def _run(
        self, going: Sequence[Member], running: dict[asyncio.Task[Result], int], emit: Emit
    ) -> AsyncGenerator[tuple[int, Result]]:
        """Run them, each as soon as there is room for it; ``running`` is kept for the caller."""
        crowd = Crowd([self._parts(member.job) for member in going])
        pool, there = self.engine.workshop.slots, await self._existing(going)
        began, sent = time.monotonic(), pool.total
        ended: deque[asyncio.Task[Result]] = deque()
        news = asyncio.Event()

        def over(task: asyncio.Task[Result]) -> None:
            ended.append(task)
            news.set()

        def hear(index: int, event: events.Event) -> None:
            if isinstance(event, events.JobStarted):
                crowd.lacks(index, event.parts - event.done_parts)
            elif isinstance(event, events.UploadExpired):
                crowd.lacks(index, self._parts(going[index].job))
            elif isinstance(event, events.PartAccepted):
                crowd.accepted(index)
                news.set()
            emit(event)

        while crowd or running:
            while (index := crowd.next(pool.slots.count)) is not None:
                crowd.began(index)
                member = going[index]
                work = self._one(member, there.get(member.job.set_id), partial(hear, index))
                task = asyncio.create_task(work)
                running[task] = index
                task.add_done_callback(over)
            await news.wait()
            news.clear()
            while ended:
                task = ended.popleft()
                index = running.pop(task)
                crowd.over(index)
                yield index, task.result()
        took = time.monotonic() - began
        if took >= _ENOUGH and self.engine.options.limit_rate is None:
            rate = (pool.total - sent) / took
            await (await self.engine.journal()).note_rate(self.engine.endpoint.base_url, rate)

    def _parts(self, job: Job) -> int:
        single = in_one_request(job.method, self.engine.endpoint.provider)
        return 1 if single else Plan(job.span, job.part_size).count

    async def _one(self, member: Member, there: Existing | None, emit: Emit) -> Result:
        job = member.job
        try:
            if member.kept_back is not None:
                await self.engine.keep_back(job, member.kept_back, emit)
                return Result(member.path, job.id, error=member.kept_back)
            seen = member.wanted.fingerprint if member.wanted is not None else None
            fact = None if there is None else await there.look(job, seen, emit)
            if fact is not None:
                file = await self.engine.reuse(job, fact, emit)
                return await self._through(Result(member.path, job.id, file=file, reused=True))
            if member.wanted is not None:
                job, file = await self.engine.upload(member.adopted, member.wanted, emit)
            else:
                file = await self.engine.carry_out(job, emit, orders=member.orders)
        except ChunkupError as error:
            return Result(member.path, error.job_id or job.id, error=error)
        return await self._through(Result(member.path, job.id, file=file))

    async def _through(self, result: Result) -> Result:
        """The result once its File can be used, if that is to be waited for."""
        if not self.processed or result.file is None:
            return result
        shop = self.engine.workshop
        # What the journal remembers of a File is how it was then.
        file = result.file.id if result.reused else result.file
        try:
            return replace(result, file=await wait_processed(shop.api, Errand(shop), file))
        except ChunkupError as error:
            return replace(result, file=None, error=error)


async def _tidy(
    journal: Journal, roll: Roll, running: Collection[asyncio.Task[Result]], ids: Sequence[str]
) -> None:
    with suppress(ChunkupError):
        await roll.close()
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
    # Each job has said what became of it; where the disk failed they are nobody's nevertheless.
    with suppress(ChunkupError):
        await journal.unreserve(ids)


def _reused(member: Member, emit: Emit) -> Result:
    file = member.adopted.file
    if file is not None:
        tell_reused(member.job, file, emit)
    return Result(member.path, member.job.id, file=file, reused=True)
