"""No process is forked in the middle of what its child would inherit half-done.

A child gets a copy of what SQLite believes about its locks: forked during a transaction, it takes
the parent's lock for one of its own process and can never again use that journal. And it gets a
copy of every descriptor: of a lock that is just being made it would not know that it holds it.
"""

import os
import threading
import weakref
from types import TracebackType
from typing import Final


class Unforked:
    """A block during which no other thread forks this process; a fork waits for its end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        with _forking:
            _all.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()


_forking: Final = threading.Lock()
_all: Final[weakref.WeakSet[Unforked]] = weakref.WeakSet()
_held: Final[list[Unforked]] = []


def _before() -> None:
    _forking.acquire()
    _held.extend(_all)
    for one in _held:
        one.__enter__()


def _after() -> None:
    while _held:
        _held.pop().__exit__(None, None, None)
    _forking.release()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
