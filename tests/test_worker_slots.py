"""The pool of slots: never more than there are, none lost, whoever gives up."""

import asyncio
import random

import pytest

from chunkup.pace import Slots
from chunkup.worker import SlotPool


async def spin(times: int = 5) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


def pool_of(count: int) -> SlotPool:
    pool = SlotPool(Slots(64))
    pool.slots.count = count
    return pool


class Holder:
    """A task that takes a slot and keeps it until it is let go."""

    def __init__(self, pool: SlotPool) -> None:
        self.pool = pool
        self.inside = False
        self.go = asyncio.Event()
        self.task = asyncio.ensure_future(self._hold())

    async def _hold(self) -> None:
        async with self.pool:
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
        async with pool:
            raise KeyError("inside")
    async with asyncio.timeout(5), pool:
        pass


@pytest.mark.parametrize("seed", range(60))
async def test_there_are_never_more_inside_than_slots_and_none_is_ever_lost(seed: int) -> None:
    chance, pool, busy = random.Random(seed), pool_of(2), 0

    async def work() -> None:
        nonlocal busy
        async with pool:
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
