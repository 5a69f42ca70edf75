"""Jobs of commands in a journal, and endings for them, without anything being sent."""

from dataclasses import replace

from strategies import plain_job

from chunkup.journal import Adopted, Journal
from chunkup.machine import Cancelled, CompleteAsked, Completed, Created, Failed
from chunkup.models import Fingerprint, Job, RemoteFile, Upload

MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def wish(name: str, *, at: float = 1.0, set_id: str = "first", mtime: int = 1) -> Job:
    """What a command wants done with a file, of which it is the only one of that name."""
    job = plain_job(f"/data/{name}", created_at=at)
    seen = Fingerprint(job.size, mtime, 2, 3)
    return replace(job, set_id=set_id, filename=name, fingerprint=seen)


def command(names: str, *, at: float = 1.0, set_id: str = "first", mtime: int = 1) -> list[Job]:
    """The wishes of one command; a letter for each file."""
    return [
        wish(name, at=at + place / 1000, set_id=set_id, mtime=mtime)
        for place, name in enumerate(names)
    ]


async def complete(
    journal: Journal, job: Job, *, md5: str | None = MD5, expires_at: int | None = None
) -> RemoteFile:
    """The job becomes a File."""
    file = RemoteFile(
        f"file-{job.id}", job.size, 1, job.filename, job.purpose, expires_at=expires_at
    )
    await journal.record(job.id, Created(Upload(f"upload_{job.id}", 0, None)))
    await journal.record(job.id, CompleteAsked(f"upload_{job.id}", (), md5, 1.0))
    await journal.record(job.id, Completed(file))
    return file


async def fail(journal: Journal, job: Job) -> None:
    await journal.record(job.id, Failed("rejected", "no"))


async def cancel(journal: Journal, job: Job) -> None:
    await journal.record(job.id, Cancelled())


async def told(journal: Journal, *jobs: Job) -> None:
    """Their ids reached whoever asked."""
    await journal.mark_printed([job.id for job in jobs])


async def adopted(
    journal: Journal, names: str, *, at: float = 1.0, set_id: str = "first", mtime: int = 1
) -> list[Job]:
    """The jobs that a command works for."""
    wanted = command(names, at=at, set_id=set_id, mtime=mtime)
    return [member.job for member in await journal.adopt_all(wanted)]


def standings(members: list[Adopted]) -> list[str]:
    return [member.standing.value for member in members]
