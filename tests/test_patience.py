"""Waiting for calls that may never come back."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from chunkup.errors import Stopped
from chunkup.patience import Threads, patiently

ENOUGH = 5.0


@pytest.fixture
def hung() -> Iterator[threading.Event]:
    """What a call waits for that is to hang; over at the end."""
    event = threading.Event()
    yield event
    event.set()


def test_work_is_done_and_its_errors_are_those_of_who_asked() -> None:
    threads = Threads(2, "work")
    assert [threads.submit(pow, 2, number).result(ENOUGH) for number in range(50)] == [
        2**number for number in range(50)
    ]
    with pytest.raises(ZeroDivisionError):
        threads.submit(divmod, 1, 0).result(ENOUGH)
    # One is enough for one after another.
    assert len(threads._threads) == 1
    threads.shutdown()
    assert not any(thread.is_alive() for thread in threads._threads)
    with pytest.raises(RuntimeError):
        threads.submit(int)


def test_there_is_one_more_thread_whenever_all_are_busy(hung: threading.Event) -> None:
    threads = Threads(4, "work")
    stuck = [threads.submit(hung.wait) for _ in range(3)]
    assert threads.submit(int).result(ENOUGH) == 0
    assert threads.submit(int).result(ENOUGH) == 0
    assert len(threads._threads) == 4
    waiting = [threads.submit(hung.wait) for _ in range(3)]
    assert len(threads._threads) == 4
    threads.shutdown(wait=False, cancel_futures=True)
    assert any(work.cancelled() for work in waiting)
    hung.set()
    assert all(work.result(ENOUGH) for work in stuck)
    threads.shutdown()


def test_no_process_waits_for_them_to_end() -> None:
    script = (
        "import threading; from chunkup.patience import Threads; "
        "Threads(1, 'work').submit(threading.Event().wait)"
    )
    assert (
        subprocess.run([sys.executable, "-c", script], timeout=ENOUGH, check=False).returncode == 0
    )


async def test_who_is_cancelled_waits_a_second_and_no_longer(hung: threading.Event) -> None:
    threads = Threads(1, "work")
    work = asyncio.wrap_future(threads.submit(hung.wait))
    waiting = asyncio.ensure_future(patiently(work, "a.bin"))
    await asyncio.sleep(0)
    for _ in range(3):
        waiting.cancel()
        await asyncio.sleep(0)
    done, _ = await asyncio.wait([waiting], timeout=ENOUGH)
    hung.set()
    assert await work
    assert done
    assert waiting.cancelled()
    threads.shutdown()


async def test_who_waits_for_too_long_is_told(hung: threading.Event) -> None:
    threads = Threads(1, "work")
    work = asyncio.wrap_future(threads.submit(hung.wait))
    with pytest.raises(Stopped, match=r"the disk of a\.bin has not answered for 1 s"):
        await patiently(work, "a.bin", 1)
    hung.set()
    assert await work
    assert await patiently(asyncio.sleep(0, 7), "a.bin") == 7
    threads.shutdown()
