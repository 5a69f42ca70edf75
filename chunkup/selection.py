"""What the journal holds that can be gone on with, in whole sets."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from chunkup.dataset import Dataset, Member
from chunkup.engine import GO_ON, Engine, Orders
from chunkup.journal import Adopted, JobLine, Standing
from chunkup.machine import OPEN, Phase
from chunkup.models import Job, RemoteFile
from chunkup.spool import STANDARD_INPUT

ELSEWHERE: Final = "it belongs to another destination or account"
_RECENT: Final = 7 * 86400.0


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
        busy = {line.job.id: line for line in ours if journal.holder_lives(line)}
        held += busy.values()
        # What is done of a set that is being worked for is told by whoever does that.
        rest = [
            line for line in ours if line.job.id not in busy and (line.phase in OPEN or not busy)
        ]
        if not rest:
            continue
        if not any_age and time.time() - max(line.active_at for line in lines) > _RECENT:
            left += [(line, "nothing happened to it for more than seven days") for line in rest]
            continue
        taken += rest
        files = await journal.files(lines[0].job.set_id)
        going = [
            line for line in lines if line.job.id not in busy and line.phase is not Phase.CANCELLED
        ]
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
    if job.cut:
        return job.filename
    if job.given == STANDARD_INPUT:
        return STANDARD_INPUT
    same = job.given is not None and os.path.realpath(job.given) == job.path
    return job.given if same and job.given is not None else job.path


def _due(line: JobLine) -> bool:
    return line.phase in OPEN or (line.phase is Phase.COMPLETED and not line.printed)


def _member(line: JobLine, files: Mapping[str, RemoteFile], orders: Orders) -> Member:
    file = files.get(line.job.id)
    standing = Standing.OPEN if file is None else Standing.DONE
    return Member(Adopted(line.job, standing, file), label(line.job), orders=orders)
