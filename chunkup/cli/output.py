"""Standard output: ids in the order they were asked for, or every event as JSON.

It may break while an upload runs, or nobody may read it. The upload goes on then; what cannot be
written is handed back.
"""

import sys
import time
from collections.abc import AsyncIterator
from typing import Final

from chunkup.cli.writer import Line, Writer
from chunkup.errors import ChunkupError
from chunkup.events import Event, Progress, Summary
from chunkup.render import JsonLines
from chunkup.text import printable

# Where so many lines wait for a reader, how far an upload is will be old when it is read.
_CROWDED: Final = 1000
# Seconds that a terminal may take for a line: it is a stopped one that takes longer.
_GLANCE: Final = 0.2


class Output:
    """One command's standard output. ``as_json`` has no ids but in the events."""

    def __init__(self, *, as_json: bool = False) -> None:
        self._writer = Writer()
        self._json = JsonLines(self._write) if as_json else None

    @property
    def broken(self) -> bool:
        """Whether nothing can be written any more."""
        return self._writer.broken

    def event(self, event: Event) -> None:
        """An event, if it is JSON that is wanted."""
        if self._json is None or self.broken:
            return
        if isinstance(event, Progress) and self._writer.waiting >= _CROWDED:
            return
        self._json.show(event)

    def file(self, file_id: str, path: str | None, job_id: str) -> None:
        """A File's id, with a tab and the path if that is given."""
        text = printable(file_id, 5000)
        if path is not None:
            text += f"\t{printable(path, 4096)}"
        alone = not self._writer.waiting
        # The events of JSON have told it; it is known once all of them are written.
        self._writer.add(Line(text if self._json is None else None, job_id, otherwise=text))
        if alone and sys.stdout is not None and sys.stdout.isatty():
            # Or the bar on the same terminal may be there again before it.
            self._writer.settle(_GLANCE)

    def printed(self) -> AsyncIterator[list[str]]:
        """Jobs whose ids have been written, as they are; ends when there can be no more."""
        return self._writer.written()

    def unheard(self) -> list[str]:
        """Ids, as they would have been written, that went nowhere; each of them once."""
        return self._writer.lost()

    def close(self) -> None:
        """No more comes but a summary."""
        self._writer.close()

    def summary(self, summary: Summary) -> None:
        """The last line of all, if it is JSON that is wanted."""
        self.close()
        if self._json is not None and not self.broken:
            self._json.show(summary)

    def _write(self, text: str) -> None:
        self._writer.add(Line(text))


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
