"""``chunkup stop`` and ``cancel``: end a run, or a job."""

from typing import TYPE_CHECKING, Any

import click

from chunkup.cli import complete
from chunkup.cli.options import Where, journal_option, make_engine, take, where_options
from chunkup.cli.session import run

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Ask the process that runs a job to stop it.")
@click.argument(
    "jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=complete.open_jobs
)
@journal_option
def stop(jobs: tuple[str, ...], journal: "Path | None") -> int:
    """Stop each JOB, in whatever process on this machine it runs; its receipts are kept.

    Only this job is stopped: the process lives on, and so do its other jobs.
    """
    from chunkup.cli.advice import advising

    with advising(journal):
        return run(_stopped(jobs, journal))


async def _stopped(names: tuple[str, ...], path: "Path | None") -> int:
    from chunkup.journal import default_path
    from chunkup.stops import Home, Stops

    home = Home(path or default_path())
    stops = Stops(home)
    try:
        journal = await home.journal()
        for job in [await journal.job(name) for name in names]:
            stopped = await stops.ask(job)
            click.echo(f"{job.id}: {'stopped' if stopped else 'was not running'}", err=True)
    finally:
        await stops.close()
        await home.close()
    return 0


@click.command(short_help="End a job, here and on the server.")
@click.argument("job", shell_complete=complete.open_jobs)
@where_options
def cancel(job: str, **values: Any) -> int:
    """End JOB: its Upload is cancelled on the server, and it is not continued any more."""
    where: Where = take(Where, values)
    return run(_cancelled(where, job), go_on=lambda: where.command("cancel", job))


async def _cancelled(where: Where, name: str) -> int:
    from chunkup.cli.advice import advise
    from chunkup.errors import ChunkupError
    from chunkup.text import printable

    engine = make_engine(where)
    try:
        job = await (await engine.journal()).job(name)
        try:
            file = await engine.cancel(job)
        except ChunkupError as error:
            error.hint = advise(error, where, job)
            raise
    finally:
        await engine.aclose()
    if file is None:
        click.echo(f"cancelled {job.id}", err=True)
        return 0
    click.echo(f"{job.id} had become a File already, and nothing was cancelled:", err=True)
    click.echo(printable(file.id, 5000))
    return 1
