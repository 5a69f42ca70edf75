"""One display in a notebook, updated in place and saved with its last state.

Neither rich nor widgets: a saved notebook keeps what was published last, as text and as HTML,
and shows it wherever it is opened.
"""

import contextvars
import importlib
import sys
import threading
import time
import uuid
from html import escape
from typing import Any, Final

from chunkup import events
from chunkup.render.sentence import about, about_all, files_text, name_of, spoken
from chunkup.render.tally import Stage, Standing, Tally
from chunkup.render.ticker import Ticker

_PERIOD: Final = 0.5
_PATIENCE: Final = 0.1
_MOST_JOBS: Final = 8
_BAR: Final = 20


def in_kernel() -> bool:
    """Whether this process is the kernel of a notebook; imports nothing to find out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class Notebook:
    """A display below the cell that made the renderer."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._tally = Tally()
        self._missed: dict[str, Standing] = {}
        self._last: Standing | None = None
        self._id: str | None = None
        self._published = self._picture()
        self._ticker = Ticker(_PERIOD, self._tick)
        self._closed = False

    def begin(self, files: int, size: int, done_files: int = 0, done: int = 0) -> None:
        """Say what the whole command is about."""
        with self._lock:
            self._tally.begin(files, size, done_files, done)
            self._begin()

    def show(self, event: events.Event) -> None:
        """Take an event into the picture, which is published twice a second at most."""
        with self._lock:
            self._tally.fold(event)
            standing = self._tally.job(event.job)
            if standing is not None and standing.stage.over:
                self._last = standing
                if standing.stage is not Stage.DONE:
                    self._missed[standing.job] = standing
            if isinstance(event, events.JobStarted):
                self._missed.pop(event.job, None)
            self._begin()

    def pause(self) -> None:
        """Nothing to do: what others print has a place of its own."""

    def close(self) -> None:
        """Publish the final state."""
        with self._lock:
            if self._id is not None:
                self._publish()
            self._closed = True
        self._ticker.stop()

    def _begin(self) -> None:
        if self._id is None:
            self._publish()

    def _tick(self) -> None:
        if not self._lock.acquire(timeout=_PATIENCE):
            return
        try:
            self._publish()
        finally:
            self._lock.release()

    def _publish(self) -> None:
        picture = self._picture()
        if self._closed or picture == self._published:
            return
        self._published = picture
        try:
            display: Any = importlib.import_module("IPython.display")
            if self._id is None:
                self._id = uuid.uuid4().hex
                display.display(picture, raw=True, display_id=self._id)
                self._ticker.start()
            else:
                # Without the context of the cell that began: once that cell is over, what comes
                # in its name is no longer saved, and the upload may well outlast it.
                contextvars.Context().run(
                    display.update_display, picture, raw=True, display_id=self._id
                )
        except Exception:  # noqa: BLE001  (whatever a dying kernel raises, the upload goes on)
            self._closed = True

    def _picture(self) -> dict[str, str]:
        now = time.time()
        rows = [
            (name_of(standing.path), standing.percent, spoken(about(standing, now)))
            for standing in self._rows()
        ]
        totals = self._tally.totals(now)
        if totals.files > 1:
            rows.append((files_text(totals), totals.percent, spoken(about_all(totals))))
        return {"text/plain": _plain(rows), "text/html": _html(rows)}

    def _rows(self) -> list[Standing]:
        """What is active, what ended without a File, and the one that there was of one."""
        rows = [*self._missed.values()][-_MOST_JOBS:] + self._tally.active[:_MOST_JOBS]
        if not rows and self._tally.files <= 1 and self._last is not None:
            rows = [self._last]
        return rows


def _plain(rows: list[tuple[str, int, str]]) -> str:
    width = max((len(name) for name, _, _ in rows), default=0)
    return "\n".join(
        f"{name:<{width}}  [{_bar(percent)}] {percent:>3} %  {said}".rstrip()
        for name, percent, said in rows
    )


def _bar(percent: int) -> str:
    return ("#" * (_BAR * percent // 100)).ljust(_BAR)


def _html(rows: list[tuple[str, int, str]]) -> str:
    cells = "".join(
        f'<tr><td style="text-align:left">{escape(name)}</td>'
        f'<td><progress value="{percent}" max="100"></progress></td>'
        f"<td>{percent}&nbsp;%</td>"
        f'<td style="text-align:left">{escape(said)}</td></tr>'
        for name, percent, said in rows
    )
    return f"<table>{cells}</table>"
