"""Signals, from a command's first moment to its last: felt at once, whatever it is doing.

Python calls a handler between two steps of the main thread, and where a system call waits. So
nothing but the handler itself needs to be free: neither the loop nor a stream that somebody
reads. It needs to be there early as well: without it SIGTERM ends a process unsaid, and does
nothing at all to the first process of a container.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final, NoReturn

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Seconds in which a terminal can be put right before a second signal leaves without that.
_LAST: Final = 1.0

# The signals that came to this process, in their order.
came: Final[list[int]] = []
_installed = False


class Signalled(BaseException):
    """A signal came where no loop runs that it could stop. No handler of errors catches it."""


def _later() -> None:
    """Leave it to whoever looks at ``came`` next."""


_first: Callable[[], None] = _later
_restore: Callable[[], None] = _later


def heed() -> None:
    """Feel signals from here on; a first one is left to whoever looks at ``came``."""
    global _installed  # noqa: PLW0603  (a process has one set of handlers)
    if not _installed:
        _install()
        _installed = True


@contextmanager
def meeting(first: Callable[[], None]) -> Iterator[None]:
    """Answer a first signal in this way; a second one leaves at once."""
    global _first  # noqa: PLW0603  (as above)
    before, _first = _first, first
    try:
        if came:
            first()
        yield
    finally:
        _first = before


def interrupt() -> NoReturn:
    """Leave what is being done, which holds nothing that would have to be ended in order."""
    raise Signalled


@contextmanager
def heeded(restore: Callable[[], None]) -> Iterator[None]:
    """Feel signals at least until the block ends; a second one puts the terminal right.

    From here on a first one waits for the next :func:`meeting`, also after the block: what is
    left to do then is short, and the command is over by itself.
    """
    global _first, _restore  # noqa: PLW0603  (as above)
    before = [] if _installed else _install()
    _first, _restore = _later, restore
    try:
        yield
    finally:
        _restore = _later
        for number, handler in before:
            signal.signal(number, handler)
        if not _installed:
            came.clear()


def _install() -> list[tuple[signal.Signals, Any]]:
    """Set the handlers; what was there before."""
    before = []
    for number in SIGNALS:
        # nohup ignores hang-ups on purpose, and a shell the Ctrl-C of a job in the background.
        handler = signal.getsignal(number)
        if handler is not signal.SIG_IGN:
            before.append((number, handler))
            signal.signal(number, _felt)
    return before


def _felt(number: int, _: FrameType | None) -> None:
    came.append(number)
    if len(came) == 1:
        _first()
        return
    if len(came) == 2 and _restore is not _later:
        from threading import Timer  # long loaded where there is something to restore

        timer = Timer(_LAST, os._exit, [128 + number])
        timer.daemon = True
        timer.start()
        _write_anew()
        _restore()
        sys.stderr.flush()
    os._exit(128 + number)


def _write_anew() -> None:
    """Have a standard error of our own: the other may be in the write that this interrupts."""
    with suppress(OSError):  # it is closed
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115  (a descriptor, until the process ends)
