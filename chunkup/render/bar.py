"""Bars on a terminal: the active files, the whole command, and above them what is worth a line."""

import threading
import time
from typing import TYPE_CHECKING, Final, TextIO

from chunkup import events
from chunkup.render.sentence import sentence
from chunkup.render.tally import Tally
from chunkup.render.ticker import Ticker

if TYPE_CHECKING:
    from chunkup.render.screen import Screen

_PERIOD: Final = 0.25
_PATIENCE: Final = 0.1


class Bar:
    """A live area at the end of a terminal.

    Events only change the tally; a heartbeat draws it. One lock is around everything, and the
    heartbeat soon gives up waiting for it, so that a signal handler may close what it interrupted.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._tally = Tally()
        self._screen: Screen | None = None
        self._ticker = Ticker(_PERIOD, self._tick)
        self._paused = False
        self._closed = False

    def begin(self, files: int, size: int, done_files: int = 0, done: int = 0) -> None:
        """Say what the whole command is about."""
        with self._lock:
            self._tally.begin(files, size, done_files, done)
            self._draw()

    def show(self, event: events.Event) -> None:
        """Take an event into the picture, and write a line above it if it is worth one."""
        with self._lock:
            self._tally.fold(event)
            self._paused = False
            text = None if self._seen(event) else sentence(event, many=self._tally.files > 1)
            if text is not None or self._screen is None:
                self._draw(text or "")

    def pause(self) -> None:
        """Take the bars away until the next event."""
        with self._lock:
            self._paused = True
            if self._screen is not None:
                self._screen.clear()

    def close(self) -> None:
        """Take the bars away for good."""
        self._closed = True
        with self._lock:
            if self._screen is not None:
                self._screen.close()
        self._ticker.stop()

    def _seen(self, event: events.Event) -> bool:
        """Whether the event's own row says it already, or among many files the total's."""
        if self._tally.files > 1 and isinstance(event, events.Completed):
            return True
        if isinstance(event, events.Paused) and not event.wait:
            return False  # no wait, but what is done otherwise from here on
        return isinstance(event, events.PartRetried | events.Paused | events.Completing)

    def _tick(self) -> None:
        if not self._lock.acquire(timeout=_PATIENCE):
            return
        try:
            if not self._paused:
                self._draw()
        finally:
            self._lock.release()

    def _draw(self, above: str = "") -> None:
        if self._closed:
            return
        from chunkup.render.layout import rows  # noqa: PLC0415  (rich, only where bars are)

        if self._screen is None:
            from chunkup.render.screen import Screen  # noqa: PLC0415  (the same)

            self._screen = Screen(self._stream)
            self._ticker.start()
        columns, lines = self._screen.size
        now = time.time()
        self._screen.draw(rows(self._tally, now, columns, lines, self._screen.look), above)
