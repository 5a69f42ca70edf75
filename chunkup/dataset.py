"""Many files under one budget: which they are, and one result for each.

All jobs of a command are in the journal, and claimed, before the first byte of the first one is
sent: a kill at file 150 of 300 leaves 150 that are known to be missing, and a second process
that starts the same command meets an owner instead of half of the work.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from chunkup.engine import GO_ON, Engine, Orders
from chunkup.errand import Errand
from chunkup.errors import ChunkupError
from chunkup.intake import Content
from chunkup.journal import Adopted, JobLine, Standing
from chunkup.ledger import Emit
from chunkup.listener import tell_reused
from chunkup.machine import OPEN, Phase
from chunkup.models import Fingerprint, Job, RemoteFile
from chunkup.processing import wait_processed

AT_ONCE: Final = 8
ELSEWHERE: Final = "it belongs to another destination or account"
_RECENT: Final = 7 * 86400.0


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
    """One file of a dataset.

    ``wanted`` is the file as it is now, for one that was asked for by path: its new content is
    sent if it changed. Without, a change is an error.
    """

    adopted: Adopted
    path: str
    wanted: Fingerprint | None = None
    orders: Orders = GO_ON

    @property
    def job(self) -> Job:
        """The job that it is."""
        return self.adopted.job


@dataclass(frozen=True, slots=True)
class Dataset:
    """Members in the order in which they were asked for.

    ``processed`` has each result wait until the server is through with its File.
    """

    engine: Engine
    members: Sequence[Member]
    processed: bool = False

    @property
    def extent(self) -> tuple[int, int, int, int]:
        """Files and bytes in all, and those of them that were finished before."""
        jobs = {member.job.id: member for member in self.members}.values()
        done = [member.job.size for member in jobs if member.adopted.standing is Standing.DONE]
        return len(jobs), sum(member.job.size for member in jobs), len(done), sum(done)

    async def results(self, emit: Emit) -> AsyncGenerator[tuple[int, Result]]:
        """Each member's place and result, as each ends; what was finished before comes first.

        One that fails stops no other. Closing the generator stops what runs.
        """
        journal = await self.engine.journal()
        places: dict[str, list[int]] = {}
        for place, member in enumerate(self.members):
            places.setdefault(member.job.id, []).append(place)
        waiting = [
            self.members[found[0]]
            for found in places.values()
            if self.members[found[0]].adopted.standing is not Standing.DONE
        ]
        ids = [member.job.id for member in waiting]
        running: dict[asyncio.Task[Result], str] = {}
        try:
            await journal.reserve(ids)
            for place, member in enumerate(self.members):
                if member.adopted.standing is Standing.DONE:
                    yield place, await self._through(_reused(member, emit))
            waiting.reverse()
            while waiting or running:
                while waiting and len(running) < AT_ONCE:
                    member = waiting.pop()
                    running[asyncio.create_task(self._one(member, emit))] = member.job.id
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    result = task.result()
                    for place in places[running.pop(task)]:
                        # One job may have been asked for under several spellings.
                        yield place, replace(result, path=self.members[place].path)
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
            await journal.unreserve(ids)

    async def _one(self, member: Member, emit: Emit) -> Result:
        job = member.job
        try:
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


def _reused(member: Member, emit: Emit) -> Result:
    file = member.adopted.file
    if file is not None:
        tell_reused(member.job, file, emit)
    return Result(member.path, member.job.id, file=file, reused=True)


async def asked_for(
    engine: Engine,
    paths: Sequence[str],
    content: Content,
    *,
    fresh: bool = False,
    processed: bool = False,
) -> Dataset:
    """The files that a command names. All are looked at before any is sent.

    Raises:
        Refused: One of them cannot be uploaded.
    """
    wanted = [engine.describe(path, content)[0] for path in paths]
    adopted = await engine.adopt(wanted, fresh=fresh)
    return Dataset(
        engine,
        [
            Member(member, path, job.fingerprint)
            for member, path, job in zip(adopted, paths, wanted, strict=True)
        ],
        processed,
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """What is there to be gone on with, in whole sets.

    ``left`` are open jobs that are not taken, each with the reason; ``held`` are those among
    them that another process runs.
    """

    dataset: Dataset
    left: Sequence[tuple[JobLine, str]] = ()
    held: Sequence[JobLine] = ()
    taken: Sequence[JobLine] = ()


async def unfinished(engine: Engine, *, any_age: bool, orders: Orders = GO_ON) -> Selection:
    """Every set of this destination and account in which something stopped or was never told.

    Sets that nothing happened in for seven days are left, unless ``any_age``.
    """
    journal, account = await engine.journal(), await engine.account()
    sets: dict[str, list[JobLine]] = {}
    for line in await journal.lines():
        sets.setdefault(line.job.set_id, []).append(line)
    left: list[tuple[JobLine, str]] = []
    held: list[JobLine] = []
    members: list[Member] = []
    taken: list[JobLine] = []
    for lines in sets.values():
        due = [line for line in lines if _due(line)]
        if not due:
            continue
        ours = [line for line in due if line.job.account == account]
        left += [
            (line, ELSEWHERE) for line in due if line.phase in OPEN and line.job.account != account
        ]
        if not ours:
            continue
        busy = [line for line in ours if journal.holder_lives(line)]
        held += busy
        # What is done of a set that is being worked for is told by whoever does that.
        rest = [line for line in ours if line not in busy and (line.phase in OPEN or not busy)]
        if not rest:
            continue
        if not any_age and time.time() - max(line.active_at for line in lines) > _RECENT:
            left += [(line, "nothing happened to it for more than seven days") for line in rest]
            continue
        taken += rest
        files = await journal.files(lines[0].job.set_id)
        going = [line for line in lines if line not in busy and line.phase is not Phase.CANCELLED]
        members += [_member(line, files, orders) for line in going if line.job.account == account]
    return Selection(Dataset(engine, members), left, held, taken)


def named(engine: Engine, jobs: Sequence[Job], orders: Orders = GO_ON) -> Dataset:
    """These jobs and no others of their sets."""
    return Dataset(
        engine,
        [Member(Adopted(job, Standing.OPEN), label(job), orders=orders) for job in jobs],
    )


def label(job: Job) -> str:
    """What a result is called: as its command called it, where that still means this file."""
    same = job.given is not None and os.path.realpath(job.given) == job.path
    return job.given if same and job.given is not None else job.path


def _due(line: JobLine) -> bool:
    return line.phase in OPEN or (line.phase is Phase.COMPLETED and not line.printed)


def _member(line: JobLine, files: Mapping[str, RemoteFile], orders: Orders) -> Member:
    file = files.get(line.job.id)
    standing = Standing.OPEN if file is None else Standing.DONE
    return Member(Adopted(line.job, standing, file), label(line.job), orders=orders)
