"""Pace, with the test as clock and chance."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkup.pace import (
    Budget,
    Clocks,
    Floor,
    Meter,
    Pause,
    Ration,
    Tempo,
    Verdict,
    Watch,
    backoff,
    lateness,
)

chances = st.floats(0, 1)
seconds = st.floats(0, 1e6)


@given(st.lists(st.sampled_from(["retry", "timeout", "success"]), max_size=300))
def test_a_budget_gives_no_more_than_it_has(happenings: list[str]) -> None:
    budget, spent, earned = Budget(), 0, 0
    for what in happenings:
        if what == "success":
            budget.refill()
            earned += 1
        else:
            before = budget.left
            taken = budget.take(timeout=what == "timeout")
            cost = {"retry": 5, "timeout": 10}[what]
            assert taken is (before >= cost)
            spent += cost * taken
        assert 0 <= budget.left <= budget.size
    assert spent <= budget.size + earned


def test_an_outage_ends_after_a_hundred_retries_and_success_buys_more() -> None:
    budget = Budget()
    assert sum(budget.take(timeout=False) for _ in range(1000)) == 100
    assert budget.left == 0
    for _ in range(5):
        assert not budget.take(timeout=False)
        budget.refill()
    assert budget.take(timeout=False)


@given(st.lists(st.tuples(seconds, seconds), min_size=1, max_size=20), chances, seconds)
def test_a_pause_is_never_left_early_by_anybody(
    asked: list[tuple[float, float]], chance: float, passed: float
) -> None:
    pause = Pause()
    for at, wait in asked:
        pause.ask(at, wait)
    end = max(at + wait for at, wait in asked)
    left = pause.left(passed, chance)
    assert passed + left >= end * (1 - 1e-12)
    assert left <= max(0.0, (end - passed) * 1.2)
    assert left <= max(0.0, end - passed) + 5.0


def test_a_shorter_wish_does_not_shorten_a_pause() -> None:
    pause = Pause()
    pause.ask(0.0, 30.0)
    pause.ask(1.0, 2.0)
    assert pause.left(10.0, 0.0) == 20.0
    assert pause.left(30.0, 1.0) == 0.0


def test_workers_wake_apart() -> None:
    pause = Pause()
    pause.ask(0.0, 10.0)
    assert [pause.left(0.0, chance) for chance in (0.0, 0.5, 1.0)] == [10.0, 11.0, 12.0]


@given(st.integers(1, 10**6), chances)
def test_backoff_is_anywhere_below_a_bound_that_doubles(attempt: int, chance: float) -> None:
    bound = min(30.0, 0.5 * 2 ** min(attempt - 1, 40))
    assert backoff(attempt, chance) == pytest.approx(bound * chance)
    assert 0.0 <= backoff(attempt, chance) <= bound


# --- requests a second ----------------------------------------------------------------------


def send(tempo: Tempo, begin: float, seconds: float, *, eager: float = 50.0) -> list[float]:
    """The moments at which somebody who wants ``eager`` requests a second may send them."""
    now, sent = begin, []
    while now < begin + seconds:
        turn = tempo.turn(now)
        sent.append(now + turn)
        now = max(now + 1 / eager, now + turn)
    return sent


def test_there_is_no_limit_before_a_server_complains() -> None:
    tempo = Tempo()
    assert all(tempo.turn(0.0) == 0.0 for _ in range(1000))
    assert tempo.rate is None


def test_a_storm_of_complaints_is_one_complaint() -> None:
    tempo = Tempo()
    send(tempo, 0.0, 2.0)
    for at in range(100):
        tempo.throttled(2.0 + at / 200)
    assert tempo.rate == pytest.approx(35, rel=0.1)
    before = tempo.rate or 0.0
    tempo.throttled(3.1)
    assert tempo.rate is not None
    assert tempo.rate < before


@given(st.floats(3, 40), st.integers(0, 100))
def test_the_rate_converges_to_what_the_server_takes(limit: float, seed: int) -> None:
    """A server of ``limit`` requests a second, asked for as many as the tempo allows."""
    tempo, level, looked, now = Tempo(), limit, 0.0, 0.0
    refused: list[float] = []
    while now < 60:
        now += max(1 / 200, tempo.turn(now))
        level, looked = min(limit, level + (now - looked) * limit), now
        if level >= 1:
            level -= 1
        else:
            refused.append(now)
            tempo.throttled(now)
    assert tempo.rate is not None
    assert 0.5 * limit <= tempo.rate <= 2 * limit + 2
    late = [at for at in refused if at > 30]
    assert len(late) <= 0.25 * limit * 30


@given(st.floats(0, 1e6), st.integers(1, 50))
def test_turns_of_a_slowed_tempo_are_apart_whoever_comes_at_once(now: float, crowd: int) -> None:
    tempo = Tempo()
    tempo.turn(now)
    tempo.throttled(now)
    turns = [tempo.turn(now) for _ in range(crowd)]
    assert all(after - before >= 0.4 for before, after in pairwise(turns))


def test_a_server_that_is_quiet_for_a_minute_is_forgiven() -> None:
    tempo = Tempo()
    send(tempo, 0.0, 1.0)
    tempo.throttled(1.0)
    assert tempo.rate is not None
    slowed = tempo.rate
    tempo.turn(11.0)
    assert tempo.rate is not None
    assert tempo.rate >= slowed + 10
    tempo.turn(61.5)
    assert tempo.rate is None


def test_the_rate_never_falls_to_nothing() -> None:
    tempo = Tempo()
    for second in range(100):
        tempo.throttled(float(second * 2))
        assert tempo.rate == 2.0


# --- the watch over one attempt -------------------------------------------------------------


@dataclass
class Watcher:
    """Somebody who looks once a second, as the watch is meant to be looked at."""

    watch: Watch
    now: float = 0.0

    def until(self, end: float, sent: int, *, whole: bool = False, slept: bool = False) -> Verdict:
        """Look each second up to and including ``end``; the first verdict that is not healthy."""
        while self.now < end:
            self.now = min(end, self.now + 1.0)
            verdict = self.watch.look(self.now, sent, whole=whole, slept=slept)
            slept = False
            if verdict is not Verdict.HEALTHY:
                return verdict
        return Verdict.HEALTHY


@settings(max_examples=50)
@given(
    st.floats(1, 600),
    st.lists(st.tuples(st.floats(0, 0.99), st.integers(1, 10**9)), max_size=20),
)
def test_a_link_that_moves_a_byte_within_each_stall_time_is_healthy(
    stall: float, moves: list[tuple[float, int]]
) -> None:
    watcher, total = Watcher(Watch(stall, 0.0)), 0
    for share, more in moves:
        assert watcher.until(watcher.now + stall * share, total) is Verdict.HEALTHY
        total += more
        assert watcher.watch.look(watcher.now, total, whole=False) is Verdict.HEALTHY


@given(st.floats(1, 600), st.integers(0, 10**9))
def test_a_link_that_stops_moving_is_stalled_after_the_stall_time_and_not_before(
    stall: float, total: int
) -> None:
    watcher = Watcher(Watch(stall, 0.0))
    watcher.watch.look(0.0, total, whole=False)
    assert watcher.until(stall, total) is Verdict.HEALTHY
    assert watcher.until(stall * 1.01, total) is Verdict.STALLED


def test_bytes_that_are_counted_back_are_no_progress() -> None:
    watcher = Watcher(Watch(60.0, 0.0))
    watcher.until(10.0, 100)
    assert watcher.until(61.0, 50) is Verdict.HEALTHY
    assert watcher.until(71.0, 99) is Verdict.STALLED


@pytest.mark.parametrize(("took", "patience"), [(1.0, 120.0), (60.0, 120.0), (300.0, 600.0)])
def test_an_answer_may_take_twice_the_stall_time_or_twice_the_body_time(
    took: float, patience: float
) -> None:
    watcher = Watcher(Watch(60.0, 0.0))
    for second in range(int(took)):
        assert watcher.until(float(second), second) is Verdict.HEALTHY
    assert watcher.until(took, int(took), whole=True) is Verdict.HEALTHY
    assert watcher.until(took + patience, int(took), whole=True) is Verdict.HEALTHY
    assert watcher.until(took + patience + 1, int(took), whole=True) is Verdict.SILENT


@pytest.mark.parametrize("still", [5.1, 60.0, 3600.0])
def test_time_in_which_the_process_stood_still_counts_for_neither_clock(still: float) -> None:
    for whole, verdict in ((False, Verdict.STALLED), (True, Verdict.SILENT)):
        watcher = Watcher(Watch(60.0, 0.0))
        patience = 2 * 61.0 if whole else 60.0
        assert watcher.until(1.0, 100, whole=whole) is Verdict.HEALTHY
        watcher.now += still
        assert watcher.watch.look(watcher.now, 100, whole=whole) is Verdict.HEALTHY
        assert watcher.until(still + patience - 2, 100, whole=whole) is Verdict.HEALTHY
        assert watcher.until(still + patience + 2, 100, whole=whole) is verdict


def test_after_a_sleep_a_body_has_to_move_soon() -> None:
    watcher = Watcher(Watch(60.0, 0.0))
    assert watcher.until(30.0, 100) is Verdict.HEALTHY
    assert watcher.until(39.0, 100, slept=True) is Verdict.HEALTHY
    assert watcher.until(42.0, 100) is Verdict.SLEPT


def test_what_moved_just_before_a_sleep_is_no_life_after_it() -> None:
    watcher = Watcher(Watch(60.0, 0.0))
    assert watcher.until(30.0, 100) is Verdict.HEALTHY
    assert watcher.until(31.0, 200, slept=True) is Verdict.HEALTHY
    assert watcher.until(43.0, 200) is Verdict.SLEPT


def test_a_connection_that_lives_through_a_sleep_is_let_alone() -> None:
    watcher = Watcher(Watch(60.0, 0.0))
    assert watcher.until(30.0, 100) is Verdict.HEALTHY
    assert watcher.until(35.0, 100, slept=True) is Verdict.HEALTHY
    assert watcher.until(36.0, 101) is Verdict.HEALTHY
    assert watcher.until(90.0, 101) is Verdict.HEALTHY
    assert watcher.until(100.0, 101) is Verdict.STALLED


def test_an_answer_may_come_late_after_a_sleep() -> None:
    watcher = Watcher(Watch(60.0, 0.0))
    watcher.until(30.0, 100, whole=True)
    assert watcher.until(100.0, 100, whole=True, slept=True) is Verdict.HEALTHY


@given(st.floats(0, 1e6), st.floats(-1e6, 1e6), st.floats(0, 1e5))
def test_only_a_wall_clock_that_ran_ahead_means_sleep(
    now: float, wall: float, passed: float
) -> None:
    clocks = Clocks(now, wall)
    assert not clocks.slept(now + passed, wall + passed)
    assert not clocks.slept(now + passed, wall + passed - 7200)  # set back by hand
    assert not clocks.slept(now + passed + 1, wall + passed - 7190)
    assert clocks.slept(now + passed + 2, wall + passed)
    assert not clocks.slept(now + passed + 3, wall + passed + 1)


# --- the least that a link has to carry -----------------------------------------------------


def floored(rate: float, seconds: int, *, sending: bool = True) -> list[int]:
    """The seconds at which a link of this rate is too little."""
    floor = Floor(120.0)
    return [
        second
        for second in range(seconds)
        if floor.look(float(second), int(second * rate), sending=sending)
    ]


def test_a_trickle_is_too_little_after_two_minutes_and_every_two_more() -> None:
    assert floored(0.1, 250) == [120, 240]
    assert floored(1020, 130) == [120]


def test_a_link_of_a_kibibyte_a_second_is_a_link() -> None:
    assert not floored(1024, 1000)


def test_where_nothing_is_being_sent_nothing_is_too_little() -> None:
    assert not floored(0.0, 1000, sending=False)
    floor = Floor(120.0)
    for second in range(1000):
        assert not floor.look(float(second), 0, sending=second % 100 != 99)


def test_a_steady_link_is_metered_at_its_rate() -> None:
    meter = Meter(0.0)
    assert meter.rate() == meter.average() == 0.0
    for at in range(60):
        meter.sample(float(at), 5000 + at * 100)
    assert meter.rate() == pytest.approx(100.0)
    assert meter.average() == pytest.approx(100.0)


def test_the_rate_follows_the_window_and_the_average_the_run() -> None:
    meter = Meter(0.0, window=10.0)
    for at in range(101):
        meter.sample(float(at), at * 100 if at <= 50 else 5000)
    assert meter.rate() == 0.0
    assert meter.average() == pytest.approx(50.0)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 10**12)), max_size=60))
def test_no_rate_is_below_zero_or_above_what_moved(samples: list[tuple[float, int]]) -> None:
    meter, now = Meter(0.0), 0.0
    for passed, total in samples:
        now += passed
        meter.sample(now, total)
        assert meter.rate() >= 0.0
        assert meter.average() >= 0.0
    if now > 0 and samples:
        moved = max(total for _, total in samples) - min(total for _, total in samples)
        assert meter.average() <= moved / now + 1e-6


@pytest.mark.parametrize(
    ("left", "rate", "expires_in", "late"),
    [
        (1000, 10.0, 100.0, 0.0),
        (1000, 10.0, 60.0, 40.0),
        (1000, 10.0, 160.0, -60.0),
        (0, 0.0, 30.0, -30.0),
        (1, 0.0, 30.0, float("inf")),
    ],
)
def test_lateness_is_what_the_rate_misses_the_deadline_by(
    left: int, rate: float, expires_in: float, late: float
) -> None:
    assert lateness(left, rate, expires_in) == pytest.approx(late)


# --- a limit to bytes a second --------------------------------------------------------------


asks = st.lists(
    st.tuples(st.floats(0, 3), st.integers(1, 50_000), st.booleans()), min_size=1, max_size=60
)


@given(st.floats(16_384, 1e9), asks, st.floats(0, 1e6))
def test_no_stretch_of_time_brings_more_than_its_ration(
    rate: float, asked: list[tuple[float, int, bool]], now: float
) -> None:
    ration, went = Ration(rate), list[tuple[float, int]]()
    for idle, size, gives_back in asked:
        now += idle
        at = now + ration.turn(now, size)
        if gives_back and at > now:
            ration.give_back(size)
        else:
            went.append((at, size))
    went.sort()
    for first, (begin, _) in enumerate(went):
        total = 0
        for at, size in went[first:]:
            total += size
            # What begins the stretch was paid for before it.
            assert total - went[first][1] <= rate * (at - begin + 0.1) * 1.000001 + 50_000


@given(st.floats(16_384, 1e9), st.lists(st.integers(1, 100_000), min_size=2, max_size=50))
def test_who_always_asks_gets_the_whole_of_it_in_order(rate: float, sizes: list[int]) -> None:
    ration, now = Ration(rate), 1000.0
    turns = [ration.turn(now, size) for size in sizes]
    assert all(before < after for before, after in pairwise(turns))
    assert turns[-1] == pytest.approx(sum(sizes) / rate)


def test_lost_time_is_made_good_for_a_tenth_of_a_second_and_no_more() -> None:
    ration = Ration(100_000)
    assert ration.turn(0.0, 10_000) == pytest.approx(0.1)
    assert ration.turn(0.15, 10_000) == pytest.approx(0.05)
    assert ration.turn(60.0, 10_000) == pytest.approx(0.0)
    assert ration.turn(60.0, 10_000) == pytest.approx(0.1)


def test_a_ration_begins_with_nothing_saved() -> None:
    assert Ration(100_000).turn(5.0, 10_000) == pytest.approx(0.1)


def test_what_is_given_back_is_there_for_the_next() -> None:
    ration = Ration(100_000)
    ration.give_back(5)  # before anything was taken there is nothing to give back
    ration.turn(0.0, 50_000)
    ration.turn(0.0, 50_000)
    ration.give_back(50_000)
    assert ration.turn(0.0, 10_000) == pytest.approx(0.6)


@pytest.mark.parametrize(("rate", "size"), [(16_384, 4096), (100_000, 10_000), (1e9, 100_000_000)])
def test_slices_are_a_tenth_of_a_second_but_no_splinters(rate: float, size: int) -> None:
    assert Ration(rate).slice() == size


def test_who_rests_has_not_stalled_but_who_is_asleep_still_has_to_move() -> None:
    watch = Watch(stall=60, started=0)
    for now in range(1, 300):
        assert watch.look(now, 10, whole=False, resting=True) is Verdict.HEALTHY
    for now in range(300, 360):
        assert watch.look(now, 10, whole=False) is Verdict.HEALTHY
    assert watch.look(361, 10, whole=False) is Verdict.STALLED
