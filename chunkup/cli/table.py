"""Lines for people: columns that stand below one another, on standard output."""

from collections.abc import Iterable, Sequence

from chunkup.cli.streams import put
from chunkup.errors import ChunkupError


def columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of equally many cells as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def show(lines: Iterable[str]) -> int:
    """Print lines; the exit code. Who has read enough, as ``head`` does, is told nothing.

    Raises:
        ChunkupError: Standard output takes nothing.
    """
    for line in lines:
        error = put(line)
        if error is not None and not isinstance(error, BrokenPipeError):
            raise ChunkupError(f"standard output takes nothing: {error.strerror}")
        if error is not None:
            return 1
    return 0
