"""Events as people see them, on stderr: a bar on a terminal, plain lines elsewhere.

What is counted are bytes that the peer has acknowledged: receipts, and what is on its way
beyond this machine's own buffers. It may fall when an attempt fails.
"""

import sys
import time
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from chunkup import events
from chunkup.text import duration_text, printable, size_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LINE_EVERY: Final = 30.0
_RETRY_EVERY: Final = 5.0


class Renderer(Protocol):
    """Something that shows events."""

    def show(self, event: events.Event) -> None:
        """Show one event."""

    def pause(self) -> None:
        """Leave the terminal to others until the next event."""

    def close(self) -> None:
        """Put the terminal right; nothing is shown afterwards."""


def make_renderer(mode: str, stream: TextIO | None = None) -> Renderer:
    """The renderer for ``auto``, ``bar``, ``lines`` or ``none``."""
    stream = stream or sys.stderr
    if mode == "auto":
        mode = "bar" if stream.isatty() else "lines"
    if mode == "bar":
        return Bar(stream)
    return Lines(stream, everything=mode == "lines")


def sentence(event: events.Event) -> str | None:
    """An event as one line, for those that are worth one."""
    name = printable(PurePath(event.path).name, 80)
    match event:
        case events.JobStarted(continued=True, done_parts=have, parts=parts, done=done, size=size):
            return f"continuing {event.job}: {have} of {parts} parts, {_of(done, size)} of {name}"
        case events.JobStarted(parts=parts, size=size):
            return f"uploading {name} as job {event.job}: {parts} parts, {size_text(size)}"
        case events.UploadExpired(reason=reason, lost=lost, upload_id=upload):
            again = f"; {size_text(lost)} are sent again" if lost else ""
            return f"{event.job}: Upload {printable(upload, 80)} is over ({reason}){again}"
        case events.Paused(wait=wait, message=message):
            return f"{event.job}: waiting {duration_text(wait)}: {message}"
        case events.PartRetried(start=start, wait=wait, message=message, attempt=attempt):
            return (
                f"{event.job}: the part at {size_text(start)} is sent again in "
                f"{wait:.1f} s (attempt {attempt + 1}): {message}"
            )
        case events.Late(seconds=seconds, rate=rate):
            late = "long" if seconds == float("inf") else duration_text(seconds)
            return (
                f"{event.job}: at {size_text(rate)}/s the Upload expires {late} before the end; "
                "a faster link or a smaller file would do"
            )
        case events.Completing():
            return f"{event.job}: every part is accepted; asking for the File"
        case events.Completed(file=file, recovered=recovered):
            how = " (found by looking)" if recovered else ""
            return f"{event.job}: {name} is {printable(file.id, 200)}{how}"
        case _:
            return None


def _of(done: int, size: int) -> str:
    """``2.0 of 6.2 GB``: the unit once if it is the same."""
    first, whole = size_text(done), size_text(size)
    number, _, unit = first.rpartition(" ")
    return f"{number} of {whole}" if whole.endswith(f" {unit}") else f"{first} of {whole}"


def standing(event: events.Progress) -> str:
    """Progress as one line."""
    through = event.done + event.sent
    text = f"{through * 100 // event.size} %, {_of(through, event.size)}"
    if event.rate > 0:
        left = duration_text((event.size - through) / event.rate)
        text += f", {size_text(event.rate)}/s, {left} left"
    text += f", {event.in_flight} in flight"
    if event.retries:
        text += f", {event.retries} retries"
    return text


class Lines:
    """One line for what happens, and one every half minute for how far it is."""

    def __init__(self, stream: TextIO, *, everything: bool) -> None:
        self._stream: TextIO | None = stream
        self._everything = everything
        self._next = 0.0
        self._retry_at = 0.0

    def show(self, event: events.Event) -> None:
        """Write a line if the event is worth one now."""
        if not self._everything:
            return
        now = time.monotonic()
        if isinstance(event, events.JobStarted):
            self._next = now + _LINE_EVERY
        if isinstance(event, events.Progress):
            if now >= self._next:
                self._next = now + _LINE_EVERY
                self._write(f"{event.job}: {standing(event)}")
            return
        if isinstance(event, events.PartRetried):
            # Sixteen workers that lose one server would say the same sixteen times.
            if now < self._retry_at:
                return
            self._retry_at = now + _RETRY_EVERY
        text = sentence(event)
        if text is not None:
            self._write(text)

    def pause(self) -> None:
        """Nothing to do: lines leave no traces."""

    def close(self) -> None:
        """Write nothing more."""
        self._stream = None

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None  # nobody reads it; the upload goes on


class Bar:
    """A live bar; what else happens scrolls by above it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._closed = False

    def show(self, event: events.Event) -> None:
        """Update the bar, or write a line above it."""
        if self._closed:
            return
        if isinstance(event, events.JobStarted):
            self._begin(event)
        progress = self._progress
        if progress is None or self._task is None:
            return
        match event:
            case events.Progress(done=done, sent=sent):
                progress.update(
                    self._task, completed=done + sent, said=self._said(event), refresh=True
                )
            case events.PartAccepted(done=done):
                shown = progress.tasks[0].completed if progress.tasks else 0
                progress.update(self._task, completed=max(done, shown))
            case events.Completing():
                progress.update(
                    self._task, completed=progress.tasks[0].total, said="asking for the File"
                )
            case events.UploadExpired():
                progress.update(self._task, completed=0)
                self._above(event)
            case events.Completed():
                self.pause()
            case _:
                self._above(event)

    def pause(self) -> None:
        """Take the bar away until the next job."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = self._task = None

    def close(self) -> None:
        """Take the bar away for good; the cursor is visible again."""
        self._closed = True
        self.pause()

    def _begin(self, event: events.JobStarted) -> None:
        from rich.console import Console  # noqa: PLC0415  (costs a tenth of a second, only here)
        from rich.progress import (  # noqa: PLC0415  (the same)
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
        )

        self.pause()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[said]}", markup=False),
            console=Console(file=self._stream, highlight=False),
            refresh_per_second=4,
        )
        self._task = self._progress.add_task(
            printable(PurePath(event.path).name, 40),
            total=event.size,
            completed=event.done,
            said=_of(event.done, event.size),
        )
        self._progress.start()

    def _above(self, event: events.Event) -> None:
        text = sentence(event)
        if text is not None and self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _said(self, event: events.Progress) -> str:
        return standing(event).partition(" %, ")[2]
