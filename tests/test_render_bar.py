"""Bars on a real terminal: a pseudo-terminal, and behind it what a terminal would show."""

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TextIO

import pytest
from rich.cells import cell_len
from test_render import begun, retried
from test_render_tally import SIZE, completed, ended, expired, make, started

from chunkup import events
from chunkup.render import Bar, make_renderer

CONTROL = re.compile("\x1b\\[([0-9;?]*)([A-Za-z])")


@dataclass
class Terminal:
    """Understands what a bar may send, and nothing else; keeps what scrolled away."""

    stream: TextIO
    ours: int
    width: int = 80
    height: int = 24
    rows: list[list[str]] = field(default_factory=lambda: [[]])
    row: int = 0
    column: int = 0
    sent: str = ""
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=codecs.getincrementaldecoder("utf-8")
    )
    _rest: str = ""

    def resize(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    @property
    def text(self) -> list[str]:
        return ["".join(row).rstrip() for row in self.rows]

    @property
    def last(self) -> str:
        return next((row for row in reversed(self.text) if row), "")

    def until(self, true: Callable[[], bool]) -> None:
        """Take in what comes until something is true."""
        deadline = time.monotonic() + 20
        while not true():
            assert time.monotonic() < deadline, "\n".join(self.text)
            self.read(1.0)

    def until_last(self, start: str) -> None:
        self.until(lambda: self.last.startswith(start))

    def read(self, timeout: float = 0.0) -> None:
        while select.select([self.ours], [], [], timeout)[0]:
            got = self._decoder.decode(os.read(self.ours, 1 << 16))
            self.sent += got
            self._take(self._rest + got)
            timeout = 0.0

    def stay(self, seconds: float) -> None:
        """Take in whatever comes for so long: that nothing comes is what is waited for."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.read(left)

    def _take(self, text: str) -> None:
        at = 0
        self._rest = ""
        while at < len(text):
            char = text[at]
            if char == "\x1b":
                if (found := CONTROL.match(text, at)) is None:
                    assert len(text) - at < 20, f"no sequence of ours: {text[at : at + 20]!r}"
                    self._rest = text[at:]
                    return
                self._control(found[1], found[2])
                at = found.end()
                continue
            if char == "\r":
                self.column = 0
            elif char == "\n":
                self._down()
            else:
                self._put(char)
            at += 1

    def _control(self, number: str, kind: str) -> None:
        match kind:
            case "m":
                pass
            case "A":
                top = max(0, len(self.rows) - self.height)
                self.row = max(top, self.row - int(number or 1))
            case "K":
                assert number == ""
                del self.rows[self.row][self.column :]
            case "J":
                assert number == ""
                del self.rows[self.row][self.column :]
                del self.rows[self.row + 1 :]
            case _:
                raise AssertionError(f"a killed process would leave this behind: {number}{kind}")

    def _put(self, char: str) -> None:
        wide = cell_len(char)
        if self.column + wide > self.width:
            self.column = 0
            self._down()
        row = self.rows[self.row]
        row.extend(" " * (self.column - len(row)))
        row[self.column : self.column + wide] = [char, *[""] * (wide - 1)]
        self.column += wide

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as stream:  # noqa: PTH123  (a descriptor)
        terminal = Terminal(stream, ours)
        terminal.resize(80, 24)
        yield terminal
    os.close(ours)


@pytest.fixture
def bar(terminal: Terminal) -> Iterator[Bar]:
    made = make_renderer("auto", terminal.stream)
    assert isinstance(made, Bar)
    yield made
    made.close()
    assert not any(thread.name == "chunkup-render" for thread in threading.enumerate())


def running(job: str, done: int, rate: float = 0.0) -> events.Event:
    """Progress as of now: what is drawn knows only the clock on the wall."""
    own = {"size": SIZE, "done": done, "sent": 0, "in_flight": 4, "retries": 0}
    return make(events.Progress, time.time(), job, **own, rate=rate, expires_in=None)


def test_a_resumed_bar_starts_where_the_job_stood(bar: Bar, terminal: Terminal) -> None:
    bar.show(begun(30))
    terminal.read()
    assert terminal.text[0] == "continuing aaa: 30 of 93 parts, 2 of 6.2 GB of aaa.jsonl"
    assert terminal.last == "aaa.jsonl  ━━━━━───────────  32 %  2 of 6.2 GB"


def test_a_bar_follows_events_and_leaves_one_line_with_the_id(bar: Bar, terminal: Terminal) -> None:
    bar.begin(1, SIZE)
    bar.show(started())
    bar.show(running("aaa", 500, rate=10))
    terminal.until_last(
        "aaa.jsonl  ━━━━━━━━────────  50 %  500 bytes of 1 kB, 10 bytes/s, 50 s left"
    )
    bar.show(make(events.Completing, md5=None))
    terminal.until_last("aaa.jsonl  ━━━━━━━━━━━━━━━━ 100 %  asking for the File")
    bar.show(completed())
    terminal.read()
    assert [row for row in terminal.text if row] == [
        "uploading aaa.jsonl as job aaa: 10 parts, 1 kB",
        "aaa: aaa.jsonl is file-1",
    ]
    bar.close()
    terminal.read()
    assert terminal.column == 0
    assert terminal.last == "aaa: aaa.jsonl is file-1"


def test_many_files_have_rows_of_their_own_and_a_total(bar: Bar, terminal: Terminal) -> None:
    bar.begin(300, 300 * SIZE, 150, 150 * SIZE)
    terminal.read()
    assert terminal.last == "150 of 300 files  ━━━━━━━━────────  50 %  150 of 300 kB"
    for number in range(9):
        bar.show(started(time.time(), f"j{number}"))
        bar.show(running(f"j{number}", 100 * number))
    terminal.until(lambda: len(terminal.text) == 9)
    assert [row.split()[0] for row in terminal.text] == [
        *(f"j{number}.jsonl" for number in range(8)),
        "150",
    ]
    bar.show(completed(time.time(), "j0"))
    bar.show(ended(events.Failed, time.time(), "j1"))
    terminal.until(lambda: "1 failed" in terminal.last)
    rows = terminal.text
    assert [row.split()[0] for row in rows] == [
        *(f"j{number}.jsonl" for number in range(2, 9)),
        "151",
    ]


def test_a_wait_counts_down_although_nothing_happens(bar: Bar, terminal: Terminal) -> None:
    bar.show(started())
    bar.show(make(events.Paused, time.time() - 8.5, wait=10.0, message="rate limited"))
    terminal.until(lambda: "waiting 2 s: rate limited" in terminal.last)
    terminal.until(lambda: "waiting 1 s: rate limited" in terminal.last)
    terminal.until(lambda: "waiting" not in terminal.last)
    assert len([row for row in terminal.text if row]) == 2


def test_what_a_row_says_is_not_said_above_it_too(bar: Bar, terminal: Terminal) -> None:
    bar.show(started())
    bar.show(retried(time.time(), wait=9.0))
    terminal.until(lambda: "retrying in 9 s: connection reset" in terminal.last)
    bar.show(expired(time.time()))
    terminal.until(lambda: "expired" in "".join(terminal.text))
    assert len([row for row in terminal.text if row]) == 3


@pytest.mark.parametrize(("width", "height"), [(50, 10), (40, 10), (20, 5), (8, 3), (140, 10)])
def test_rows_never_wrap_and_never_scroll(
    bar: Bar, terminal: Terminal, width: int, height: int
) -> None:
    terminal.resize(width, height)
    bar.begin(300, 300 * SIZE)
    for number in range(10):
        bar.show(started(time.time(), f"数据-train-{number:05}-of-00010"))
    pause = make(
        events.Paused, time.time(), "数据-train-00001-of-00010", wait=60.0, message="m" * 99
    )
    bar.show(pause)
    bar.show(running("数据-train-00002-of-00010", 300))
    terminal.until(lambda: " 30 %" in "".join(terminal.text) or height < 5)
    assert len(terminal.rows) <= height - 1
    bar.pause()
    terminal.read()
    assert terminal.text == [""]


def test_a_terminal_that_got_narrower_is_drawn_over(bar: Bar, terminal: Terminal) -> None:
    terminal.resize(140, 24)
    bar.begin(300, 300 * SIZE)
    bar.show(started(time.time(), "a" * 36))
    bar.show(running("a" * 36, 300, rate=10))
    terminal.until(lambda: "4 in flight" in terminal.last)
    # What a terminal does that wraps again what it shows; most do.
    old = terminal.text
    terminal.resize(50, 24)
    terminal.rows = [list(row[at : at + 50]) for row in old for at in range(0, len(row), 50)]
    terminal.row, terminal.column = len(terminal.rows) - 1, len(terminal.rows[-1])
    terminal.until(lambda: len(terminal.rows) == 2)
    assert all(len(row) < 50 for row in terminal.text)


def test_a_pause_leaves_the_terminal_to_others_until_the_next_event(
    bar: Bar, terminal: Terminal
) -> None:
    bar.begin(2, 2 * SIZE)
    bar.show(started(time.time()))
    terminal.until_last("0 of 2 files")
    bar.pause()
    terminal.stream.write("file-1 a.jsonl\n")
    terminal.stream.flush()
    terminal.stay(0.6)
    assert [row for row in terminal.text if row] == ["file-1 a.jsonl"]
    bar.show(running("aaa", 100))
    terminal.until_last("0 of 2 files")
    assert terminal.text[0] == "file-1 a.jsonl"


def test_nothing_is_drawn_after_the_end(bar: Bar, terminal: Terminal) -> None:
    bar.begin(2, 2 * SIZE)
    bar.show(started(time.time()))
    bar.close()
    bar.close()
    terminal.read()
    sent = len(terminal.sent)
    bar.begin(2, 2 * SIZE)
    bar.show(completed())
    bar.pause()
    terminal.stay(0.6)
    assert len(terminal.sent) == sent
    assert terminal.text == [""]


def test_a_bar_that_showed_nothing_sends_nothing(bar: Bar, terminal: Terminal) -> None:
    bar.begin(1, SIZE)
    bar.pause()
    bar.close()
    terminal.read()
    assert terminal.sent == ""


def test_a_bar_that_was_closed_before_anything_happened_shows_nothing(
    bar: Bar, terminal: Terminal
) -> None:
    bar.close()
    bar.begin(2, 2 * SIZE)
    bar.show(started())
    terminal.stay(0.6)
    assert terminal.sent == ""


def test_colours_are_left_out_where_nobody_wants_them(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    colour = re.compile("\x1b\\[[0-9;]*3[0-7]")

    def shown() -> str:
        before = len(terminal.sent)
        bar = make_renderer("bar", terminal.stream)
        bar.show(started(done=500))
        bar.close()
        terminal.read()
        return terminal.sent[before:]

    assert colour.search(shown())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour.search(shown())


def test_a_terminal_that_goes_away_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    ours, theirs = pty.openpty()
    stream = open(theirs, "w", encoding="utf-8")  # noqa: PTH123, SIM115  (a descriptor; closing it fails)
    bar = make_renderer("bar", stream)
    bar.show(started())
    os.close(ours)
    for number in range(3):
        bar.show(expired(number))
    bar.show(completed())
    bar.close()
    with suppress(OSError):
        stream.close()
    assert capfd.readouterr() == ("", "")


def test_a_terminal_that_does_not_say_its_size_is_an_ordinary_one(
    bar: Bar, terminal: Terminal
) -> None:
    terminal.resize(0, 0)
    terminal.width = 80
    bar.begin(2, 2 * SIZE)
    terminal.until_last("0 of 2 files  ────────────────   0 %")


def test_a_terminal_of_few_characters_gets_them_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="latin-1") as stream:  # noqa: PTH123  (a descriptor)
        bar = make_renderer("bar", stream)
        bar.show(started(0, "ä数"))
        terminal = Terminal(stream, ours, _decoder=codecs.getincrementaldecoder("latin-1")())
        terminal.until_last(r"ä\u6570.jsonl  ----------------   0 %")
        assert terminal.text[0] == r"uploading ä\u6570.jsonl as job ä\u6570: 10 parts, 1 kB"
        bar.close()
    os.close(ours)


def test_a_terminal_that_cannot_take_more_just_now_is_not_given_up(
    bar: Bar, terminal: Terminal
) -> None:
    os.set_blocking(terminal.stream.fileno(), False)
    bar.show(started())
    # More than the system keeps for a terminal that nobody reads.
    for number in range(2000):
        bar.show(expired(number))
    got = ""
    deadline = time.monotonic() + 20
    while "aaa: aaa.jsonl is file-1" not in got:
        assert time.monotonic() < deadline
        while select.select([terminal.ours], [], [], 0.0)[0]:
            got += os.read(terminal.ours, 1 << 16).decode(errors="replace")
        # A job that starts again ends again, and that is said again.
        bar.show(started())
        bar.show(completed())
    assert got.count("is over") < 2000


class Meddler:
    """A stream in whose middle something happens, as when a signal comes."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.written: list[str] = []
        self.at: dict[str, Callable[[], None]] = {}

    def _happen(self, where: str) -> None:
        if (happen := self.at.pop(where, None)) is not None:
            happen()

    def write(self, text: str) -> int:
        self.written.append(text)
        self._happen("write")
        return len(text)

    def flush(self) -> None:
        self._happen("flush")

    def fileno(self) -> int:
        self._happen("size")
        raise OSError


@pytest.mark.parametrize("where", ["write", "flush", "size"])
def test_a_signal_handler_may_close_what_it_interrupted(where: str) -> None:
    stream = Meddler()
    bar = Bar(stream)  # type: ignore[arg-type]  # all of a stream that a bar uses
    closed_at: list[int] = []

    def close() -> None:
        # Longer than a heartbeat, which then waits for what is held here.
        threading.Event().wait(0.4)
        bar.close()
        closed_at.append(len(stream.written))

    stream.at[where] = close
    bar.show(started())
    bar.show(expired())
    bar.show(completed())
    assert closed_at == [len(stream.written)]
    assert not any(thread.name == "chunkup-render" for thread in threading.enumerate())


def test_a_write_inside_of_a_write_is_not_passed_on() -> None:
    def refuse() -> None:
        raise RuntimeError("reentrant call inside a buffered writer")

    stream = Meddler()
    bar = Bar(stream)  # type: ignore[arg-type]  # all of a stream that a bar uses
    stream.at["write"] = refuse
    bar.show(started())
    bar.show(completed())
    bar.close()
    assert len(stream.written) == 1


def test_events_may_come_on_many_threads(bar: Bar, terminal: Terminal) -> None:
    bar.begin(8, 8 * SIZE)

    def upload(job: str) -> None:
        bar.show(started(time.time(), job))
        for done in range(0, SIZE, 10):
            bar.show(running(job, done))
        bar.show(completed(time.time(), job))

    threads = [threading.Thread(target=upload, args=[f"j{number}"]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    terminal.until_last("8 of 8 files  ━━━━━━━━━━━━━━━━ 100 %")
    rows = [row for row in terminal.text if row]
    assert len(rows) == 1
