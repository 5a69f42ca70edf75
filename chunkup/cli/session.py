"""A command's stay in the loop: signals in, one exit code out."""

import asyncio
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from chunkup.cli.signals import came, heeded, meeting
from chunkup.errors import ChunkupError, Interrupted, Stopped
from chunkup.text import duration_text

_Result = TypeVar("_Result")

# The first that applies is the exit code of a command with several files.
_WORST_FIRST: Final = (4, 1, 3, 75)


def run(
    work: Coroutine[Any, Any, _Result],
    *,
    go_on: Callable[[], str | None] = lambda: None,
    restore: Callable[[], None] = lambda: None,
    max_time: float | None = None,
) -> _Result:
    """Run a command's coroutine; a first signal stops it, a second one leaves at once.

    Args:
        work: The command.
        go_on: The command that continues, asked for when a signal came.
        restore: Puts the terminal right before leaving at once.
        max_time: Seconds after which it is stopped as by a signal.

    Raises:
        Interrupted: A signal came; what was accepted is kept.
        Stopped: ``max_time`` is over; what was accepted is kept.
    """
    with heeded(restore), asyncio.Runner() as runner:
        return runner.run(_stoppable(work, go_on, max_time))


async def _stoppable(
    work: Coroutine[Any, Any, _Result],
    go_on: Callable[[], str | None],
    max_time: float | None,
) -> _Result:
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    over = False

    def expire() -> None:
        nonlocal over
        over = True
        task.cancel()

    def stop() -> None:
        loop.call_soon_threadsafe(task.cancel)

    timer = None if max_time is None else loop.call_later(max_time, expire)
    try:
        with _woken(loop), meeting(stop):
            return await task
    except asyncio.CancelledError:
        if not (came or over):
            raise
        command = go_on()
        if not came:
            kept = "what was accepted is kept" if command else "nothing had been sent yet"
            raise Stopped(
                f"stopped by --max-time after {duration_text(max_time or 0)}; {kept}",
                hint=command or "run the same command again, with more time",
            ) from None
        said = "what was accepted is kept" if command else "nothing is left to continue"
        name = signal.Signals(came[0]).name
        raise Interrupted(f"stopped by {name}; {said}", signal=came[0], hint=command) from None
    finally:
        if timer is not None:
            timer.cancel()


@contextmanager
def _woken(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Wake the loop at each signal: one that comes just before it waits would not end that."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0)
        theirs.settimeout(0)
        loop.add_reader(ours, ours.recv, 4096)
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(ours)


def worst(errors: list[ChunkupError]) -> int:
    """The exit code of a command in which these things went wrong."""
    codes = {error.exit_code for error in errors}
    return next((code for code in _WORST_FIRST if code in codes), max(codes, default=0))
