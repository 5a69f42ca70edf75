"""What the line carries for one job, told and judged."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from strategies import plain_job

from chunkup import events
from chunkup.errors import TooSlow
from chunkup.gauge import Gauge
from chunkup.journal import Journal
from chunkup.ledger import Ledger
from chunkup.machine import Accepted, Created
from chunkup.models import Part, Receipt, Upload

SIZE = 1000
ONE, TWO = Part(0, 100), Part(100, 300)


@dataclass
class Bench:
    """A gauge over a claimed job with an open Upload, and what it told."""

    ledger: Ledger
    told: list[events.Event]
    behind: float = 0.0
    left: float | None = 3600.0
    gauge: Gauge = field(init=False)

    def __post_init__(self) -> None:
        self.gauge = Gauge(
            self.ledger,
            behind=lambda: self.behind,
            expires_in=lambda: self.left,
            fail_if_late=False,
        )

    @property
    def last(self) -> events.Progress:
        return [event for event in self.told if isinstance(event, events.Progress)][-1]

    def late(self) -> list[events.Late]:
        return [event for event in self.told if isinstance(event, events.Late)]


@pytest.fixture
async def bench(journal: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr("chunkup.gauge._TICK", 0.0)
    book = await Journal.open(journal)
    try:
        job, _ = await book.adopt(plain_job("/a.bin", SIZE))
        told: list[events.Event] = []
        ledger = Ledger(job, book, told.append)
        await ledger.record(Created(Upload("upload_1", 1, 3601)))
        yield Bench(ledger, told)
    finally:
        await book.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its one item is what the clock says."""
    now = [1000.0]
    monkeypatch.setattr("chunkup.gauge.time.monotonic", lambda: now[0])
    return now


async def test_what_moves_is_told_and_what_waits_for_a_slot_is_not_in_flight(bench: Bench) -> None:
    gauge = bench.gauge
    gauge.launch(ONE)
    gauge.launch(TWO)
    gauge.moved(ONE, 40)
    gauge.look()
    assert (bench.last.sent, bench.last.in_flight, bench.last.done) == (40, 1, 0)
    assert bench.last.expires_in == 3600.0
    gauge.moved(ONE, None)
    gauge.moved(TWO, 10)
    gauge.look()
    assert (bench.last.sent, bench.last.in_flight) == (10, 1)
    gauge.land(ONE)
    gauge.moved(ONE, 100)  # heard too late
    gauge.look()
    assert bench.last.sent == 10
    assert not gauge.idle
    gauge.clear()
    assert gauge.idle


async def test_what_is_accepted_is_done_and_no_more_sent(bench: Bench) -> None:
    gauge = bench.gauge
    gauge.launch(ONE)
    gauge.moved(ONE, 100)
    gauge.land(ONE)
    await bench.ledger.record(Accepted("upload_1", Receipt(ONE, "part_1", "0" * 32)))
    gauge.retries = 3
    gauge.look()
    assert (bench.last.done, bench.last.sent, bench.last.retries) == (100, 0, 3)


async def test_an_attempt_that_starts_over_is_no_loss_of_speed(
    bench: Bench, clock: list[float]
) -> None:
    gauge = bench.gauge
    gauge.begin_upload()
    gauge.launch(TWO)
    for second in range(1, 11):
        clock[0] = 1000.0 + second
        gauge.moved(TWO, second * 10)
        gauge.look()
    gauge.moved(TWO, None)
    gauge.look()
    assert bench.last.rate == pytest.approx(10.0)
    assert gauge.average == pytest.approx(10.0, rel=0.2)
    assert bench.last.sent == 0


async def crawl(bench: Bench, clock: list[float], seconds: int) -> None:
    """One byte a second, which is too slow for the hour."""
    bench.gauge.begin_upload()
    bench.gauge.launch(TWO)
    for second in range(1, seconds + 1):
        clock[0] = 1000.0 + second
        bench.gauge.moved(TWO, min(200, second))
        bench.gauge.look()


@pytest.mark.parametrize(("left", "told"), [(900.0, 1), (1100.0, 0), (None, 0), (-1.0, 0)])
async def test_it_is_said_once_and_within_a_minute_that_an_upload_cannot_make_it(
    bench: Bench, clock: list[float], left: float | None, told: int
) -> None:
    bench.left = left
    await crawl(bench, clock, 60)
    assert len(bench.late()) == told
    for late in bench.late():
        assert late.rate == pytest.approx(1.0, rel=0.1)


async def test_a_moment_is_no_measure(bench: Bench, clock: list[float]) -> None:
    bench.left = 900.0
    await crawl(bench, clock, 17)
    assert not bench.late()


async def test_a_short_life_is_judged_sooner(bench: Bench, clock: list[float]) -> None:
    bench.left = 100.0
    await crawl(bench, clock, 3)
    assert len(bench.late()) == 1


async def test_a_reading_that_takes_longer_than_the_link_counts(
    bench: Bench, clock: list[float]
) -> None:
    bench.left, bench.behind = 1100.0, 2000.0
    await crawl(bench, clock, 60)
    (late,) = bench.late()
    assert late.seconds == pytest.approx(900, abs=50)


async def test_a_job_that_waits_for_slots_of_others_is_not_called_late(
    bench: Bench, clock: list[float]
) -> None:
    bench.left = 100.0
    bench.gauge.begin_upload()
    bench.gauge.launch(ONE)
    for second in range(60):
        clock[0] = 1000.0 + second
        bench.gauge.look()
    assert not bench.late()


async def test_it_can_be_an_error(bench: Bench, clock: list[float]) -> None:
    bench.left = 900.0
    bench.gauge._fail_if_late = True
    with pytest.raises(TooSlow, match="expires before its end"):
        await crawl(bench, clock, 60)
    assert len(bench.late()) == 1
