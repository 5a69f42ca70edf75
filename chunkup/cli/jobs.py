"""``chunkup jobs``, ``show`` and ``cancel``."""

import time
from typing import TYPE_CHECKING, Any

import click

from chunkup.cli.options import Where, journal_option, make_uploader, take, where_options
from chunkup.cli.session import run

if TYPE_CHECKING:
    from pathlib import Path

    from chunkup.journal import JobLine, Journal, RunNote

_COLUMNS = ("JOB", "STATE", "DONE", "SIZE", "PURPOSE", "FILE", "AGE", "WHY")


@click.command(short_help="List what the journal holds.")
@journal_option
def jobs(journal: "Path | None") -> int:
    """List all jobs, oldest first: how far each is, and why it stopped."""
    rows = run(_listed(journal))
    widths = [max(len(row[at]) for row in [_COLUMNS, *rows]) for at in range(len(_COLUMNS))]
    for row in [_COLUMNS, *rows] if rows else []:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
    if not rows:
        click.echo("the journal holds no jobs", err=True)
    return 0


async def _listed(path: "Path | None") -> list[tuple[str, ...]]:
    from chunkup.text import duration_text, printable, size_text

    journal = await _open(path)
    try:
        return [
            (
                line.job.id,
                state,
                f"{line.done * 100 // line.job.size} %",
                size_text(line.job.size),
                printable(line.job.purpose, 20),
                printable(line.file_id or line.job.filename, 60),
                duration_text(time.time() - line.active_at),
                printable(why_of(line, state) or "", 100),
            )
            for line in await journal.lines()
            for state in [state_of(journal, line)]
        ]
    finally:
        await journal.close()


def state_of(journal: "Journal", line: "JobLine") -> str:
    """A job's state in a word."""
    from chunkup.machine import OPEN, Phase

    if line.phase not in OPEN:
        return line.phase.value
    if journal.holder_lives(line):
        return "running"
    return "in-doubt" if line.phase is Phase.ASKED else "stopped"


def why_of(line: "JobLine", state: str) -> str | None:
    """Why a job in this state stopped, if it did."""
    if line.run_open and state in {"stopped", "in-doubt"}:
        return "killed, or the machine went down"
    return line.why


@click.command(short_help="Show one job: how far it is, and why it stopped.")
@click.argument("job")
@journal_option
def show(job: str, journal: "Path | None") -> int:
    """Show JOB: what it is, each of its runs with its end, and what to do next."""
    for text in run(_shown(job, journal)):
        click.echo(text)
    return 0


async def _shown(name: str, path: "Path | None") -> list[str]:
    from chunkup.text import duration_text, printable, size_text

    journal = await _open(path)
    try:
        job = await journal.job(name)
        line = await journal.line(job.id)
        state = state_of(journal, line)
        why = why_of(line, state)
        runs = await journal.runs(job.id)
    finally:
        await journal.close()
    now = time.time()
    rows = [
        ("job", job.id),
        ("state", state),
        ("file", line.file_id),
        ("source", job.path),
        ("size", f"{size_text(job.size)} ({job.size} bytes)"),
        ("done", f"{size_text(line.done)}, {line.parts} parts, Upload {line.generation}"),
        ("purpose", job.purpose),
        ("to", job.account.base_url),
        ("expires", _expiry(line, now)),
        ("held by", f"process {line.holder.pid} on {line.holder.host}")
        if line.holder and state == "running"
        else ("", None),
        ("why", why),
    ]
    shown = [f"{label + ':':<9}{printable(value, 1000)}" for label, value in rows if value]
    for note in runs:
        ago = duration_text(now - note.started_at)
        shown.append(f"{'run:':<9}{ago} ago, {printable(_end_of(note), 500)}")
    following = _next(line, state, path)
    return [*shown, f"{'next:':<9}{following}"] if following else shown


def _expiry(line: "JobLine", now: float) -> str | None:
    from chunkup.text import duration_text

    if line.expires_at is None or line.file_id:
        return None
    left = line.expires_at - now
    return f"in {duration_text(left)}" if left > 0 else f"{duration_text(-left)} ago"


def _end_of(note: "RunNote") -> str:
    if note.exit_code == 0:
        return "completed"
    if note.exit_code is None:
        return f"process {note.pid} on {note.host}, no end noted"
    request = f" (request {note.request_id})" if note.request_id else ""
    return f"exit {note.exit_code}: {note.code}: {note.message}{request}"


def _next(line: "JobLine", state: str, path: "Path | None") -> str | None:
    if state not in {"stopped", "in-doubt"}:
        return None
    where = Where.of(line.job.account, path)
    return where.command("resume", line.job.id)


@click.command(short_help="End a job, here and on the server.")
@click.argument("job")
@where_options
def cancel(job: str, **values: Any) -> int:
    """End JOB: its Upload is cancelled on the server, and it is not continued any more."""
    where: Where = take(Where, values)
    return run(_cancelled(where, job))


async def _cancelled(where: Where, job: str) -> int:
    from chunkup.text import printable

    uploader = make_uploader(where)
    async with uploader:
        file = await uploader.cancel(job)
    if file is None:
        click.echo(f"cancelled {job}", err=True)
        return 0
    click.echo(f"{job} had become a File already, and nothing was cancelled:", err=True)
    click.echo(printable(file.id, 500))
    return 1


async def _open(path: "Path | None") -> "Journal":
    from chunkup.journal import Journal, default_path

    return await Journal.open(path or default_path())
