"""Networks that fail as networks do: the kernel drops, refuses to route, and kills sockets."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from bench import PARTS, Bench, make_bench
from house import KEY, House, open_house
from netns import drop, drop_nothing, needs, run_alone, tell
from yarl import URL

from chunkup.errors import Unreachable

PATIENT = 20.0


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.watching._TICK", 0.02)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def port_of(house: House) -> int:
    return URL(house.url).port or 0


def route_by_rules() -> None:
    """Let a rule stand before the table that leads to this machine itself."""
    tell("ip rule add pref 100 lookup local")
    tell("ip rule del pref 0")


class Fault(NamedTuple):
    """What breaks the network, what mends it, and what is said of it, one of these."""

    breaks: Callable[[int], None]
    mends: Callable[[], None]
    said: tuple[str, ...]


# By where a part stood when the packets stopped: in its body, behind it, or not connected yet.
_SILENCE = ("no byte moved", "no answer came", "no connection to the server was made")


FAULTS = {
    "a black hole": Fault(lambda port: drop(f"tcp dport {port}"), drop_nothing, _SILENCE),
    "the interface down": Fault(
        lambda port: tell("ip link set lo down"),
        lambda: tell("ip link set lo up"),
        _SILENCE,
    ),
    "the route gone": Fault(
        lambda port: tell("ip rule add pref 50 to 127.0.0.1 unreachable"),
        lambda: tell("ip rule del pref 50"),
        ("Network is unreachable",),
    ),
}


@needs("nft")
@pytest.mark.parametrize("name", FAULTS)
def test_a_network_that_is_gone_for_a_while_costs_a_while(name: str, bench: Bench) -> None:
    fault = FAULTS[name]

    async def work() -> None:
        route_by_rules()
        async with open_house(bench.folder / "server") as house:
            sending = asyncio.ensure_future(bench.send(house.url, offline_wait=PATIENT))
            await bench.until(lambda: bench.accepted)
            fault.breaks(port_of(house))
            await bench.until(
                lambda: any(said in event.message for event in bench.retries for said in fault.said)
            )
            fault.mends()
            file = await sending
            assert house.store.md5_of(file.id) == bench.md5
            assert len(set(bench.accepted)) == len(bench.accepted) == PARTS

    run_alone(work())


@needs("ss")
def test_sockets_that_the_system_kills_are_made_anew(bench: Bench) -> None:
    async def work() -> None:
        async with open_house(bench.folder / "server") as house:
            sending = asyncio.ensure_future(bench.send(house.url))
            await bench.until(lambda: bench.accepted)
            tell(f"ss -K dst 127.0.0.1 dport = {port_of(house)}")
            file = await sending
            assert house.store.md5_of(file.id) == bench.md5

    run_alone(work())


@needs("nft")
def test_one_packet_in_ten_lost_is_no_fault_at_all(bench: Bench) -> None:
    async def work() -> None:
        async with open_house(bench.folder / "server") as house:
            drop(f"tcp dport {port_of(house)} numgen random mod 100 < 10")
            file = await bench.send(house.url, stall_timeout=20.0)
            assert house.store.md5_of(file.id) == bench.md5
            assert not bench.retries
            assert house.calls.count("part") == PARTS

    run_alone(work())


@needs()
def test_a_network_that_stays_away_is_waited_for_free_of_budget_and_then_left(
    bench: Bench,
) -> None:
    async def work() -> None:
        route_by_rules()
        async with open_house(bench.folder / "server") as house:
            sending = asyncio.ensure_future(
                bench.send(house.url, offline_wait=2.0, retries=1, stall_timeout=0.3)
            )
            await bench.until(lambda: bench.accepted)
            tell("ip rule add pref 50 to 127.0.0.1 unreachable")
            gone = time.monotonic()
            with pytest.raises(Unreachable) as caught:
                await sending
            assert time.monotonic() - gone >= 2.0
            assert caught.value.offline
            assert caught.value.exit_code == 75
            assert "cannot reach 127.0.0.1: Network is unreachable" in caught.value.message
            asked = [event for event in bench.retries if "Network is" in event.message]
            assert len(asked) > 2, "more often than a retry for each slot"
            tell("ip rule del pref 50")
            kept = len(bench.accepted)
            file = await bench.send(house.url)
            assert house.store.md5_of(file.id) == bench.md5
            assert len(bench.accepted) == PARTS > kept

    run_alone(work())


def command(bench: Bench, *more: str) -> list[str]:
    words = ["upload", str(bench.path), "-p", "user_data", "--journal", str(bench.folder / "j.db")]
    return [sys.executable, "-m", "chunkup", *words, *more]


async def start(bench: Bench, *more: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command(bench, *more),
        env={"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "https://upload.invalid/v1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@needs()
def test_a_name_service_that_is_gone_is_said_and_stops_the_command_for_now(bench: Bench) -> None:
    async def work() -> None:
        process = await start(bench, "--offline-wait", "1s")
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert (process.returncode, out) == (75, b""), err
        assert b"error[unreachable]: cannot reach upload.invalid" in err
        assert b"hint:" in err

    run_alone(work())


@needs("nft")
def test_a_name_service_that_never_answers_holds_up_no_stop(bench: Bench) -> None:
    async def work() -> None:
        tell("ip route add default dev lo")
        drop("udp dport 53")
        process = await start(bench)
        await asked_for_a_name()
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 130, err
        assert time.monotonic() - began < 4

    run_alone(work())


async def asked_for_a_name() -> None:
    """Wait until the kernel has dropped a question for a name."""
    tell("nft add counter ip t asked")
    tell("nft insert rule ip t c udp dport 53 counter name asked")
    while "packets 0" in await listing():  # noqa: ASYNC110  (the kernel tells nobody)
        await asyncio.sleep(0.02)


async def listing() -> str:
    process = await asyncio.create_subprocess_exec(
        *("nft", "list", "counter", "ip", "t", "asked"), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out.decode()
