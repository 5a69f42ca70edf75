"""Whatever happens in whatever order, the picture of a command adds up."""

from math import inf, nan
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkup import events
from chunkup.models import RemoteFile
from chunkup.render.tally import Stage, Tally

SIZE = 1000
JOBS = ["aaa", "bbb", "ccc"]
FILE = RemoteFile("file-1", SIZE, 0, "a", "batch")


def make(
    kind: type[events.Event], time: float = 0.0, job: str = "aaa", **own: object
) -> events.Event:
    return kind(time=time, job=job, path=f"/data/{job}.jsonl", **own)


def started(time: float = 0.0, job: str = "aaa", done: int = 0, size: int = SIZE) -> events.Event:
    own = {"size": size, "done": done, "parts": 10, "done_parts": 0, "continued": done > 0}
    return make(events.JobStarted, time, job, **own)


def progress(
    time: float = 0.0,
    job: str = "aaa",
    done: int = 0,
    sent: int = 0,
    rate: float = 0.0,
    expires_in: float | None = None,
) -> events.Event:
    more = {"in_flight": 4, "retries": 2, "expires_in": expires_in}
    own = {"size": SIZE, "done": done, "sent": sent, "rate": rate, **more}
    return make(events.Progress, time, job, **own)


def accepted(time: float = 0.0, job: str = "aaa", done: int = 0) -> events.Event:
    own = {"start": 0, "stop": 100, "part_id": "part_1", "done": done, "size": SIZE}
    return make(events.PartAccepted, time, job, **own)


def completed(time: float = 0.0, job: str = "aaa", *, reused: bool = False) -> events.Event:
    return make(events.Completed, time, job, file=FILE, recovered=False, reused=reused)


def expired(time: float = 0.0) -> events.Event:
    return make(events.UploadExpired, time, upload_id="upload_1", reason="expired", lost=500)


def ended(kind: type[events.Event], time: float = 0.0, job: str = "aaa") -> events.Event:
    more = {"candidates": ()} if kind is events.Unknown else {}
    own = {"code": "stopped", "message": "why", "hint": None, "resume": None}
    return make(kind, time, job, **own, **more)


def folded(*told: events.Event) -> Tally:
    tally = Tally()
    for event in told:
        tally.fold(event)
    return tally


counts = st.integers(0, 3 * SIZE)
rates = st.one_of(st.floats(0, 1e12), st.just(inf), st.just(nan))


@st.composite
def happenings(draw: st.DrawFn) -> events.Event:
    """Any event of any of three jobs, with numbers that may contradict each other."""
    time = draw(st.floats(0, 100))
    job = draw(st.sampled_from(JOBS))
    kind = draw(st.sampled_from([kind for kind in events.EVENTS if kind is not events.Summary]))
    if issubclass(kind, events.Failed | events.Stopped | events.Unknown):
        return ended(kind, time, job)
    fields: dict[type[events.Event], dict[str, st.SearchStrategy[object]]] = {
        events.JobStarted: {
            **dict.fromkeys(("size", "done", "parts", "done_parts"), counts),
            "continued": st.booleans(),
        },
        events.UploadCreated: {
            "upload_id": st.just("upload_1"),
            "expires_at": st.none(),
            "generation": st.just(1),
        },
        events.Progress: {
            **dict.fromkeys(("size", "done", "sent", "in_flight", "retries"), counts),
            "rate": rates,
            "expires_in": st.none() | rates,
        },
        events.PartAccepted: {
            **dict.fromkeys(("start", "stop", "done", "size"), counts),
            "part_id": st.just("part_1"),
        },
        events.PartRetried: {
            **dict.fromkeys(("start", "stop", "attempt"), counts),
            "wait": st.floats(0, 100),
            "code": st.just("unreachable"),
            "message": st.text(),
        },
        events.Paused: {"wait": st.floats(0, 100), "message": st.text()},
        events.Late: {"seconds": rates, "rate": rates},
        events.Finding: {
            **dict.fromkeys(("line", "offset"), counts),
            "code": st.text(),
            "message": st.text(),
            "level": st.sampled_from(["error", "warning"]),
        },
        events.UploadExpired: {
            "upload_id": st.just("upload_1"),
            "reason": st.text(),
            "lost": counts,
        },
        events.Completing: {"md5": st.none()},
        events.Completed: {
            "file": st.just(FILE),
            "recovered": st.booleans(),
            "reused": st.booleans(),
        },
    }
    assert issubclass(kind, events.Event)
    return make(kind, time, job, **{name: draw(of) for name, of in fields[kind].items()})


# The first text that is ever drawn on a machine costs seconds: its table of characters.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(happenings(), max_size=40),
    st.none() | st.tuples(counts, counts, counts, counts),
    st.floats(0, 200),
)
def test_any_sequence_adds_up(
    told: list[events.Event], begun: tuple[int, int, int, int] | None, now: float
) -> None:
    tally = Tally()
    if begun is not None:
        tally.begin(*begun)
    for event in told:
        tally.fold(event)
    totals = tally.totals(now)
    jobs = [standing for job in JOBS if (standing := tally.job(job)) is not None]
    counted = begun or (0, 0, 0, 0)
    done_files, done = min(counted[2], counted[0]), min(counted[3], counted[1])

    for standing in jobs:
        assert 0 <= standing.through <= standing.size
        assert 0 <= standing.percent <= 100
        assert standing.percent < 100 or standing.through == standing.size
        assert standing.left >= 0
    assert totals.through == done + sum(standing.through for standing in jobs)
    assert totals.size == max(counted[1], done + sum(standing.size for standing in jobs))
    assert totals.retries == sum(standing.retries for standing in jobs)
    active = [standing for standing in jobs if not standing.stage.over]
    assert tally.active == sorted(active, key=tally.active.index)
    assert totals.in_flight == sum(standing.in_flight for standing in active)
    assert totals.files_done == done_files + sum(one.stage is Stage.DONE for one in jobs)
    for count, stage in (
        (totals.failed, Stage.FAILED),
        (totals.stopped, Stage.STOPPED),
        (totals.unknown, Stage.UNKNOWN),
    ):
        assert count == sum(standing.stage is stage for standing in jobs)
    assert totals.files >= max(counted[0], len(jobs), totals.files_done)
    assert 0 <= totals.percent <= 100
    assert 0 <= totals.through <= totals.size
    assert 0 <= totals.remaining <= totals.size - totals.through
    assert 0 <= totals.rate < inf


def test_a_resumed_job_starts_where_it_stood_and_that_is_no_speed() -> None:
    tally = folded(started(0, done=900), progress(1, done=900), progress(2, done=900))
    standing = tally.job("aaa")
    assert standing is not None
    assert (standing.through, standing.percent) == (900, 90)
    assert tally.totals(2).rate == 0


def test_a_failed_attempt_takes_back_what_it_had_sent() -> None:
    tally = folded(started(), progress(1, done=300, sent=400), progress(2, done=300, sent=0))
    assert tally.totals(2).through == 300


def test_an_accepted_part_was_on_its_way_already() -> None:
    tally = folded(started(), progress(1, done=0, sent=400), accepted(1, done=100))
    assert tally.totals(1).through == 400
    tally.fold(accepted(1, done=500))
    assert tally.totals(1).through == 500


def test_an_upload_that_expired_starts_from_nothing_and_its_bytes_stay_sent() -> None:
    tally = folded(started(0), progress(1, done=500, expires_in=3.0), expired(2))
    (standing,) = tally.active
    assert (standing.through, standing.in_flight, standing.expires_in) == (0, 0, None)
    assert tally.totals(2).rate == 250


def test_the_rate_is_measured_so_that_small_files_have_one_too() -> None:
    told = [event for index in range(5) for event in (started(index, f"j{index}"),)]
    tally = folded(*told, *(completed(index, f"j{index}") for index in range(5)))
    assert tally.totals(5).rate == 5 * SIZE / 5
    assert tally.totals(10).rate == 5 * SIZE / 10


def test_the_rate_is_of_the_last_seconds() -> None:
    tally = folded(started(0), progress(1, done=900))
    for second in range(2, 40):
        tally.fold(progress(second, done=900))
    assert tally.totals(39).rate == 0


def test_a_clock_that_is_set_back_starts_a_new_measurement() -> None:
    tally = folded(started(1000), progress(1001, done=900), progress(5, done=900))
    tally.fold(progress(7, done=920))
    assert tally.totals(7).rate == 10


def test_what_ended_without_a_file_is_not_waited_for() -> None:
    tally = Tally()
    tally.begin(3, 3 * SIZE)
    for event in (started(0), progress(0, done=400), ended(events.Failed, 1)):
        tally.fold(event)
    totals = tally.totals(1)
    assert (totals.failed, totals.files_done, totals.remaining) == (1, 0, 2 * SIZE)
    assert totals.through == 400
    assert tally.active == []


def test_a_stopped_job_that_starts_again_is_counted_once() -> None:
    tally = folded(started(), ended(events.Stopped), started(done=500), completed())
    totals = tally.totals(0)
    assert (totals.stopped, totals.files_done, totals.files, totals.size) == (0, 1, 1, SIZE)


def test_what_begin_counted_as_finished_is_not_counted_again_when_it_is_told() -> None:
    tally = Tally()
    tally.begin(3, 3 * SIZE, 1, SIZE)
    tally.fold(completed(job="aaa", reused=True))
    assert tally.totals(0).files_done == 1
    assert tally.totals(0).through == SIZE
    tally.fold(completed(job="bbb", reused=True))
    assert tally.totals(0).files_done == 2


def test_what_comes_after_the_end_changes_nothing() -> None:
    tally = folded(started(), completed(), progress(done=100, sent=10))
    assert tally.totals(0).percent == 100
    assert tally.active == []


@pytest.mark.parametrize(
    ("told", "stage"),
    [
        (make(events.Completing, md5=None), Stage.ASKING),
        (expired(), Stage.SENDING),
        (accepted(done=SIZE), Stage.SENDING),
        (progress(done=SIZE), Stage.SENDING),
        (
            make(events.UploadCreated, upload_id="upload_2", expires_at=None, generation=2),
            Stage.SENDING,
        ),
        (ended(events.Unknown), Stage.UNKNOWN),
    ],
)
def test_a_job_that_was_asking_may_have_to_send_again(told: events.Event, stage: Stage) -> None:
    tally = folded(started(), make(events.Completing, md5=None), told)
    standing = tally.job("aaa")
    assert standing is not None
    assert standing.stage is stage


def test_trouble_is_shown_while_it_lasts_and_a_short_retry_long_enough_to_be_read() -> None:
    tally = folded(started(), make(events.Paused, 10, wait=12.0, message="rate limited"))
    (standing,) = tally.active
    assert standing.trouble is not None
    assert [standing.trouble.left(now) for now in (5, 10, 10.5, 21.9, 30)] == [12, 12, 12, 1, 0]
    assert [standing.trouble.shown(now) for now in (10, 21.9, 22)] == [True, True, False]
    where: dict[str, Any] = {"start": 0, "stop": 1, "attempt": 1}
    tally.fold(make(events.PartRetried, 30, wait=0.2, code="reset", message="reset", **where))
    assert [standing.trouble.shown(now) for now in (30, 32, 33)] == [True, True, False]


def test_without_begin_a_command_is_what_was_seen() -> None:
    tally = folded(started(), started(job="bbb", size=500))
    totals = tally.totals(0)
    assert (totals.files, totals.size) == (2, 1500)


def test_a_file_of_unknown_size_is_whole_once_it_is_done() -> None:
    file = RemoteFile("file-1", None, 0, "a", "batch")
    tally = folded(make(events.Completed, file=file, recovered=False))
    standing = tally.job("aaa")
    assert standing is not None
    assert (standing.percent, tally.totals(0).percent) == (100, 100)


def test_a_rate_takes_a_second_and_is_never_below_nothing() -> None:
    tally = folded(started(0), progress(0.9, done=900))
    assert tally.totals(0.9).rate == 0
    assert tally.totals(1.0).rate == 900
    tally.fold(progress(1.5, done=900))
    tally.fold(progress(15.5))
    assert tally.totals(15.5).rate == 0


@pytest.mark.parametrize("odd", [inf, nan, -1.0])
def test_a_rate_that_cannot_be_is_none(odd: float) -> None:
    (standing,) = folded(started(), progress(rate=odd)).active
    assert standing.rate == 0
    assert standing.left == inf
