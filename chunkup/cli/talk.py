"""How a command talks: what is on stdout, what is on stderr."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from chunkup.cli.options import setting

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Talk:
    """The values of :func:`talk_options`."""

    json: bool
    format: str | None
    quiet: bool
    progress: str


def talk_options(function: _Function) -> _Function:
    """What is said, and how."""
    options = (
        setting(
            "--json",
            is_flag=True,
            help="Print every event on stdout, one JSON object a line; a summary is the last.",
        ),
        setting(
            "--format",
            type=click.Choice(["id", "tsv"]),
            help="Print the File id alone, or id, tab, path.  [default: id for one path]",
        ),
        setting(
            "--quiet",
            "-q",
            is_flag=True,
            help="No progress, only results and errors.",
        ),
        setting(
            "--progress",
            type=click.Choice(["auto", "bar", "lines", "none"]),
            default="auto",
            show_default=True,
            help="How progress is shown on stderr; bar on a terminal, lines elsewhere.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function
