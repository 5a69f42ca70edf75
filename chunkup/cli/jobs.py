"""``chunkup jobs``, ``show`` and ``prune``: what the journal holds."""

import json
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from chunkup.cli import complete
from chunkup.cli.options import Duration, Where, journal_option, setting
from chunkup.cli.session import run
from chunkup.cli.streams import put
from chunkup.errors import ChunkupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from chunkup.journal import JobLine, Journal, RunNote
    from chunkup.models import JobInfo, Span

_Function = TypeVar("_Function", bound="Callable[..., Any]")

_COLUMNS: Final = ("JOB", "STATE", "DONE", "SIZE", "PURPOSE", "FILE", "AGE", "WHY")
_STRIP: Final = 40


def _json_option(what: str) -> "Callable[[_Function], _Function]":
    return setting("--json", "as_json", is_flag=True, help=f"Print {what} as JSON.")


@click.command(short_help="List what the journal holds.")
@_json_option("one object a line")
@journal_option
def jobs(journal: "Path | None", *, as_json: bool) -> int:
    """List all jobs, oldest first: how far each is, and why it stopped."""
    from chunkup.cli.advice import advising

    with advising(journal):
        found = run(_all(journal))
    if as_json:
        return _print(json.dumps(asdict(info)) for info in found)
    rows = [_COLUMNS, *map(_row, found)] if found else []
    widths = [max(len(row[at]) for row in rows) for at in range(len(_COLUMNS)) if rows]
    if not rows:
        click.echo("the journal holds no jobs", err=True)
    return _print(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _print(lines: "Iterable[str]") -> int:
    """Print lines; the exit code. Who has read enough, as ``head`` does, is told nothing."""
    for line in lines:
        error = put(line)
        if error is not None and not isinstance(error, BrokenPipeError):
            raise ChunkupError(f"standard output takes nothing: {error.strerror}")
        if error is not None:
            return 1
    return 0


async def _all(path: "Path | None") -> "list[JobInfo]":
    from chunkup.overview import overview

    journal = await _open(path)
    try:
        return [overview(journal, line) for line in await journal.lines()]
    finally:
        await journal.close()


def _row(info: "JobInfo") -> tuple[str, ...]:
    from chunkup.text import duration_text, printable, size_text

    return (
        info.id,
        info.state,
        f"{info.done * 100 // info.size} %",
        size_text(info.size),
        printable(info.purpose, 20),
        printable(info.filename, 60),
        duration_text(time.time() - info.active_at),
        printable(info.file_id or info.why or "", 100),
    )


@click.command(short_help="Show one job: how far it is, and why it stopped.")
@click.argument("job", shell_complete=complete.jobs)
@_json_option("one object")
@journal_option
def show(job: str, journal: "Path | None", *, as_json: bool) -> int:
    """Show JOB: what it is, each of its runs with its end, and what to do next.

    In the strip, a full block stands for bytes with receipts, a shaded one for a stretch that
    has some, a light one for what is missing.
    """
    from chunkup.cli.advice import advising

    with advising(journal):
        shown = run(_shown(job, journal, as_json=as_json))
    return _print(shown)


async def _shown(name: str, path: "Path | None", *, as_json: bool) -> list[str]:
    from chunkup.overview import overview

    journal = await _open(path)
    try:
        job = await journal.job(name)
        line = await journal.line(job.id)
        info = overview(journal, line)
        runs = await journal.runs(job.id)
        stretches = await journal.stretches(job.id)
        others = len(await journal.set_of(job.set_id)) - 1
    finally:
        await journal.close()
    if as_json:
        return [json.dumps({**asdict(info), "runs": [asdict(note) for note in runs]})]
    return [
        *_facts(line, info, stretches, others),
        *_ends(runs),
        *_next(line, info, runs, path),
    ]


def _facts(line: "JobLine", info: "JobInfo", stretches: "Sequence[Span]", others: int) -> list[str]:
    from chunkup.machine import Phase
    from chunkup.text import duration_text, printable, size_text

    job, now = line.job, time.time()
    filled = [job.span] if line.phase is Phase.COMPLETED else stretches
    holder = line.holder if info.state in {"running", "waiting"} else None
    left = None if line.expires_at is None or line.file_id else line.expires_at - now
    rows = [
        ("job", job.id),
        ("state", info.state),
        ("File", line.file_id),
        ("source", job.path),
        ("size", f"{size_text(job.size)} ({job.size} bytes)"),
        ("done", f"{strip(job.span, filled)} {line.done * 100 // job.size} %"),
        ("", f"{size_text(line.done)}, {_parts(line.parts)}, Upload {line.generation}"),
        ("purpose", job.purpose),
        ("name", job.filename),
        ("to", job.account.base_url),
        ("set", f"with {others} other jobs of the same command" if others else None),
        ("begun", f"{duration_text(now - job.created_at)} ago"),
        ("expires", f"in {duration_text(left)}" if left is not None and left > 0 else None),
        ("expired", f"{duration_text(-left)} ago" if left is not None and left <= 0 else None),
        ("held by", f"process {holder.pid} on {holder.host}" if holder else None),
        ("why", info.why),
    ]
    return [
        f"{label + ':' if label else '':<9}{printable(value, 1000)}"
        for label, value in rows
        if value
    ]


def _parts(count: int) -> str:
    return "1 part" if count == 1 else f"{count} parts"


def strip(whole: "Span", filled: "Sequence[Span]", width: int = _STRIP) -> str:
    """A stretch as a strip: what is filled, partly filled, and empty."""
    cells = []
    for at in range(width):
        begin = whole.start + whole.size * at // width
        end = max(begin + 1, whole.start + whole.size * (at + 1) // width)
        held = sum(max(0, min(end, span.stop) - max(begin, span.start)) for span in filled)
        cells.append("█" if held >= end - begin else "▓" if held else "░")
    return "▕" + "".join(cells) + "▏"


def _ends(runs: "Sequence[RunNote]") -> list[str]:
    from chunkup.text import duration_text, printable

    now = time.time()
    return [
        f"{'run:':<9}{duration_text(now - note.started_at)} ago, {printable(_end_of(note), 500)}"
        for note in runs
    ]


def _end_of(note: "RunNote") -> str:
    if note.exit_code == 0:
        return "completed"
    if note.exit_code is None:
        return f"process {note.pid} on {note.host}, no end noted"
    request = f" (request {note.request_id})" if note.request_id else ""
    return f"exit {note.exit_code}: {note.code}: {note.message}{request}"


def _next(
    line: "JobLine", info: "JobInfo", runs: "Sequence[RunNote]", path: "Path | None"
) -> list[str]:
    """The one command that gets this job on, if there is one."""
    from chunkup.cli.advice import advise_by_code

    if info.state not in {"stopped", "in-doubt", "failed"}:
        return []
    where = Where.of(line.job.account, path)
    # What would have been advised when it ended holds until something else is done.
    command = advise_by_code(runs[-1].code if runs else None, where, line.job)
    if command is None and info.state != "failed":
        command = where.command("resume", info.id)
    return [f"{'next:':<9}{command}"] if command else []


@click.command(short_help="Forget jobs that are over and old.")
@setting(
    "--older-than",
    type=Duration(),
    default="30d",
    show_default=True,
    help="Keep what something happened to since then.",
)
@click.option("--dry-run", "-n", is_flag=True, help="List the jobs; forget nothing.")
@journal_option
def prune(journal: "Path | None", older_than: float, *, dry_run: bool) -> int:
    """Forget jobs that have ended, and print their ids.

    What is unfinished is never forgotten, nor what belongs to the set of something unfinished.
    Files on the server are not touched. What was kept of standard input for jobs that are over
    is removed.
    """
    from chunkup.cli.advice import advising

    with advising(journal):
        gone = run(_pruned(journal, time.time() - older_than, dry=dry_run))
    said = "would forget" if dry_run else "forgot"
    click.echo(f"{said} {len(gone)} {'job' if len(gone) == 1 else 'jobs'}", err=True)
    return _print(gone)


async def _pruned(path: "Path | None", before: float, *, dry: bool) -> list[str]:
    from chunkup.cli.inputs import still_needed
    from chunkup.spool import Spool

    journal = await _open(path)
    try:
        gone = [job.id for job in await journal.prune(before, dry=dry)]
        if not dry:
            await Spool.beside(journal.path).sweep(partial(still_needed, journal))
        return gone
    finally:
        await journal.close()


async def _open(path: "Path | None") -> "Journal":
    from chunkup.journal import Journal, default_path

    return await Journal.open(path or default_path())
