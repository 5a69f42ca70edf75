"""Standard output: ids in the order they were asked for, or every event as JSON.

It may break while an upload runs. The upload goes on then, and the ids go to standard error.
"""

import time

import click

from chunkup.cli.streams import put
from chunkup.errors import ChunkupError
from chunkup.events import Event, Summary
from chunkup.render import JsonLines
from chunkup.text import printable


class Output:
    """One command's standard output. ``as_json`` has no ids but in the events."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.broken = False
        self._json = JsonLines(self._write) if as_json else None

    def event(self, event: Event) -> None:
        """An event, if it is JSON that is wanted."""
        if self._json is not None and not self.broken:
            self._json.show(event)

    def file(self, file_id: str, path: str | None) -> bool:
        """A File's id, with a tab and the path if that is given; whether it can be had now."""
        text = printable(file_id, 5000)
        if path is not None:
            text += f"\t{printable(path, 4096)}"
        if self._json is None:
            self._write(text)
        if self.broken:
            click.echo(text, err=True)
        return not self.broken

    def summary(self, summary: Summary) -> None:
        """The last line of all, if it is JSON that is wanted."""
        if self._json is not None and not self.broken:
            self._json.show(summary)

    def _write(self, text: str) -> None:
        if not self.broken:
            self.broken = put(text) is not None


def nothing_done(exit_code: int, error: ChunkupError | None = None) -> Summary:
    """The summary of a command that had nothing to do, or could not begin."""
    return Summary(
        time=time.time(),
        exit_code=exit_code,
        files=0,
        completed=0,
        reused=0,
        failed=0,
        stopped=0,
        unknown=0,
        busy=0,
        bytes=0,
        code=error.code if error else None,
        message=error.message if error else None,
        hint=error.hint if error else None,
    )
