"""Events as people read them."""

import io

import pytest

from chunkup import events
from chunkup.models import RemoteFile
from chunkup.render import Bar, Lines, make_renderer, sentence, standing

HERE = {"time": 0.0, "job": "k7f2m9", "path": "/data/train.jsonl"}
GB = 10**9


def progress(done: int, sent: int = 0, rate: float = 0.0, retries: int = 0) -> events.Progress:
    return events.Progress(
        **HERE,  # type: ignore[arg-type]  # one dict for all events
        size=6_200_000_000,
        done=done,
        sent=sent,
        rate=rate,
        in_flight=8,
        retries=retries,
        expires_in=None,
    )


def started(done_parts: int) -> events.JobStarted:
    return events.JobStarted(
        **HERE,  # type: ignore[arg-type]  # one dict for all events
        size=6_200_000_000,
        done=done_parts * 66_666_666,
        parts=93,
        done_parts=done_parts,
        continued=done_parts > 0,
    )


def test_continuing_says_how_much_is_there() -> None:
    assert sentence(started(30)) == "continuing k7f2m9: 30 of 93 parts, 2 of 6.2 GB of train.jsonl"
    assert sentence(started(0)) == "uploading train.jsonl as job k7f2m9: 93 parts, 6.2 GB"


def test_standing_counts_what_is_acknowledged_and_never_passes_the_end() -> None:
    text = standing(progress(3 * GB, sent=100_000_000, rate=31_000_000, retries=2))
    assert text == "50 %, 3.1 of 6.2 GB, 31 MB/s, 1 min 40 s left, 8 in flight, 2 retries"


@pytest.mark.parametrize("hostile", ["\x1b[2J", "a\nb", "\u202eevil"])
def test_what_a_server_or_a_path_says_cannot_move_the_terminal(hostile: str) -> None:
    file = RemoteFile(hostile, 1, 0, hostile, "batch")
    completed = events.Completed(time=0, job="k7f2m9", path=hostile, file=file, recovered=False)
    text = sentence(completed)
    assert text is not None
    assert text.isprintable()


def test_lines_say_what_happens_and_not_every_byte() -> None:
    stream = io.StringIO()
    lines = Lines(stream, everything=True)
    lines.show(started(0))
    for number in range(100):
        lines.show(progress(number * 1000))
    assert len(stream.getvalue().splitlines()) == 1


def test_lines_survive_a_stream_that_breaks() -> None:
    stream = io.StringIO()
    lines = Lines(stream, everything=True)
    stream.close()
    lines.show(started(0))
    lines.show(started(0))


def test_none_is_silent_and_auto_takes_lines_without_a_terminal() -> None:
    stream = io.StringIO()
    silent = make_renderer("none", stream)
    silent.show(started(0))
    assert stream.getvalue() == ""
    assert isinstance(make_renderer("auto", stream), Lines)
    assert isinstance(make_renderer("bar", stream), Bar)


def test_a_bar_is_taken_away_and_leaves_the_cursor() -> None:
    stream = io.StringIO()
    bar = make_renderer("bar", stream)
    bar.show(started(30))
    bar.show(progress(4 * GB, rate=1.0))
    bar.close()
    bar.show(progress(5 * GB))
    assert stream.getvalue().count("continuing k7f2m9") == 1
