"""This machine's clock is put hours forth or back, during a run and between two of them."""

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import ills
import pytest
from aiohttp import web
from house import Handler, House, call_of, make_source
from sets import adopted, command, complete
from test_cli import AS_USED, Shell, shell
from test_cli_output import told
from test_wire_sleep import Elsewhere, needs_faketime, uploading

from chunkup.journal import Journal, Standing
from chunkup.render.tally import Trouble

__all__ = ["shell"]

SECONDS = {"+5h": 18000}


async def at(shell: Shell, offset: str, *words: str) -> Any:
    """Run a command by such a clock."""
    command, environ = ills.clock(offset)
    words = (sys.executable, "-m", "chunkup", *words)
    started = await shell._started([*command, *words], environ)
    return await shell.end(started)


# --- during a run -------------------------------------------------------------------------------


@needs_faketime
@pytest.mark.parametrize("hours", [-5, 5])
async def test_a_jump_while_parts_are_sent_changes_nothing(
    house: House, tmp_path: Path, hours: int
) -> None:
    make_source(tmp_path / "a.bin", 6 << 20)
    async with uploading(house.url, tmp_path, "--workers", "1") as run:
        jump_at(house, "part", 3, lambda: run.oversleep(hours * 3600))
        assert await ended(run) == 0
    assert_nothing_lost(house, run)
    assert house.calls.count("part") == 6
    (file,) = house.files
    assert house.content(file.id) == (tmp_path / "a.bin").read_bytes()


@needs_faketime
@pytest.mark.parametrize("hours", [5])
async def test_a_jump_while_complete_is_in_doubt_makes_no_second_file(
    house: House, tmp_path: Path, hours: int
) -> None:
    make_source(tmp_path / "a.bin", 2 << 20)
    async with uploading(house.url, tmp_path) as run:

        async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
            answer = await handler(request)
            if call_of(request) == "complete":
                run.oversleep(hours * 3600)
                assert request.transport is not None
                request.transport.abort()
            return answer

        house.intercept = intercept
        assert await ended(run) == 0
    assert_nothing_lost(house, run)
    assert len(house.files) == 1
    assert house.calls.count("complete") == 1


@needs_faketime
@pytest.mark.parametrize(("hours", "stamped"), [(-5, False), (5, True)])
async def test_a_wait_until_a_moment_is_counted_from_the_answers_own(
    house: House, tmp_path: Path, hours: int, *, stamped: bool
) -> None:
    """Retry-After as a date, in an answer that is or is not stamped itself."""
    make_source(tmp_path / "a.bin", 2 << 20)
    async with uploading(house.url, tmp_path, "--workers", "1") as run:
        refused = False

        async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
            nonlocal refused
            if call_of(request) != "part" or refused:
                return await handler(request)
            refused = True
            run.oversleep(hours * 3600)
            await request.read()
            answer = web.Response(status=503)
            answer.headers["Retry-After"] = formatdate(time.time() + 2, usegmt=True)
            if not stamped:
                answer.headers["Date"] = ""
            return answer

        house.intercept = intercept
        assert await ended(run) == 0
    assert_nothing_lost(house, run, retried=1)
    waits = [event["wait"] for event in run.told if event["event"] in {"part_retried", "paused"}]
    assert all(wait < 10 for wait in waits), waits


async def ended(run: Elsewhere) -> int:
    await run.until("summary")
    return await run.process.wait()


def jump_at(house: House, call: str, number: int, jump: Callable[[], None]) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == call and house.calls.count(call) == number:
            jump()
        return await handler(request)

    house.intercept = intercept


def assert_nothing_lost(house: House, run: Elsewhere, *, retried: int = 0) -> None:
    names = run.names()
    assert names.count("upload_expired") == names.count("late") == 0
    assert house.calls.count("create") == len(house.files) == 1
    assert names.count("part_retried") <= retried
    rates = [event["rate"] for event in run.told if event["event"] == "progress"]
    assert all(rate >= 0 for rate in rates)


# --- between runs -------------------------------------------------------------------------------


async def test_an_upload_that_lives_is_used_and_one_that_is_dead_is_not(shell: Shell) -> None:
    """By this machine's clock the one is over, and the other is not yet born."""
    shell.make("b.bin", size=8000)
    lives = await shell.half_sent()
    done = await at(shell, "+5h", "resume", lives, "--json")
    assert done.code == 0, done.err
    assert shell.house.calls.count("create") == 0
    assert not {"upload_expired", "late"} & {line["event"] for line in told(done)}
    dead = await shell.half_sent("b.bin")
    shell.house.clock.offset += 3601
    done = await at(shell, "-5h", "resume", dead, "--json")
    assert done.code == 0, done.err
    assert [line["reason"] for line in told(done) if line["event"] == "upload_expired"] == [
        "expired"
    ]
    # Its rest was not sent to the dead one.
    assert shell.house.calls.count("part") == 8
    assert len(shell.house.files) == 2


@pytest.mark.parametrize("jump", ["-5h", "+400d"])
async def test_what_stopped_under_another_clock_is_found_named_and_continued(
    shell: Shell, jump: str
) -> None:
    job = await shell.half_sent()
    listed = await at(shell, jump, "jobs")
    assert job in listed.out
    assert "stopped" in listed.out
    shown = await at(shell, jump, "show", job)
    assert "-" not in "".join(re.findall(r"^(?:begun|run|expire\w+):.*$", shown.out, re.MULTILINE))
    pruned = await at(shell, jump, "prune", "--older-than", "1s")
    assert (pruned.code, pruned.out) == (0, "")
    resumed = await at(shell, jump, "resume")
    if jump == "+400d":  # for which nothing happened for so long; it is named, and not lost
        assert "nothing happened to it for more than seven days" in resumed.err
        assert f"resume {job}" in resumed.err
        resumed = await at(shell, jump, "resume", "--all")
    assert resumed.code == 0, resumed.err
    assert shell.house.calls.count("create") == 0
    assert len(shell.house.files) == 1


@pytest.mark.parametrize("jump", ["+5h"])
async def test_a_job_that_runs_is_held_whatever_the_clock_says(shell: Shell, jump: str) -> None:
    held, go = asyncio.Event(), asyncio.Event()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            held.set()
            await go.wait()
        return await handler(request)

    shell.house.intercept = intercept
    first = await shell.start("upload", "a.bin", *AS_USED)
    await held.wait()
    second = await at(shell, jump, "upload", "a.bin", *AS_USED)
    assert second.code == 3, second.err
    assert "error[busy]" in second.err
    go.set()
    assert (await shell.end(first)).code == 0
    assert len(shell.house.files) == 1


async def test_a_file_that_expires_is_over_by_the_servers_clock(shell: Shell) -> None:
    """The rest of a set is sent, and of what it has no second File is made before that."""
    shell.make("b.bin")
    words = ("upload", "a.bin", "b.bin", *AS_USED, "--expires-after", "1h")

    async def refuse_the_second(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "create" and b"b.bin" in await request.read():
            return web.json_response({"error": {"message": "not now"}}, status=403)
        return await handler(request)

    shell.house.intercept = refuse_the_second
    assert (await shell.run(*words)).code == 1
    (first,) = shell.house.files
    again = await at(shell, "+5h", *words)
    assert again.code == 1, again.err
    assert shell.house.files == [first]
    assert again.out == f"{first.id}\ta.bin\n"
    # Once it is over it is made anew, however early it may be here.
    shell.house.clock.offset += 3700
    shell.house.intercept = None
    done = await at(shell, "-5h", *words)
    assert done.code == 0, done.err
    made = dict(reversed(line.split("\t")) for line in done.out.splitlines())
    assert made["a.bin"] != first.id


@pytest.mark.parametrize("offset", [-18000.0, 18000.0])
async def test_how_fast_a_link_was_is_believed_for_its_time_and_not_from_the_future(
    journal: Path, monkeypatch: pytest.MonkeyPatch, offset: float
) -> None:
    book = await Journal.open(journal)
    await book.note_rate("https://a.example/v1", 1e6)
    real = time.time
    assert await book.rate("https://a.example/v1", 3600) == 1e6
    monkeypatch.setattr(time, "time", lambda: real() + offset)
    assert await book.rate("https://a.example/v1", 3600) is None
    monkeypatch.undo()
    await book.close()


@pytest.mark.parametrize("jump", ["+5h"])
async def test_a_manifest_and_events_bear_the_time_that_there_was(shell: Shell, jump: str) -> None:
    """Theirs is the clock of this machine; what is the server's stays the server's."""
    before = time.time()
    done = await at(shell, jump, "upload", "a.bin", *AS_USED, "--json", "--manifest", "m.jsonl")
    assert done.code == 0, done.err
    (entry,) = [json.loads(line) for line in (shell.folder / "m.jsonl").read_text().splitlines()]
    (file,) = shell.house.files
    assert entry["file"] == file.id
    assert entry["created_at"] == file.created_at
    assert abs(file.created_at - before) < 600
    times = [line["time"] for line in told(done)]
    assert all(abs(moment - before - SECONDS[jump]) < 600 for moment in times)
    verified = await at(shell, jump, "verify", "m.jsonl")
    assert verified.code == 0, verified.err


def test_a_clock_that_is_set_back_shows_no_wait_for_hours() -> None:
    trouble = Trouble("busy", since=50_000.0, wait=20.0, retry=False)
    assert trouble.shown(50_010.0)
    assert not trouble.shown(50_021.0)
    assert not trouble.shown(50_000.0 - 18_000)


async def test_whether_a_file_is_over_is_judged_by_the_time_that_is_given(journal: Path) -> None:
    """One that this machine's clock holds for dead, and one that it holds for living."""
    book = await Journal.open(journal)
    first, other, _ = await adopted(book, "abc")
    end = int(time.time())
    await complete(book, first, expires_at=end - 18_000)
    await complete(book, other, expires_at=end + 18_000)
    early, late = command("abc", set_id="early"), command("abc", set_id="late")
    assert [one.standing for one in await book.adopt_all(early, now=end - 20_000)][:2] == [
        Standing.DONE,
        Standing.DONE,
    ]
    assert (await book.adopt_all(late, now=end + 20_000))[1].standing is Standing.NEW
    await book.close()
