"""Standard streams as they may be: closed, full, or read by nobody. No command ends by that.

What is said on standard error is lost then. What belongs on standard output is not: whoever
writes there waits for a reader, and is told if it went nowhere. No write blocks where a signal
could not end it.
"""

import errno
import io
import math
import os
import select
import sys
import time
from contextlib import suppress
from typing import Any, Final

from chunkup.cli.signals import came

# Who reads nothing for so many seconds misses what is said, until they read again.
_PATIENCE: Final = 2.0
# Output that was given up because a signal came, or the time was over: why.
given_up: Final[list[OSError]] = []
# Seconds in which a reader may still take something when a signal has come, or the time is over.
_LAST: Final = 0.5
_STEP: Final = 0.1
# The moment, by time.monotonic(), from which on no reader of standard output is waited for.
_end = math.inf


def limit(seconds: float | None) -> None:
    """Wait for readers of standard output so long from now and a moment more; None: for ever."""
    global _end  # noqa: PLW0603  (a process has one standard output)
    _end = math.inf if seconds is None else time.monotonic() + seconds + _LAST


def write(descriptor: int, data: memoryview) -> None:
    """Write all of it, and wait for whoever reads it until the limit, or until a signal comes.

    Raises:
        OSError: It takes nothing; ``ETIMEDOUT`` if nobody read for as long as that.
    """
    while data:
        if not _takes(descriptor, None):
            given_up.append(OSError(errno.ETIMEDOUT, "nobody reads it"))
            raise given_up[-1]
        with suppress(BlockingIOError):  # somebody else was faster
            data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]


def _takes(descriptor: int, patience: float | None) -> bool:
    """Wait until a write of ``PIPE_BUF`` bytes would not block; whether it is so."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    since = time.monotonic()
    while not poll.poll(0):
        now = time.monotonic()
        if patience is None:
            if _over(now):
                return False
        else:
            if came:
                patience = min(patience, now - since + _LAST)
            if now - since >= patience:
                return False
        poll.poll(_STEP * 1000)
    return True


def _over(now: float) -> bool:
    """Whether no reader is waited for any longer, and be it one who reads, but slowly."""
    global _end  # noqa: PLW0603  (as above)
    if came:
        _end = min(_end, now + _LAST)
    return now >= _end


class _Heard(io.FileIO):
    """Standard output: a write waits for a reader, and a signal ends the waiting."""

    def write(self, data: Any, /) -> int:
        """Bytes taken, which are all of them; nothing more is written after an error."""
        view = memoryview(data).cast("B")
        write(self.fileno(), view)
        return view.nbytes


class _Heedless(io.FileIO):
    """A file that takes everything, whether it gets anywhere or not."""

    _patience = _PATIENCE

    def write(self, data: Any, /) -> int:
        """Bytes taken: what went out, and all where nothing can."""
        view = memoryview(data).cast("B")
        rest = view
        with suppress(OSError):
            while rest and _takes(self.fileno(), self._patience):
                self._patience = _PATIENCE
                with suppress(BlockingIOError):
                    rest = rest[os.write(self.fileno(), rest[: select.PIPE_BUF]) :]
            if rest:
                self._patience = 0.0
        return view.nbytes


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
    # A name that this terminal has no letters for is no reason to print nothing.
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        encoding, lines = sys.stdout.encoding, sys.stdout.isatty()
        heard = io.BufferedWriter(_Heard(1, "w", closefd=False))
        sys.stdout = io.TextIOWrapper(heard, encoding, "backslashreplace", line_buffering=lines)
    elif isinstance(sys.stdout, io.TextIOWrapper):
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
