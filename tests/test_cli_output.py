"""Standard output as programs read it, standard error as people do, and either of them broken."""

import asyncio
import json
import os
import pty
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import click
import jsonschema
import pytest
from aiohttp import web
from house import KEY, Handler, call_of, drop
from test_cli import AS_USED, PIPE, SIZE, Result, Shell, hint_of, hold_parts_after, list_of, shell

from chunkup.cli.main import cli
from chunkup.machine import Phase
from chunkup.render import schema

__all__ = ["shell"]

VALIDATOR = jsonschema.Draft202012Validator(schema())
COUNTS = ("completed", "reused", "failed", "stopped", "unknown", "busy")


def told(done: Result) -> list[dict[str, Any]]:
    """What was printed as JSON, after everything that holds for all of it."""
    lines = [json.loads(line) for line in done.out.splitlines()]
    for line in lines:
        assert list(VALIDATOR.iter_errors(line)) == []
    assert [line["event"] for line in lines].count("summary") == 1
    summary = lines[-1]
    assert summary["event"] == "summary"
    assert summary["exit_code"] == done.code
    assert sum(summary[name] for name in COUNTS) == summary["files"], summary
    completed = [line for line in lines if line["event"] == "completed"]
    assert len(completed) <= summary["completed"] + summary["reused"]
    return lines


def ends_of(lines: list[dict[str, Any]]) -> list[str]:
    ends = {"completed", "failed", "stopped", "unknown"}
    return [line["event"] for line in lines if line["event"] in ends]


# --- ids --------------------------------------------------------------------------------------


async def test_the_format_can_be_forced_either_way(shell: Shell) -> None:
    shell.make("b.bin")
    both = await shell.upload("a.bin", "b.bin", "--format", "id")
    assert both.out.splitlines() == [
        next(row.id for row in shell.house.files if row.filename == name)
        for name in ("a.bin", "b.bin")
    ]
    one = await shell.upload("a.bin", CHUNKUP_FORMAT="tsv")
    assert one.out == f"{shell.house.files[-1].id}\ta.bin\n"
    job = await shell.half_sent("b.bin", 1)
    bare = await shell.run("resume", "--format", "id")
    assert re.fullmatch(r"file-\w+\n", bare.out)
    named = await shell.run("resume", job, "--format", "tsv")
    assert named.out == f"{bare.out.strip()}\t{shell.folder}/b.bin\n"


async def test_quiet_leaves_results_and_errors(shell: Shell) -> None:
    shell.make("b.bin")
    await shell.half_sent("b.bin", 1)
    done = await shell.run("resume", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("b.bin\n")
    refused = await shell.upload("nowhere.bin", CHUNKUP_QUIET="1")
    assert refused.err.startswith("error[no-such-file]: ")


# --- json -------------------------------------------------------------------------------------


async def test_json_of_a_file_tells_all_of_it_and_the_id(shell: Shell) -> None:
    done = await shell.upload("a.bin", "--json")
    lines = told(done)
    (row,) = shell.house.files
    names = [line["event"] for line in lines]
    # Nobody knows whether that name is one for this purpose.
    assert names[:3] == ["finding", "job_started", "upload_created"]
    assert names.count("part_accepted") == 21
    assert names[-3:] == ["completing", "completed", "summary"]
    assert lines[-2]["file"]["id"] == row.id
    assert (lines[-1]["files"], lines[-1]["completed"], lines[-1]["bytes"]) == (1, 1, SIZE)
    assert lines[-1]["code"] is None
    assert {line["job"] for line in lines[1:-1]} == set(await shell.jobs())
    assert {line["path"] for line in lines[:-1]} == {str(shell.folder / "a.bin")}
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    assert "a.bin is" in done.err


async def test_json_of_a_set_counts_what_an_earlier_command_made(shell: Shell) -> None:
    shell.make("b.bin", "c.bin")

    async def reject(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "create" and b"c.bin" in await request.read():
            return web.json_response({"error": {"message": "\x1b[2Jno"}}, status=400)
        return await handler(request)

    shell.house.intercept = reject
    first = told(await shell.upload("a.bin", "b.bin", "c.bin", "--json"))
    assert sorted(ends_of(first)) == ["completed", "completed", "failed"]
    counts = first[-1]
    assert (counts["files"], counts["completed"], counts["failed"]) == (3, 2, 1)
    assert counts["bytes"] == SIZE + 3000
    assert counts["code"] is None
    (failed,) = [line for line in first if line["event"] == "failed"]
    assert failed["code"] == "rejected"
    assert failed["path"].endswith("c.bin")
    shell.forget()
    second = told(await shell.upload("a.bin", "b.bin", "c.bin", "--json"))
    counts = second[-1]
    assert (counts["files"], counts["reused"], counts["completed"]) == (3, 2, 1)
    assert counts["bytes"] == SIZE + 6000
    ids = {line["file"]["id"] for line in second if line["event"] == "completed"}
    assert ids == {row.id for row in shell.house.files}
    assert shell.house.calls.count("create") == 1


@pytest.mark.parametrize(
    ("words", "environ", "code"),
    [
        (["upload", "a.bin"], {}, "usage"),
        (["upload", "-p", "user_data"], {}, "usage"),
        (["upload", "a.bin", "-p", "user_data", "--nonsense"], {}, "usage"),
        (["upload", "a.bin", "-p", "user_data", "--part-size", "much"], {}, "usage"),
        (["upload", "a.bin", "b.bin", "-p", "user_data", "--filename", "x"], {}, "usage"),
        (["upload", "a.bin", "nowhere.bin", "-p", "user_data"], {}, "no-such-file"),
        (["upload", "a.bin", "-p", "user_data"], {"OPENAI_API_KEY": ""}, "no-key"),
        (["upload", "a.bin", "-p", "user_data", "--profile", "nobody"], {}, "bad-option"),
        (["upload", "a.bin", "-p", "user_data", "--journal", "/dev/null"], {}, "bad-journal"),
        (["upload", "a.bin", "-p", "user_data", "-n", "--part-size", "0"], {}, "bad-option"),
        (["resume", "zzzzzz"], {}, "no-such-job"),
        (["resume", "--again"], {}, "usage"),
        (["resume", "--nonsense"], {}, "usage"),
        (["resume"], {"OPENAI_API_KEY": ""}, "no-key"),
    ],
)
@pytest.mark.parametrize("way", ["flag", "variable"])
async def test_json_of_a_refusal_is_its_summary_alone(
    shell: Shell, words: list[str], environ: dict[str, str], code: str, way: str
) -> None:
    if way == "variable" and code not in {"usage", "no-key"}:
        return  # one of each place where the summary is written
    more = ["--json"] if way == "flag" else []
    variable = {} if way == "flag" else {"CHUNKUP_JSON": "1"}
    shell.make("b.bin")
    done = await shell.run(*words, *more, **environ, **variable)
    (summary,) = told(done)
    assert done.code == 2
    assert summary["code"] == code
    assert summary["files"] == 0
    assert f"error[{code}]: " in done.err
    assert summary["hint"]
    assert shell.house.calls == []


async def test_json_of_a_dry_run_is_a_summary_and_the_plan_is_talk(shell: Shell) -> None:
    shell.make("b.bin")
    done = await shell.upload("a.bin", "b.bin", "-n", "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["event"] for line in lines] == ["summary"]
    assert list(VALIDATOR.iter_errors(lines[0])) == []
    assert (done.code, lines[0]["exit_code"], lines[0]["files"]) == (0, 0, 2)
    assert "a.bin: 20.5 kB (20500 bytes) in 21 parts of 1 kB" in done.err
    assert "b.bin: 3 kB (3000 bytes) in 3 parts of 1 kB" in done.err
    assert shell.house.calls == []
    assert not shell.journal.exists()


async def test_json_of_exit_1_has_the_error_with_commands_that_can_be_pasted(shell: Shell) -> None:
    job = await shell.half_sent()
    (shell.folder / "a.bin").write_bytes(b"changed")
    done = await shell.run("resume", job, "--json")
    lines = told(done)
    assert done.code == 1
    assert (lines[-1]["files"], lines[-1]["failed"]) == (1, 1)
    (failed,) = [line for line in lines if line["event"] == "failed"]
    assert failed["code"] == "source-changed"
    assert failed["job"] == job
    elsewhere = {"OPENAI_BASE_URL": "", "CHUNKUP_JOURNAL": ""}
    assert (await shell.paste(failed["resume"], **elsewhere)).code == 1
    again = await shell.paste(failed["hint"], **elsewhere)
    assert again.code == 0, again.err
    assert shell.house.content(again.out.strip()) == b"changed"


async def test_json_of_exit_3_counts_what_others_hold(shell: Shell) -> None:
    shell.make("b.bin")
    held, go = hold_parts_after(shell.house, 5)
    process = await shell.start("upload", "a.bin", *AS_USED)
    await held.wait()
    shell.house.intercept = None
    done = await shell.upload("a.bin", "b.bin", "--json")
    lines = told(done)
    assert done.code == 3
    assert (lines[-1]["busy"], lines[-1]["completed"]) == (1, 1)
    (job,) = [line.job.id for line in (await shell.jobs()).values() if line.owner]
    bare = told(await shell.run("resume", "--json"))
    assert (bare[-1]["exit_code"], bare[-1]["code"]) == (3, "busy")
    named = told(await shell.run("resume", job, "--json"))
    assert (named[-1]["exit_code"], named[-1]["busy"]) == (3, 1)
    go.set()
    assert (await shell.end(process)).code == 0


async def test_json_of_exit_4_has_the_candidates(shell: Shell) -> None:
    async def doubt(request: web.Request, handler: Handler) -> web.StreamResponse:
        match call_of(request):
            case "complete":
                return drop(request)
            case "list":
                return list_of("file-1", "file-2")
            case _:
                return await handler(request)

    shell.house.intercept = doubt
    done = await shell.upload("a.bin", "--json")
    lines = told(done)
    assert done.code == 4
    assert (lines[-1]["files"], lines[-1]["unknown"]) == (1, 1)
    (unknown,) = [line for line in lines if line["event"] == "unknown"]
    assert unknown["candidates"] == ["file-2", "file-1"]
    assert unknown["hint"] == hint_of(done.err)
    assert f"resume {unknown['job']} --accept file-2 " in unknown["hint"]


async def test_json_of_exit_75_has_the_command_that_goes_on(shell: Shell) -> None:
    async def fail(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            return web.Response(status=503, headers={"retry-after-ms": "1"})
        return await handler(request)

    shell.house.intercept = fail
    done = await shell.upload("a.bin", "--json")
    lines = told(done)
    assert done.code == 75
    assert (lines[-1]["files"], lines[-1]["stopped"]) == (1, 1)
    assert ends_of(lines) == ["stopped"]
    assert "part_retried" in {line["event"] for line in lines}
    (stopped,) = [line for line in lines if line["event"] == "stopped"]
    assert stopped["code"] == "server-trouble"
    shell.forget()
    again = await shell.paste(stopped["resume"], OPENAI_BASE_URL="", CHUNKUP_JOURNAL="")
    assert again.code == 0, again.err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
async def test_json_of_a_signal_counts_what_did_not_end(
    shell: Shell, number: signal.Signals, code: int
) -> None:
    names = [f"{place}.bin" for place in range(10)]
    shell.make(*names, size=500)
    held, go = hold_parts_after(shell.house, 3)
    process = await shell.start("upload", *names, *AS_USED, "--json")
    await held.wait()
    while sum(line.phase is Phase.COMPLETED for line in (await shell.jobs()).values()) < 3:
        continue
    process.send_signal(number)
    done = await shell.end(process)
    go.set()
    lines = told(done)
    assert done.code == code
    assert (lines[-1]["files"], lines[-1]["completed"], lines[-1]["stopped"]) == (10, 3, 7)
    assert lines[-1]["code"] == "interrupted"
    assert lines[-1]["hint"] == hint_of(done.err)
    assert {line["code"] for line in lines if line["event"] == "stopped"} == {"interrupted"}


# --- a standard output that breaks ------------------------------------------------------------


async def test_a_reader_who_leaves_gets_the_rest_on_stderr_and_from_the_next_resume(
    shell: Shell,
) -> None:
    shell.make("b.bin", "c.bin")
    go = asyncio.Event()

    async def hold(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "create" and b"a.bin" not in await request.read():
            await go.wait()
        return await handler(request)

    shell.house.intercept = hold
    readable, writable = os.pipe()
    process = await shell.start_into(writable, "upload", "a.bin", "b.bin", "c.bin", *AS_USED)
    os.close(writable)
    first = await asyncio.to_thread(os.read, readable, 1000)
    os.close(readable)
    go.set()
    done = await shell.end(process)
    assert done.code == 1
    ids = {row.filename: row.id for row in shell.house.files}
    assert first.decode() == f"{ids['a.bin']}\ta.bin\n"
    lines = done.err.splitlines()
    assert f"{ids['b.bin']}\tb.bin" in lines
    assert f"{ids['c.bin']}\tc.bin" in lines
    assert "error[error]: standard output broke off; the ids are on standard error" in lines
    shell.forget()
    again = await shell.paste(hint_of(done.err))
    assert again.code == 0, again.err
    assert again.out == "".join(f"{ids[name]}\t{name}\n" for name in ("a.bin", "b.bin", "c.bin"))
    assert shell.house.calls == []
    assert (await shell.run("resume")).out == ""


@pytest.mark.parametrize("flags", ["", "--json"])
@pytest.mark.parametrize("how", ["| true", ">&-", ">/dev/full"])
async def test_a_stdout_that_takes_nothing_does_not_stop_the_upload(
    shell: Shell, how: str, flags: str
) -> None:
    words = f"chunkup upload a.bin -p user_data -q {flags}"
    done = await shell.paste(f'{{ {words}; echo "code $?" >&2; }} {how}')
    (row,) = shell.house.files
    assert row.id in done.err.splitlines()
    assert "code 1" in done.err.splitlines()
    again = await shell.run("resume")
    assert again.out == f"{row.id}\ta.bin\n"


@pytest.mark.parametrize("how", ["2>&-", "2>/dev/full", "2> >(true)", "<&- 2>&-"])
async def test_a_stderr_that_takes_nothing_harms_nothing(shell: Shell, how: str) -> None:
    done = await shell.paste(f"chunkup upload a.bin -p user_data {how}")
    (row,) = shell.house.files
    assert (done.code, done.out) == (0, f"{row.id}\n")
    assert shell.house.content(row.id) == (shell.folder / "a.bin").read_bytes()
    refused = await shell.paste(f"chunkup upload nowhere.bin -p user_data --json {how}")
    assert refused.code == 2
    assert told(refused)[-1]["code"] == "no-such-file"
    assert (await shell.paste(f"chunkup show zzzzzz {how}")).code == 2
    assert (await shell.paste(f"chunkup resume {how}")).code == 0


async def test_without_any_standard_stream_the_journal_stays_whole(shell: Shell) -> None:
    done = await shell.paste("chunkup upload a.bin -p user_data <&- >&- 2>&-")
    assert (done.code, done.out, done.err) == (1, "", "")
    (line,) = (await shell.jobs()).values()
    assert line.phase is Phase.COMPLETED
    assert (await shell.run("resume")).out == f"{shell.house.files[0].id}\ta.bin\n"


async def test_what_the_encoding_has_no_letters_for_is_escaped(shell: Shell) -> None:
    shell.make("größe.bin", "数据.bin")
    done = await shell.upload("größe.bin", "数据.bin", PYTHONIOENCODING="ascii:strict")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].endswith("\tgr\\xf6\\xdfe.bin")
    assert done.out.splitlines()[1].endswith("\t\\u6570\\u636e.bin")
    job = next(iter(await shell.jobs()))
    shown = await shell.run("show", job, PYTHONIOENCODING="ascii:strict")
    assert shown.code == 0, shown.err
    assert "\\u2588" in shown.out


# --- a terminal -------------------------------------------------------------------------------


async def seen_on_a_terminal(shell: Shell, *words: str, **more: str) -> str:
    """What a command writes to a terminal that is its standard error."""
    loop, (ours, theirs) = asyncio.get_running_loop(), pty.openpty()
    _, go = hold_parts_after(shell.house, shell.house.calls.count("part") + 10)
    if "-q" in words or "none" in words or "lines" in words or more.get("TERM") == "dumb":
        go.set()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chunkup", *words),
        cwd=shell.folder,
        env={**shell.environ, "TERM": "xterm-256color", **more},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=theirs,
    )
    shell.started.append(process)
    os.close(theirs)

    def read() -> bytes:
        seen = b""
        try:
            while piece := os.read(ours, 65536):
                seen += piece
                if b" 48 %" in seen:  # ten parts of twenty and a half
                    loop.call_soon_threadsafe(go.set)
        except OSError:
            pass  # the other side is closed, as Linux says it
        return seen

    seen = await asyncio.to_thread(read)
    os.close(ours)
    out, _ = await process.communicate()
    assert process.returncode == 0, seen
    assert out.decode().strip() == shell.house.files[-1].id
    return seen.decode()


async def test_a_terminal_has_a_bar_and_colours_only_where_they_are_welcome(shell: Shell) -> None:
    words = ["upload", "a.bin", *AS_USED]
    coloured = await seen_on_a_terminal(shell, *words)
    assert "\x1b[" in coloured
    colour = re.compile(r"\x1b\[(?:\d+;)*[349]\d")
    assert colour.search(coloured)
    plain = await seen_on_a_terminal(shell, *words, NO_COLOR="1")
    assert "\x1b[" in plain
    assert not colour.search(plain)
    for flags in (["--progress", "lines"], ["--progress", "none"], ["-q"]):
        assert "\x1b" not in await seen_on_a_terminal(shell, *words, *flags)
    assert "\x1b" not in await seen_on_a_terminal(shell, *words, TERM="dumb")
    assert await seen_on_a_terminal(shell, *words, "-q") == ""


# --- errors -----------------------------------------------------------------------------------


async def rejected(shell: Shell) -> Result:
    async def reject(request: web.Request, handler: Handler) -> web.StreamResponse:
        return web.json_response({"error": {"message": "\x1b]0;owned\x07 no"}}, status=403)

    shell.house.intercept = reject
    return await shell.upload("a.bin")


async def unauthorized(shell: Shell) -> Result:
    return await shell.upload("a.bin", OPENAI_API_KEY="sk-wrong-0123456789")


async def mistyped(shell: Shell) -> Result:
    return await shell.upload("a.bin", "--porpose", "x")


async def held(shell: Shell) -> Result:
    holding, go = hold_parts_after(shell.house, 5)
    process = await shell.start("upload", "a.bin", *AS_USED)
    await holding.wait()
    done = await shell.upload("a.bin")
    go.set()
    await shell.end(process)
    return done


async def doubtful(shell: Shell) -> Result:
    job = await shell.in_doubt()

    async def two_fit(request: web.Request, handler: Handler) -> web.StreamResponse:
        return list_of("file 1'", "file 2'")

    shell.house.intercept = two_fit
    return await shell.run("resume", job)


async def unreachable(shell: Shell) -> Result:
    return await shell.upload("a.bin", "--base-url", "http://127.0.0.1:1/v1", "--retries", "0")


async def interrupted(shell: Shell) -> Result:
    holding, go = hold_parts_after(shell.house, 5)
    process = await shell.start("upload", "a.bin", *AS_USED)
    await holding.wait()
    process.send_signal(signal.SIGINT)
    done = await shell.end(process)
    go.set()
    return done


@pytest.mark.parametrize(
    ("cause", "exit_code", "code"),
    [
        (rejected, 1, "forbidden"),
        (unauthorized, 1, "unauthorized"),
        (mistyped, 2, "usage"),
        (held, 3, "busy"),
        (doubtful, 4, "outcome-unknown"),
        (unreachable, 75, "unreachable"),
        (interrupted, 130, "interrupted"),
    ],
)
async def test_an_error_is_a_sentence_a_blank_line_and_a_command(
    shell: Shell, cause: Callable[[Shell], Awaitable[Result]], exit_code: int, code: str
) -> None:
    done = await cause(shell)
    assert (done.code, done.out) == (exit_code, "")
    found = re.search(
        r"^error\[([\w-]+)\]: (\S.*)\n\nhint: (chunkup .+)\n\Z", done.err, re.MULTILINE
    )
    assert found is not None, done.err
    assert found[1] == code
    assert found[2][-1] not in ".!\n"
    assert all(char.isprintable() or char == "\n" for char in done.err)
    assert KEY not in done.err
    assert "sk-wrong" not in done.err
    words = (await shell.paste(f"printf '%s\\0' {found[3]}")).out.split("\0")[1:-1]
    name, command, rest = cli.resolve_command(click.Context(cli), words)
    assert name is not None
    assert command is not None
    if "--help" not in rest:
        command.make_context(name, rest)


# --- too late ---------------------------------------------------------------------------------


async def test_what_cannot_be_in_time_is_said_and_fails_if_that_is_wanted(shell: Shell) -> None:
    shell.house.store._ttl = 60
    shell.make("b.bin", "c.bin", size=200_000)

    async def slow(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            await asyncio.sleep(0.5)  # what a slow line is
        return await handler(request)

    shell.house.intercept = slow
    flags = [*AS_USED, "--workers", "1", "--json"]
    warned = await shell.start("upload", "c.bin", *flags)
    failed = await shell.run("upload", "b.bin", *flags, "--fail-if-late")
    lines = told(failed)
    assert failed.code == 1
    (late,) = [line for line in lines if line["event"] == "late"]
    assert 0 < late["seconds"] < 600
    assert lines[-2]["event"] == "failed"
    assert lines[-2]["code"] == "too-slow"
    assert "error[too-slow]" in failed.err
    assert warned.stdout is not None
    while json.loads(await warned.stdout.readline())["event"] != "late":
        continue
    assert warned.returncode is None
    warned.kill()
    shell.forget()
    done = await shell.paste(hint_of(failed.err))
    assert done.code == 0, done.err
    assert shell.house.content(done.out.strip()) == (shell.folder / "b.bin").read_bytes()
