"""``--max-time``: a command that has only so long stops in time, wherever it is by then."""

import asyncio
import json
import re
import shlex
import time
from collections.abc import Awaitable, Callable

import pytest
from test_cli import SIZE, Result, Shell, hold_parts_after
from test_cli import shell as shell  # noqa: PLC0414  (the fixture)
from test_cli_wait import saying

from chunkup.cli.session import run
from chunkup.errors import Interrupted, Stopped

# Seconds that a command may take to begin and to end, on a machine that is busy with tests.
SLACK = 20.0


def assert_stopped(done: Result, *, limit: str = "1 s") -> None:
    assert done.code == 75, done.err
    assert f"error[stopped]: stopped by --max-time after {limit}; " in done.err


def continuing(done: Result) -> list[str]:
    """The command that the hint names."""
    hint = re.search(r"^hint: (chunkup .*)$", done.err, re.MULTILINE)
    assert hint is not None, done.err
    return shlex.split(hint[1])[1:]


async def test_an_upload_stops_in_time_keeps_its_receipts_and_says_how_to_go_on(
    shell: Shell,
) -> None:
    held, go = hold_parts_after(shell.house, 5)
    began = time.monotonic()
    done = await shell.upload("a.bin", "--max-time", "3s")
    assert time.monotonic() - began < SLACK
    assert_stopped(done, limit="3 s")
    assert "what was accepted is kept" in done.err
    assert done.out == ""
    assert held.is_set()
    go.set()
    await shell.house.idle()
    shell.forget()
    resumed = await shell.run(*continuing(done))
    assert resumed.code == 0, resumed.err
    assert shell.house.content(resumed.out.strip()) == (shell.folder / "a.bin").read_bytes()
    assert shell.house.whole_bytes == SIZE - 5000


async def test_resume_takes_it_by_its_variable_too(shell: Shell) -> None:
    await shell.half_sent()
    hold_parts_after(shell.house, 2)
    assert_stopped(await shell.run("resume", CHUNKUP_MAX_TIME="1s"))


async def test_the_last_line_of_json_says_what_happened(shell: Shell) -> None:
    hold_parts_after(shell.house, 5)
    done = await shell.upload("a.bin", "--json", "--max-time", "1s")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["event"] for line in lines].count("summary") == 1
    assert lines[-1]["event"] == "summary"
    assert lines[-1]["exit_code"] == done.code == 75
    assert lines[-1]["code"] == "stopped"
    assert lines[-1]["stopped"] == 1


async def test_it_ends_the_wait_for_a_file_to_be_processed(shell: Shell) -> None:
    saying(shell.house, ["uploaded"])
    began = time.monotonic()
    done = await shell.upload("a.bin", "--wait", "--max-time", "2s")
    assert time.monotonic() - began < SLACK
    assert_stopped(done, limit="2 s")
    assert len(shell.house.files) == 1


async def test_it_ends_the_check_before_an_upload(shell: Shell) -> None:
    with (shell.folder / "big.jsonl").open("wb") as file:
        file.truncate(50 << 30)  # a hole that takes minutes to read
    began = time.monotonic()
    done = await shell.run("upload", "big.jsonl", "-p", "batch", "--split", "--max-time", "1s")
    assert time.monotonic() - began < SLACK
    assert_stopped(done)
    assert "nothing had been sent yet" in done.err
    assert shell.house.calls == []


async def test_it_ends_the_wait_for_a_server_that_is_not_there(shell: Shell) -> None:
    began = time.monotonic()
    nobody = "http://127.0.0.1:9/v1"
    # Who refuses a connection uses up attempts: enough of them, or they end it themselves.
    done = await shell.upload("a.bin", "--max-time", "1s", "--retries", "100", "--base-url", nobody)
    assert time.monotonic() - began < SLACK
    assert_stopped(done)


@pytest.mark.parametrize("duration", ["0", "0s", "-1s", "soon"])
async def test_no_time_at_all_is_refused(shell: Shell, duration: str) -> None:
    done = await shell.upload("a.bin", f"--max-time={duration}")
    assert done.code == 2, done.err
    assert shell.house.calls == []


@pytest.mark.parametrize("rate", ["0", "10KiB/s", "5MB", "fast"])
async def test_a_rate_at_which_connections_look_dead_is_refused(shell: Shell, rate: str) -> None:
    done = await shell.upload("a.bin", "--limit-rate", rate)
    assert done.code == 2, done.err
    assert shell.house.calls == []


async def test_a_command_keeps_to_the_rate_that_it_is_given(shell: Shell) -> None:
    began = time.monotonic()
    done = await shell.upload("a.bin", CHUNKUP_LIMIT_RATE="16KiB/s")
    assert done.code == 0, done.err
    assert time.monotonic() - began >= SIZE / 16384 * 0.9


# --- the stay in the loop itself ------------------------------------------------------------


def stay(work: Callable[[], Awaitable[int]], **more: object) -> int:
    async def doing() -> int:
        return await work()

    return run(doing(), **more)  # type: ignore[arg-type]


def test_who_is_through_in_time_is_not_stopped() -> None:
    async def work() -> int:
        return 7

    assert stay(work, max_time=3600.0) == 7


def test_what_had_not_begun_is_to_be_run_again() -> None:
    with pytest.raises(Stopped, match="nothing had been sent yet") as caught:
        stay(asyncio.Event().wait, max_time=0.01)
    assert caught.value.exit_code == 75
    assert caught.value.hint == "run the same command again, with more time"
    assert not isinstance(caught.value, Interrupted)


def test_a_cancellation_that_nobody_asked_for_is_none_of_ours() -> None:
    async def work() -> int:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        stay(work, max_time=3600.0)
