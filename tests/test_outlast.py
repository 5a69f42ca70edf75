"""Waiting that a cancellation cannot cut short."""

import asyncio

import pytest

from chunkup.outlast import outlast


async def spin() -> None:
    """Let everything that is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_result_of_the_work_is_returned() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await outlast(work()) == 7


async def test_the_error_of_the_work_is_raised() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        await outlast(work())


async def test_work_that_is_done_already_is_not_waited_for() -> None:
    work = asyncio.get_running_loop().create_future()
    work.set_result("there")
    assert await outlast(work) == "there"


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("ending", ["result", "error"])
async def test_however_often_it_is_cancelled_it_waits_for_the_work_and_is_cancelled_then(
    times: int, ending: str
) -> None:
    gate, ended = asyncio.Event(), list[str]()

    async def work() -> None:
        await gate.wait()
        ended.append(ending)
        if ending == "error":
            raise KeyError("nobody hears this")

    waiting = asyncio.create_task(outlast(work()))
    for _ in range(times):
        await spin()
        waiting.cancel()
    await spin()
    assert not waiting.done()
    assert not ended
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == [ending]


async def test_cancelling_the_waiter_leaves_shared_work_untouched() -> None:
    work = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(outlast(work))
    await spin()
    waiting.cancel()
    await spin()
    assert not work.cancelled()
    work.set_result(1)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert work.result() == 1


async def test_work_that_was_cancelled_by_somebody_else_ends_the_waiting() -> None:
    work = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(outlast(work))
    await spin()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_deadline_around_it_strikes_only_after_the_work() -> None:
    gate, ended = asyncio.Event(), list[bool]()

    async def work() -> None:
        await gate.wait()
        ended.append(True)

    async def bounded() -> None:
        async with asyncio.timeout(0):
            await outlast(work())

    waiting = asyncio.create_task(bounded())
    await spin()
    gate.set()
    with pytest.raises(TimeoutError):
        await waiting
    assert ended
