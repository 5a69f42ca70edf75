"""The pool of slots: never more than there are, none lost, whoever gives up or is cut."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkup.errors import Unreachable
from chunkup.pool import GivenBack, Slot, SlotPool
from chunkup.slots import Cuts, Flight, Slots


async def spin(times: int = 5) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


def pool_of(count: int) -> SlotPool:
    pool = SlotPool(Slots(64))
    pool.slots.count = count
    return pool


class Holder:
    """A task that takes a slot and keeps it until it is let go."""

    def __init__(self, pool: SlotPool, of: str | None = None) -> None:
        self.pool = pool
        self.of = of
        self.inside = False
        self.go = asyncio.Event()
        self.task = asyncio.ensure_future(self._hold())

    async def _hold(self) -> None:
        async with self.pool.slot(1, self.of):
            self.inside = True
            await self.go.wait()
        self.inside = False


def inside(holders: list[Holder]) -> int:
    return sum(holder.inside for holder in holders)


async def end(holders: list[Holder]) -> None:
    for holder in holders:
        holder.go.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*(holder.task for holder in holders))


async def test_those_who_wait_come_in_as_others_leave_in_order() -> None:
    pool = pool_of(2)
    holders = [Holder(pool) for _ in range(5)]
    await spin()
    assert [holder.inside for holder in holders] == [True, True, False, False, False]
    holders[0].go.set()
    await spin()
    assert [holder.inside for holder in holders] == [False, True, True, False, False]
    await end(holders)


async def test_more_slots_are_used_once_somebody_leaves() -> None:
    pool = pool_of(1)
    holders = [Holder(pool) for _ in range(6)]
    await spin()
    pool.slots.count = 4
    holders[0].go.set()
    await spin()
    assert inside(holders) == 4
    await end(holders)


async def test_fewer_slots_let_nobody_in_until_enough_have_left() -> None:
    pool = pool_of(4)
    holders = [Holder(pool) for _ in range(8)]
    await spin()
    pool.slots.count = 2
    for left in (3, 2, 2):
        next(holder for holder in holders if holder.inside).go.set()
        await spin()
        assert inside(holders) == left
    await end(holders)


async def test_a_turn_given_to_one_who_gave_up_goes_to_the_next() -> None:
    pool = pool_of(1)
    first, second, third = Holder(pool), Holder(pool), Holder(pool)
    await spin()
    first.go.set()
    await asyncio.sleep(0)  # the first leaves, and the second has its turn but did not run
    assert not second.inside
    second.task.cancel()
    await spin()
    assert second.task.cancelled()
    assert third.inside
    await end([first, third])


async def test_one_who_gives_up_while_waiting_takes_no_turn() -> None:
    pool = pool_of(1)
    first, second, third = Holder(pool), Holder(pool), Holder(pool)
    await spin()
    second.task.cancel()
    await spin()
    first.go.set()
    await spin()
    assert third.inside
    await end([first, third])


async def test_an_error_inside_gives_the_slot_back() -> None:
    pool = pool_of(1)
    with pytest.raises(KeyError):
        async with pool.slot(1):
            raise KeyError("inside")
    async with asyncio.timeout(5), pool.slot(1):
        pass


@pytest.mark.parametrize("seed", range(60))
async def test_there_are_never_more_inside_than_slots_and_none_is_ever_lost(seed: int) -> None:
    chance, pool, busy = random.Random(seed), pool_of(2), 0

    async def work() -> None:
        nonlocal busy
        async with pool.slot(1):
            busy += 1
            assert busy <= pool.slots.count
            try:
                await spin(chance.randint(0, 4))
            finally:
                busy -= 1

    async with asyncio.timeout(20):
        tasks = [asyncio.ensure_future(work()) for _ in range(30)]
        while not all(task.done() for task in tasks):
            pool.slots.count = chance.randint(1, 6)
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
            await spin(chance.randint(0, 3))
        endings = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(ending, asyncio.CancelledError | None) for ending in endings)
        pool.slots.count = 5
        holders = [Holder(pool) for _ in range(7)]
        await spin()
        assert inside(holders) == 5
        await end(holders)


# --- whose turn it is -----------------------------------------------------------------------


async def entering(pool: SlotPool, jobs: list[str], *, cancel: Iterable[int] = ()) -> list[int]:
    """Let parts of these jobs ask for the only slot in this order; the order in which they get
    it. ``cancel`` are those that give up while they wait."""
    came: list[int] = []

    async def work(number: int) -> None:
        async with pool.slot(1, jobs[number]):
            came.append(number)

    async with asyncio.timeout(20):
        async with pool.slot(1, "nobody"):
            tasks = [asyncio.ensure_future(work(number)) for number in range(len(jobs))]
            await spin()
            for number in cancel:
                tasks[number].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return came


async def test_a_small_file_waits_for_one_part_of_a_large_one_and_not_for_all() -> None:
    assert await entering(pool_of(1), ["large"] * 16 + ["small"]) == [0, 16, *range(1, 16)]


async def test_jobs_take_turns_and_their_parts_keep_their_order() -> None:
    jobs = ["a", "a", "a", "b", "b", "c"]
    assert await entering(pool_of(1), jobs) == [0, 3, 5, 1, 4, 2]


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_no_job_waits_for_more_than_one_turn_of_all_others(data: st.DataObject) -> None:
    jobs = data.draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=40))
    cancel = data.draw(st.sets(st.integers(0, len(jobs) - 1), max_size=10))

    async def ask() -> tuple[list[int], SlotPool]:
        pool = pool_of(1)
        return await entering(pool, jobs, cancel=cancel), pool

    came, pool = asyncio.run(ask())
    assert sorted(came) == [number for number in range(len(jobs)) if number not in cancel]
    left = Counter(jobs[number] for number in came)
    since: dict[str, list[str]] = {job: [] for job in left}
    for number in came:
        job = jobs[number]
        assert max(Counter(since[job]).values(), default=0) <= 1
        since[job] = []
        left[job] -= 1
        for other, turns in since.items():
            if other != job and left[other]:
                turns.append(job)
    for job in left:
        ours = [number for number in came if jobs[number] == job]
        assert ours == sorted(ours)
    assert pool._waiting == {}
    assert pool._given == pool._busy == 0


async def test_who_comes_later_takes_no_slot_that_was_given_to_another() -> None:
    pool = pool_of(1)
    first, second = Holder(pool), Holder(pool)
    await spin()
    first.go.set()
    third = Holder(pool)  # asks after the first left, and before the second knows of its turn
    await spin()
    assert second.inside
    assert not third.inside
    await end([second, third])


async def test_who_was_called_in_vain_is_the_first_for_the_next_slot() -> None:
    pool = pool_of(2)
    holders = [Holder(pool, "a"), Holder(pool, "b"), Holder(pool, "c"), Holder(pool, "d")]
    await spin()
    holders[0].go.set()
    await asyncio.sleep(0)
    assert pool._busy == 1
    pool.slots.count = 1  # before the third came for what it was given
    await spin()
    assert [holder.inside for holder in holders] == [False, True, False, False]
    holders[1].go.set()
    await spin()
    assert [holder.inside for holder in holders] == [False, False, True, False]
    await end(holders)


async def test_nothing_stays_of_those_who_gave_up() -> None:
    pool = pool_of(1)
    holders = [Holder(pool, str(number)) for number in range(5)]
    await spin()
    for holder in holders[1:]:
        holder.task.cancel()
    await spin()
    assert pool._waiting == {}
    await end(holders[:1])


# --- what is in flight, and what is cut of it -----------------------------------------------


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.pool._TICK", 0.01)


class Judge(Slots):
    """Slots that write down what they are shown, and cut what they are told to."""

    def __init__(self) -> None:
        super().__init__(8)
        self.shown: list[tuple[int, int, int]] = []
        self.cuts = Cuts()
        self.looked = asyncio.Event()

    def look(self, now: float, total: int, peak: int, flights: Iterable[Flight]) -> Cuts:
        flying = list(flights)
        self.shown.append((total, peak, len(flying)))
        self.looked.set()
        names = {flight.name: flight for flight in flying}
        wanted = [names[cut.name] for cut in self.cuts.surplus if cut.name in names]
        behind = [names[cut.name] for cut in self.cuts.lame if cut.name in names]
        return Cuts(wanted, behind)

    async def look_again(self, times: int = 2) -> tuple[int, int, int]:
        for _ in range(times):
            self.looked.clear()
            await asyncio.wait_for(self.looked.wait(), 10)
        return self.shown[-1]


def named(slot: Slot) -> Flight:
    return Flight(slot, slot.size, slot.sent, 0.0)


async def cut(pool: SlotPool, judge: Judge, cuts: Callable[[Slot], Cuts]) -> None:
    """Hold a slot until the judge has it cut."""
    async with pool.slot(1000) as slot:
        slot.begin()
        judge.cuts = cuts(slot)
        await asyncio.wait_for(asyncio.Event().wait(), 10)


async def test_what_moved_is_shown_whatever_became_of_it(hasty: None) -> None:
    judge = Judge()
    pool = SlotPool(judge)
    async with pool.slot(1000) as slot:
        slot.begin()
        slot.moved(300)
        slot.moved(200)  # counted back by a connection that broke
        assert await judge.look_again() == (300, 1, 1)
    async with pool.slot(1000) as slot:
        slot.begin()
        slot.moved(500)
        assert await judge.look_again() == (800, 1, 1)


async def test_a_slot_that_waits_for_the_gate_is_no_flight(hasty: None) -> None:
    judge = Judge()
    pool = SlotPool(judge)
    async with pool.slot(1000) as slot, pool.slot(1000):
        slot.begin()
        assert await judge.look_again() == (0, 1, 1)


async def test_nobody_looks_once_nothing_is_in_flight(hasty: None) -> None:
    judge = Judge()
    pool = SlotPool(judge)
    async with pool.slot(1000) as slot:
        slot.begin()
    while not judge.shown or judge.shown[-1][2]:
        await judge.look_again(1)
    assert pool._timer is None
    async with pool.slot(1000) as slot:
        slot.begin()
        assert (await judge.look_again())[2] == 1


async def test_a_surplus_attempt_is_given_back_and_the_others_go_on(hasty: None) -> None:
    judge = Judge()
    pool = SlotPool(judge)
    async with pool.slot(1000) as kept:
        kept.begin()
        with pytest.raises(GivenBack):
            await cut(pool, judge, lambda slot: Cuts(surplus=[named(slot)]))
        assert pool._busy == 1


async def test_an_attempt_far_behind_fails_as_a_broken_connection_does(hasty: None) -> None:
    judge = Judge()
    with pytest.raises(Unreachable, match="ten times slower") as caught:
        await cut(SlotPool(judge), judge, lambda slot: Cuts(lame=[named(slot)]))
    assert caught.value.retryable
    assert caught.value.sent


async def test_a_trickle_in_all_slots_is_ended(hasty: None) -> None:
    pool = SlotPool(Slots(8), patience=0.1)

    async def trickle() -> None:
        async with pool.slot(1000) as slot:
            slot.begin()
            slot.moved(10)
            await asyncio.wait_for(asyncio.Event().wait(), 10)

    endings = await asyncio.gather(*(trickle() for _ in range(3)), return_exceptions=True)
    for ending in endings:
        assert isinstance(ending, Unreachable)
        assert "less than 1 KiB a second" in ending.message
    assert pool._busy == 0


async def test_a_body_that_is_through_is_not_called_a_trickle(hasty: None) -> None:
    pool = SlotPool(Judge(), patience=0.05)
    async with pool.slot(1000) as slot:
        slot.begin()
        slot.moved(1000)
        assert isinstance(pool.slots, Judge)
        for _ in range(10):
            await pool.slots.look_again()


async def test_time_in_which_the_process_stood_still_is_not_the_links(
    hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkup.pool.STILL", 0.05)
    judge = Judge()
    pool = SlotPool(judge, patience=0.2)
    async with pool.slot(1000) as slot:
        slot.begin()
        await judge.look_again()
        time.sleep(0.4)  # noqa: ASYNC251  (the loop itself stands still)
        await judge.look_again()
    assert (0, 0, 0) in judge.shown


async def test_a_time_out_inside_is_not_taken_for_a_cut() -> None:
    async with asyncio.timeout(0.05) as scope:
        with pytest.raises(TimeoutError):
            await fails(pool_of(1), TimeoutError())
    assert not scope.expired()


async def fails(pool: SlotPool, error: Exception) -> None:
    async with pool.slot(1):
        raise error
