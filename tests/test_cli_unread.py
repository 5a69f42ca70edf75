"""Uploads whose ids or events are read late, or never: all are completed, and no id is lost."""

import asyncio
import fcntl
import json
import os
import signal
import sys

import pytest
from aiohttp import web
from house import Handler, call_of
from signalled import LATE, Stage
from test_cli import AS_USED, SIZE
from test_cli import shell as shell  # noqa: PLC0414  (a fixture, as is the following)
from test_signals import stage as stage  # noqa: PLC0414
from unread import PAGE, all_of, full_pipe, narrow_pipe, next_of

NAMES = [f"{place:02}.bin" for place in range(12)]
# Says when all is done but that somebody reads it.
SETTLING = """
import sys
from chunkup.cli import main, transfer
settle = transfer.Transfer._settle
async def said(*given):
    await settle(*given)
    print("settled", file=sys.stderr, flush=True)
transfer.Transfer._settle = said
main.main()
"""
SETTLED = (sys.executable, "-c", SETTLING)


async def begun(stage: Stage, writable: int, *flags: str) -> asyncio.subprocess.Process:
    """A command that uploads all of :data:`NAMES`; by now each of them is a File."""
    stage.shell.make(*NAMES, size=500)
    words = ("upload", *NAMES, *AS_USED, *flags)
    process = await stage.begin(*words, before=SETTLED, stdout=writable)
    await stage.hear("settled")
    assert len(stage.shell.house.files) == len(NAMES)
    return process


def lines_of(stage: Stage) -> list[str]:
    """What a command prints that uploaded all of :data:`NAMES`."""
    ids = {row.filename: row.id for row in stage.shell.house.files}
    return [f"{ids[name]}\t{name}" for name in NAMES]


def said_of(stage: Stage, err: str) -> list[str]:
    """The lines of standard error that are meant for standard output."""
    return [line for line in err.splitlines() if line in lines_of(stage)]


async def printed(stage: Stage) -> list[bool]:
    """Which of :data:`NAMES` the journal has as printed."""
    lines = {line.job.path.rpartition("/")[2]: line for line in (await stage.shell.jobs()).values()}
    return [lines[name].printed for name in NAMES]


async def test_an_upload_is_completed_while_nobody_reads_its_events(stage: Stage) -> None:
    with full_pipe() as (readable, writable):
        process = await stage.begin(
            "upload", "a.bin", *AS_USED, "--json", before=SETTLED, stdout=writable
        )
        await stage.hear("a.bin is file-", "settled")
        assert process.returncode is None
        reading = asyncio.ensure_future(asyncio.to_thread(_until_summary, readable))
        code, _, err = await stage.end()
        lines = [json.loads(line) for line in (await reading).splitlines()]
    assert code == 0, err
    facts = [line["event"] for line in lines if line["event"] != "progress"]
    assert facts[:3] == ["finding", "job_started", "upload_created"]
    assert facts.count("part_accepted") == -(-SIZE // 1000)
    assert facts[-3:] == ["completing", "completed", "summary"]
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    assert lines[-2]["file"]["id"] == stage.shell.house.files[0].id
    assert all(line.printed for line in (await stage.shell.jobs()).values())


def _until_summary(readable: int) -> bytes:
    seen = b""
    while b'"summary"' not in seen or not seen.endswith(b"\n"):
        seen += next_of(readable)
    return seen.lstrip(b".")


async def test_files_are_all_made_while_nobody_reads_their_ids(stage: Stage) -> None:
    readable, writable = os.pipe()
    fcntl.fcntl(writable, fcntl.F_SETPIPE_SZ, PAGE)
    process = await begun(stage, writable)
    os.close(writable)
    assert process.returncode is None
    seen = await asyncio.wait_for(asyncio.to_thread(all_of, readable), LATE)
    os.close(readable)
    code, _, err = await stage.end()
    assert code == 0, err
    assert seen.decode().splitlines() == lines_of(stage)
    assert said_of(stage, err) == []
    assert all(await printed(stage))


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["ids", "json"])
async def test_a_signal_leaves_the_ids_that_nobody_read_on_stderr(
    stage: Stage, flags: list[str]
) -> None:
    with narrow_pipe() as (readable, writable):
        process = await begun(stage, writable, *flags)
        process.send_signal(signal.SIGTERM)
        code, _, err = await stage.end()
        os.close(writable)
        seen = all_of(readable).decode().splitlines()
    assert code == 143, err
    assert "stopped by SIGTERM; what was accepted is kept" in err
    through = 0 if flags else 1
    assert len(seen) == 1
    assert seen[:through] == lines_of(stage)[:through]
    assert said_of(stage, err) == lines_of(stage)[through:]
    assert await printed(stage) == [place < through for place in range(len(NAMES))]
    stage.shell.forget()
    again = await stage.shell.run("resume")
    assert again.out.splitlines() == lines_of(stage)
    assert stage.shell.house.calls == []
    assert all(await printed(stage))


async def test_the_time_given_ends_it_though_nobody_reads(stage: Stage) -> None:
    with full_pipe() as (_, writable):
        await stage.begin("upload", "a.bin", *AS_USED, "--max-time", "1s", stdout=writable)
        code, _, err = await stage.end()
    assert code == 75, err
    assert "stopped by --max-time after 1 s" in err
    for row in stage.shell.house.files:
        assert row.id in err.splitlines()
    again = await stage.shell.run("resume")
    assert again.out == f"{stage.shell.house.files[0].id}\ta.bin\n"


async def test_a_reader_who_leaves_late_leaves_the_rest_on_stderr(stage: Stage) -> None:
    with narrow_pipe() as (readable, writable):
        process = await begun(stage, writable)
        assert process.returncode is None
        os.close(readable)
        code, _, err = await stage.end()
    assert code == 1, err
    assert "error[error]: standard output broke off; the ids are on standard error" in err
    assert said_of(stage, err) == lines_of(stage)[1:]
    assert await printed(stage) == [place < 1 for place in range(len(NAMES))]


async def test_ids_that_come_after_output_failed_are_said_as_they_come(stage: Stage) -> None:
    go = asyncio.Event()

    async def hold(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "create" and NAMES[0].encode() not in await request.read():
            await go.wait()
        return await handler(request)

    stage.shell.make(*NAMES, size=500)
    stage.shell.house.intercept = hold
    full = os.open("/dev/full", os.O_WRONLY)
    await stage.begin("upload", *NAMES, *AS_USED, stdout=full)
    os.close(full)
    await stage.hear(f"\t{NAMES[0]}\n")
    go.set()
    code, _, err = await stage.end()
    assert code == 1
    assert said_of(stage, err) == lines_of(stage)
    assert not any(await printed(stage))


async def test_a_kill_leaves_the_ids_that_nobody_read_to_the_next_run(stage: Stage) -> None:
    with narrow_pipe() as (readable, writable):
        process = await begun(stage, writable)
        while not any(await printed(stage)):
            continue
        process.kill()
        await process.wait()
        os.close(writable)
        assert all_of(readable).decode().splitlines() == lines_of(stage)[:1]
    assert await printed(stage) == [place < 1 for place in range(len(NAMES))]
    stage.shell.forget()
    again = await stage.shell.run("resume")
    assert again.out.splitlines() == lines_of(stage)
    assert stage.shell.house.calls == []
