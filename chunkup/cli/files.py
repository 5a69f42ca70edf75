"""``chunkup files``: list, show, download, delete and create Files."""

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from chunkup.cli import complete
from chunkup.cli.errands import Errands
from chunkup.cli.options import patience_options, setting, where_options
from chunkup.cli.table import columns
from chunkup.cli.upload import upload
from chunkup.errors import BadOption, Failed
from chunkup.models import PART_SIZE
from chunkup.text import duration_text, printable, size_text

if TYPE_CHECKING:
    from chunkup.files.stored import StoredFiles
    from chunkup.models import RemoteFile

_Function = TypeVar("_Function", bound=Callable[..., Any])

_COLUMNS: Final = ("ID", "SIZE", "PURPOSE", "STATUS", "CREATED", "EXPIRES", "NAME")
_YEAR_10000: Final = 253_000_000_000
# Of ids only such are names of files too; what a server calls a File never is.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


def _common(function: _Function) -> _Function:
    """What all of these commands take."""
    function = where_options(patience_options(function))
    return setting("--json", "as_json", is_flag=True, help="Print one JSON object a line.")(
        function
    )


_ids = click.argument("ids", nargs=-1, required=True, metavar="ID...")


@click.group(short_help="List, show, download, delete and create Files.")
def files() -> None:
    """Work with the Files that the server has."""


# --- list and show ----------------------------------------------------------------------------


@files.command("list", short_help="List Files.")
@setting(
    "--purpose",
    "-p",
    metavar="PURPOSE",
    shell_complete=complete.purposes,
    help="Only Files of this purpose.",
)
@setting("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many Files.")
@setting(
    "--order",
    type=click.Choice(["asc", "desc"]),
    default="desc",
    show_default=True,
    help="By the moment of creation; desc is the newest first.",
)
@_common
def list_(purpose: str | None, limit: int | None, order: str, **values: Any) -> int:
    """List Files, the newest first. Times are this machine's.

    In JSON they come as they arrive, one a line.
    """
    as_json: bool = values.pop("as_json")
    errands = Errands(values)

    async def work(stored: "StoredFiles") -> int:
        rows = []
        async for file in stored.list(purpose, order=order, limit=limit):
            if as_json:
                errands.put(json.dumps(asdict(file)))
            else:
                rows.append(_row(file))
            if errands.deaf:
                return 1
        if not rows and not as_json:
            click.echo("there are no Files" + (f" for {purpose}" if purpose else ""), err=True)
        elif rows:
            for line in columns([_COLUMNS, *rows]):
                errands.put(line)
        return int(errands.deaf)

    return errands.carry_out(work)


@files.command("show", short_help="Show what the server says of Files.")
@_ids
@_common
def show(ids: tuple[str, ...], **values: Any) -> int:
    """Show what the server says of each ID."""
    as_json: bool = values.pop("as_json")
    errands = Errands(values, as_json=as_json)
    shown = 0

    async def one(stored: "StoredFiles", file_id: str) -> None:
        nonlocal shown
        file = await stored.retrieve(file_id)
        if as_json:
            errands.put(json.dumps(asdict(file)))
            return
        if shown:
            errands.put("")
        for line in _facts(file):
            errands.put(line)
        shown += 1

    return errands.for_each(ids, one, again=["files", "show"])


def _row(file: "RemoteFile") -> tuple[str, ...]:
    return (
        printable(file.id, 5000),
        "-" if file.bytes is None else size_text(file.bytes),
        printable(file.purpose, 20) or "-",
        printable(file.status or "-", 20),
        _moment(file.created_at),
        _expiry(file.expires_at),
        printable(file.filename, 60),
    )


def _facts(file: "RemoteFile") -> list[str]:
    size = None if file.bytes is None else f"{size_text(file.bytes)} ({file.bytes} bytes)"
    rows = (
        ("id", file.id),
        ("name", file.filename),
        ("size", size or "not known"),
        ("purpose", file.purpose),
        ("status", file.status),
        ("details", file.status_details),
        ("created", _moment(file.created_at)),
        ("expires", None if file.expires_at is None else _expiry(file.expires_at)),
    )
    return [f"{label + ':':<9}{printable(value, 5000)}" for label, value in rows if value]


def _moment(seconds: int) -> str:
    """A moment in this machine's time zone; ``-`` where the server told none."""
    if not seconds:
        return "-"
    # What has more digits is no moment in seconds.
    sane = 0 < seconds < _YEAR_10000
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if sane else str(seconds)


def _expiry(seconds: int | None) -> str:
    if seconds is None:
        return "-"
    left = seconds - time.time()
    return f"in {duration_text(left)}" if left > 0 else "over"


# --- download ---------------------------------------------------------------------------------


@files.command("download", short_help="Download the content of Files.")
@_ids
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(),
    help="Where to: a file, a folder that exists, or - for standard output.  [default: a file of "
    "the ID's name, here]",
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@click.option("--fresh", is_flag=True, help="Use nothing of an earlier, unfinished download.")
@_common
def download(
    ids: tuple[str, ...], output: str | None, *, overwrite: bool, fresh: bool, **values: Any
) -> int:
    """Write the content of each ID into a file, and print its path.

    A file appears only when it is whole, and nobody else may read it. What broke off goes on
    with the same command. What the server calls a File is never made a path.
    """
    as_json: bool = values.pop("as_json")
    errands = Errands(values, as_json=as_json)
    if output == "-":
        return errands.carry_out(partial(_pour, errands, ids, as_json=as_json))
    into = Path(output) if output is not None else Path()
    if len(set(ids)) > 1 and not into.is_dir():
        raise click.UsageError("several IDs go into a folder: make it, and name it with --output")

    async def one(stored: "StoredFiles", file_id: str) -> None:
        path = into / _plain(file_id) if into.is_dir() else into
        await stored.download(file_id, path, resume=not fresh, overwrite=overwrite)
        if as_json:
            size = path.stat().st_size
            errands.put(json.dumps({"id": file_id, "path": str(path), "bytes": size}))
        else:
            shown = printable(str(path), 4096)
            errands.put(shown if len(ids) == 1 else f"{printable(file_id, 5000)}\t{shown}")

    flags = ["--output", output] if output is not None else []
    flags += ["--overwrite"] * overwrite
    return errands.for_each(ids, one, again=["files", "download", *flags])


async def _pour(
    errands: Errands, ids: tuple[str, ...], stored: "StoredFiles", *, as_json: bool
) -> int:
    """Give one File's content to standard output."""
    if len(ids) > 1 or as_json:
        raise click.UsageError("standard output takes one File, and nothing beside it")
    if sys.stdout is not None and sys.stdout.isatty():
        raise BadOption(
            "a terminal would take what is in a File for its own",
            hint=errands.command("files", "download", ids[0], "--output", "FILE"),
        )
    async for block in stored.content(ids[0]):
        if not await errands.pour(block):
            return 1
    return 0


def _plain(file_id: str) -> str:
    if _PLAIN.fullmatch(file_id):
        return file_id
    raise BadOption(
        f"{printable(file_id, 80)} cannot be a file's name; say --output FILE",
        hint=None,
    )


# --- delete -----------------------------------------------------------------------------------


@files.command("delete", short_help="Delete Files.")
@_ids
@click.option("--yes", "-y", is_flag=True, help="Delete without asking.")
@_common
def delete(ids: tuple[str, ...], *, yes: bool, **values: Any) -> int:
    """Delete each ID, on the server and for ever, and print it. Asks first."""
    as_json: bool = values.pop("as_json")
    errands = Errands(values, as_json=as_json)
    ids = tuple(dict.fromkeys(ids))
    if not yes and not _agreed(ids, errands):
        click.echo("nothing was deleted", err=True)
        return 1

    async def one(stored: "StoredFiles", file_id: str) -> None:
        if not await stored.delete(file_id):
            raise Failed(f"the server did not delete File {printable(file_id)}")
        said = json.dumps({"id": file_id, "deleted": True}) if as_json else printable(file_id, 5000)
        errands.put(said)

    return errands.for_each(ids, one, again=["files", "delete", "--yes"])


def _agreed(ids: Sequence[str], errands: Errands) -> bool:
    """Whether a person says yes.

    Raises:
        Usage: There is nobody to ask.
    """
    from chunkup.cli.main import Usage

    streams = (sys.stdin, sys.stderr)
    if not all(stream is not None and stream.isatty() for stream in streams):
        raise Usage(
            "deleting asks first, and there is no terminal to ask on",
            hint=errands.command("files", "delete", "--yes", *ids),
        )
    what = printable(ids[0], 200) if len(ids) == 1 else f"these {len(ids)} Files"
    if len(ids) > 1:
        for file_id in ids:
            click.echo(printable(file_id, 200), err=True)
    return click.confirm(f"delete {what} for ever?", err=True)


# --- create -----------------------------------------------------------------------------------

# What a single request leaves no choice about.
_SINGLE: Final = {"method": "files", "part_size": PART_SIZE}

files.add_command(
    click.Command(
        "create",
        short_help="Make Files, each in a single request.",
        help="""Make a File of each FILE in a single request, and print its id.

        As `chunkup upload --method files`: journaled, and gone on with by the same command. A
        single request cannot go on where it broke off; for large files `chunkup upload` can.
        """,
        params=[param for param in upload.params if param.name not in _SINGLE],
        callback=partial(upload.callback or (lambda **_: 0), **_SINGLE),
    )
)
