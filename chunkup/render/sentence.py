"""Events and standings as text: what is worth a line, and what a line says about how far it is."""

from collections.abc import Iterator
from math import isfinite
from pathlib import PurePath
from typing import Final, NamedTuple

from chunkup import events
from chunkup.render.tally import Stage, Standing, Totals
from chunkup.text import duration_text, printable, size_text

# The time to expiry matters below this, or if it is less than twice the time left.
_SOON: Final = 600.0


class Piece(NamedTuple):
    """Something to tell about a standing; a low ``rank`` is the last to be left out.

    Rank 0 are sentences, which may be cut; half a number would be a wrong one.
    """

    rank: int
    text: str


def name_of(path: str, limit: int = 80) -> str:
    """The last part of a path, safe on a terminal."""
    return printable(PurePath(path).name, limit)


def encodable(text: str, encoding: str | None) -> str:
    """Text as a stream of this encoding can print it, escaped where it cannot."""
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def sentence(event: events.Event, *, many: bool = False) -> str | None:
    """An event as one line, for those that are worth one.

    ``many`` is for commands with many files: they are told by name, and their starts not at all.
    """
    name = name_of(event.path)
    who = name if many else event.job
    match event:
        case events.JobStarted() if many:
            return None
        case events.JobStarted(continued=True, done_parts=have, parts=parts, done=done, size=size):
            return f"continuing {event.job}: {have} of {parts} parts, {share(done, size)} of {name}"
        case events.JobStarted(parts=parts, size=size):
            count = "1 part" if parts == 1 else f"{parts} parts"
            return f"uploading {name} as job {event.job}: {count}, {size_text(size)}"
        case events.UploadExpired(upload_id="", reason=reason, lost=lost):
            vain = f"; {size_text(lost)} were sent in vain" if lost else ""
            return f"{who}: {printable(reason, 80)}{vain}"
        case events.UploadExpired(reason=reason, lost=lost, upload_id=upload):
            again = f"; {size_text(lost)} are sent again" if lost else ""
            return f"{who}: Upload {printable(upload, 80)} is over ({printable(reason, 80)}){again}"
        case events.Paused(wait=0, message=message):
            return f"{who}: {printable(message)}"
        case events.Paused(wait=wait, message=message):
            return f"{who}: waiting {duration_text(wait)}: {printable(message)}"
        case events.PartRetried(start=start, wait=wait, message=message, attempt=attempt):
            return (
                f"{who}: the part at {size_text(start)} is sent again in "
                f"{wait:.1f} s (attempt {attempt + 1}): {printable(message)}"
            )
        case events.Late(seconds=seconds, rate=rate):
            late = f" {duration_text(seconds)} before the end" if isfinite(seconds) else " first"
            return (
                f"{who}: at {size_text(rate)}/s the Upload expires{late}; "
                "a faster link or disk, or a smaller file would do"
            )
        case events.Finding(code=code, message=message, line=line, level=level):
            where = name if line is None else f"{name}:{line}"
            return f"{where}: {level}[{printable(code, 80)}]: {printable(message)}"
        case events.Completing() if many:
            return None
        case events.Completing():
            return f"{who}: all of it is sent; asking for the File"
        case events.Completed():
            return _completed(event, name, many=many)
        case _:
            return None


def _completed(event: events.Completed, name: str, *, many: bool) -> str | None:
    if many and event.reused:
        return None  # begin() has counted it
    how = " (found by looking)" if event.recovered else ""
    if event.reused:
        how = " (from an earlier run)"
    file = printable(event.file.id, 200)
    return f"done {name} {file}{how}" if many else f"{event.job}: {name} is {file}{how}"


def overture(files: int, size: int, done_files: int, done: int) -> str:
    """What a command with many files is about to do: ``300 files, 4.1 GB``."""
    text = f"{files} files, {size_text(size)}"
    if done_files:
        are = "is" if done_files == 1 else "are"
        text += f"; {done_files} {are} done already"
        text += f" ({size_text(done)})" if done else ""
    return text


def share(done: int, size: int) -> str:
    """``2 of 6.2 GB``: the unit once if it is the same."""
    first, whole = size_text(done), size_text(size)
    number, _, unit = first.rpartition(" ")
    return f"{number} of {whole}" if whole.endswith(f" {unit}") else f"{first} of {whole}"


def about(standing: Standing, now: float) -> list[Piece]:
    """What to tell of a job, in the order of reading; ``now`` is Unix seconds."""
    why = list(_trouble(standing, now))
    if standing.stage is Stage.ASKING:
        return why or [Piece(0, "asking for the File")]
    if standing.stage is not Stage.SENDING:
        return [Piece(0, printable(standing.outcome))]
    if 0 < standing.size <= standing.done:
        return why or [Piece(0, "comparing the digests")]
    return [
        Piece(4, share(standing.through, standing.size)),
        *_speed(standing.rate, standing.left),
        *_expiry(standing),
        *_traffic(standing.in_flight, standing.retries),
        *why,
    ]


def about_all(totals: Totals) -> list[Piece]:
    """What to tell of the whole command, in the order of reading."""
    ends = ((totals.failed, "failed"), (totals.stopped, "stopped"), (totals.unknown, "unknown"))
    return [
        Piece(4, share(totals.through, totals.size)),
        *_speed(totals.rate, totals.left),
        *(Piece(1, f"{count} {word}") for count, word in ends if count),
        *_traffic(totals.in_flight, totals.retries),
    ]


def files_text(totals: Totals) -> str:
    """``12 of 300 files``."""
    return f"{totals.files_done} of {totals.files} file{'s' if totals.files != 1 else ''}"


def _trouble(standing: Standing, now: float) -> Iterator[Piece]:
    trouble = standing.trouble
    if trouble is None or not trouble.shown(now):
        return
    left = trouble.left(now)
    if trouble.retry:
        doing = f"retrying in {duration_text(left)}" if left else "retrying"
    else:
        doing = f"waiting {duration_text(left)}"
    yield Piece(0, f"{doing}: {printable(trouble.message)}")


def _speed(rate: float, left: float) -> Iterator[Piece]:
    if rate > 0:
        yield Piece(3, f"{size_text(rate)}/s")
        yield Piece(2, f"{duration_text(left)} left")


def _expiry(standing: Standing) -> Iterator[Piece]:
    left = standing.expires_in
    if left is None:
        return
    if left < _SOON or (standing.rate > 0 and left < 2 * standing.left):
        yield Piece(1, f"expires in {duration_text(left)}" if left > 0 else "expired")


def _traffic(in_flight: int, retries: int) -> Iterator[Piece]:
    if in_flight:
        yield Piece(6, f"{in_flight} in flight")
    if retries:
        yield Piece(5, f"{retries} retries" if retries > 1 else "1 retry")


def spoken(pieces: list[Piece]) -> str:
    """All pieces as one text."""
    return ", ".join(piece.text for piece in pieces)
