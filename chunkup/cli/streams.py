"""Standard streams as they may be: closed, full, or read by nobody. No command ends by that.

What is said on standard error is lost then. What belongs on standard output is not: whoever
writes there is told that it went nowhere.
"""

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any


class _Heedless(io.FileIO):
    """A file that takes everything, whether it gets anywhere or not."""

    def write(self, data: Any, /) -> int:
        """Bytes taken: what went out, and all where nothing can."""
        taken: int | None = None
        with suppress(OSError):
            taken = super().write(data)
        return memoryview(data).nbytes if taken is None else taken


def secure() -> None:
    """Make the standard streams fit for a command. Any number of times.

    A closed one leaves its number free, and the next file to be opened would get it: what the
    interpreter writes to it in distress would end in the journal.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is sys.__stderr__:  # or somebody has put a stream of his own there
        encoding = sys.stderr.encoding if sys.stderr is not None else "utf-8"
        buffer = io.BufferedWriter(_Heedless(2, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=True)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that this terminal has no letters for is no reason to print nothing.
        sys.stdout.reconfigure(errors="backslashreplace")


def put(text: str) -> OSError | None:
    """Write a line to standard output; why that went nowhere, if it did."""
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")  # noqa: TRY301  (one way out for all causes)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        with suppress(OSError, ValueError, AttributeError):
            # Or the interpreter complains about it once more when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error if isinstance(error, OSError) else OSError(errno.EBADF, "it is closed")
    return None
