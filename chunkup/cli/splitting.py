"""Options that say how a file is cut, and what people are told of the cut."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from chunkup.cli.options import Size, setting
from chunkup.text import printable, size_text

if TYPE_CHECKING:
    from chunkup.asked import Cut
    from chunkup.models import Job, Split

_Function = TypeVar("_Function", bound=Callable[..., Any])
# Bytes: what is read in no time needs no line that says so.
_WORTH: Final = 64 << 20


def split_options(function: _Function) -> _Function:
    """``--split`` and what it may be told."""
    options = (
        setting(
            "--split",
            is_flag=True,
            help="Cut each file of JSON Lines between its records, into Files that the provider "
            "takes. Nothing is copied: each piece is sent from where it stands.",
        ),
        setting(
            "--split-size",
            type=Size(),
            help="Bytes of a piece at most; means --split.  [default: what the provider takes, or "
            "less where the link is known to be slow]",
        ),
        setting(
            "--split-lines",
            type=click.IntRange(1),
            metavar="N",
            help="Lines of a piece at most; means --split.  [default: what the provider takes]",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def take_split(values: dict[str, Any]) -> "Split | None":
    """The values of :func:`split_options`, taken out of a command's keyword arguments."""
    from chunkup.models import Split

    wished, size, lines = (values.pop(name) for name in ("split", "split_size", "split_lines"))
    if size is not None and size < 1:
        raise click.UsageError("--split-size is at least one byte")
    return Split(size, lines) if wished or size is not None or lines is not None else None


def cut_text(cut: "Cut", at_risk: int) -> str:
    """What is to be said of a file that was cut.

    ``at_risk`` bytes are sent again if all Uploads that can be open at once are lost.
    """
    pieces, whole = cut.pieces, cut.job
    name = printable(whole.given or whole.path)
    lines = sum(piece.lines or 0 for piece in pieces)
    if len(pieces) == 1:
        return f"{name}: {lines:,} lines, one piece"
    largest = max(piece.size for piece in pieces)
    return (
        f"{name}: {lines:,} lines in {len(pieces)} pieces of at most {size_text(largest)}; "
        f"an Upload that is lost costs its piece, and all that are open at once at most "
        f"{size_text(at_risk)}"
    )


class ReadingLine:
    """One line on a terminal that says how far a file is read; nothing where there is none."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown and sys.stderr is not None and sys.stderr.isatty()
        self._said = ""

    def __call__(self, job: "Job", at: int | None) -> None:
        """So many bytes of this file are read; None once it is read."""
        whole = job.fingerprint.size
        if not self._shown or whole < _WORTH:
            return
        if at is None:
            self.clear()
            return
        name = printable(job.given or job.path, 40)
        text = f"checking {name}: {min(100, at * 100 // whole)} % of {size_text(whole)}"
        if text != self._said:
            self._said = text
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._said:
            self._said = ""
            click.echo("\r\x1b[K", nl=False, err=True)
