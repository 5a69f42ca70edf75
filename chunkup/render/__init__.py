"""Events as people see them on stderr or in a notebook, and as programs read them.

What is counted are bytes that the peer has acknowledged: receipts, and what is on its way
beyond this machine's own buffers. It may fall when an attempt fails.
"""

import os
import sys
from typing import Protocol, TextIO

from chunkup.events import Event
from chunkup.render.bar import Bar
from chunkup.render.jsonlines import JsonLines, record, schema
from chunkup.render.lines import Lines, Silent
from chunkup.render.notebook import Notebook, in_kernel
from chunkup.render.sentence import sentence

__all__ = [
    "Bar",
    "JsonLines",
    "Lines",
    "Notebook",
    "Renderer",
    "Silent",
    "make_renderer",
    "record",
    "schema",
    "sentence",
]


class Renderer(Protocol):
    """Something that shows the events of one command. Errors are said by whoever caught them."""

    def begin(self, files: int, size: int, done_files: int = 0, done: int = 0) -> None:
        """Say what the whole command is about; a single file's events do without.

        Args:
            files: How many files the command names.
            size: Their bytes.
            done_files: How many of them are finished already.
            done: The bytes of those; what an unfinished one has, its own events tell.
        """

    def show(self, event: Event) -> None:
        """Show one event, from whichever thread."""

    def pause(self) -> None:
        """Leave the terminal to others until the next event."""

    def close(self) -> None:
        """Put the terminal right; nothing is shown afterwards. Any number of times."""


def make_renderer(mode: str, stream: TextIO | None = None) -> Renderer:
    """The renderer for ``auto``, ``bar``, ``lines``, ``notebook`` or ``none``.

    ``auto`` takes what the place is made for. A bar where there is no terminal that could be
    drawn on, and a notebook's display where there is no notebook, are lines. ``stream`` is
    standard error unless given.

    Raises:
        ValueError: There is no such mode.
    """
    stream = stream or sys.stderr
    notebook = mode in {"auto", "notebook"} and in_kernel()
    bar = mode in {"auto", "bar"} and _drawable(stream)
    match mode:
        case "none":
            return Silent()
        case "auto" | "bar" | "lines" | "notebook":
            return Notebook() if notebook else Bar(stream) if bar else Lines(stream)
        case _:
            raise ValueError(f"no such way to show progress: {mode!r}")


def _drawable(stream: TextIO) -> bool:
    """Whether the stream is a terminal that can move its cursor."""
    try:
        return stream.isatty() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}
    except ValueError:
        return False  # it is closed
