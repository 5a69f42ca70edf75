"""What the probe found out, as a table for people and as values for programs."""

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from chunkup.errors import ChunkupError
from chunkup.text import printable

if TYPE_CHECKING:
    from chunkup.probe import Answered, Course

_WIDTH: Final = 110
_COLUMNS: Final = ("QUESTION", "FACT", "OFFICIAL API", "CHUNKUP")


def differences(course: "Course") -> list["Answered"]:
    """What is known to differ; and what had to be told and was not, which is no agreement."""
    from chunkup.probe import UNCLEAR

    return [
        one
        for one in course.answered
        if one.agrees is False
        or (one.found.word == UNCLEAR and one.question.official.findings and not course.late)
    ]


def table(rows: Sequence["Answered"]) -> list[str]:
    """Lines of text, folded to the width of the terminal."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = shutil.get_terminal_size((_WIDTH, 24)).columns
    out = StringIO()
    shown = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for column in _COLUMNS:
        shown.add_column(column, overflow="fold")
    for one in rows:
        # A bare status says no more than the sentence does.
        said = "" if one.found.seen.isdigit() else one.found.seen
        seen = f" ({printable(said, 60)})" if said else ""
        cells = (one.question.name, f"{one.says}{seen}", _official(one), one.therefore)
        shown.add_row(*(Text(cell) for cell in cells))
    Console(file=out, width=max(width, 60), color_system=None, highlight=False).print(shown)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def _official(one: "Answered") -> str:
    known = one.question.official
    where = f"{known.standing}: {known.source}"
    if one.agrees is None:
        return where
    return f"{'the same' if one.agrees else 'another'} ({where})"


def fields(one: "Answered") -> dict[str, Any]:
    """One finding as JSON values."""
    return {
        "question": one.question.name,
        "asks": one.question.asks,
        "finding": one.found.word,
        "fact": one.says,
        "seen": one.found.seen,
        "official": one.question.official.standing,
        "source": one.question.official.source,
        "expected": list(one.question.official.findings),
        "agrees": one.agrees,
        "chunkup": one.therefore,
    }


def summary(course: "Course", expected: str | None, error: ChunkupError | None) -> dict[str, Any]:
    """All of it in numbers, what is left behind by id, and how the command ends."""
    from chunkup.probe import SKIPPED, UNCLEAR

    words = [one.found.word for one in course.answered]
    left = course.bench.left
    return {
        "exit_code": error.exit_code if error else 0,
        "questions": len(words),
        "unclear": words.count(UNCLEAR),
        "skipped": words.count(SKIPPED),
        "expected": expected,
        "differences": [one.question.name for one in differences(course)],
        "files": left.made_files,
        "uploads": left.made_uploads,
        "left_files": list(left.files),
        "left_uploads": sorted(left.uploads),
        "not_ours": list(left.strangers),
        "without_answer": left.lost,
        "code": error.code if error else None,
        "message": error.message if error else None,
        "hint": error.hint if error else None,
    }
