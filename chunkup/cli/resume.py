"""``chunkup resume``."""

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from chunkup.cli.options import How, Where, make_uploader, take, transport_options, where_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from chunkup.cli.transfer import Listener, Work
    from chunkup.journal import JobLine
    from chunkup.models import RemoteFile
    from chunkup.uploader import AsyncUploader

_RECENT: Final = 7 * 86400.0


@click.command(short_help="Continue uploads that stopped.")
@click.argument("jobs", nargs=-1, metavar="[JOB or PATH]...")
@click.option("--all", "every", is_flag=True, help="Without arguments: jobs of any age.")
@transport_options
@where_options
def resume(jobs: tuple[str, ...], *, every: bool, **values: Any) -> int:
    """Continue stopped jobs and print their File ids.

    Without arguments: all that stopped within seven days at this destination and account.
    What they upload is in the journal; only how to send it can be said anew.
    """
    from chunkup.cli.transfer import Transfer

    where: Where = take(Where, values)
    how: How = take(How, values)
    uploader = make_uploader(where, how)
    say = _nothing if how.quiet else partial(click.echo, err=True)
    find = (
        partial(_named, uploader, jobs)
        if jobs
        else partial(_stopped, uploader, where, say, every=every)
    )
    single = len(jobs) == 1
    return Transfer(where, how, label=not single, skip_busy=not jobs).carry_out(uploader, find)


async def _named(uploader: "AsyncUploader", names: tuple[str, ...]) -> "list[Work]":
    """The jobs that were named, by id or by the path of their file."""
    import os

    from chunkup.errors import NoSuchJob

    journal = await uploader.journal()
    found: dict[str, str] = {}
    for name in names:
        if "/" in name or os.path.exists(name):  # noqa: PTH110, ASYNC240  (before anything runs)
            path = os.path.realpath(name)  # noqa: ASYNC240  (the same)
            lines = [line for line in await journal.lines() if line.job.path == path]
            if not lines:
                raise NoSuchJob(f"no job uploads {name}", hint="chunkup jobs lists them")
            line = lines[-1]
            found[line.job.id] = line.job.path
        else:
            job = await journal.job(name)
            found[job.id] = job.path
    return [_work(uploader, job_id, path) for job_id, path in found.items()]


def _nothing(_: str) -> None:
    """Say nothing."""


async def _stopped(
    uploader: "AsyncUploader", where: Where, say: "Callable[[str], None]", *, every: bool
) -> "list[Work]":
    """Every job that stopped here, and ids that were committed but never printed."""
    from chunkup.journal import busy
    from chunkup.machine import OPEN, Phase

    journal, account = await uploader.journal(), await uploader.account()
    works: list[Work] = []
    held: list[JobLine] = []
    for line in await journal.lines():
        recent = every or time.time() - line.active_at < _RECENT
        unsaid = line.phase is Phase.COMPLETED and not line.printed
        if not (line.phase in OPEN or (unsaid and line.job.account == account and recent)):
            continue
        if line.job.account != account:
            say(_left(line, "it belongs to another destination or account", where))
        elif not recent:
            say(_left(line, "it stopped more than seven days ago", where))
        elif journal.holder_lives(line):
            say(f"leaving {line.job.id}: another process is running it")
            held.append(line)
        else:
            what = "print the id of" if unsaid else "continue"
            say(f"{what} {line.job.id}: {_named_file(line)}")
            works.append(_work(uploader, line.job.id, line.job.path))
    if held and not works and held[0].holder is not None:
        raise busy(held[0].job.id, held[0].holder)
    return works


def _left(line: "JobLine", why: str, where: Where) -> str:
    command = Where.of(line.job.account, where.journal).command("resume", line.job.id)
    return f"leaving {line.job.id} ({_named_file(line)}): {why}; take it with: {command}"


def _named_file(line: "JobLine") -> str:
    from chunkup.text import printable, size_text

    return f"{printable(line.job.path, 200)}, {size_text(line.job.size)}"


def _work(uploader: "AsyncUploader", job_id: str, path: str) -> "Work":
    from chunkup.cli.transfer import Work

    return Work(path, partial(_begin, uploader, job_id))


async def _begin(uploader: "AsyncUploader", job_id: str, listen: "Listener") -> "RemoteFile":
    return await uploader.resume(job_id, on_event=listen)
