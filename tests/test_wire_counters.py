"""What is counted stays true through faults, kills and resumes, in events and on every display."""

import asyncio
import io
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

import pytest
from aiohttp import web
from house import KEY, Handler, House, call_of, drop, make_source
from test_cli import Shell, shell
from test_cli_output import told
from test_render_tally import progress, started
from toxics import Act, Toxics

from chunkup import AsyncUploader, Options, RemoteFile, events
from chunkup.errors import ChunkupError
from chunkup.render.layout import look_of, rows
from chunkup.render.lines import Lines
from chunkup.render.notebook import Notebook
from chunkup.render.tally import Tally

__all__ = ["shell"]

SIZE, PART = 410_000, 20_000
LINE = 600_000.0


@dataclass
class Audit:
    """Checks each event against all that were told before it."""

    size: int
    done: int = 0
    through: int = 0
    retries: int = 0
    repeated: int = 0
    in_flight: int = 0
    receipts: set[tuple[int, int]] = field(default_factory=set)
    excused: bool = False
    told: bool = False

    def hear(self, event: events.Event) -> None:
        match event:
            case events.JobStarted(size=size, done=done, continued=continued):
                # A receipt, or an end, may have been committed that no event was left to tell of.
                assert (size, continued) == (self.size, self.told)
                assert self.done <= done <= size or done == 0
                self.done = self.through = done
                self.receipts, self.retries, self.repeated = set(), 0, 0
                self.told = True
            case events.PartAccepted(start=start, stop=stop, done=done):
                assert all(stop <= first or start >= last for first, last in self.receipts)
                self.receipts.add((start, stop))
                assert done == self.done + stop - start <= event.size == self.size
                self.done, self.through = done, max(self.through, done)
            case events.PartRetried() | events.Paused():
                assert event.wait >= 0
                self.repeated += 1
                self.excused = True
            case events.UploadExpired(lost=lost):
                assert lost == self.done
                self.done = self.through = 0
                self.receipts = set()
            case events.Progress():
                self._progress(event)
            case events.Completing() | events.Completed():
                assert self.done == self.size
            case _:
                pass

    def _progress(self, event: events.Progress) -> None:
        assert event.size == self.size
        assert event.done == self.done
        assert event.sent >= 0
        assert event.in_flight >= 0
        assert (event.in_flight > 0) >= (event.sent > 0)
        through = event.done + event.sent
        assert through <= event.size
        # A slot that was given back for the sake of the others is told by the number in flight.
        told = self.excused or event.in_flight < self.in_flight
        assert through >= self.through or told, "it fell, and nobody said why"
        assert isfinite(event.rate)
        assert event.rate >= 0
        assert self.retries <= event.retries <= self.repeated
        self.through, self.retries, self.excused = through, event.retries, False
        self.in_flight = event.in_flight


@dataclass
class Weather:
    """Faults of server and line by chance."""

    house: House
    line: Toxics
    chance: random.Random
    share: float = 0.25

    async def intercept(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        call = call_of(request)
        if call not in {"part", "create"} or self.chance.random() > self.share:
            return await handler(request)
        fault = self.chance.choice(["503", "429", "cut", "lost", "reset", "expire"])
        headers = {"retry-after-ms": str(self.chance.randrange(1, 20))}
        match fault:
            case "503" | "429":
                await request.read()
                return web.json_response({"error": {}}, status=int(fault), headers=headers)
            case "cut":
                await request.content.readany()
                return drop(request)
            case "lost" if call == "part":
                await handler(request)
                return drop(request)
            case "reset":
                self.line.strike(Act.RESET)
            case "expire" if call == "part" and self.chance.random() < 0.2:
                self.house.clock.offset += 3601
        return await handler(request)


async def weathered(
    house: House, folder: Path, seed: int
) -> tuple[list[events.Event], RemoteFile | None]:
    """One file through bad weather, killed and resumed until it is there; all that was told."""
    chance = random.Random(seed)
    source = folder / "a.bin"
    make_source(source, SIZE, seed)
    seen: list[events.Event] = []
    async with Toxics(house.url, up=LINE) as line:
        weather = Weather(house, line, chance)
        house.intercept = weather.intercept
        for run in range(20):
            if run == 8:
                weather.share = 0.0
            options = Options(
                workers=chance.randrange(1, 9), retries=4, looks=(0.0,), patience=0.0, generations=2
            )
            async with AsyncUploader(
                base_url=line.url,
                api_key=KEY,
                journal=folder / "state" / "journal.db",
                part_size=PART,
                options=options,
            ) as uploader:
                file = await one_run(uploader, source, seen, chance.randrange(5, 120))
                if file is not None:
                    return seen, file
    return seen, None


async def one_run(
    uploader: AsyncUploader, source: Path, seen: list[events.Event], most: int
) -> RemoteFile | None:
    """A run that is killed after so many events, unless it ends before."""
    began = len(seen)

    def hear(event: events.Event) -> None:
        seen.append(event)
        if len(seen) - began == most:
            task.cancel()

    task = asyncio.ensure_future(uploader.upload(source, purpose="user_data", on_event=hear))
    try:
        return await task
    except (ChunkupError, asyncio.CancelledError):
        return None


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress many times a second: what is told seldom is hardly ever wrong."""
    for module in ("link", "gauge", "watching"):
        monkeypatch.setattr(f"chunkup.{module}._TICK", 0.02)


SEED = random.SystemRandom().randrange(1 << 32)


@pytest.mark.parametrize("seed", [1, 2, SEED], ids=["1", "2", "random"])
async def test_what_is_counted_adds_up_in_any_weather(
    house: House, tmp_path: Path, often: None, seed: int
) -> None:
    print(f"seed {seed}")
    seen, file = await weathered(house, tmp_path, seed)
    audit = Audit(SIZE)
    for event in seen:
        print(event)
        audit.hear(event)
    assert file is not None
    assert house.content(file.id) == (tmp_path / "a.bin").read_bytes()
    assert sum(isinstance(event, events.Progress) for event in seen) > 5
    assert isinstance(seen[-1], events.Completed)
    displays_hold(seen)


# --- displays ---------------------------------------------------------------------------------

REASON = re.compile(r"sent again|is over|waiting|continuing|uploading")


def displays_hold(seen: Sequence[events.Event]) -> None:
    """Neither lines nor bars nor a notebook show more than all, or less than before unsaid."""
    tally, notebook, out = Tally(), Notebook(), io.StringIO()
    moments = iter(range(0, 1 << 30, 31))  # each event comes late enough for a line
    lines = Lines(out, clock=lambda: float(next(moments)))
    for event in seen:
        lines.show(event)
        tally.fold(event)
        notebook._tally.fold(event)
        drawn = rows(tally, event.time, 100, 10, look_of("utf-8"))
        texts = ["".join(span.text for span in row) for row in drawn]
        texts.append(notebook._picture()["text/plain"])
        for text in texts:
            assert all(0 <= percent <= 100 for percent in percents(text)), text
            assert "-" not in text.replace("…", "").partition(" %")[2], text
        totals = tally.totals(event.time)
        assert 0 <= totals.through <= totals.size
        assert totals.rate >= 0
        assert totals.left >= 0
    notebook.close()
    falls_are_said(out.getvalue().splitlines())


def percents(text: str) -> Iterator[int]:
    return (int(found) for found in re.findall(r"(-?\d+) %", text))


def falls_are_said(lines: Sequence[str]) -> None:
    last, said = 0, False
    for line in lines:
        said = said or bool(REASON.search(line))
        for percent in percents(line.partition(",")[0]):
            assert percent <= 100
            assert percent >= last or said, "\n".join(lines)
            last, said = percent, False


def test_after_a_sleep_no_time_left_is_made_up() -> None:
    """Eight hours in which nothing was heard are no speed, neither before nor after the next."""
    tally = Tally()
    tally.begin(2, 2000)
    tally.fold(started(0.0))
    for second in range(1, 11):
        tally.fold(progress(float(second), sent=50 * second, rate=50.0))
    assert tally.totals(10.0).rate == pytest.approx(50, rel=0.2)
    woken = 10.0 + 8 * 3600
    assert tally.totals(woken).rate == 0.0
    tally.fold(progress(woken + 1, sent=500, rate=0.0))
    assert tally.totals(woken + 1).rate == 0.0
    for second in range(2, 12):
        tally.fold(progress(woken + second, sent=500 + 40 * second, rate=40.0))
    assert tally.totals(woken + 11).rate == pytest.approx(44, rel=0.2)
    assert tally.totals(woken + 11).left < 60


# --- a whole command --------------------------------------------------------------------------


async def test_the_summary_adds_up_whatever_became_of_the_files(shell: Shell) -> None:
    """One arrives, one is refused, one meets a server in trouble; then all but one are there."""
    names = ["good.bin", "refused.bin", "trouble.bin"]
    shell.make(*names)
    names_of: dict[str, str] = {}

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            upload = shell.house.store.upload(request.path.split("/")[3])
            names_of[upload.id] = upload.filename
            if upload.filename == "refused.bin":
                return web.json_response({"error": {"message": "no"}}, status=422)
            if upload.filename == "trouble.bin":
                headers = {"retry-after-ms": "1"}
                return web.json_response({"error": {}}, status=503, headers=headers)
        return await handler(request)

    shell.house.intercept = intercept
    first = told(await shell.upload(*names, "--json"))[-1]
    assert (first["exit_code"], first["files"], first["bytes"]) == (1, 3, 3000)
    assert (first["completed"], first["failed"], first["stopped"]) == (1, 1, 1)
    shell.house.intercept = None
    second = told(await shell.upload(*names, "--json"))[-1]
    assert (second["exit_code"], second["files"], second["bytes"]) == (0, 3, 9000)
    assert (second["completed"], second["reused"]) == (2, 1)
