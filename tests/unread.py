"""Pipes that nobody reads, or only little by little."""

import fcntl
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PAGE = 4096
# Seconds after which nothing more can be said to come.
_LATE = 30.0


@contextmanager
def full_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that takes nothing more; its two ends."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    try:
        while True:
            os.write(writable, b"." * PAGE)
    except BlockingIOError:
        os.set_blocking(writable, True)
    try:
        yield readable, writable
    finally:
        os.close(readable)
        os.close(writable)


@contextmanager
def narrow_pipe() -> Iterator[tuple[int, int]]:
    """A pipe in which a single line has room, until it is read; its two ends."""
    readable, writable = os.pipe()
    fcntl.fcntl(writable, fcntl.F_SETPIPE_SZ, PAGE)
    try:
        yield readable, writable
    finally:
        for descriptor in (readable, writable):
            with suppress(OSError):  # the test may have closed it
                os.close(descriptor)


def next_of(readable: int, most: int = 65536) -> bytes:
    """What is written next; a test that waits for nothing has failed."""
    assert select.select([readable], [], [], _LATE)[0], "nothing was written"
    return os.read(readable, most)


def all_of(readable: int) -> bytes:
    """What is written until nobody can write any more."""
    seen = b""
    while more := next_of(readable):
        seen += more
    return seen
