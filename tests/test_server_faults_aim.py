"""Which request is struck: by number, by chance, by whichever fault was set first."""

import random
import threading
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkup.server.aim import Faults, Strike
from chunkup.server.faults import ANY, CALLS, Fault
from chunkup.server.plans import read_plan

# However busy the machine is.
IN_PEACE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def numbers(fault: Fault, count: int = 12, seed: int = 0) -> list[int]:
    """Which of so many requests of one call are struck."""
    faults = Faults(seed)
    faults.set(fault)
    return [number for number in range(1, count + 1) if faults.take("part")]


def test_requests_count_from_the_moment_the_fault_is_set() -> None:
    faults = Faults()
    assert faults.take("part") is None
    armed = faults.set(Fault(call="part", nth=2, hang=True))
    assert faults.take("part") is None
    assert faults.take("create") is None
    assert (armed.seen, armed.fired) == (1, 0)
    assert faults.never_fired() == [armed]
    assert faults.take("part") is armed
    assert faults.take("part") is None
    assert (armed.seen, armed.fired) == (3, 1)
    assert faults.never_fired() == []


def test_a_fault_strikes_as_often_as_it_was_told_and_no_more() -> None:
    faults = Faults()
    armed = faults.set(Fault(call="list", nth=2, times=3, status=500))
    assert [faults.take("list") is armed for _ in range(6)] == [False, *[True] * 3, False, False]


def test_two_faults_never_strike_the_same_request() -> None:
    faults = Faults()
    first = faults.set(Fault(call="part", nth=2, hang=True))
    second = faults.set(Fault(call="part", nth=2, drop_answer=True))
    assert [faults.take("part") for _ in range(4)] == [None, first, second, None]


def test_every_so_many_th_is_struck_up_to_an_end() -> None:
    def struck(**said: Any) -> list[int]:
        return numbers(Fault(call="part", hang=True, **said))

    assert struck() == [1]
    assert struck(every=1) == list(range(1, 13))
    assert struck(every=5) == [1, 6, 11]
    assert struck(nth=3, every=4) == [3, 7, 11]
    assert struck(nth=3, every=4, times=2) == [3, 7]
    assert struck(nth=3, every=4, until=10) == [3, 7]
    assert struck(nth=3, every=4, until=11) == [3, 7, 11]
    assert struck(nth=2, times=9, until=4) == [2, 3, 4]


def test_any_counts_the_requests_of_all_calls_and_of_nothing_else() -> None:
    faults = Faults()
    armed = faults.set(Fault(call=ANY, nth=3, hang=True))
    assert [faults.take(call) for call in ("part", "other", "list", "other")] == [None] * 4
    assert armed.seen == 2
    assert faults.take("create") is armed


def test_any_sequence_of_requests_is_struck_as_a_simple_model_says() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(200):
        faults = Faults()
        rules: list[tuple[Fault, list[int]]] = []  # each with what is left of nth and of times
        for _ in range(30):
            call = chance.choice(["part", "list"])
            if chance.random() < 0.2:
                nth, times = chance.randint(1, 4), chance.randint(1, 3)
                fault = Fault(call=chance.choice([call, ANY]), nth=nth, times=times, hang=True)
                faults.set(fault)
                rules.append((fault, [nth, times]))
            expected = None
            for fault, left in rules:
                if fault.call in {call, ANY}:
                    left[0] -= 1
                    if left[0] <= 0 and left[1] and expected is None:
                        left[1] -= 1
                        expected = fault
            taken = faults.take(call)
            assert (taken and taken.fault) is expected


def test_counting_loses_nothing_between_threads() -> None:
    faults = Faults()
    armed = faults.set(Fault(call="part", nth=2000, times=4000, hang=True))
    threads = [
        threading.Thread(target=lambda: [faults.take("part") for _ in range(1000)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (armed.seen, armed.fired) == (4000, 2001)


# --- chance -----------------------------------------------------------------------------------


def test_chance_strikes_about_as_often_as_it_says_within_its_bounds() -> None:
    struck = numbers(Fault(call="part", probability=0.3, hang=True), count=5000)
    assert 1300 < len(struck) < 1700
    few = Fault(call="part", probability=0.3, nth=100, times=7, hang=True)
    some = numbers(few, count=5000)
    assert some == [number for number in struck if number >= 100][:7]
    early = Fault(call="part", probability=0.3, until=50, hang=True)
    assert numbers(early, count=5000) == [number for number in struck if number <= 50]
    assert numbers(Fault(call="part", probability=1, hang=True)) == list(range(1, 13))


def test_a_seed_strikes_the_same_and_another_one_others() -> None:
    fault = Fault(call="part", probability=0.5, hang=True)
    assert numbers(fault, 200, seed=7) == numbers(fault, 200, seed=7)
    assert numbers(fault, 200, seed=7) != numbers(fault, 200, seed=8)
    # A seed means the same on every machine and in every version.
    assert numbers(fault, 12, seed=7) == [1, 3, 4, 7, 8, 9, 10, 11]


def test_two_faults_of_equal_chance_are_not_in_lockstep() -> None:
    faults = Faults()
    one = faults.set(Fault(call="part", probability=0.5, status=500))
    two = faults.set(Fault(call="part", probability=0.5, status=501))
    for _ in range(400):
        faults.take("part")
    # The second gets half of what the first leaves, and none if both fell together.
    assert 60 < two.fired < 140 < one.fired


@IN_PEACE
@given(
    st.integers(0, 1 << 64),
    st.lists(st.sampled_from(CALLS), max_size=60),
    st.randoms(use_true_random=False),
)
def test_chance_knows_the_number_of_a_request_and_not_what_came_in_between(
    seed: int, calls: list[str], order: random.Random
) -> None:
    plan = [
        Fault(call=ANY, probability=0.4, status=500),
        Fault(call="part", probability=0.4, hang=True),
    ]

    def struck(sequence: list[str]) -> set[tuple[str, int, int | None]]:
        faults, seen = Faults(seed), Counter[str]()
        for fault in plan:
            faults.set(fault)
        found = set()
        for call in sequence:
            seen[call] += 1
            armed = faults.take(call)
            found.add((call, seen[call], None if armed is None else armed.fault.status))
        return found

    shuffled = list(calls)
    order.shuffle(shuffled)
    assert struck(shuffled) == struck(calls)


# --- what is written down ---------------------------------------------------------------------


def test_every_strike_is_written_down_and_told() -> None:
    told: list[Strike] = []
    faults = Faults(0, told.append)
    for _ in range(2):
        faults.take("part")
    fault = faults.set(Fault(call="part", nth=2, every=2, times=2, status=503)).fault
    for call in ("part", "list", "part", "part", "part", "part"):
        faults.take(call)
    assert told == [Strike("part", 4, fault), Strike("part", 6, fault)]
    assert faults.strikes() == tuple(told)
    assert str(told[0]) == "part 4: fault('part', nth=2, times=2, every=2, status=503)"
    assert told[0].line == '{"call": "part", "nth": 4, "status": 503}'


@IN_PEACE
@given(st.integers(0, 1000), st.lists(st.sampled_from(["part", "list", "other"]), max_size=40))
def test_the_strikes_of_one_run_are_the_plan_of_another(seed: int, calls: list[str]) -> None:
    first, second = Faults(seed), Faults(seed + 1)
    first.set(Fault(call=ANY, probability=0.3, status=503, headers={"a": "b"}))
    first.set(Fault(call="part", nth=2, times=3, drop_answer=True))
    for call in calls:
        first.take(call)
    lines = "".join(strike.line + "\n" for strike in first.strikes())
    for fault in read_plan(lines) if lines else ():
        second.set(fault)
    for call in calls:
        second.take(call)
    where = [(strike.call, strike.number) for strike in first.strikes()]
    assert [(strike.call, strike.number) for strike in second.strikes()] == where
    assert second.never_fired() == []
