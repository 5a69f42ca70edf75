"""``jobs``, ``show``, ``stop``, ``cancel`` and ``prune``: the journal as people see it."""

import asyncio
import json
import re
import signal
import time

import pytest
from aiohttp import web
from house import Handler, call_of, make_source
from test_cli import AS_USED, SIZE, Shell, hint_of, hold_parts_after, kill_half_way, shell

from chunkup.cli.jobs import strip
from chunkup.machine import Phase
from chunkup.models import Span

__all__ = ["shell"]


def rows(out: str) -> list[dict[str, str]]:
    """The table by its headings, whose places are those of the columns."""
    header, *lines = out.splitlines()
    names = re.findall(r"\S+", header)
    places = [header.index(name) for name in names] + [None]
    return [
        {name: line[begin:end].strip() for name, begin, end in zip(names, places, places[1:])}  # noqa: B905  (one place more, on purpose)
        for line in lines
    ]


def next_of(shown: str) -> str | None:
    found = re.search(r"^next: +(chunkup .*)$", shown, re.MULTILINE)
    return found[1] if found else None


# --- jobs -------------------------------------------------------------------------------------


async def test_jobs_says_of_each_how_far_it_is_and_why_it_stopped(shell: Shell) -> None:
    stopped = await shell.half_sent()
    shell.make("done.bin", "gone\n.bin")
    done = (await shell.upload("done.bin")).out.strip()
    cancelled = await shell.half_sent("gone\n.bin", 1)
    assert (await shell.run("cancel", cancelled)).code == 0
    listed = await shell.run("jobs")
    assert listed.code == 0
    first, second, third = rows(listed.out)
    assert (first["JOB"], first["STATE"], first["DONE"]) == (stopped, "stopped", "24 %")
    assert (first["SIZE"], first["PURPOSE"], first["FILE"]) == ("20.5 kB", "user_data", "a.bin")
    assert first["WHY"]
    assert (second["STATE"], second["DONE"], second["WHY"]) == ("completed", "100 %", done)
    assert (third["JOB"], third["STATE"]) == (cancelled, "cancelled")
    assert third["FILE"] == "gone\\n.bin"
    assert all(re.fullmatch(r"\d+ s", row["AGE"]) for row in (first, second, third))


async def test_jobs_as_json_is_one_object_a_line_with_the_same_facts(shell: Shell) -> None:
    stopped = await shell.half_sent()
    shell.make("done.bin")
    done = await shell.upload("done.bin")
    found = [json.loads(line) for line in (await shell.run("jobs", "--json")).out.splitlines()]
    assert (found[0]["id"], found[0]["state"]) == (stopped, "stopped")
    assert (found[0]["size"], found[0]["done"], found[0]["parts"]) == (SIZE, 5000, 5)
    assert found[0]["path"] == str(shell.folder / "a.bin")
    assert found[0]["file_id"] is None
    assert found[0]["active_at"] == pytest.approx(time.time(), abs=60)
    assert (found[1]["state"], found[1]["file_id"]) == ("completed", done.out.strip())
    assert found[1]["why"] is None
    by_variable = await shell.run("jobs", CHUNKUP_JSON="1")
    assert by_variable.out.count('{"id"') == 2


async def test_a_killed_run_is_told_as_one(shell: Shell) -> None:
    await kill_half_way(shell, signal.SIGKILL)
    (row,) = rows((await shell.run("jobs")).out)
    assert (row["STATE"], row["WHY"]) == ("stopped", "killed, or the machine went down")
    shown = (await shell.run("show", row["JOB"])).out
    assert re.search(r"^run: +\d+ s ago, process \d+ on .*, no end noted$", shown, re.MULTILINE)


async def test_an_empty_journal_prints_nothing_and_says_so(shell: Shell) -> None:
    done = await shell.run("jobs")
    assert (done.code, done.out, done.err) == (0, "", "the journal holds no jobs\n")
    done = await shell.run("jobs", "--json")
    assert (done.code, done.out) == (0, "")


async def test_a_reader_who_leaves_is_no_error_and_a_full_disk_is_one(shell: Shell) -> None:
    await shell.upload("a.bin")
    for command in ("jobs", "jobs --json", "show $ID", "prune --older-than 0s -n"):
        (job,) = await shell.jobs()
        left = await shell.paste(f"chunkup {command} | true; echo ${{PIPESTATUS[0]}}", ID=job)
        assert left.out.strip() in {"0", "1"}
        assert "error" not in left.err
        full = await shell.paste(f"chunkup {command} >/dev/full", ID=job)
        assert full.code == 1
        assert "error[error]: standard output takes nothing: No space left on device" in full.err


# --- show -------------------------------------------------------------------------------------


def test_the_strip_has_a_full_a_shaded_and_a_light_block() -> None:
    whole = Span(0, 400)
    assert strip(whole, [], 4) == "▕░░░░▏"
    assert strip(whole, [Span(0, 400)], 4) == "▕████▏"
    assert strip(whole, [Span(0, 100), Span(100, 150), Span(399, 400)], 4) == "▕█▓░▓▏"
    assert strip(Span(100, 500), [Span(100, 200)], 4) == "▕█░░░▏"
    # More cells than bytes: a cell shows the byte that it lies in.
    assert strip(Span(0, 2), [Span(0, 1)], 4) == "▕██░░▏"


async def test_show_draws_what_has_receipts_and_tells_every_run(shell: Shell) -> None:
    job = await shell.half_sent()
    shown = await shell.run("show", job)
    assert shown.code == 0
    # 5,000 of 20,500 bytes are nine cells and three quarters of one.
    assert f"done:    ▕{'█' * 9}▓{'░' * 30}▏ 24 %" in shown.out
    assert "         5 kB, 5 parts, Upload 1" in shown.out
    for line in (
        f"job:     {job}",
        "state:   stopped",
        f"source:  {shell.folder}/a.bin",
        "size:    20.5 kB (20500 bytes)",
        "purpose: user_data",
        "name:    a.bin",
        f"to:      {shell.house.url}",
    ):
        assert line in shown.out.splitlines()
    assert re.search(r"^expires: in (1 h|59 min( \d+ s)?)$", shown.out, re.MULTILINE)
    done = await shell.paste(next_of(shown.out) or "", OPENAI_BASE_URL="", CHUNKUP_JOURNAL="")
    assert done.code == 0, done.err
    after = await shell.run("show", job)
    assert f"done:    ▕{'█' * 40}▏ 100 %" in after.out
    assert f"File:    {done.out.strip()}" in after.out
    ends = re.findall(r"^run: +\d+ s ago, (.*)$", after.out, re.MULTILINE)
    assert ends[0].startswith("exit ")
    assert ends[1:] == ["completed"]
    assert next_of(after.out) is None


async def test_show_says_who_holds_a_job_and_with_whom_it_belongs(shell: Shell) -> None:
    shell.make("b.bin")
    held, go = hold_parts_after(shell.house, 0)
    process = await shell.start("upload", "a.bin", "b.bin", *AS_USED)
    await held.wait()
    while not any(line.run_open for line in (await shell.jobs()).values()):
        continue
    job = next(line.job.id for line in (await shell.jobs()).values() if line.run_open)
    shown = (await shell.run("show", job)).out
    assert "state:   running" in shown
    assert f"held by: process {process.pid} on " in shown
    assert "set:     with 1 other jobs of the same command" in shown
    assert next_of(shown) is None
    go.set()
    assert (await shell.end(process)).code == 0


async def test_show_advises_what_the_last_run_was_advised(shell: Shell) -> None:
    job = await shell.half_sent()
    (shell.folder / "a.bin").write_bytes(b"changed")
    refused = await shell.run("resume", job)
    assert refused.code == 1
    shown = (await shell.run("show", job)).out
    assert "exit 1: source-changed: " in shown
    command = next_of(shown) or ""
    assert command.startswith(f"chunkup upload {shell.folder}/a.bin --purpose user_data")
    done = await shell.paste(command)
    assert done.code == 0, done.err


async def test_show_of_a_doubt_goes_on_with_resume_and_of_an_end_with_nothing(
    shell: Shell,
) -> None:
    job = await shell.in_doubt()
    shown = (await shell.run("show", job)).out
    assert "state:   in-doubt" in shown
    assert (next_of(shown) or "").startswith(f"chunkup resume {job} ")
    shell.make("rejected.bin")

    async def reject(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "create":
            return web.json_response({"error": {"message": "\x1b[31mno"}}, status=400)
        return await handler(request)

    shell.house.intercept = reject
    assert (await shell.upload("rejected.bin")).code == 1
    failed = list(await shell.jobs())[-1]
    shown = (await shell.run("show", failed)).out
    assert "state:   failed" in shown
    assert "\\x1b[31mno" in shown
    assert "\x1b" not in shown
    assert next_of(shown) is None


async def test_show_as_json_has_the_job_and_its_runs(shell: Shell) -> None:
    job = await shell.half_sent()
    assert (await shell.run("resume", job)).code == 0
    (line,) = (await shell.run("show", job, "--json")).out.splitlines()
    info = json.loads(line)
    assert (info["id"], info["state"], info["done"]) == (job, "completed", SIZE)
    assert [run["exit_code"] for run in info["runs"]][1:] == [0]
    assert info["runs"][1]["command"].endswith(f"resume {job}")
    assert info["runs"][0]["code"] is not None
    assert info["runs"][1]["ended_at"] >= info["runs"][1]["started_at"]


async def test_a_prefix_will_do_and_one_that_fits_several_lists_them(shell: Shell) -> None:
    shell.make("b.bin")
    first, second = await shell.half_sent("a.bin", 1), await shell.half_sent("b.bin", 1)
    for old, new in ((first, "aaa111"), (second, "aaa222")):
        shell.change("UPDATE jobs SET id = ? WHERE id = ?", new, old)
    for command in ("show", "stop", "cancel", "resume"):
        done = await shell.run(command, "aaa")
        assert (done.code, done.out) == (2, "")
        assert re.match(r"error\[no-such-job\]: .*: aaa111, aaa222\n", done.err)
        assert (await shell.paste(hint_of(done.err))).code == 0
    assert "job:     aaa111" in (await shell.run("show", "AAA1")).out
    assert (await shell.run("show", "aaa3")).code == 2


async def test_ls_and_status_are_other_names(shell: Shell) -> None:
    job = await shell.half_sent()
    for words in (["ls"], ["status"]):
        assert [row["JOB"] for row in rows((await shell.run(*words)).out)] == [job]
    assert f"job:     {job}" in (await shell.run("status", job[:5])).out
    assert json.loads((await shell.run("status", job, "--json")).out)["id"] == job


# --- stop -------------------------------------------------------------------------------------


async def test_stop_ends_one_run_and_the_others_go_on(shell: Shell) -> None:
    names = [f"{number}.bin" for number in range(10)]
    for number, name in enumerate(names):
        make_source(shell.folder / name, 900, seed=number)  # of one part, for a slot each
    held, go = hold_parts_after(shell.house, 0)
    process = await shell.start("upload", *names, *AS_USED)
    await held.wait()
    while sum(line.run_open for line in (await shell.jobs()).values()) < 8:
        continue
    lines = await shell.jobs()
    running = next(job for job, line in lines.items() if line.run_open)
    waiting = next(job for job, line in lines.items() if not line.run_open)
    states = {row["JOB"]: row["STATE"] for row in rows((await shell.run("jobs")).out)}
    assert (states[running], states[waiting]) == ("running", "waiting")
    assert (await shell.run("stop", waiting, running)).err == (
        f"{waiting}: stopped\n{running}: stopped\n"
    )
    assert await shell.runs_of(waiting) == 0
    go.set()
    done = await shell.end(process)
    assert done.code == 75, done.err
    assert len(done.out.splitlines()) == 8
    for job in (running, waiting):
        name = lines[job].job.filename
        assert f"error[stopped]: {name}: job {job} was asked to stop" in done.err
        assert not any(row.filename == name for row in shell.house.files)
    rest = await shell.run("resume")
    assert (rest.code, len(rest.out.splitlines())) == (0, 10), rest.err
    assert len(shell.house.files) == 10


async def test_stop_of_what_does_not_run_says_so(shell: Shell) -> None:
    job = await shell.half_sent()
    done = await shell.run("stop", job)
    assert (done.code, done.out, done.err) == (0, "", f"{job}: was not running\n")
    assert (await shell.run("stop")).code == 2
    unknown = await shell.run("stop", job, "zzzzzz")
    assert unknown.code == 2
    assert unknown.err.startswith("error[no-such-job]")


# --- cancel -----------------------------------------------------------------------------------


async def test_cancel_ends_a_job_here_and_on_the_server(shell: Shell) -> None:
    job = await shell.half_sent()
    done = await shell.run("cancel", job[:4])
    assert (done.code, done.out, done.err) == (0, "", f"cancelled {job}\n")
    assert shell.house.store.uploads()[0].status == "cancelled"
    assert (await shell.jobs())[job].phase is Phase.CANCELLED
    assert (await shell.run("resume")).out == ""
    ended = await shell.run("resume", job)
    assert ended.code == 1
    assert f"error[job-ended]: job {job} was cancelled" in ended.err
    again = await shell.paste(hint_of(ended.err))
    assert again.code == 0, again.err
    assert len(shell.house.files) == 1


async def test_cancel_comes_too_late_for_a_file_and_prints_it(shell: Shell) -> None:
    done = await shell.upload("a.bin")
    (job,) = await shell.jobs()
    late = await shell.run("cancel", job)
    assert (late.code, late.out) == (1, done.out)
    assert "had become a File already" in late.err
    assert len(shell.house.files) == 1


async def test_cancel_of_a_job_that_runs_is_exit_3(shell: Shell) -> None:
    held, go = hold_parts_after(shell.house, 5)
    process = await shell.start("upload", "a.bin", *AS_USED)
    await held.wait()
    (job,) = await shell.jobs()
    refused = await shell.run("cancel", job)
    assert refused.code == 3
    assert hint_of(refused.err).startswith(f"chunkup stop {job} ")
    stopping = asyncio.create_task(shell.paste(hint_of(refused.err)))
    assert (await stopping).err == f"{job}: stopped\n"
    go.set()
    assert (await shell.end(process)).code == 75
    assert (await shell.run("cancel", job)).code == 0


# --- prune ------------------------------------------------------------------------------------


async def test_prune_forgets_what_is_over_and_old_and_nothing_else(shell: Shell) -> None:
    shell.make("old.bin", "new.bin", "part.bin")
    files = [(await shell.upload(name)).out for name in ("old.bin", "new.bin", "part.bin")]
    stopped = await shell.half_sent()
    old, new, part, _ = await shell.jobs()
    month = time.time() - 31 * 86400
    shell.change("UPDATE endings SET ended_at = ? WHERE job_id <> ?", month, new)
    shell.change("UPDATE jobs SET created_at = ? WHERE id = ?", month, stopped)
    shell.change("UPDATE jobs SET set_id = 'one' WHERE id IN (?, ?)", part, stopped)
    would = await shell.run("prune", "-n")
    assert (would.out, would.err) == (f"{old}\n", "would forget 1 job\n")
    assert len(await shell.jobs()) == 4
    done = await shell.run("prune")
    assert (done.code, done.out, done.err) == (0, f"{old}\n", "forgot 1 job\n")
    assert set(await shell.jobs()) == {new, part, stopped}
    none = await shell.run("prune", "--older-than", "1d")
    assert (none.code, none.out, none.err) == (0, "", "forgot 0 jobs\n")
    all_of_it = await shell.run("prune", "--older-than", "0s")
    assert all_of_it.out == f"{new}\n"
    assert set(await shell.jobs()) == {part, stopped}
    assert {row.id for row in shell.house.files} == {file.strip() for file in files}


async def test_prune_takes_only_durations(shell: Shell) -> None:
    done = await shell.run("prune", "--older-than", "soon")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error[usage]: ")
