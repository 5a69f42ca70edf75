"""The live area at the end of a terminal: drawn over, and lines written above it.

Nothing is switched on that a killed process would leave behind: the cursor stays visible, and
no scroll region, alternate screen or mode is set. Imported only once a bar is shown.
"""

import io
import os
from contextlib import suppress
from typing import Final, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from chunkup.render.layout import Row, look_of

_FALLBACK: Final = (80, 24)
_ERASE_LINE_END: Final = "\x1b[K"
_ERASE_BELOW: Final = "\x1b[J"


def size_of(stream: TextIO) -> tuple[int, int]:
    """Columns and rows of a stream's terminal."""
    with suppress(OSError, ValueError, AttributeError):
        columns, lines = os.get_terminal_size(stream.fileno())
        if columns > 0 and lines > 0:
            return columns, lines
    return _FALLBACK


class Screen:
    """A terminal whose last rows are redrawn. A stream that breaks is left alone, silently."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        # It only turns styles into what this terminal and NO_COLOR allow. It has a file of its
        # own, since it flushes even where it has nothing to write.
        self._console = Console(
            file=io.StringIO(), force_terminal=True, force_jupyter=False, highlight=False
        )
        self.look = look_of(stream.encoding)
        self._widths: list[int] = []

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows, as they are now."""
        return size_of(self._stream) if self._stream is not None else _FALLBACK

    def draw(self, rows: list[Row], above: str = "") -> None:
        """Show rows in place of those that are shown; ``above`` is a line that stays over them."""
        if not (rows or above or self._widths):
            return
        text = self._home()
        if above:
            text += _ERASE_BELOW + self.look.safe(above) + "\r\n"
        text += (_ERASE_LINE_END + "\r\n").join(self._styled(row) for row in rows)
        text += _ERASE_LINE_END + _ERASE_BELOW if rows else _ERASE_BELOW
        self._widths = [self._cells(row) for row in rows]
        self._write(text)

    def clear(self) -> None:
        """Take the rows away; the cursor stands where they began."""
        if self._widths:
            self.draw([])

    def close(self) -> None:
        """Take the rows away and write nothing more."""
        self.clear()
        self._stream = None

    def _home(self) -> str:
        """Back to where the rows begin, also if a narrower terminal has wrapped them since."""
        if not self._widths:
            return ""
        columns, _ = self.size
        lines = sum(max(1, -(-width // columns)) for width in self._widths)
        return "\r" + (f"\x1b[{lines - 1}A" if lines > 1 else "")

    def _styled(self, row: Row) -> str:
        text = Text.assemble(*row)
        with self._console.capture() as captured:
            self._console.print(text, end="", soft_wrap=True)
        return captured.get()

    @staticmethod
    def _cells(row: Row) -> int:
        return sum(cell_len(span.text) for span in row)

    def _write(self, text: str) -> None:
        stream = self._stream
        if stream is None:
            return
        try:
            stream.write(text)
            stream.flush()
        except BlockingIOError:
            pass  # somebody made the terminal non-blocking; the next picture may get through
        except (OSError, ValueError, RuntimeError):
            # Nobody looks any more, or a signal came in the middle of a write; the upload goes on.
            self._stream = None
