"""``chunkup upload``."""

from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chunkup.cli import complete
from chunkup.cli.inputs import (
    STANDARD_INPUT,
    gathered,
    input_options,
    spooled,
    still_needed,
)
from chunkup.cli.options import (
    Duration,
    How,
    Size,
    Where,
    make_engine,
    setting,
    take,
    transport_options,
    where_options,
)
from chunkup.cli.splitting import ReadingLine, cut_text, split_options, take_split
from chunkup.cli.streams import put
from chunkup.cli.talk import Talk, talk_options
from chunkup.text import printable, size_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from chunkup.asked import Cut, Manner
    from chunkup.cli.transfer import Task, Transfer
    from chunkup.engine import Engine
    from chunkup.intake import Content
    from chunkup.models import Job, Plan, Split


@click.command(
    short_help="Upload files; the same command again continues.",
    epilog="""\b
Examples:
  chunkup upload train.jsonl --purpose batch
  chunkup upload *.pdf --purpose user_data
  chunkup upload big.jsonl --purpose batch --split --manifest big.manifest
  chunkup upload pages --recursive --include '*.pdf' --purpose user_data
""",
)
@click.argument("paths", nargs=-1, metavar="PATH...", type=click.Path(allow_dash=True))
@setting(
    "--purpose",
    "-p",
    required=True,
    metavar="PURPOSE",
    shell_complete=complete.purposes,
    help="batch, user_data, fine-tune, vision, assistants, evals, or a provider's own.",
)
@setting(
    "--filename",
    metavar="NAME",
    help="The File's name; for a single FILE.  [default: the path's last part]",
)
@setting(
    "--mime-type",
    metavar="TYPE",
    help="[default: by the name's extension]",
)
@setting(
    "--expires-after",
    type=Duration(),
    help="Let the File expire, 1h to 30d after its creation.",
)
@setting(
    "--method",
    type=click.Choice(["auto", "uploads", "files"]),
    default="auto",
    show_default=True,
    help="uploads sends parts, files a single request; auto sends parts, but a single request "
    "where the server takes none.",
)
@setting(
    "--no-md5",
    is_flag=True,
    help="Neither compute nor send the MD5 of the whole.",
)
@setting(
    "--part-size",
    type=Size(),
    default="64MiB",
    show_default=True,
    help="Bytes of a part.",
)
@setting(
    "--wait",
    is_flag=True,
    help="Print an id only when the server has processed the File, ten minutes at most.",
)
@setting(
    "--no-check",
    is_flag=True,
    help="Do not read JSON Lines beforehand for what the server would refuse later.",
)
@split_options
@setting(
    "--manifest",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write down what arrived, a line of JSON for each File; `chunkup verify` reads it.",
)
@setting(
    "--skip-existing",
    is_flag=True,
    help="Send no content that this account has for this purpose already, by this journal or by "
    "the manifest, if the server still has it.",
)
@setting(
    "--fail-fast",
    is_flag=True,
    help="The first file that fails stops the others.",
)
@click.option("--fresh", is_flag=True, help="End an unfinished upload of FILE; start over.")
@input_options
@click.option("--dry-run", "-n", is_flag=True, help="Print the plan; send and write nothing.")
@transport_options
@talk_options
@where_options
def upload(paths: tuple[str, ...], **values: Any) -> int:
    """Upload each PATH and print its File id.

    An unfinished upload of the same PATH is continued: only what has no receipt is sent. The
    files of one command are a set: until all of them are uploaded, the same command sends
    what is missing and prints the others again.

    With a single file the output is its id. With several, with a folder or with --split, each
    line is the id, a tab, and the path, or for a piece the name of its File.

    A PATH of - is standard input: it is written to a file beside the journal first, and if that
    is interrupted, nothing stays. Once its upload has begun, `chunkup resume` goes on with it.
    """
    from chunkup.asked import Manner
    from chunkup.cli.transfer import Transfer
    from chunkup.intake import Content

    where: Where = take(Where, values)
    how: How = take(How, values)
    talk: Talk = take(Talk, values)
    found = gathered(paths, values)
    paths, split = found.paths, take_split(values)
    if values["filename"] and len(paths) > 1:
        raise click.UsageError("--filename names one File; give one PATH with it")
    for note in () if talk.quiet else found.notes:
        click.echo(note, err=True)
    seconds = values["expires_after"]
    content = partial(
        Content,
        purpose=values["purpose"],
        filename=values["filename"],
        mime_type=values["mime_type"],
        expires_after=None if seconds is None else round(seconds),
        method=values["method"],
    )
    build = partial(
        make_engine, where, how, part_size=values["part_size"], md5=not values["no_md5"]
    )
    manner = Manner(
        fresh=values["fresh"],
        processed=values["wait"],
        check=not values["no_check"],
        split=split,
        manifest=values["manifest"],
        skip_existing=values["skip_existing"],
        fail_fast=values["fail_fast"],
    )
    if values["dry_run"] and STANDARD_INPUT in paths:
        raise click.UsageError("--dry-run writes nothing, and standard input is written down first")
    if values["dry_run"]:
        return _show_plans(build(), paths, content(), manner, talk)
    transfer = Transfer(where, talk)
    find = partial(
        _asked_for,
        paths=paths,
        make_content=content,
        manner=manner,
        label=split is not None or not found.single,
        transfer=transfer,
        talk=talk,
    )
    return transfer.carry_out(build, find, max_time=how.max_time)


async def _asked_for(  # noqa: PLR0913  (what a command is made of)
    engine: "Engine",
    *,
    paths: tuple[str, ...],
    make_content: "Callable[[], Content]",
    manner: "Manner",
    label: bool,
    transfer: "Transfer",
    talk: Talk,
) -> "Task":
    from chunkup.asked import asked_for
    from chunkup.cli.transfer import Task
    from chunkup.crowd import at_risk

    quiet, content = talk.quiet, make_content()
    line = ReadingLine(shown=not quiet)

    def tell(cut: "Cut") -> None:
        if not quiet and cut.kept_back is None:
            risk = at_risk((piece.size for piece in cut.pieces), engine.workshop.slots.slots.count)
            click.echo(cut_text(cut, risk), err=True)

    async with _standard_input(engine, paths, talk) as (found, kept):
        try:
            many = await asked_for(
                engine,
                found,
                content,
                manner,
                emit=transfer.watch,
                reading=line,
                on_cut=tell,
                standard_input=kept,
            )
        finally:
            line.clear()
    return Task(many, label=label)


@asynccontextmanager
async def _standard_input(
    engine: "Engine", paths: tuple[str, ...], talk: Talk
) -> "AsyncIterator[tuple[tuple[str, ...], str | None]]":
    """The paths, with a file in the place of standard input; none stays without its job."""
    if STANDARD_INPUT not in paths:
        yield paths, None
        return
    from chunkup.spool import Spool

    journal = await engine.journal()
    spool = Spool.beside(journal.path)
    try:
        await spool.sweep(partial(still_needed, journal))
        kept = await spooled(spool, talk)
        try:
            yield tuple(kept if path == STANDARD_INPUT else path for path in paths), kept
        except BaseException:
            if kept not in await still_needed(journal):
                spool.discard(kept)
            raise
    finally:
        spool.close()


def _show_plans(
    engine: "Engine", paths: tuple[str, ...], content: "Content", manner: "Manner", talk: Talk
) -> int:
    from chunkup.cli.session import run

    jobs = [engine.describe(path, content, manner.split) for path in paths]
    plans: list[tuple[Job, Plan]] = []
    for job, plan in jobs:
        if manner.split is None:
            plans.append((job, plan))
        else:
            plans += run(_pieces(engine, replace(job, check=manner.check), manner.split))
    for job, plan in plans:
        parts = "1 part" if plan.count == 1 else f"{plan.count} parts"
        stretch = f", bytes {job.span.start} to {job.span.stop}" if job.cut else ""
        text = (
            f"{printable(job.given or job.path)}: {size_text(job.size)} ({job.size} bytes{stretch})"
            f" in {parts} of {size_text(min(plan.part_size, job.size))}, as "
            f"{printable(job.filename)} ({job.mime_type}) for {job.purpose}, "
            f"to {job.account.base_url}"
        )
        if talk.json:
            click.echo(text, err=True)
        elif put(text) is not None:
            return 1
    if talk.json:
        from chunkup.cli.output import Output, nothing_done

        Output(as_json=True).summary(replace(nothing_done(0), files=len(plans)))
    return 0


async def _pieces(engine: "Engine", job: "Job", split: "Split") -> "list[tuple[Job, Plan]]":
    from chunkup.asked import cut_up, limits_of
    from chunkup.models import Plan

    line = ReadingLine(shown=True)
    try:
        cut = await cut_up(
            engine, job, limits_of(engine, job, split), emit=lambda _: None, reading=line
        )
    finally:
        line.clear()
    if cut.kept_back is not None:
        raise cut.kept_back
    return [(piece, Plan(piece.span, piece.part_size)) for piece in cut.pieces]
