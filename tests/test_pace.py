"""Pace, with the test as clock and chance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkup.pace import (
    FIRST_SLOTS,
    Budget,
    Meter,
    Pause,
    Slots,
    Verdict,
    Watch,
    backoff,
    lateness,
)

chances = st.floats(0, 1)
seconds = st.floats(0, 1e6)


@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.booleans(), st.floats(0, 1e10), st.floats(0, 60)), max_size=200),
)
def test_slots_stay_between_one_and_the_ceiling(
    ceiling: int, happenings: list[tuple[bool, float, float]]
) -> None:
    slots, now = Slots(ceiling), 0.0
    for good, goodput, passed in happenings:
        now += passed
        if good:
            slots.accepted(goodput)
        else:
            slots.trouble(now)
        assert 1 <= slots.count <= ceiling


@pytest.mark.parametrize("ceiling", [0, -1])
def test_no_slots_at_all_are_refused(ceiling: int) -> None:
    with pytest.raises(ValueError, match="workers"):
        Slots(ceiling)


def turn(slots: Slots, goodput: float) -> None:
    for _ in range(slots.count):
        slots.accepted(goodput)


def test_slots_double_while_goodput_follows_then_add_one_by_one() -> None:
    slots = Slots(64)
    assert slots.count == FIRST_SLOTS == 8
    turn(slots, 100.0)
    assert slots.count == 16
    turn(slots, 120.0)
    assert slots.count == 32
    turn(slots, 143.0)
    assert slots.count == 32
    turn(slots, 1000.0)
    assert slots.count == 33


def test_neither_doubling_nor_adding_goes_over_the_ceiling() -> None:
    doubling = Slots(12)
    for goodput in (100.0, 200.0, 400.0):
        turn(doubling, goodput)
    assert doubling.count == 12
    adding = Slots(10)
    adding.trouble(0.0)
    for _ in range(20):
        turn(adding, 100.0)
    assert adding.count == 10


def test_slots_are_judged_only_when_each_had_its_turn() -> None:
    slots = Slots(64)
    for _ in range(7):
        slots.accepted(100.0)
    assert slots.count == 8


def test_a_low_ceiling_bounds_the_first_slots_too() -> None:
    assert Slots(3).count == 3


def test_trouble_halves_the_slots_once_and_ends_the_doubling() -> None:
    slots = Slots(16)
    slots.trouble(100.0)
    assert slots.count == 4
    for passed in (0.0, 5.0, 9.9):
        slots.trouble(100.0 + passed)
    assert slots.count == 4
    slots.trouble(110.0)
    assert slots.count == 2
    turn(slots, 1e9)
    assert slots.count == 3


@pytest.mark.parametrize("now", [0.0, 3.0, 9.9, 1e6])
def test_the_first_trouble_counts_wherever_the_clock_stands(now: float) -> None:
    slots = Slots(16)
    slots.trouble(now)
    assert slots.count == 4


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


@given(
    st.floats(1, 600),
    st.lists(st.tuples(st.floats(0, 0.99), st.integers(1, 10**9)), max_size=100),
)
def test_a_link_that_moves_a_byte_within_each_stall_time_is_healthy(
    stall: float, moves: list[tuple[float, int]]
) -> None:
    now, total = 50.0, 0
    watch = Watch(stall, now)
    for share, more in moves:
        now, total = now + stall * share, total + more
        assert watch.look(now, total, whole=False) is Verdict.HEALTHY


@given(st.floats(1, 600), st.integers(0, 10**9), st.lists(st.floats(0, 1), max_size=20))
def test_a_link_that_stops_moving_is_stalled_after_the_stall_time_and_not_before(
    stall: float, total: int, looks: list[float]
) -> None:
    watch = Watch(stall, 0.0)
    watch.look(0.0, total, whole=False)
    for share in sorted(looks):
        assert watch.look(stall * share, total, whole=False) is Verdict.HEALTHY
    assert watch.look(stall * 1.01, total, whole=False) is Verdict.STALLED


def test_bytes_that_are_counted_back_are_no_progress() -> None:
    watch = Watch(60.0, 0.0)
    watch.look(10.0, 100, whole=False)
    assert watch.look(69.0, 50, whole=False) is Verdict.HEALTHY
    assert watch.look(71.0, 99, whole=False) is Verdict.STALLED


@pytest.mark.parametrize(("took", "patience"), [(1.0, 120.0), (60.0, 120.0), (300.0, 600.0)])
def test_an_answer_may_take_twice_the_stall_time_or_twice_the_body_time(
    took: float, patience: float
) -> None:
    watch = Watch(60.0, 0.0)
    at = 0.0
    while at < took:
        at = min(took, at + 30.0)
        assert watch.look(at, int(at), whole=at == took) is Verdict.HEALTHY
    assert watch.look(took + patience, int(took), whole=True) is Verdict.HEALTHY
    assert watch.look(took + patience + 0.1, int(took), whole=True) is Verdict.SILENT


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
