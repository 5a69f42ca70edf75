"""Lines that fall silent: cut in bounded time where it is hopeless, left alone where it is not.

Stall time-outs are scaled down; the lines and the stopped process are real.
"""

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web
from bench import PART, PARTS, Bench, make_bench
from house import Handler, House, call_of, make_source
from test_serve import serving
from toxics import Act, At, Toxics

from chunkup import events
from chunkup.errors import Unreachable
from chunkup.models import MIB
from chunkup.server.store import Store


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkup.watching._TICK", 0.02)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


# Each befalls the first two connections, and what is said then. The very first one made the
# Upload and carries a part after it.
BLACK_HOLES = {
    "in the middle of a body": (At(Act.SILENCE, up=40_000, times=2), "no byte moved"),
    "before the first byte of a body": (At(Act.SILENCE, up=900, times=2), "no byte moved"),
    "half open": (At(Act.HALF_OPEN, up=40_000, times=2), "no byte moved"),
    "in the answer": (At(Act.SILENCE, down=700, times=2), "no answer came"),
    "only answers are lost": (At(Act.DROP_ANSWERS, down=700, times=2), "no answer came"),
}


@pytest.mark.parametrize("name", BLACK_HOLES)
async def test_a_black_hole_is_cut_and_its_slot_goes_on(
    name: str, house: House, bench: Bench
) -> None:
    fault, said = BLACK_HOLES[name]
    async with Toxics(house.url, faults=[fault], piece=4096) as line:
        file = await bench.send(line.url)
        assert house.store.md5_of(file.id) == bench.md5
    assert 1 <= len(bench.retries) <= 2
    assert {event.code for event in bench.retries} == {"unreachable"}
    assert all(said in event.message for event in bench.retries)
    stored = Counter(bench.accepted)
    assert set(stored.values()) == {1}, "one receipt for each part, orphans or not"
    assert len(stored) == PARTS


async def test_no_connection_stays_behind_though_much_was_still_to_be_written(
    house: House, bench: Bench
) -> None:
    """One that is closed politely waits for its buffer, and here that is for ever."""
    make_source(bench.path, 5 * MIB)
    async with Toxics(house.url, faults=[At(Act.SILENCE, up=40_000, times=1)]) as line:
        await bench.send(line.url, part_size=5 * MIB)
    assert len(bench.retries) == 1


async def test_the_other_slot_goes_on_while_one_waits_for_silence(
    house: House, bench: Bench
) -> None:
    fault = At(Act.SILENCE, up=40_000, times=1)
    async with Toxics(house.url, faults=[fault], piece=4096) as line:
        await bench.send(line.url)
    (retried,) = bench.retries
    assert "no byte moved" in retried.message
    before = bench.heard.index(retried)
    assert sum(isinstance(event, events.PartAccepted) for event in bench.heard[:before]) >= 4
    assert bench.accepted[-1] == retried.start


async def test_a_line_that_is_dead_for_good_stops_the_run_and_keeps_what_came(
    house: House, bench: Bench
) -> None:
    loop = asyncio.get_running_loop()
    async with Toxics(house.url, up=600_000) as line:
        sending = asyncio.ensure_future(bench.send(line.url, retries=1))
        await bench.until(lambda: bench.accepted)
        line.faults = [At(Act.SILENCE, up=0)]
        line.strike(Act.SILENCE)
        began = loop.time()
        with pytest.raises(Unreachable) as caught:
            await sending
        assert loop.time() - began < 15
        assert caught.value.exit_code == 75
        line.faults, line.up = (), None
        kept = len(bench.accepted)
        assert 1 <= kept < PARTS
        file = await bench.send(line.url)
    assert house.store.md5_of(file.id) == bench.md5
    assert len(set(bench.accepted)) == len(bench.accepted) == PARTS, "what came is not sent again"


async def test_all_lines_silent_at_once_and_back_again(house: House, bench: Bench) -> None:
    async with Toxics(house.url, up=600_000) as line:
        sending = asyncio.ensure_future(bench.send(line.url))
        await bench.until(lambda: bench.accepted)
        line.stop()
        await bench.until(lambda: len(bench.retries) >= 2)
        line.up = None
        line.go_on()
        file = await sending
    assert house.store.md5_of(file.id) == bench.md5


async def test_a_thin_line_that_moves_is_not_cut_however_long_it_takes(
    house: House, bench: Bench
) -> None:
    """Every part takes longer than the stall time, and none is sent twice."""
    bench.path.write_bytes(bytes(2 * PART))
    async with Toxics(house.url, up=200_000) as line:
        await bench.send(line.url, stall_timeout=0.9)
        assert line.carried < 2 * PART * 1.05
    assert not bench.retries
    assert house.calls.count("part") == 2


async def test_a_gateway_that_buffers_is_given_as_long_again_as_the_body_took(
    house: House, bench: Bench
) -> None:
    """Twice the stall time is over long before it answers."""

    async def buffering(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            answer = await handler(request)
            await asyncio.sleep(3 * 0.3)  # the gateway's pace, not a wait for anything
            return answer
        return await handler(request)

    house.intercept = buffering
    bench.path.write_bytes(bytes(PART))
    async with Toxics(house.url, up=200_000) as line:
        await bench.send(line.url, stall_timeout=0.3, retries=0)
    assert not bench.retries
    assert house.calls.count("part") == 1


async def test_a_complete_may_take_far_longer_than_anything_else(
    house: House, bench: Bench
) -> None:
    async def slow(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "complete":
            await asyncio.sleep(5 * 0.2)  # the server's pace, not a wait for anything
        return await handler(request)

    house.intercept = slow
    await bench.send(house.url, stall_timeout=0.2, complete_timeout=20.0, retries=0)
    assert house.calls.count("complete") == 1
    assert house.calls.count("list") == 0, "nobody had to look for the File"


# --- a server that is stopped ---------------------------------------------------------------


@pytest.mark.parametrize("stall", [0.3, 10.0])
async def test_a_server_that_stands_still_for_a_while(stall: float, bench: Bench) -> None:
    """SIGSTOP: its kernel still takes connections and bytes, and nobody reads them."""
    with serving("--dir", str(bench.folder / "kept")) as (url, process):
        sending = asyncio.ensure_future(bench.send(url, stall_timeout=stall, retries=20))
        await bench.until(lambda: bench.accepted)
        process.send_signal(signal.SIGSTOP)
        if stall < 1:
            await bench.until(lambda: len(bench.retries) >= 2)
        else:
            await asyncio.sleep(1.0)  # the server's nap, not a wait for anything
        process.send_signal(signal.SIGCONT)
        file = await sending
    assert bool(bench.retries) == (stall < 1)
    store = Store(bench.folder / "kept")
    assert store.md5_of(file.id) == bench.md5
    store.close()
