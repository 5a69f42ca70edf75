"""The rows of the live area: what fits, and nothing that would wrap.

Imported only once a bar is shown: the widths of characters are rich's knowledge.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from rich.cells import cell_len, set_cell_size

from chunkup.render.sentence import (
    Piece,
    about,
    about_all,
    encodable,
    files_text,
    name_of,
)
from chunkup.render.tally import Stage, Standing, Tally, Totals

# More active files than this are in the total only.
_MOST_JOBS: Final = 8
# From which width on the bar has how many columns: below, numbers tell more than a bar would.
_BARS: Final = ((120, 30), (90, 20), (70, 16), (60, 10))
_LONGEST_NAME: Final = 40
# Columns of `` 100 %``.
_PERCENT: Final = 6


class Span(NamedTuple):
    """Text and the rich style that it is shown in."""

    text: str
    style: str = ""


Row = list[Span]


@dataclass(frozen=True, slots=True)
class Look:
    """What the terminal can show. ``encoding`` is that of the stream."""

    full: str
    empty: str
    dots: str
    encoding: str

    def safe(self, text: str) -> str:
        """What the stream will really print, so that it can be measured."""
        return encodable(text, self.encoding)

    def cut(self, text: str, room: int) -> str:
        """Text of at most ``room`` columns."""
        text = self.safe(text)
        if cell_len(text) <= room:
            return text
        dots = self.dots[: max(0, room)]
        return set_cell_size(text, max(0, room - len(dots))).rstrip() + dots

    def squeeze(self, text: str, room: int) -> str:
        """The same for a name, cut near its end: what it begins with and its kind both stay."""
        text = self.safe(text)
        if cell_len(text) <= room or room < 8:
            return self.cut(text, room)
        end = text[-((room - len(self.dots)) // 3) :]
        return set_cell_size(text, room - len(self.dots) - cell_len(end)) + self.dots + end


def look_of(encoding: str | None) -> Look:
    """The look for a stream of this encoding: lines where it has them, else ASCII."""
    encoding = encoding or "ascii"
    try:
        "━─…".encode(encoding)
    except UnicodeEncodeError:
        return Look("#", "-", "...", encoding)
    return Look("━", "─", "…", encoding)


def rows(tally: Tally, now: float, width: int, height: int, look: Look) -> list[Row]:
    """The rows for a terminal of this size: fewer than it has, each narrower than it is."""
    # A key that is pressed is echoed behind the last row: if ^C wrapped, the row would stay.
    width -= len("^C")
    totals = tally.totals(now)
    many = totals.files > 1
    room = max(0, height - 1 - many)
    shown = tally.active[: min(_MOST_JOBS, room)]
    # The last column stays free: a full row leaves the cursor in the next one on some terminals.
    grid = _Grid(max(1, width - 1), look, shown, totals if many else None)
    drawn = [grid.job(standing, now) for standing in shown]
    if many and height > 1:
        drawn.append(grid.total(totals))
    return drawn


class _Grid:
    """The columns that all rows share: name, bar, percent, and the rest for what matters."""

    def __init__(
        self, width: int, look: Look, shown: list[Standing], totals: Totals | None
    ) -> None:
        self._look = look
        self._bar = next((columns for least, columns in _BARS if width >= least), 0)
        names = [cell_len(look.safe(name_of(standing.path))) for standing in shown]
        most = max(8, width // 3 if self._bar else width // 2)
        widest = min(max(names, default=0), _LONGEST_NAME, most)
        self._count = files_text(totals) if totals else ""
        if len(self._count) > most:
            self._count = self._count.removesuffix("s").removesuffix(" file").replace(" of ", "/")
        self._name = min(max(widest, len(self._count)), max(0, width - _PERCENT))
        self._width = width

    def job(self, standing: Standing, now: float) -> Row:
        """One active job."""
        trouble = standing.trouble is not None and standing.trouble.shown(now)
        name = self._look.squeeze(name_of(standing.path), self._name)
        asking = standing.stage is Stage.ASKING
        row = self._start(Span(name), standing.percent, "green" if asking else "cyan")
        return self._filled(row, about(standing, now), "yellow" if trouble else "")

    def total(self, totals: Totals) -> Row:
        """All together."""
        name = Span(self._look.cut(self._count, self._name), "bold")
        return self._filled(self._start(name, totals.percent, "blue"), about_all(totals), "")

    def _start(self, name: Span, percent: int, colour: str) -> Row:
        pad = " " * (self._name - cell_len(name.text))
        row = [name, Span(pad)]
        if self._bar:
            full = self._bar * percent // 100
            row += [
                Span("  "),
                Span(self._look.full * full, colour),
                Span(self._look.empty * (self._bar - full), "dim"),
            ]
        return [*row, Span(f" {percent:>3} %")]

    def _filled(self, row: Row, pieces: list[Piece], style: str) -> Row:
        room = self._width - sum(cell_len(span.text) for span in row) - 2
        text = fitting(pieces, room, self._look)
        return self._cropped([*row, Span("  " + text, style)] if text else row)

    def _cropped(self, row: Row) -> Row:
        """Nothing beyond the last column, however narrow the terminal."""
        kept, room = Row(), self._width
        for text, style in row:
            if cell_len(text) > room:
                text = set_cell_size(text, room)  # noqa: PLW2901  (what is left of it)
            kept.append(Span(text, style))
            room -= cell_len(text)
        return kept


def fitting(pieces: list[Piece], room: int, look: Look) -> str:
    """The pieces that fit, in their order: the least important go first, the last one is cut."""
    kept = list(pieces)
    while kept:
        text = ", ".join(look.safe(piece.text) for piece in kept)
        if cell_len(text) <= room:
            return text
        if len(kept) == 1:
            return look.cut(text, room) if kept[0].rank == 0 and room >= 8 else ""
        kept.remove(max(kept, key=lambda piece: piece.rank))
    return ""
