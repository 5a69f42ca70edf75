"""``chunkup resume``: what it takes and leaves, what it refuses, and what a person may decide."""

import asyncio
import fcntl
import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web
from house import KEY, Handler, call_of, make_source, open_house
from test_cli import AS_USED, SIZE, Shell, hide_files, hint_of, hold_parts_after, list_of, shell

from chunkup.machine import Phase

__all__ = ["shell"]

WEEK = 7 * 86400.0


def grow_old(shell: Shell, days: float) -> None:
    then = time.time() - days * 86400
    shell.change("UPDATE jobs SET created_at = ?", then)
    shell.change("UPDATE runs SET started_at = ?, ended_at = ?", then, then)


# --- what it takes ----------------------------------------------------------------------------


async def test_nothing_to_do_is_said_and_no_failure(shell: Shell) -> None:
    done = await shell.run("resume")
    assert (done.code, done.out) == (0, "")
    assert done.err == "there is nothing to continue\n"
    assert (await shell.run("resume", "-q")).err == ""


async def test_what_will_be_done_is_listed_before_the_first_byte(shell: Shell) -> None:
    shell.make("b.bin")
    jobs = [await shell.half_sent("a.bin"), await shell.half_sent("b.bin", 1)]
    go = asyncio.Event()

    async def hold_all(request: web.Request, handler: Handler) -> web.StreamResponse:
        await go.wait()
        return await handler(request)

    shell.house.intercept = hold_all
    process = await shell.start("resume")
    assert process.stderr is not None
    said = [(await process.stderr.readline()).decode() for _ in jobs]
    assert said[0] == f"continue {jobs[0]} ({shell.folder}/a.bin, 20.5 kB)\n"
    assert said[1] == f"continue {jobs[1]} ({shell.folder}/b.bin, 3 kB)\n"
    assert shell.house.whole_bytes == 0
    go.set()
    done = await shell.end(process)
    assert done.code == 0
    assert [line.split("\t")[1] for line in done.out.splitlines()] == [
        str(shell.folder / name) for name in ("a.bin", "b.bin")
    ]
    assert shell.house.whole_bytes == SIZE - 5000 + 2000


async def test_what_is_older_than_a_week_is_left_with_the_command_that_takes_it(
    shell: Shell,
) -> None:
    job = await shell.half_sent()
    grow_old(shell, 7.1)
    left = await shell.run("resume")
    assert (left.code, left.out) == (0, "")
    assert shell.house.calls == []
    (line,) = left.err.splitlines()
    first, _, command = line.partition("; take it with: ")
    assert first == (
        f"leaving {job} ({shell.folder}/a.bin, 20.5 kB): "
        "nothing happened to it for more than seven days"
    )
    taken = await shell.paste(command, OPENAI_BASE_URL="", CHUNKUP_JOURNAL="")
    assert taken.code == 0, taken.err
    assert shell.house.content(taken.out.strip()) == (shell.folder / "a.bin").read_bytes()


async def test_younger_than_a_week_is_taken_and_all_takes_any_age(shell: Shell) -> None:
    await shell.half_sent()
    grow_old(shell, 6.9)
    assert (await shell.run("resume")).out.endswith("a.bin\n")
    shell.make("b.bin")
    await shell.half_sent("b.bin", 1)
    grow_old(shell, 400)
    assert (await shell.run("resume")).out == ""
    assert (await shell.run("resume", "--all")).out.endswith("b.bin\n")


async def test_a_large_set_is_told_in_one_line_and_its_command_takes_it(shell: Shell) -> None:
    names = [f"{number}.bin" for number in range(5)]
    shell.make(*names)
    for name in names:
        await shell.half_sent(name, 1)
    shell.change("UPDATE jobs SET set_id = 'one'")
    grow_old(shell, 30)
    left = await shell.run("resume")
    (line,) = left.err.splitlines()
    assert line.startswith(f"leaving 5 files of one command ({shell.folder}/0.bin and others")
    taken = await shell.paste(line.partition("; take it with: ")[2])
    assert taken.code == 0, taken.err
    assert "continue 5 files of one command" in taken.err
    assert [line.split("\t")[1][-5:] for line in taken.out.splitlines()] == names


async def test_another_destination_is_left_and_its_command_goes_there(
    shell: Shell, tmp_path: Path
) -> None:
    here = shell.house
    async with open_house(tmp_path / "elsewhere") as there:
        shell.house = there
        job = await shell.half_sent(base_url=there.url)
        left = await shell.run("resume")
        assert (left.code, left.out, here.calls, there.calls) == (0, "", [], [])
        assert f"leaving {job} (" in left.err
        assert "it belongs to another destination or account" in left.err
        command = left.err.strip().partition("; take it under its own key with: ")[2]
        taken = await shell.paste(command)
        assert taken.code == 0, taken.err
        assert there.files[0].id == taken.out.strip()
        assert here.calls == []


async def test_another_account_is_left_and_the_own_is_taken(shell: Shell) -> None:
    shell.make("b.bin")
    theirs = await shell.half_sent("a.bin", organization="org-theirs")
    await shell.half_sent("b.bin", 1)
    done = await shell.run("resume")
    assert done.code == 0, done.err
    assert done.out == f"{shell.house.files[0].id}\t{shell.folder}/b.bin\n"
    assert f"leaving {theirs} (" in done.err
    assert f"resume {theirs} --base-url {shell.house.url} --organization org-theirs" in done.err


async def test_held_ones_are_skipped_and_alone_they_are_exit_3(shell: Shell) -> None:
    other = await shell.half_sent("a.bin", 5)
    shell.make("b.bin")
    held, go = hold_parts_after(shell.house, 0)
    process = await shell.start("upload", "b.bin", *AS_USED)
    await held.wait()
    (mine,) = [job for job in await shell.jobs() if job != other]
    shell.house.intercept = None
    done = await shell.run("resume")
    assert done.code == 0, done.err
    assert done.out == f"{shell.house.files[0].id}\t{shell.folder}/a.bin\n"
    assert f"leaving {mine} (" in done.err
    assert "another process is running it" in done.err
    alone = await shell.run("resume")
    assert (alone.code, alone.out) == (3, "")
    assert f"error[busy]: job {mine} is held by process {process.pid} on" in alone.err
    assert hint_of(alone.err).startswith(f"chunkup stop {mine}")
    go.set()
    assert (await shell.end(process)).code == 0


async def test_of_a_set_only_what_nobody_holds_is_taken(shell: Shell) -> None:
    shell.make("b.bin")
    jobs = [await shell.half_sent("a.bin"), await shell.half_sent("b.bin", 1)]
    shell.change("UPDATE jobs SET set_id = 'one'")
    held, go = hold_parts_after(shell.house, 0)
    process = await shell.start("resume", jobs[0])
    await held.wait()
    shell.house.intercept = None
    done = await shell.run("resume")
    assert done.code == 0, done.err
    assert done.out == f"{shell.house.files[0].id}\t{shell.folder}/b.bin\n"
    assert f"leaving {jobs[0]} (" in done.err
    go.set()
    assert (await shell.end(process)).code == 0


@pytest.mark.parametrize("command", ["resume", "upload"])
async def test_killed_between_commit_and_print_the_id_is_printed_by_the_next(
    shell: Shell, command: str
) -> None:
    readable, writable = os.pipe()
    # A pipe that is full holds the process in the very write of the id.
    flags = fcntl.fcntl(writable, fcntl.F_GETFL)
    fcntl.fcntl(writable, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(writable, b"x")
    fcntl.fcntl(writable, fcntl.F_SETFL, flags)
    process = await shell.start_into(writable, "upload", "a.bin", *AS_USED)
    while not any(line.phase is Phase.COMPLETED for line in (await shell.jobs()).values()):
        continue
    process.kill()
    assert (await shell.end(process)).code == -9
    os.close(writable)
    os.close(readable)
    shell.forget()
    words = ["resume"] if command == "resume" else ["upload", "a.bin", *AS_USED]
    done = await shell.run(*words)
    assert done.code == 0, done.err
    assert done.out.split("\t")[0].strip() == shell.house.files[0].id
    assert shell.house.calls == []
    if command == "resume":
        assert re.match(r"print the id of \w{6} \(.*a\.bin, 20\.5 kB\)\n", done.err)
    assert (await shell.run("resume")).out == ""


# --- jobs and paths by name -------------------------------------------------------------------


async def test_a_job_is_named_by_id_prefix_or_path_and_prints_the_bare_id(shell: Shell) -> None:
    for number, name in enumerate(["1.bin", "2.bin", "3.bin", "4.bin"]):
        shell.make(name)
        job = await shell.half_sent(name, 1)
        named = [job, job[:4].upper(), str(shell.folder / name), name][number]
        done = await shell.run("resume", named)
        assert done.code == 0, done.err
        assert done.out == shell.house.files[-1].id + "\n" or done.out.count("\n") == 1
        assert shell.house.content(done.out.strip()) == (shell.folder / name).read_bytes()


async def test_several_names_print_id_and_path_in_their_order(shell: Shell) -> None:
    shell.make("b.bin")
    jobs = [await shell.half_sent("a.bin"), await shell.half_sent("b.bin", 1)]
    done = await shell.run("resume", jobs[1], "a.bin")
    assert done.code == 0, done.err
    assert [line.split("\t")[1] for line in done.out.splitlines()] == [
        str(shell.folder / name) for name in ("b.bin", "a.bin")
    ]


async def test_a_path_means_its_unfinished_job_and_two_of_them_are_too_many(shell: Shell) -> None:
    older = await shell.half_sent(purpose="vision")
    assert (await shell.upload("a.bin")).code == 0
    shell.forget()
    done = await shell.run("resume", "a.bin")
    assert done.code == 0, done.err
    assert f"continuing {older}" in done.err
    jobs = [await shell.half_sent(purpose=name) for name in ("vision", "assistants")]
    several = await shell.run("resume", "a.bin")
    assert several.code == 2
    assert (
        f"error[no-such-job]: a.bin has several unfinished jobs: {', '.join(jobs)}" in several.err
    )


async def test_a_completed_job_gives_its_file_again_and_asks_nobody(shell: Shell) -> None:
    first = await shell.upload("a.bin")
    (job,) = await shell.jobs()
    shell.forget()
    for name in (job, "a.bin"):
        again = await shell.run("resume", name)
        assert (again.code, again.out) == (0, first.out)
        assert "continuing" not in again.err
    told = await shell.run("resume", job, "--json")
    assert f'"event": "completed", "job": "{job}"' in told.out
    assert first.out.strip() in told.out
    assert '"reused": 1' in told.out.splitlines()[-1]
    assert shell.house.calls == []


@pytest.mark.parametrize("name", ["zzzzzz", "./a.bin", "nowhere/x.bin", ""])
async def test_a_name_without_a_job_is_exit_2(shell: Shell, name: str) -> None:
    done = await shell.run("resume", name)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error[no-such-job]: ")
    assert hint_of(done.err) == f"chunkup jobs --journal {shell.journal}"
    assert (await shell.paste(hint_of(done.err))).code == 0


# --- what cannot be said anew -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "value"),
    [
        (["--purpose", "batch"], "for user_data"),
        (["-p", "user_data"], "for user_data"),
        (["--filename", "x"], "named a.bin"),
        (["--filename", ""], "named a.bin"),
        (["--mime-type", "text/plain"], "of type application/octet-stream"),
        (["--expires-after", "2h"], "to expire after no seconds"),
        (["--no-md5"], "with its MD5"),
    ],
)
async def test_flags_of_the_content_are_refused_with_the_jobs_own_value(
    shell: Shell, flags: list[str], value: str
) -> None:
    job = await shell.half_sent()
    done = await shell.run("resume", job, *flags)
    assert (done.code, done.out) == (2, "")
    flag = "--purpose" if flags[0] == "-p" else flags[0]
    assert done.err.startswith(
        f"error[bad-option]: {flag} was settled when job {job} began: it is uploaded {value}\n"
    )
    assert shell.house.calls == []
    if flags == ["--no-md5"]:
        assert (await shell.paste(hint_of(done.err))).code == 0
        bare = await shell.run("resume", *flags)
        assert (bare.code, bare.err[:13]) == (2, "error[usage]:")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--source", "x"], "--source is about one job"),
        (["a", "b", "--accept", "file-1"], "--accept is about one job"),
        (["--again"], "--again is about one job"),
        (["--takeover"], "--takeover is about one job"),
        (["a", "--accept", "file-1", "--again"], "say one of them"),
    ],
)
async def test_a_decision_is_about_one_job(shell: Shell, words: list[str], said: str) -> None:
    done = await shell.run("resume", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error[usage]: ")
    assert said in done.err


async def test_part_size_holds_for_what_is_not_sent_yet(shell: Shell) -> None:
    job = await shell.half_sent()
    done = await shell.run("resume", job, "--part-size", "4000")
    assert done.code == 0, done.err
    assert sorted(arrival.bytes for arrival in shell.house.arrivals) == [3500, 4000, 4000, 4000]
    assert shell.house.content(done.out.strip()) == (shell.folder / "a.bin").read_bytes()


async def test_how_to_send_comes_from_the_flags_of_resume_alone(shell: Shell) -> None:
    flying = most = 0
    wide = asyncio.Event()

    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal flying, most
        if call_of(request) != "part":
            return await handler(request)
        flying += 1
        most = max(most, flying)
        if flying == 4:
            wide.set()
        try:
            if limit == 4:
                await wide.wait()
            return await handler(request)
        finally:
            flying -= 1

    held, go = hold_parts_after(shell.house, 3)
    process = await shell.start("upload", "a.bin", *AS_USED, "--workers", "1")
    await held.wait()
    process.kill()
    await shell.end(process)
    go.set()
    await shell.house.idle()
    limit, shell.house.intercept = 4, count
    process = await shell.start("resume", CHUNKUP_WORKERS="4")
    await wide.wait()
    assert (await shell.end(process)).code == 0
    assert most == 4
    shell.make("b.bin", size=9000)
    shell.house.intercept = None
    await shell.half_sent("b.bin", 1)
    limit, most, shell.house.intercept = 1, 0, count
    assert (await shell.run("resume", "--workers", "1", CHUNKUP_WORKERS="9")).code == 0
    assert most == 1


# --- a file that moved ------------------------------------------------------------------------


async def test_a_moved_file_is_followed_and_only_the_rest_is_sent(shell: Shell) -> None:
    job = await shell.half_sent()
    moved = shell.folder / "moved.bin"
    (shell.folder / "a.bin").rename(moved)
    gone = await shell.run("resume", job)
    assert gone.code == 1
    assert "error[source-gone]" in gone.err
    hint = hint_of(gone.err)
    assert f"resume {job} --source NEW_PATH" in hint
    done = await shell.paste(hint.replace("NEW_PATH", "moved.bin"))
    assert done.code == 0, done.err
    assert shell.house.whole_bytes == SIZE - 5000
    assert shell.house.content(done.out.strip()) == moved.read_bytes()
    assert shell.house.files[0].filename == "a.bin"


async def test_other_content_at_the_new_place_is_never_completed(shell: Shell) -> None:
    job = await shell.half_sent()
    make_source(shell.folder / "other.bin", SIZE, seed=99)
    (shell.folder / "short.bin").write_bytes(b"short")
    for name in ("other.bin", "short.bin"):
        done = await shell.run("resume", job, "--source", name)
        assert (done.code, done.out) == (1, ""), done.err
        assert "error[source-changed]" in done.err
        assert "complete" not in shell.house.calls
    assert (await shell.jobs())[job].phase is Phase.SENDING
    done = await shell.run("resume", job, "--source", "a.bin")
    assert done.code == 0, done.err
    assert shell.house.content(done.out.strip()) == (shell.folder / "a.bin").read_bytes()


async def test_a_place_where_nothing_is_is_exit_2(shell: Shell) -> None:
    job = await shell.half_sent()
    done = await shell.run("resume", job, "--source", "nowhere.bin")
    assert (done.code, done.out) == (2, "")
    assert "error[no-such-file]" in done.err
    assert shell.house.calls == []


# --- a job in doubt ---------------------------------------------------------------------------


async def test_in_doubt_it_looks_and_lists_candidates_and_never_completes_again(
    shell: Shell,
) -> None:
    job = await shell.in_doubt()
    (real,) = shell.house.files

    async def two_fit(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "list":
            return list_of(real.id, "file-other")
        return await handler(request)

    shell.house.intercept = two_fit
    done = await shell.run("resume", job)
    assert (done.code, done.out) == (4, "")
    assert "error[outcome-unknown]: 2 Files fit what was uploaded: file-other, " in done.err
    assert set(shell.house.calls) == {"list"}
    assert hint_of(done.err).startswith(f"chunkup resume {job} --accept file-other ")
    wrong = await shell.paste(hint_of(done.err))
    assert (wrong.code, wrong.out) == (1, "")
    right = await shell.paste(hint_of(done.err).replace("file-other", real.id))
    assert (right.code, right.out) == (0, f"{real.id}\n"), right.err
    assert (await shell.jobs())[job].phase is Phase.COMPLETED
    assert "complete" not in shell.house.calls


async def test_in_doubt_nothing_to_see_is_exit_4_and_no_second_complete(shell: Shell) -> None:
    job = await shell.in_doubt()
    shell.house.intercept = hide_files
    done = await shell.run("resume")
    assert (done.code, done.out) == (4, "")
    assert "error[outcome-unknown]: " in done.err
    assert set(shell.house.calls) == {"list"}
    assert (await shell.jobs())[job].phase is Phase.ASKED
    assert (await shell.paste(hint_of(done.err))).code == 0


async def test_in_doubt_a_file_that_can_be_seen_at_last_is_taken(shell: Shell) -> None:
    await shell.in_doubt()
    done = await shell.run("resume")
    assert done.code == 0, done.err
    assert done.out.split("\t")[0] == shell.house.files[0].id
    assert "complete" not in shell.house.calls


async def test_accept_refuses_what_cannot_be_the_one(shell: Shell) -> None:
    job = await shell.in_doubt()
    shell.make("b.bin")
    other = (await shell.upload("b.bin")).out.strip()
    done = await shell.run("resume", job, "--accept", other)
    assert (done.code, done.out) == (2, "")
    assert f"error[bad-option]: File {other} has another" in done.err
    assert (await shell.jobs())[job].phase is Phase.ASKED


async def test_again_sends_once_more_although_a_second_file_appears(shell: Shell) -> None:
    job = await shell.in_doubt()
    done = await shell.run("resume", job, "--again")
    assert done.code == 0, done.err
    assert shell.house.whole_bytes == SIZE
    ids = {row.id for row in shell.house.files}
    assert len(ids) == 2
    assert done.out.strip() in ids


@pytest.mark.parametrize("flags", [["--accept", "file-1"], ["--again"]])
async def test_there_is_nothing_to_decide_where_nothing_is_in_doubt(
    shell: Shell, flags: list[str]
) -> None:
    job = await shell.half_sent()
    done = await shell.run("resume", job, *flags)
    assert (done.code, done.out) == (2, "")
    assert f"error[bad-option]: job {job} is not in doubt" in done.err
    assert shell.house.calls == []
    assert (await shell.paste(hint_of(done.err))).code == 0


# --- a holder that does not answer ------------------------------------------------------------


async def test_takeover_takes_a_job_from_a_process_that_is_frozen(shell: Shell) -> None:
    held, go = hold_parts_after(shell.house, 5)
    process = await shell.start("upload", "a.bin", *AS_USED)
    await held.wait()
    while (await shell.jobs()).popitem()[1].parts < 5:
        continue
    process.send_signal(signal.SIGSTOP)
    (job,) = await shell.jobs()
    refused = await shell.run("resume", job)
    assert refused.code == 3
    shell.house.intercept = None
    done = await shell.run("resume", job, "--takeover")
    assert done.code == 0, done.err
    assert done.err.startswith(f"job {job} is held by process {process.pid} on ")
    assert shell.house.content(done.out.strip()) == (shell.folder / "a.bin").read_bytes()
    go.set()
    process.send_signal(signal.SIGCONT)
    # Whether it hears of its loss from the journal or from the server is chance.
    late = await shell.end(process)
    assert (late.code in {1, 3}, late.out) == (True, ""), late.err
    assert len(shell.house.files) == 1
    assert (await shell.jobs())[job].file_id == done.out.strip()
    assert KEY not in done.err + late.err
