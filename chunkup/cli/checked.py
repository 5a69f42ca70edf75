"""What a check found, as people and as programs read it."""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from chunkup.cli.streams import put
from chunkup.errors import ChunkupError, Failed
from chunkup.models import Split
from chunkup.text import printable, size_text

if TYPE_CHECKING:
    from chunkup.models import Job
    from chunkup.preflight import Report
    from chunkup.records import Finding

_VERSION: Final = 1


class Checked:
    """What one ``check`` says: the findings are what it is run for, so they are on stdout.

    Where files are mended, stdout belongs to the paths of what can be uploaded, and what was
    found is said on stderr.
    """

    def __init__(self, *, as_json: bool, mending: bool) -> None:
        self._as_json = as_json
        self._aside = mending and not as_json
        self._lock = threading.Lock()
        self._broken: OSError | None = None
        self._counts: Counter[bool] = Counter()
        self._files = self._good = 0

    @property
    def deaf(self) -> bool:
        """Whether nobody reads standard output any more."""
        return self._broken is not None

    def finding(self, path: str, found: "Finding") -> None:
        """Tell programs of one finding, from the thread that found it."""
        if self._as_json:
            self._record(
                "finding",
                job="",
                path=path,
                code=found.code,
                message=found.message,
                line=found.line,
                offset=found.offset,
                level=_level(found.error),
            )

    def file(self, path: str, report: "Report", pieces: "Sequence[Job] | None") -> None:
        """Tell how a file is: its first findings, all of them by kind, and its pieces if cut."""
        self._files += 1
        self._good += not report.errors
        self._counts[True] += report.errors
        self._counts[False] += report.warnings
        if self._as_json:
            self._record("checked", path=path, **_fields(report, pieces))
            return
        name = printable(path, 4096)
        for found in report.findings:
            self._line(f"{name}{_said(found)}")
        more = report.errors + report.warnings - len(report.findings)
        if more:
            self._line(f"{name}: and {more:,} more, all of them with --json")
        self._line(f"{name}: {_verdict(report, pieces)}")
        for piece in pieces if pieces is not None and len(pieces) > 1 else ():
            self._line(_piece(piece))

    def mended(self, path: str, target: str, mapping: str | None, ids: int) -> None:
        """Tell what was made of a file; ``mapping`` says which of its ids are new."""
        if self._as_json:
            self._record("mended", path=path, target=target, mapping=mapping, ids=ids)
            return
        text = f"{printable(path, 4096)}: mended in {printable(target, 4096)}"
        if mapping is not None:
            text += f", with {_count(ids, 'new custom_id')}, see {printable(mapping, 4096)}"
        click.echo(text, err=True)

    def fit(self, path: str) -> None:
        """Print the path of what can be uploaded, where files are mended."""
        if self._aside:
            self._put(printable(path, 4096))

    def failed(self, path: str, error: ChunkupError) -> None:
        """Tell programs of a file that could not be read to its end; people were told."""
        self._files += 1
        if self._as_json:
            self._record("failed", job="", path=path, **_error(error), resume=None)

    def summary(self, exit_code: int, error: ChunkupError | None = None) -> None:
        """The last line of all, if it is JSON that is wanted."""
        if self._as_json:
            self._record(
                "summary",
                exit_code=exit_code,
                files=self._files,
                good=self._good,
                errors=self._counts[True],
                warnings=self._counts[False],
                **_error(error),
            )

    def heard(self) -> None:
        """See that standard output took it; a reader who has enough is no error.

        Raises:
            Failed: It takes nothing.
        """
        if self._broken is not None and not isinstance(self._broken, BrokenPipeError):
            raise Failed(f"standard output takes nothing: {self._broken.strerror}")

    def _line(self, text: str) -> None:
        if self._aside:
            click.echo(text, err=True)
        else:
            self._put(text)

    def _record(self, event: str, **said: Any) -> None:
        record = {"v": _VERSION, "time": time.time(), "event": event, **said}
        self._put(json.dumps(record, ensure_ascii=True))

    def _put(self, text: str) -> None:
        with self._lock:
            if self._broken is None:
                self._broken = put(text)


def errors_text(report: "Report") -> str:
    """How many findings of each kind are errors: ``3 errors (2 invalid_url, 1 url_mismatch)``."""
    kinds = _kinds(report, error=True)
    return f"{_count(report.errors, 'error')} ({kinds})"


def _error(error: ChunkupError | None) -> dict[str, str | None]:
    if error is None:
        return {"code": None, "message": None, "hint": None}
    return {"code": error.code, "message": error.message, "hint": error.hint}


def _level(error: bool) -> str:  # noqa: FBT001  (it is what a finding has)
    return "error" if error else "warning"


def _said(found: "Finding") -> str:
    """One finding as compilers write theirs, without the path before it."""
    place = "" if found.line is None else f":{found.line}"
    end = "" if found.offset is None else f" (byte {found.offset})"
    return f"{place}: {_level(found.error)}[{found.code}]: {printable(found.message, 2000)}{end}"


def _verdict(report: "Report", pieces: "Sequence[Job] | None") -> str:
    if report.lines is None:
        extent = f"{size_text(report.size)}, whose content is not looked at"
    else:
        extent = _count(report.lines, "line")
    parts = [
        f"{_count(number, word)} ({_kinds(report, error=error)})"
        for number, word, error in (
            (report.errors, "error", True),
            (report.warnings, "warning", False),
        )
        if number
    ]
    if report.errors:
        return f"{', '.join(parts)} in {extent}"
    said = f"ok, {extent}" + "".join(f", {part}" for part in parts)
    if pieces is None:
        return said
    if len(pieces) == 1:
        return f"{said}, one piece"
    split = pieces[0].split or Split()
    limits = [
        text
        for text in (
            split.size is not None and size_text(split.size),
            split.lines is not None and _count(split.lines, "line"),
        )
        if text
    ]
    return f"{said}, in {len(pieces):,} pieces, each within {' and '.join(limits)}"


def _kinds(report: "Report", *, error: bool) -> str:
    """The most frequent first."""
    counts = [(count, code) for (code, level), count in report.counts.items() if level is error]
    counts.sort(key=lambda pair: (-pair[0], pair[1]))
    if len(counts) == 1:
        return counts[0][1]
    return ", ".join(f"{count:,} {code}" for count, code in counts)


def _piece(piece: "Job") -> str:
    first, lines = piece.first_line or 1, piece.lines or 0
    where = f"line {first:,}" if lines == 1 else f"lines {first:,} to {first + lines - 1:,}"
    return f"{printable(piece.filename, 4096)}: {where}, {size_text(piece.size)}"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _fields(report: "Report", pieces: "Sequence[Job] | None") -> dict[str, Any]:
    return {
        "size": report.size,
        "lines": report.lines,
        "errors": report.errors,
        "warnings": report.warnings,
        "counts": [
            {"code": code, "level": _level(error), "count": count}
            for (code, error), count in sorted(report.counts.items())
        ],
        "pieces": None
        if pieces is None
        else [
            {
                "filename": piece.filename,
                "start": piece.span.start,
                "stop": piece.span.stop,
                "first_line": piece.first_line,
                "lines": piece.lines,
            }
            for piece in pieces
        ],
    }


def show_reading(*, quiet: bool, as_json: bool) -> bool:
    """Whether there is anybody to whom it can be said how far a file is read."""
    crowded = as_json and sys.stdout is not None and sys.stdout.isatty()
    return not quiet and not crowded
