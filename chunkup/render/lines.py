"""Plain lines, where there is no terminal: one for what happens, one now and then for how far."""

import time
from collections.abc import Callable
from typing import Final, TextIO

from chunkup import events
from chunkup.render.sentence import (
    about,
    about_all,
    encodable,
    files_text,
    overture,
    sentence,
    spoken,
)
from chunkup.render.tally import Tally

_LINE_EVERY: Final = 30.0
_RETRY_EVERY: Final = 5.0


class Silent:
    """Shows nothing."""

    def begin(self, files: int, size: int, done_files: int = 0, done: int = 0) -> None:
        """Nothing."""

    def show(self, event: events.Event) -> None:
        """Nothing."""

    def pause(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Lines:
    """One line for the whole command every half minute, and one for each turn of events.

    ``clock`` gives seconds that only grow.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream: TextIO | None = stream
        self._clock = clock
        self._tally = Tally()
        self._next: float | None = None
        self._quiet_until: dict[type[events.Event], float] = {}

    def begin(self, files: int, size: int, done_files: int = 0, done: int = 0) -> None:
        """Say what the whole command is about, if it is about more than one file."""
        self._tally.begin(files, size, done_files, done)
        self._next = self._clock() + _LINE_EVERY
        if files > 1:
            self._write(overture(files, size, done_files, done))

    def show(self, event: events.Event) -> None:
        """Write a line if the event, or the time, is worth one."""
        self._tally.fold(event)
        now = self._clock()
        if self._next is None:
            self._next = now + _LINE_EVERY
        text = sentence(event, many=self._tally.files > 1)
        if text is not None and not self._thinned(type(event), now):
            self._write(text)
        if isinstance(event, events.Progress) and now >= self._next:
            self._next = now + _LINE_EVERY
            self._write(self._standing(event))

    def pause(self) -> None:
        """Nothing to do: lines leave no traces."""

    def close(self) -> None:
        """Write nothing more."""
        self._stream = None

    def _thinned(self, kind: type[events.Event], now: float) -> bool:
        """Whether such an event was told just now.

        Sixteen workers that lose one server would say the same sixteen times.
        """
        if not issubclass(kind, events.PartRetried | events.Paused):
            return False
        if now < self._quiet_until.get(kind, now):
            return True
        self._quiet_until[kind] = now + _RETRY_EVERY
        return False

    def _standing(self, event: events.Progress) -> str:
        if self._tally.files > 1:
            totals = self._tally.totals(event.time)
            return f"{files_text(totals)}, {totals.percent} %, {spoken(about_all(totals))}"
        standing = self._tally.job(event.job)
        if standing is None:
            return event.job
        return f"{event.job}: {standing.percent} %, {spoken(about(standing, event.time))}"

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(encodable(text, self._stream.encoding) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None  # nobody reads it; the upload goes on
