"""Rows fit the terminal, whatever it is and whatever is told."""

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from test_render_tally import SIZE, completed, ended, happenings, make, progress, started

from chunkup import events
from chunkup.render.layout import Row, fitting, look_of, rows
from chunkup.render.sentence import Piece
from chunkup.render.tally import Tally

LOOK = look_of("utf-8")
SHARD = "train-00007-of-00030.jsonl"


def text(row: Row) -> str:
    return "".join(span.text for span in row)


def at_work(jobs: int, files: int = 300, name: str = SHARD) -> Tally:
    tally = Tally()
    if files > 1:
        tally.begin(files, files * SIZE, 12, 12 * SIZE)
    for number in range(jobs):
        path = {"job": f"j{number}", "path": f"/data/{name}"}
        own = {"size": SIZE, "done": 0, "parts": 1, "done_parts": 0, "continued": False}
        tally.fold(events.JobStarted(time=0.0, **path, **own))  # type: ignore[arg-type]  # a dict knows one type for all its values
        how = {"rate": 10.0, "in_flight": 2, "retries": 3, "expires_in": 200.0}
        tally.fold(events.Progress(time=9.0, **path, size=SIZE, done=310, sent=0, **how))  # type: ignore[arg-type]  # the same
    return tally


def drawn(tally: Tally, width: int, height: int = 24, now: float = 10.0) -> list[str]:
    """The rows of a terminal that is so wide without the place for an echoed ``^C``."""
    return [text(row) for row in rows(tally, now, width + 2, height, LOOK)]


@given(
    st.lists(happenings(), max_size=12),
    st.text(),
    st.integers(1, 200),
    st.integers(1, 40),
    st.integers(0, 3000),
    st.integers(0, 9),
    st.sampled_from(["utf-8", "ascii", "latin-1", None]),
)
def test_rows_never_wrap_and_never_fill_the_screen(
    told: list[events.Event],
    name: str,
    width: int,
    height: int,
    files: int,
    jobs: int,
    encoding: str | None,
) -> None:
    tally = at_work(jobs, files, name)
    for event in told:
        tally.fold(event)
    look = look_of(encoding)
    drawn = rows(tally, 50.0, width, height, look)
    assert len(drawn) <= max(0, height - 1)
    assert len(drawn) <= 9
    for row in drawn:
        assert cell_len(text(row)) <= max(1, width - 3)
        assert text(row).isprintable()
        text(row).encode(look.encoding)


def test_at_most_eight_files_and_a_total() -> None:
    assert len(drawn(at_work(12), 100)) == 9
    assert len(drawn(at_work(3), 100)) == 4
    assert len(drawn(at_work(1, files=1), 100)) == 1
    assert drawn(at_work(0, files=1), 100) == []


def test_a_low_terminal_keeps_the_total() -> None:
    short = drawn(at_work(12), 100, 4)
    assert len(short) == 3
    assert short[-1].startswith("12 of 300 files")
    assert len(drawn(at_work(12), 100, 2)) == 1
    assert drawn(at_work(12), 100, 1) == []


WIDE = (
    f"{SHARD}  ━━━━━━━━━─────────────────────  31 %  310 bytes of 1 kB, 10 bytes/s, "
    "1 min 9 s left, expires in 3 min 20 s, 3 retries"
)


def test_a_narrow_terminal_leaves_out_what_matters_less() -> None:
    tally = at_work(1, files=1)
    assert drawn(tally, len(WIDE) + 1) == [WIDE]
    assert drawn(tally, len(WIDE)) == [WIDE.removesuffix(", 3 retries")]
    assert drawn(tally, 100) == [
        f"{SHARD}  ━━━━━━──────────────  31 %  1 min 9 s left, expires in 3 min 20 s"
    ]
    assert drawn(tally, 80) == [f"{SHARD}  ━━━━────────────  31 %  expires in 3 min 20 s"]
    assert drawn(tally, 60) == [f"{SHARD}  31 %  expires in 3 min 20 s"]
    assert drawn(tally, 50) == ["train-00007-of-0…0.jsonl  31 %"]
    assert drawn(tally, 40) == ["train-00007-….jsonl  31 %"]


def test_the_total_is_told_in_the_same_columns() -> None:
    tally = at_work(1)
    assert [drawn(tally, width)[-1] for width in (140, 80, 50, 26)] == [
        (
            "12 of 300 files             ━─────────────────────────────   4 %  "
            "12.3 of 300 kB, 31 bytes/s, 2 h 34 min left, 2 in flight, 3 retries"
        ),
        "12 of 300 files             ────────────────   4 %  31 bytes/s, 2 h 34 min left",
        "12 of 300 files            4 %  2 h 34 min left",
        "12/300         4 %",
    ]


def test_the_columns_of_all_rows_stand_under_each_other() -> None:
    tally = at_work(2)
    tally.fold(
        make(events.JobStarted, 0, "数据", size=5, done=0, parts=1, done_parts=0, continued=False)
    )
    shown = drawn(tally, 100)
    assert len({cell_len(row[: row.index("%")]) for row in shown}) == 1


def test_waiting_is_said_before_numbers() -> None:
    tally = at_work(1, files=1)
    tally.fold(make(events.Paused, 10.0, "j0", wait=12.0, message="rate limited"))
    (row,) = drawn(tally, 80)
    assert row.endswith("31 %  waiting 12 s: rate limited")
    (wide,) = drawn(tally, 140)
    assert "1 min 9 s left" in wide
    assert wide.endswith("waiting 12 s: rate limited")
    (later,) = drawn(tally, 80, now=15.0)
    assert later.endswith("waiting 7 s: rate limited")
    (over,) = drawn(tally, 80, now=22.0)
    assert "waiting" not in over


def test_files_that_are_over_leave_the_rows_and_are_counted_in_the_total() -> None:
    tally = at_work(2)
    tally.fold(completed(11, "j0"))
    assert len(drawn(tally, 100)) == 2
    assert drawn(tally, 100)[-1].startswith("13 of 300 files")
    tally.fold(ended(events.Failed, 12, "j1"))
    (total,) = drawn(tally, 140)
    assert "1 failed" in total


def test_a_full_bar_is_only_for_what_is_whole() -> None:
    tally = Tally()
    for event in (started(), progress(1, done=SIZE - 1)):
        tally.fold(event)
    (row,) = drawn(tally, 100)
    assert "━" * 19 + "─" in row
    assert " 99 %" in row


def test_a_terminal_without_lines_gets_ascii() -> None:
    (row,) = rows(at_work(1, files=1, name="ä据.jsonl"), 10.0, 100, 24, look_of("latin-1"))
    assert text(row).startswith(r"ä\u636e.jsonl  ######--------------  31 %")


def test_pieces_go_by_rank_and_only_sentences_are_cut() -> None:
    pieces = [Piece(3, "bytes"), Piece(1, "left"), Piece(2, "rate"), Piece(0, "trouble ahead")]
    assert fitting(pieces, 99, LOOK) == "bytes, left, rate, trouble ahead"
    assert fitting(pieces, 25, LOOK) == "left, rate, trouble ahead"
    assert fitting(pieces, 24, LOOK) == "left, trouble ahead"
    assert fitting(pieces, 9, LOOK) == "trouble…"
    assert fitting(pieces, 7, LOOK) == ""
    assert fitting([Piece(1, "1 min 40 s left")], 14, LOOK) == ""


@given(st.text() | st.text("数据\u0301a-", max_size=60), st.integers(0, 40))
def test_a_name_is_cut_to_its_room(name: str, room: int) -> None:
    assert cell_len(LOOK.squeeze(name, room)) <= room
    assert cell_len(LOOK.cut(name, room)) <= room
