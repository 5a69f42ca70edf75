"""Which of many files may begin: what the crowd promises, whatever happens to those under way."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chunkup.crowd import Crowd, at_risk, beside

# Few and many, at the borders of what eight and sixteen slots call small.
COUNTS = st.sampled_from([1, 1, 1, 2, 3, 7, 8, 9, 15, 16, 17, 40, 150])


def is_small(parts: int, slots: int) -> bool:
    """As the module has it: surely fewer parts than slots, to the next power of two."""
    return parts.bit_length() < max(2, slots).bit_length()


class Life(RuleBasedStateMachine):
    """A crowd, and a plain account of everything that was done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.crowd = Crowd([])
        self.parts: list[int] = []
        self.left: dict[int, int] = {}
        self.begun: set[int] = set()
        self.slots = 8

    @initialize(parts=st.lists(COUNTS, max_size=60))
    def come(self, parts: list[int]) -> None:
        self.parts, self.crowd = parts, Crowd(parts)

    @rule(slots=st.sampled_from([1, 2, 3, 8, 12, 16, 64]))
    def slots_change(self, slots: int) -> None:
        self.slots = slots

    @rule()
    def begin(self) -> None:
        found = self.crowd.next(self.slots)
        waiting = [index for index in range(len(self.parts)) if index not in self.begun]
        missing, slots = sum(self.left.values()), self.slots
        sending = [index for index, left in self.left.items() if left]
        small = [index for index in waiting if is_small(self.parts[index], slots)]
        company = sum(is_small(self.parts[index], slots) for index in sending)
        may_join = len(sending) > company and company < beside(slots)
        if len(self.left) >= 2 * slots:
            assert found is None
        elif missing < slots:
            assert (found is None) is (not waiting)
        elif may_join:
            assert found == next(iter(small), None)
        else:
            assert found is None
        if found is not None:
            assert found in waiting
            # Nobody is overtaken by another of its kind.
            kind = is_small(self.parts[found], slots)
            alike = [index for index in waiting if is_small(self.parts[index], slots) is kind]
            assert found == alike[0]
            assert self.crowd.next(self.slots) == found
            self.crowd.began(found)
            self.begun.add(found)
            self.left[found] = self.parts[found]

    @precondition(lambda self: self.left)
    @rule(data=st.data())
    def accept(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(sorted(self.left)))
        self.crowd.accepted(index)
        self.left[index] = max(0, self.left[index] - 1)

    @precondition(lambda self: self.left)
    @rule(data=st.data(), parts=st.integers(0, 200))
    def lack(self, data: st.DataObject, parts: int) -> None:
        index = data.draw(st.sampled_from(sorted(self.left)))
        self.crowd.lacks(index, parts)
        self.left[index] = parts

    @precondition(lambda self: self.left)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(sorted(self.left)))
        self.crowd.over(index)
        del self.left[index]
        self.crowd.accepted(index)  # told late, it changes nothing
        self.crowd.over(index)

    @invariant()
    def all_are_there(self) -> None:
        assert len(self.crowd) == len(self.parts) - len(self.begun)

    def teardown(self) -> None:
        """Whatever went before, all have begun once those under way end."""
        while len(self.crowd) or self.left:
            for index in list(self.left):
                self.end_now(index)
            found = self.crowd.next(self.slots)
            if found is not None:
                self.crowd.began(found)
                self.left[found] = self.parts[found]

    def end_now(self, index: int) -> None:
        self.crowd.over(index)
        del self.left[index]


Life.TestCase.settings = settings(max_examples=80, stateful_step_count=60, deadline=None)
test_the_promises_hold_whatever_happens = Life.TestCase


def through(parts: list[int], slots: int, seed: int = 0) -> tuple[list[int], int, int]:
    """Carry them all out with one part a step; the order in which they begin, most under way
    and the most Uploads to which parts are missing."""
    print(f"seed {seed}")
    chance, crowd = random.Random(seed), Crowd(parts)
    left: dict[int, int] = {}
    order: list[int] = []
    most = opened = 0
    while len(crowd) or left:
        while (found := crowd.next(slots)) is not None:
            crowd.began(found)
            left[found] = parts[found]
            order.append(found)
            most = max(most, len(left))
            opened = max(opened, sum(missing > 0 for missing in left.values()))
        index = chance.choice(list(left))
        if left[index]:
            left[index] -= 1
            crowd.accepted(index)
        else:
            crowd.over(index)
            del left[index]
    return order, most, opened


@given(st.lists(COUNTS, max_size=80), st.integers(1, 64), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_each_begins_once_and_no_more_are_open_than_the_slots_can_feed(
    parts: list[int], slots: int, seed: int
) -> None:
    order, most, opened = through(parts, slots, seed)
    assert sorted(order) == list(range(len(parts)))
    assert most <= 2 * slots
    assert opened <= slots + beside(slots)
    assert at_risk(parts, slots) <= sum(parts)


def test_those_of_one_kind_begin_in_order() -> None:
    assert through([1] * 100, 8)[0] == list(range(100))
    assert through([50] * 20, 8)[0] == list(range(20))


def test_a_large_file_is_open_alone_until_it_leaves_slots_free() -> None:
    crowd = Crowd([100, 100])
    crowd.began(0)
    for _ in range(92):
        assert crowd.next(8) is None
        crowd.accepted(0)
    assert crowd.next(8) is None  # eight are missing, and keep the eight slots busy
    crowd.accepted(0)
    assert crowd.next(8) == 1


def test_small_files_wait_for_no_large_one() -> None:
    crowd = Crowd([1000, 1000, 1000, 1, 1, 1, 1, 1, 1])
    assert crowd.next(8) == 0
    crowd.began(0)
    for index in (3, 4, 5, 6):
        assert crowd.next(8) == index
        crowd.began(index)
    assert crowd.next(8) is None  # half of the slots are theirs
    crowd.accepted(4)
    assert crowd.next(8) == 7  # what waits for its complete uses no slot


def test_one_slot_alone_is_shared_by_a_large_and_a_small_file() -> None:
    crowd = Crowd([1000, 1000, 1, 1])
    crowd.began(crowd.next(1) or 0)
    assert crowd.next(1) == 2
    crowd.began(2)
    assert crowd.next(1) is None


def test_a_large_file_behind_a_stream_of_small_ones_begins_after_a_bounded_number() -> None:
    order = through([1] * 500 + [1000] + [1] * 500, 8)[0]
    assert order.index(500) <= 4 * 8
    order = through([1] * 500 + [40, 40] + [1] * 500, 8)[0]
    assert order.index(501) < 500


def test_while_nothing_large_waits_small_ones_put_nobody_off() -> None:
    crowd = Crowd([1] * 100 + [1000])
    for index in range(32):
        assert crowd.next(8) == index
        crowd.began(index)
        crowd.over(index)
    assert crowd.next(8) == 100
    crowd.began(100)
    crowd.over(100)
    assert crowd.next(8) == 32


def test_parts_that_were_kept_free_the_slots_and_lost_ones_take_them_again() -> None:
    crowd = Crowd([100, 100, 100])
    crowd.began(0)
    crowd.lacks(0, 3)
    assert crowd.next(8) == 1
    crowd.lacks(0, 100)
    assert crowd.next(8) is None


def test_only_the_next_one_begins() -> None:
    crowd = Crowd([1, 1])
    with pytest.raises(ValueError, match="not the next one"):
        crowd.began(1)
    crowd.began(0)
    with pytest.raises(ValueError, match="not the next one"):
        crowd.began(0)


def test_a_file_without_parts_is_none() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        Crowd([3, 0])


def test_what_is_at_risk_are_the_largest_that_can_be_open_at_once() -> None:
    assert at_risk([10] * 100, 8) == 10 * 12
    assert at_risk([5, 1, 7], 1) == 12
    assert at_risk([], 16) == 0


def test_a_hundred_thousand_files_are_quick_to_decide_about() -> None:
    parts = [1, 1, 1, 40] * 25_000
    crowd, began = Crowd(parts), time.process_time()
    while (found := crowd.next(16)) is not None:
        crowd.began(found)
        crowd.accepted(found)
        crowd.over(found)
    # Half a second is usual; what looked at all of them each time would take hours.
    assert time.process_time() - began < 30
    assert len(crowd) == 0
