"""No network, and nobody at the other end: what is waited for, what it costs, what is said.

The broadcast address stands for a network that is gone: the kernel refuses it at once, and
nothing leaves the machine. Networks that come back are in ``test_wire_netns.py``.
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench import PARTS, Bench, make_bench
from house import KEY, House
from toxics import Act, Toxics

from chunkup import events
from chunkup.errors import Unreachable

NOWHERE = "https://255.255.255.255/v1"


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.watching._TICK", 0.02)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


async def test_a_network_that_is_gone_is_waited_for_in_time_and_not_in_retries(
    bench: Bench,
) -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"cannot reach 255.255.255.255: .*") as caught:
        await bench.send(NOWHERE, retries=0, offline_wait=1.5)
    assert time.monotonic() - began >= 1.5
    assert (caught.value.offline, caught.value.sent, caught.value.exit_code) == (True, False, 75)
    waits = [event for event in bench.heard if isinstance(event, events.Paused)]
    assert len(waits) >= 2, "no retry is left to anybody, and it is asked again all the same"
    assert all("cannot reach" in event.message for event in waits)
    (stopped,) = [event for event in bench.heard if isinstance(event, events.Stopped)]
    assert stopped.code == "unreachable"
    assert stopped.resume


async def test_without_patience_for_it_a_run_ends_at_once(bench: Bench) -> None:
    with pytest.raises(Unreachable):
        await bench.send(NOWHERE, retries=100, offline_wait=0.0)
    assert sum(isinstance(event, events.Paused) for event in bench.heard) <= 1


def test_the_command_says_what_is_missing_and_that_it_is_for_now(bench: Bench) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "chunkup", "upload", bench.path, "-p", "user_data"),
            *("--journal", bench.folder / "j.db", "--offline-wait", "1s", "--retries", "0"),
        ],
        env={"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": NOWHERE},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (75, ""), done.stderr
    assert "error[unreachable]: cannot reach 255.255.255.255: " in done.stderr
    assert "hint: chunkup resume" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_server_that_is_away_for_a_while_is_met_again(house: House, bench: Bench) -> None:
    """Refused connections are retries, but not of the budget that all parts share."""
    async with Toxics(house.url, up=1_000_000) as line:
        sending = asyncio.ensure_future(bench.send(line.url, retries=20))
        await bench.until(lambda: bench.accepted)
        await line.refuse()
        line.strike(Act.RESET)
        await bench.until(lambda: sum("refused" in one.message for one in bench.retries) >= 3)
        line.allow()
        file = await sending
    assert house.store.md5_of(file.id) == bench.md5
    assert len(set(bench.accepted)) == len(bench.accepted) == PARTS
