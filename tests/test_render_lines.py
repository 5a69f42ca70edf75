"""Lines where there is no terminal: what happens, and now and then how far it is."""

import io
import os
from contextlib import suppress

from test_render import begun, retried
from test_render_tally import SIZE, completed, make, progress, started

from chunkup import events
from chunkup.render import Lines


class Told:
    """A stream and a clock for one ``Lines``."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.stream = io.StringIO()
        self.lines = Lines(self.stream, clock=lambda: self.now)

    def all(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    def new(self, *told: events.Event) -> list[str]:
        before = len(self.all())
        for event in told:
            self.lines.show(event)
        return self.all()[before:]


def test_lines_say_what_happens_and_not_every_byte() -> None:
    told = Told()
    told.new(begun(0), *(progress(done=number) for number in range(100)))
    assert told.all() == ["uploading aaa.jsonl as job aaa: 93 parts, 6.2 GB"]


def test_one_job_says_how_far_it_is_every_half_minute() -> None:
    told = Told()
    told.new(started(0))
    told.now += 29.9
    assert told.new(progress(29, done=400, rate=10)) == []
    told.now += 0.1
    line = "aaa: 45 %, 450 bytes of 1 kB, 10 bytes/s, 55 s left, 4 in flight, 2 retries"
    assert told.new(progress(30, done=400, sent=50, rate=10)) == [line]
    told.now += 29.9
    assert told.new(progress(59, done=400)) == []
    told.now += 0.1
    assert len(told.new(progress(60, done=400))) == 1


def test_many_jobs_have_one_line_together_and_no_starts() -> None:
    told = Told()
    told.lines.begin(4, 4 * SIZE, 1, SIZE)
    assert told.all() == ["4 files, 4 kB; 1 is done already (1 kB)"]
    assert told.new(started(0, "aaa"), started(0, "bbb"), started(0, "ccc")) == []
    told.now += 30
    line = "1 of 4 files, 35 %, 1.4 of 4 kB, 40 bytes/s, 1 min 5 s left, 4 in flight, 2 retries"
    assert told.new(*(progress(10, job, done=400) for job in ("aaa", "bbb"))) == [line]
    assert told.new(completed(11, "aaa")) == ["done aaa.jsonl file-1"]


def test_one_announced_job_is_told_as_one() -> None:
    told = Told()
    told.lines.begin(1, SIZE)
    assert told.all() == []
    assert told.new(started(0)) == ["uploading aaa.jsonl as job aaa: 10 parts, 1 kB"]


def test_several_jobs_that_nobody_announced_are_told_together_too() -> None:
    told = Told()
    assert told.new(started(0, "aaa")) == ["uploading aaa.jsonl as job aaa: 10 parts, 1 kB"]
    assert told.new(started(0, "bbb")) == []
    assert told.new(completed(1, "bbb")) == ["done bbb.jsonl file-1"]


def test_the_same_trouble_of_many_parts_is_said_once_in_a_while() -> None:
    told = Told()
    told.new(started(0))
    pause = make(events.Paused, wait=12.0, message="rate limited")
    assert len(told.new(*[retried()] * 16, *[pause] * 16)) == 2
    told.now += 4.9
    assert told.new(retried(), pause) == []
    told.now += 0.1
    assert len(told.new(retried(), pause, retried(), pause)) == 2


def test_nothing_is_written_after_the_end() -> None:
    told = Told()
    told.lines.pause()
    told.new(started(0))
    told.lines.close()
    told.lines.close()
    told.lines.begin(3, 300)
    assert told.new(completed()) == []
    assert len(told.all()) == 1


def test_lines_survive_a_stream_that_breaks() -> None:
    read, write = os.pipe()
    stream = open(write, "w", encoding="utf-8")  # noqa: PTH123, SIM115  (a descriptor; closing it fails)
    lines = Lines(stream)
    os.close(read)
    lines.show(started(0))
    lines.show(completed(1))
    with suppress(BrokenPipeError):
        stream.close()
    closed = Lines(stream)
    closed.begin(3, 300)
    closed.show(started(0))


def test_a_name_that_the_stream_cannot_write_is_escaped() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    lines = Lines(stream)
    lines.show(started(0, "数"))
    lines.show(completed(1, "数"))
    assert raw.getvalue().splitlines()[1] == rb"\u6570: \u6570.jsonl is file-1"
