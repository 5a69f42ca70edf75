"""What the shell may offer when somebody presses Tab.

A completer looks and never acts: it makes no journal, asks no server, and where anything is
wrong it offers nothing, since the middle of a command line is no place for an error.
"""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from chunkup.journal import JobLine

_Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]

_PURPOSES: Final = {
    "batch": "requests of the Batch API",
    "user_data": "whatever a model is to read",
    "fine-tune": "examples to train on",
    "vision": "images",
    "assistants": "files of assistants",
    "evals": "data of evaluations",
}


def _quiet(completer: _Completer) -> _Completer:
    @wraps(completer)
    def careful(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem]":
        try:
            return completer(ctx, param, incomplete)
        except Exception:  # noqa: BLE001  (see the module)
            return []

    return careful


@_quiet
def purposes(ctx: click.Context, _: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The purposes of the profile's provider, or of the official API."""
    from chunkup.cli.destination import ways

    known = ways(ctx.params.get("profile"), ctx.params.get("base_url")).purposes or _PURPOSES
    return _items({purpose: _PURPOSES.get(purpose, "") for purpose in known}, incomplete)


@_quiet
def profiles(_: click.Context, __: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Every profile, with its address."""
    from chunkup.config import names

    return _items({name: url or "" for name, url in names().items()}, incomplete)


@_quiet
def jobs(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """All jobs, the youngest first, with state and file."""
    return _jobs(ctx, param, incomplete, over=True)


@_quiet
def open_jobs(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> "list[CompletionItem]":
    """Jobs that have not ended, the youngest first, with state and file."""
    return _jobs(ctx, param, incomplete, over=False)


@_quiet
def open_jobs_and_paths(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> "list[CompletionItem]":
    """Jobs that have not ended; files where no job begins so."""
    from click.shell_completion import CompletionItem

    return open_jobs(ctx, param, incomplete) or [CompletionItem(incomplete, type="file")]


def _jobs(
    ctx: click.Context, param: click.Parameter, incomplete: str, *, over: bool
) -> "list[CompletionItem]":
    import asyncio

    from chunkup.journal import default_path
    from chunkup.text import size_text

    path = ctx.params.get("journal") or default_path()
    # An empty file is one that nobody has made a journal of yet.
    if not path.is_file() or not path.stat().st_size:
        return []
    given = ctx.params.get(param.name or "") or ()
    offered = {
        line.job.id: f"{state}  {size_text(line.job.size)}  {line.job.filename}"
        for line, state, ended in reversed(asyncio.run(_standing(path)))
        if (over or not ended) and line.job.id not in given
    }
    return _items(offered, incomplete.lower())


async def _standing(path: Path) -> "list[tuple[JobLine, str, bool]]":
    """Every job, its state in a word, and whether it has ended."""
    from chunkup.journal import Journal
    from chunkup.machine import OPEN
    from chunkup.overview import state_of

    journal = await Journal.open(path)
    try:
        return [
            (line, state_of(journal, line), line.phase not in OPEN)
            for line in await journal.lines()
        ]
    finally:
        await journal.close()


def _items(offered: dict[str, str], incomplete: str) -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem

    from chunkup.text import printable

    # The protocol between us and the shells is one of lines, which fish cuts at commas too.
    return [
        CompletionItem(value, help=printable(said, 120).replace(",", " ") or None)
        for value, said in offered.items()
        if value.startswith(incomplete) and value.isprintable()
    ]
