"""``chunkup upload``."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from chunkup.cli import complete
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
from chunkup.cli.streams import put
from chunkup.cli.talk import Talk, talk_options
from chunkup.text import printable, size_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from chunkup.cli.transfer import Task
    from chunkup.engine import Engine
    from chunkup.intake import Content


@click.command(
    short_help="Upload files; the same command again continues.",
    epilog="""\b
Examples:
  chunkup upload train.jsonl --purpose batch
  chunkup upload *.pdf --purpose user_data
  chunkup upload big.jsonl --purpose user_data --dry-run
""",
)
@click.argument("paths", nargs=-1, required=True, metavar="FILE...", type=click.Path())
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
@click.option("--fresh", is_flag=True, help="End an unfinished upload of FILE; start over.")
@click.option("--dry-run", "-n", is_flag=True, help="Print the plan; send and write nothing.")
@transport_options
@talk_options
@where_options
def upload(paths: tuple[str, ...], **values: Any) -> int:
    """Upload each FILE and print its File id.

    An unfinished upload of the same FILE is continued: only what has no receipt is sent. The
    FILEs of one command are a set: until all of them are uploaded, the same command sends
    what is missing and prints the others again.

    With several FILEs, each line is the id, a tab, and the path.
    """
    from chunkup.cli.transfer import Transfer
    from chunkup.intake import Content

    where: Where = take(Where, values)
    how: How = take(How, values)
    talk: Talk = take(Talk, values)
    if values["filename"] and len(paths) > 1:
        raise click.UsageError("--filename names one File; give one FILE with it")
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
    if values["dry_run"]:
        return _show_plans(build(), paths, content(), talk)
    find = partial(
        _asked_for,
        paths=paths,
        make_content=content,
        fresh=values["fresh"],
        processed=values["wait"],
    )
    return Transfer(where, talk).carry_out(build, find)


async def _asked_for(
    engine: "Engine",
    *,
    paths: tuple[str, ...],
    make_content: "Callable[[], Content]",
    fresh: bool,
    processed: bool,
) -> "Task":
    from chunkup import dataset
    from chunkup.cli.transfer import Task

    content = make_content()
    many = await dataset.asked_for(engine, paths, content, fresh=fresh, processed=processed)
    return Task(many, label=len(paths) > 1)


def _show_plans(engine: "Engine", paths: tuple[str, ...], content: "Content", talk: Talk) -> int:
    plans = [(path, *engine.describe(path, content)) for path in paths]
    for path, job, plan in plans:
        parts = "1 part" if plan.count == 1 else f"{plan.count} parts"
        text = (
            f"{printable(path)}: {size_text(job.size)} ({job.size} bytes) in {parts} "
            f"of {size_text(min(plan.part_size, job.size))}, as {printable(job.filename)} "
            f"({job.mime_type}) for {job.purpose}, to {job.account.base_url}"
        )
        if talk.json:
            click.echo(text, err=True)
        elif put(text) is not None:
            return 1
    if talk.json:
        from chunkup.cli.output import Output, nothing_done

        Output(as_json=True).summary(replace(nothing_done(0), files=len(paths)))
    return 0
