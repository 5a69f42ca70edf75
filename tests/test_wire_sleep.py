"""A machine that sleeps: its wall clock goes on, and its connections are gone when it wakes."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from house import KEY, House, make_source
from toxics import Act, Toxics

ENOUGH = 30.0
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))

needs_faketime = pytest.mark.skipif(
    not LIBRARIES, reason="libfaketime is not here, which moves a process's wall clock"
)


class Elsewhere:
    """``chunkup upload --json`` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, clock: Path) -> None:
        self.process = process
        self.clock = clock
        self.told: list[dict[str, Any]] = []

    async def until(self, *names: str) -> dict[str, Any]:
        """Read on until one of these events, or one with that in flight."""
        assert self.process.stdout is not None
        async with asyncio.timeout(ENOUGH):
            while line := await self.process.stdout.readline():
                self.told.append(json.loads(line))
                if self.told[-1]["event"] in names:
                    return self.told[-1]
        raise AssertionError(f"it ended before: {self.told}")

    async def at_rest(self) -> None:
        """Wait until what the systems in between still took in has been taken."""
        before, now = -1, 0
        while now != before:
            before, now = now, (await self.until("progress"))["sent"]

    def names(self) -> list[str]:
        return [event["event"] for event in self.told]

    def oversleep(self, seconds: int) -> None:
        """Move its wall clock on, as a sleep does."""
        self.clock.write_text(f"+{seconds}s")


@asynccontextmanager
async def uploading(url: str, folder: Path, *flags: str) -> AsyncIterator[Elsewhere]:
    clock = folder / "clock"
    clock.write_text("+0s")
    environ = {
        **os.environ,
        "OPENAI_API_KEY": KEY,
        "CHUNKUP_JOURNAL": str(folder / "j.db"),
        "CHUNKUP_CONFIG": str(folder / "none.toml"),
        "LD_PRELOAD": str(LIBRARIES[0]) if LIBRARIES else "",
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chunkup", "upload", str(folder / "a.bin")),
        *("--purpose", "user_data", "--json", "--base-url", url, "--part-size", "1MiB", *flags),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Elsewhere(process, clock)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@needs_faketime
async def test_after_a_sleep_dead_connections_are_given_up_soon_and_free_of_charge(
    house: House, tmp_path: Path
) -> None:
    make_source(tmp_path / "a.bin", 6 << 20)
    async with (
        Toxics(house.url, up=1e6) as line,
        uploading(line.url, tmp_path, "--retries", "0") as run,
    ):
        await run.until("progress")
        line.strike(Act.SILENCE)
        await run.at_rest()
        run.oversleep(7200)
        retried = await run.until("part_retried")
        assert "asleep" in retried["message"]
        await run.until("summary")
        assert await run.process.wait() == 0
    # The server was asked for its time: by that, the Upload had an hour still.
    assert house.calls.count("list") == 1
    assert "upload_expired" not in run.names()
    (file,) = house.files
    assert house.content(file.id) == (tmp_path / "a.bin").read_bytes()


@needs_faketime
async def test_connections_that_live_through_it_are_not_cut(house: House, tmp_path: Path) -> None:
    """Somebody sets the clock, and nothing else happens."""
    make_source(tmp_path / "a.bin", 6 << 20)
    async with Toxics(house.url, up=1e6) as line, uploading(line.url, tmp_path) as run:
        await run.until("progress")
        run.oversleep(7200)
        await run.until("summary")
        assert await run.process.wait() == 0
    assert "part_retried" not in run.names()
    assert "upload_expired" not in run.names()
    assert house.whole_bytes == 6 << 20


@needs_faketime
async def test_an_upload_that_died_in_the_sleep_is_replaced_before_anything_more_is_sent(
    house: House, tmp_path: Path
) -> None:
    make_source(tmp_path / "a.bin", 6 << 20)
    async with Toxics(house.url, up=1e6) as line, uploading(line.url, tmp_path) as run:
        await run.until("progress")
        line.strike(Act.SILENCE)
        await run.at_rest()
        house.clock.offset = 7200
        run.oversleep(7200)
        expired = await run.until("upload_expired")
        assert expired["reason"] == "expired"
        await run.until("summary")
        assert await run.process.wait() == 0
    # Two Uploads, and no part of the first was sent again.
    assert house.calls.count("create") == 2
    assert "part_retried" not in run.names()
    (file,) = house.files
    assert house.content(file.id) == (tmp_path / "a.bin").read_bytes()


@pytest.mark.skipif(shutil.which("kill") is None, reason="there is no way to stop a process")
async def test_a_process_that_stood_still_goes_on_where_it_was(
    house: House, tmp_path: Path
) -> None:
    """Stopped for longer than its stall time-out: nothing failed, so nothing is cut."""
    make_source(tmp_path / "a.bin", 6 << 20)
    async with (
        Toxics(house.url, up=2e6) as line,
        uploading(line.url, tmp_path, "--stall-timeout", "3") as run,
    ):
        await run.until("progress")
        run.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(7)  # the time itself is what is tried here
        run.process.send_signal(signal.SIGCONT)
        await run.until("summary")
        assert await run.process.wait() == 0
    assert "part_retried" not in run.names()
    assert house.whole_bytes == 6 << 20
