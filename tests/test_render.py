"""Which renderer a place gets, and events as people read them."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from math import inf
from typing import Any

import pytest
from test_render_tally import completed, ended, expired, make, progress, started

from chunkup import events
from chunkup.models import RemoteFile
from chunkup.render import Bar, Lines, Renderer, Silent, make_renderer, sentence
from chunkup.render.sentence import about, overture, share, spoken
from chunkup.render.tally import Tally

GB = 10**9
MODES = ["auto", "bar", "lines", "none", "notebook"]


@pytest.fixture
def terminal() -> Iterator[io.TextIOWrapper]:
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as stream:  # noqa: PTH123  (a descriptor)
        yield stream
    os.close(ours)


def begun(done_parts: int) -> events.Event:
    return make(
        events.JobStarted,
        size=6_200_000_000,
        done=done_parts * 66_666_666,
        parts=93,
        done_parts=done_parts,
        continued=done_parts > 0,
    )


def retried(time: float = 0.0, wait: float = 1.25) -> events.Event:
    where: dict[str, Any] = {"start": 64 * 10**6, "stop": 128 * 10**6, "attempt": 1}
    why = {"code": "unreachable", "message": "connection reset"}
    return make(events.PartRetried, time, wait=wait, **where, **why)


def test_a_terminal_gets_bars_and_everything_else_lines(
    terminal: io.TextIOWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    chosen = {mode: type(make_renderer(mode, terminal)) for mode in MODES}
    assert chosen == {"auto": Bar, "bar": Bar, "lines": Lines, "none": Silent, "notebook": Lines}
    chosen = {mode: type(make_renderer(mode, io.StringIO())) for mode in MODES}
    assert chosen == {**dict.fromkeys(MODES, Lines), "none": Silent}
    for name in ("dumb", "unknown"):
        monkeypatch.setenv("TERM", name)
        assert isinstance(make_renderer("auto", terminal), Lines)
        assert isinstance(make_renderer("bar", terminal), Lines)


def test_a_closed_stream_is_no_terminal() -> None:
    stream = io.StringIO()
    stream.close()
    assert isinstance(make_renderer("auto", stream), Lines)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="'bars'"):
        make_renderer("bars", io.StringIO())


def test_none_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    renderer: Renderer = make_renderer("none")
    renderer.begin(3, 300)
    for event in (started(), completed()):
        renderer.show(event)
    renderer.pause()
    renderer.close()
    assert capsys.readouterr() == ("", "")


def test_standard_error_is_where_talk_goes(capsys: pytest.CaptureFixture[str]) -> None:
    renderer = make_renderer("lines")
    renderer.show(started())
    assert capsys.readouterr().err == "uploading aaa.jsonl as job aaa: 10 parts, 1 kB\n"


def test_nothing_heavy_is_imported_until_a_bar_begins() -> None:
    code = """
import io, sys
import chunkup.render
for mode in ("auto", "lines", "none", "notebook", "bar"):
    chunkup.render.make_renderer(mode, io.StringIO()).begin(2, 10)
bar = chunkup.render.Bar(io.StringIO())
bar.close()
print(*sorted({"rich", "IPython", "asyncio", "aiohttp", "click"} & set(sys.modules)))
bar = chunkup.render.Bar(io.StringIO())
bar.begin(2, 10)
bar.close()
print("rich" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "\nTrue\n"


def test_continuing_says_how_much_is_there() -> None:
    assert sentence(begun(30)) == "continuing aaa: 30 of 93 parts, 2 of 6.2 GB of aaa.jsonl"
    assert sentence(begun(0)) == "uploading aaa.jsonl as job aaa: 93 parts, 6.2 GB"


@pytest.mark.parametrize(
    ("event", "one", "many"),
    [
        (begun(30), "continuing aaa: 30 of 93 parts, 2 of 6.2 GB of aaa.jsonl", None),
        (progress(), None, None),
        (
            expired(),
            "aaa: Upload upload_1 is over (expired); 500 bytes are sent again",
            "aaa.jsonl: Upload upload_1 is over (expired); 500 bytes are sent again",
        ),
        (
            make(events.UploadExpired, upload_id="upload_1", reason="gone", lost=0),
            "aaa: Upload upload_1 is over (gone)",
            "aaa.jsonl: Upload upload_1 is over (gone)",
        ),
        (
            make(events.Paused, wait=12.0, message="rate limited"),
            "aaa: waiting 12 s: rate limited",
            "aaa.jsonl: waiting 12 s: rate limited",
        ),
        (
            retried(),
            "aaa: the part at 64 MB is sent again in 1.2 s (attempt 2): connection reset",
            "aaa.jsonl: the part at 64 MB is sent again in 1.2 s (attempt 2): connection reset",
        ),
        (
            make(events.Completing, md5=None),
            "aaa: all of it is sent; asking for the File",
            None,
        ),
        (completed(), "aaa: aaa.jsonl is file-1", "done aaa.jsonl file-1"),
        (completed(reused=True), "aaa: aaa.jsonl is file-1 (from an earlier run)", None),
    ],
)
def test_what_an_event_is_as_a_line(event: events.Event, one: str | None, many: str | None) -> None:
    assert sentence(event) == one
    assert sentence(event, many=True) == many


def test_late_says_by_how_much_unless_nothing_moves() -> None:
    way_out = "a faster link or disk, or a smaller file would do"
    late = make(events.Late, seconds=1500.0, rate=1e6)
    said = f"at 1 MB/s the Upload expires 25 min before the end; {way_out}"
    assert sentence(late) == f"aaa: {said}"
    assert sentence(late, many=True) == f"aaa.jsonl: {said}"
    never = make(events.Late, seconds=inf, rate=0.0)
    assert sentence(never) == f"aaa: at 0 bytes/s the Upload expires first; {way_out}"


def test_what_was_found_by_looking_is_said_to_be() -> None:
    file = RemoteFile("file-1", 1, 0, "a", "batch")
    found = make(events.Completed, file=file, recovered=True)
    assert sentence(found) == "aaa: aaa.jsonl is file-1 (found by looking)"
    assert sentence(found, many=True) == "done aaa.jsonl file-1 (found by looking)"


def test_what_ends_in_an_error_is_said_by_who_caught_it() -> None:
    assert sentence(ended(events.Failed)) is None
    assert sentence(ended(events.Stopped)) is None
    assert sentence(ended(events.Unknown)) is None


@pytest.mark.parametrize("hostile", ["\x1b[2J", "a\nb", "\u202eevil", "\udcff"])
@pytest.mark.parametrize("many", [True, False])
def test_what_a_server_or_a_path_says_cannot_move_the_terminal(hostile: str, many: bool) -> None:  # noqa: FBT001  (a parameter of the test)
    file = RemoteFile(hostile, 1, 0, hostile, "batch")
    where = {"time": 0.0, "job": "k7f2m9", "path": hostile}
    why = {"code": "x", "message": hostile}
    told: list[events.Event] = [
        events.Completed(**where, file=file, recovered=False),  # type: ignore[arg-type]  # a dict knows one type for all its values
        events.UploadExpired(**where, upload_id=hostile, reason=hostile, lost=0),  # type: ignore[arg-type]  # the same
        events.Paused(**where, wait=1.0, message=hostile),  # type: ignore[arg-type]  # the same
        events.PartRetried(**where, **why, start=0, stop=1, attempt=1, wait=1.0),  # type: ignore[arg-type]  # the same
    ]
    for event in told:
        text = sentence(event, many=many)
        assert text is not None
        assert text.isprintable()


def test_the_overture_counts_what_is_done_already() -> None:
    assert overture(300, 4_100_000_000, 150, 2_000_000_000) == (
        "300 files, 4.1 GB; 150 are done already (2 GB)"
    )
    assert overture(300, 4_100_000_000, 1, 0) == "300 files, 4.1 GB; 1 is done already"
    assert overture(2, 1000, 0, 0) == "2 files, 1 kB"


def test_a_unit_is_said_once_if_it_is_the_same() -> None:
    assert share(2 * GB, 6_200_000_000) == "2 of 6.2 GB"
    assert share(2_000_000, 6_200_000_000) == "2 MB of 6.2 GB"


def said(*told: events.Event, now: float = 0.0) -> str:
    """What is told of the job that all these are about."""
    tally = Tally()
    for event in told:
        tally.fold(event)
    standing = tally.job("aaa")
    assert standing is not None
    return spoken(about(standing, now))


PAUSED = make(events.Paused, wait=12.0, message="rate limited")
COMPLETING = make(events.Completing, md5=None)


@pytest.mark.parametrize(
    ("left", "rate", "shown"),
    [
        (601.0, 1.0, True),  # 500 s are needed
        (1000.0, 1.0, False),
        (999.0, 1.0, True),
        (3000.0, 0.0, False),
        (599.0, 0.0, True),
        (599.0, 1000.0, True),
        (-1.0, 1.0, True),
        (None, 1.0, False),
        (inf, 1.0, False),
    ],
)
def test_expiry_is_told_when_it_matters(left: float | None, rate: float, shown: bool) -> None:  # noqa: FBT001  (a parameter of the test)
    assert ("expire" in said(progress(done=500, rate=rate, expires_in=left))) is shown


def test_what_a_job_is_at_is_told_in_words() -> None:
    assert said(started(), COMPLETING) == "asking for the File"
    assert said(started(), COMPLETING, PAUSED) == "waiting 12 s: rate limited"
    assert said(started(), PAUSED, COMPLETING) == "asking for the File"
    assert said(progress(done=1000)) == "comparing the digests"
    assert said(progress(done=1000), PAUSED) == "waiting 12 s: rate limited"
    assert said(started(), completed()) == "file-1"
    assert said(started(), ended(events.Failed)) == "why"


def test_what_a_server_says_about_a_job_cannot_move_the_terminal() -> None:
    file = RemoteFile("\x1b[2J", 1, 0, "a", "batch")
    assert said(make(events.Completed, file=file, recovered=False)) == r"\x1b[2J"
    assert r"\x1b[2J" in said(started(), make(events.Paused, wait=1.0, message="\x1b[2J"))
