"""``chunkup upload``."""

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from chunkup.cli.options import (
    Duration,
    How,
    Size,
    Where,
    make_uploader,
    setting,
    take,
    transport_options,
    where_options,
)
from chunkup.text import printable, size_text

if TYPE_CHECKING:
    from chunkup.cli.transfer import Listener
    from chunkup.models import RemoteFile
    from chunkup.uploader import AsyncUploader


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
    "--part-size",
    type=Size(),
    default="64MiB",
    show_default=True,
    help="Bytes of a part.",
)
@setting(
    "--no-md5",
    is_flag=True,
    help="Neither compute nor send the MD5 of the whole.",
)
@click.option("--fresh", is_flag=True, help="End an unfinished upload of FILE; start over.")
@click.option("--dry-run", "-n", is_flag=True, help="Print the plan; send and write nothing.")
@transport_options
@where_options
def upload(paths: tuple[str, ...], **values: Any) -> int:
    """Upload each FILE and print its File id.

    An unfinished upload of the same FILE is continued: only what has no receipt is sent.
    With several FILEs, each line is the id, a tab, and the path.
    """
    from chunkup.cli.transfer import Transfer, Work

    where: Where = take(Where, values)
    how: How = take(How, values)
    content = {
        "purpose": values["purpose"],
        "filename": values["filename"],
        "mime_type": values["mime_type"],
        "expires_after": _seconds(values["expires_after"]),
    }
    if values["filename"] and len(paths) > 1:
        raise click.UsageError("--filename names one File; give one FILE with it")
    uploader = make_uploader(where, how, part_size=values["part_size"], md5=not values["no_md5"])
    plans = [uploader.plan(path, **content) for path in paths]
    if values["dry_run"]:
        for path, (job, plan) in zip(paths, plans, strict=True):
            click.echo(
                f"{printable(path)}: {size_text(job.size)} ({job.size} bytes) in {plan.count} "
                f"parts of {size_text(plan.part_size)}, as {printable(job.filename)} "
                f"({job.mime_type}) for {job.purpose}, to {job.account.base_url}"
            )
        return 0
    content["fresh"] = values["fresh"]
    content["set_id"] = os.urandom(8).hex()

    async def works() -> list[Work]:
        return [Work(path, partial(_begin, uploader, path, content)) for path in paths]

    return Transfer(where, how, label=len(paths) > 1).carry_out(uploader, works)


async def _begin(
    uploader: "AsyncUploader", path: str, content: dict[str, Any], listen: "Listener"
) -> "RemoteFile":
    return await uploader.upload(path, on_event=listen, **content)


def _seconds(duration: float | None) -> int | None:
    return None if duration is None else round(duration)
