"""The number of slots, on links that are arithmetic."""

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from links import MIB, LinkModel, Ride

from chunkup.slots import FIRST_SLOTS, Cuts, Flight, Slots

MBIT = 125_000.0
FEW_EXAMPLES = settings(
    max_examples=15, deadline=None, print_blob=True, phases=(Phase.explicit, Phase.generate)
)
seeds = st.integers(0, 1000)


# --- a thin link that all share -------------------------------------------------------------


@FEW_EXAMPLES
@given(st.floats(0.5, 5), st.floats(0.01, 0.3), st.floats(0, 0.15), seeds)
def test_a_thin_link_gets_one_or_two_parts_at_a_time_and_loses_little(
    mbit: float, round_trip: float, jitter: float, seed: int
) -> None:
    link = LinkModel(mbit * MBIT, round_trip=round_trip, jitter=jitter)
    ride = Ride(link, Slots(16), parts=8, seed=seed).go()
    assert ride.goodput >= 0.8 * link.bandwidth
    assert max(ride.flying[15:120]) <= 2
    # Later it is seen, now and then, whether more would bring more by now.
    assert sum(count > 2 for count in ride.flying[15:]) <= 0.05 * len(ride.flying) + 10
    assert ride.lame == 0


@FEW_EXAMPLES
@given(st.floats(0.5, 5), st.floats(0.001, 0.03), seeds)
def test_loss_makes_no_difference_to_that_where_two_connections_fill_the_link(
    mbit: float, loss: float, seed: int
) -> None:
    link = LinkModel(mbit * MBIT, round_trip=0.02, loss=loss, jitter=0.1)
    ride = Ride(link, Slots(16), parts=8, seed=seed).go()
    assert ride.goodput >= 0.8 * link.bandwidth
    assert ride.flying[60] <= 2 or 2 * link.connection < link.bandwidth


def test_a_small_file_on_a_thin_link_is_cut_down_too() -> None:
    ride = Ride(LinkModel(0.5 * MBIT), Slots(16), parts=3).go(60)
    assert ride.flying[-1] == 2


@pytest.mark.parametrize("mib", [0.5, 1, 4, 16])
def test_parts_of_other_sizes_are_few_too_where_they_take_long(mib: float) -> None:
    part = int(mib * MIB)
    ride = Ride(LinkModel(0.5 * MBIT), Slots(16), part=part, parts=40).go(150)
    assert ride.flying[-1] <= 2
    assert ride.cut <= 0.1 * ride.link.bandwidth * ride.now


def test_tiny_parts_are_sent_side_by_side_on_a_thin_link() -> None:
    ride = Ride(LinkModel(5 * MBIT), Slots(16), part=MIB // 8, parts=600).go()
    assert min(ride.counts) >= FIRST_SLOTS
    assert ride.cut == 0


# --- connections that are capped each -------------------------------------------------------


@FEW_EXAMPLES
@given(st.floats(0.05, 20), st.integers(4, 64), st.floats(0, 0.1), seeds)
def test_where_each_connection_is_capped_the_slots_rise_to_the_ceiling(
    mb: float, ceiling: int, jitter: float, seed: int
) -> None:
    link = LinkModel(1e10, cap=mb * 1e6, jitter=jitter)
    ride = Ride(link, Slots(ceiling), parts=40 * ceiling, seed=seed).go(90)
    # A last step of a few slots among many brings less than the link varies.
    assert ride.counts[-1] >= 0.8 * ceiling


@FEW_EXAMPLES
@given(st.floats(0.2, 5), seeds)
def test_capped_connections_together_carry_most_of_what_they_could(mb: float, seed: int) -> None:
    link = LinkModel(1e10, cap=mb * 1e6, jitter=0.1)
    ride = Ride(link, Slots(16), parts=160, seed=seed).go()
    assert ride.goodput >= 0.8 * link.most(16)


def test_loss_on_a_far_link_is_met_with_more_connections() -> None:
    link = LinkModel(50 * MBIT, round_trip=0.3, loss=0.02)
    ride = Ride(link, Slots(16), parts=64).go(120)
    assert ride.counts[-1] == 16


def test_a_fast_link_that_is_shared_is_not_crowded() -> None:
    link = LinkModel(100e6)
    ride = Ride(link, Slots(64), parts=400).go()
    assert ride.goodput >= 0.8 * link.bandwidth
    assert max(ride.counts) <= 32
    assert ride.cut == 0


def test_a_link_that_becomes_thin_is_noticed_and_one_that_widens_too() -> None:
    slots = Slots(16)
    ride = Ride(LinkModel(1e10, cap=2e6), slots, parts=400).go(60)
    assert slots.count == 16
    ride.link = LinkModel(1e6)
    ride.go(1200)
    assert slots.count == 2
    ride.link = LinkModel(1e10, cap=2e6)
    ride.go(3600)
    assert slots.count == 16


# --- round by round -------------------------------------------------------------------------


def test_the_first_slots_are_eight_or_as_many_as_are_allowed() -> None:
    assert Slots(64).count == FIRST_SLOTS == 8
    assert Slots(3).count == 3


@pytest.mark.parametrize("ceiling", [0, -1])
def test_no_slots_at_all_are_refused(ceiling: int) -> None:
    with pytest.raises(ValueError, match="workers"):
        Slots(ceiling)


def turn(slots: Slots, took: float = 0.1) -> None:
    for _ in range(slots.count):
        slots.accepted(took)


def test_quick_parts_bring_one_slot_more_a_round_up_to_the_ceiling() -> None:
    slots = Slots(10)
    for expected in (9, 10, 10):
        turn(slots)
        assert slots.count == expected


def test_parts_that_take_long_are_no_reason_for_more() -> None:
    slots = Slots(64)
    for _ in range(20):
        turn(slots, took=10.0)
    assert slots.count == FIRST_SLOTS


def test_trouble_halves_once_in_a_while_and_cuts_nothing() -> None:
    slots = Slots(16)
    flights = [Flight(name, 64 * MIB, 1000, 0.0) for name in range(8)]
    for at, expected in ((100.0, 4), (105.0, 4), (109.9, 4), (110.0, 2), (121.0, 1), (140.0, 1)):
        slots.trouble(at)
        assert slots.count == expected
        assert slots.look(at, 8000, 8, flights) == Cuts()


def test_after_trouble_the_slots_come_back_slowly() -> None:
    slots = Slots(16)
    slots.trouble(0.0)
    total = 0
    for second in range(100):
        total += 10**9
        flights = [Flight(name, 10**9, 10**6, 0.0) for name in range(slots.count)]
        slots.look(float(second), total, slots.count, flights)
    assert slots.count == 4
    turn(slots)
    assert slots.count == 5


def test_nothing_is_learned_while_nothing_moves_or_slots_are_free() -> None:
    slots = Slots(16)
    for second in range(100):
        flights = [Flight(name, 64 * MIB, 0, 0.0) for name in range(8)]
        assert slots.look(float(second), 0, 8, flights) == Cuts()
    assert slots.count == 8


def test_a_number_in_flight_that_changes_all_the_time_is_not_judged() -> None:
    slots = Slots(16)
    for second in range(60):
        flying = 7 + second % 2
        flights = [Flight(name, 64 * MIB, second, 0.0) for name in range(flying)]
        slots.look(float(second), second * flying * 1000, flying, flights)
    assert slots.count == 8


def test_what_is_nearly_through_is_finished_and_not_cut() -> None:
    """A link that is thin, looked at when one part is young and the others are not."""
    slots, size = Slots(8), 64 * MIB
    sent = [size // 2] * 7 + [size // 10]
    cuts: list[Flight] = []
    for second in range(10):
        flights = [Flight(name, size, at + second * 8_000, 0.0) for name, at in enumerate(sent)]
        cuts += slots.look(float(second), second * 64_000, 8, flights).surplus
    assert slots.count == 2
    assert {flight.name for flight in cuts} == {7}


# --- one that lags --------------------------------------------------------------------------


def lag(speeds: list[int], second: int, size: int = 64 * MIB) -> list[Flight]:
    return [Flight(name, size, speed * second, 0.0) for name, speed in enumerate(speeds)]


def test_a_connection_far_behind_its_siblings_is_cut_alone_and_not_too_soon() -> None:
    speeds = [100_000, 110_000, 90_000, 9_000]
    for second in range(29):
        assert not Slots(8).look(float(second), 0, 4, lag(speeds, second)).lame
    (lame,) = Slots(8).look(30.0, 0, 4, lag(speeds, 30)).lame
    assert lame.name == 3


@pytest.mark.parametrize(
    "speeds",
    [
        [100_000, 100_000, 100_000, 11_000],  # slow, but not by so much
        [100_000, 1_000],  # nobody can say who is usual
        [100, 100, 100, 100],  # all are slow: that is the link
    ],
)
def test_others_are_not(speeds: list[int]) -> None:
    assert not Slots(8).look(60.0, 0, len(speeds), lag(speeds, 60)).lame


def test_one_that_has_nearly_all_is_let_finish() -> None:
    size = 1_000_000
    flights = [Flight(name, 100 * size, 50 * size, 0.0) for name in range(3)]
    flights.append(Flight(3, size, size * 9 // 10, 0.0))
    assert not Slots(8).look(60.0, 0, 4, flights).lame


@given(
    st.integers(1, 64),
    st.lists(
        st.tuples(st.sampled_from("alt"), st.floats(0, 60), st.integers(0, 10**9)), max_size=200
    ),
)
def test_slots_stay_between_one_and_the_ceiling_whatever_happens(
    ceiling: int, happenings: list[tuple[str, float, int]]
) -> None:
    slots, now, total = Slots(ceiling), 0.0, 0
    for what, passed, more in happenings:
        now, total = now + passed, total + more
        if what == "a":
            slots.accepted(passed)
        elif what == "t":
            slots.trouble(now)
        else:
            flights = [Flight(name, 10**9, more // 2, now - 1) for name in range(slots.count)]
            cuts = slots.look(now, total, slots.count, flights)
            assert len(cuts.surplus) <= max(0, len(flights) - slots.count)
        assert 1 <= slots.count <= ceiling


# --- a limit that somebody set --------------------------------------------------------------


def test_few_parts_are_begun_where_a_limit_leaves_each_of_them_long() -> None:
    slots = Slots(16, limit=MIB)
    slots.expect(64 * MIB)
    assert slots.count == 2
    slots = Slots(16, limit=MIB)
    slots.expect(4 * MIB)
    assert slots.count == 5
    slots = Slots(16)
    slots.expect(64 * MIB)
    assert slots.count == FIRST_SLOTS
    slots = Slots(1, limit=MIB)
    slots.expect(64 * MIB)
    assert slots.count == 1


def test_a_link_that_carries_its_limit_is_asked_for_no_more() -> None:
    link = LinkModel(5 * MBIT)
    tried = Ride(link, Slots(16), parts=40).go(600)
    limited = Slots(16, limit=link.bandwidth)
    limited.expect(64 * MIB)
    ride = Ride(LinkModel(5 * MBIT), limited, parts=40).go(600)
    assert max(ride.counts) == 2
    assert max(tried.counts) > 2
    assert ride.cut == 0


def test_a_limit_that_single_connections_do_not_reach_is_met_with_more() -> None:
    link = LinkModel(100 * MBIT, cap=2 * MBIT)
    slots = Slots(16, limit=40 * MBIT)
    slots.expect(64 * MIB)
    assert slots.count == 2
    ride = Ride(link, slots, parts=400).go(300)
    assert max(ride.counts) == 16
