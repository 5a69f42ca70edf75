"""The command line as a person or a script meets it: a real process, a real server."""

import asyncio
import os
import re
import signal
import sqlite3
import sys
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from house import HASTY, KEY, Handler, House, call_of, drop, make_source

from chunkup import AsyncUploader
from chunkup.errors import OutcomeUnknown
from chunkup.journal import JobLine, Journal
from chunkup.machine import Phase

SIZE, PART = 20_500, "1000"
AS_USED = ("-p", "user_data", "--part-size", PART)
PIPE = asyncio.subprocess.PIPE


@dataclass
class Result:
    code: int
    out: str
    err: str


@dataclass
class Shell:
    """Runs the command in an environment of its own; every process is gone at the end."""

    folder: Path
    house: House
    environ: dict[str, str]
    started: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def journal(self) -> Path:
        return Path(self.environ["CHUNKUP_JOURNAL"])

    async def start(self, *arguments: str, **more: str) -> asyncio.subprocess.Process:
        return await self.start_into(PIPE, *arguments, **more)

    async def start_into(
        self, stdout: int, *arguments: str, **more: str
    ) -> asyncio.subprocess.Process:
        return await self._started([sys.executable, "-m", "chunkup", *arguments], more, stdout)

    async def _started(
        self, words: list[str], more: dict[str, str], stdout: int = PIPE
    ) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=self.folder,
            env={**self.environ, **more},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=PIPE,
        )
        self.started.append(process)
        return process

    async def run(self, *arguments: str, **more: str) -> Result:
        process = await self.start(*arguments, **more)
        return await self.end(process)

    async def end(self, process: asyncio.subprocess.Process) -> Result:
        out, err = await process.communicate()
        assert process.returncode is not None
        text = Result(process.returncode, (out or b"").decode(), err.decode())
        assert "Traceback" not in text.err, text.err
        assert "Exception" not in text.err, text.err
        return text

    async def paste(self, script: str, **more: str) -> Result:
        """Run a line of shell in which ``chunkup`` is the command."""
        script = 'chunkup() { "$PYTHON" -m chunkup "$@"; }\n' + script
        words = ["bash", "-c", script]
        return await self.end(await self._started(words, {"PYTHON": sys.executable, **more}))

    async def upload(self, *arguments: str, **more: str) -> Result:
        return await self.run("upload", *arguments, *AS_USED, **more)

    def make(self, *names: str, size: int = 3000) -> None:
        """Write sources of these names, no two alike."""
        for name in names:
            make_source(self.folder / name, size, seed=zlib.crc32(name.encode()))

    def uploader(self, **more: Any) -> AsyncUploader:
        """An uploader in this process, of the same journal and account as the commands'."""
        values = {"base_url": self.house.url, "api_key": KEY, "options": HASTY, **more}
        return AsyncUploader(journal=self.journal, part_size=int(PART), **values)

    async def half_sent(
        self, name: str = "a.bin", parts: int = 5, *, purpose: str = "user_data", **more: Any
    ) -> str:
        """Let a run stop after so many parts; the job."""
        self.house.calls.clear()
        held, go = hold_parts_after(self.house, parts)
        async with self.uploader(**more) as uploader:
            run = uploader.start(self.folder / name, purpose=purpose)
            await held.wait()
            job_id = await run.ready()
            assert job_id is not None
            while not any(
                info.id == job_id and info.parts == parts for info in await uploader.jobs()
            ):
                continue
            run.stop()
            await run.wait()
        go.set()
        await self.house.idle()
        self.forget()
        return job_id

    async def in_doubt(self, name: str = "a.bin") -> str:
        """Let a run end in doubt: the File was made, and nothing tells so; the job."""
        self.house.intercept = hide_files
        async with self.uploader() as uploader:
            with pytest.raises(OutcomeUnknown) as caught:
                await uploader.upload(self.folder / name, purpose="user_data")
        assert caught.value.job_id is not None
        self.forget()
        return caught.value.job_id

    def forget(self) -> None:
        """Let the server answer, and count from here."""
        self.house.intercept = None
        self.house.calls.clear()
        self.house.arrivals.clear()

    async def jobs(self) -> dict[str, JobLine]:
        """The journal's jobs by their ids, oldest first."""
        book = await Journal.open(self.journal)
        try:
            return {line.job.id: line for line in await book.lines()}
        finally:
            await book.close()

    async def runs_of(self, job_id: str) -> int:
        """How often the job was run."""
        book = await Journal.open(self.journal)
        try:
            return len(await book.runs(job_id))
        finally:
            await book.close()

    def change(self, sql: str, *values: object) -> None:
        """Change the journal as time would have."""
        with closing(sqlite3.connect(self.journal)) as db, db:
            db.execute(sql, values)


@pytest.fixture
async def shell(house: House, tmp_path: Path) -> AsyncIterator[Shell]:
    folder = tmp_path / "here"
    folder.mkdir()
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    environ = {
        **keep,
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": house.url,
        "CHUNKUP_JOURNAL": str(tmp_path / "state" / "journal.db"),
        "CHUNKUP_RETRIES": "2",
        "CHUNKUP_OFFLINE_WAIT": "0",
        "PYTHONWARNINGS": "error",
    }
    opened = Shell(folder, house, environ)
    make_source(folder / "a.bin", SIZE, seed=1)
    yield opened
    for process in opened.started:
        if process.returncode is None:
            process.kill()
            await process.wait()


def hold_parts_after(house: House, parts: int) -> tuple[asyncio.Event, asyncio.Event]:
    """Let some parts through and hold the others; when one is held, and to let all go."""
    held, go = asyncio.Event(), asyncio.Event()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part" and house.calls.count("part") > parts:
            held.set()
            await go.wait()
        return await handler(request)

    house.intercept = intercept
    return held, go


async def hide_files(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let ``complete`` be done and not answered, and let no File be listed."""
    match call_of(request):
        case "complete":
            await handler(request)
            return drop(request)
        case "list":
            return web.json_response({"object": "list", "data": [], "has_more": False})
        case _:
            return await handler(request)


def list_of(*ids: str, filename: str = "a.bin", size: int = SIZE) -> web.Response:
    """A list of Files of one name, made just now."""
    files = [
        {
            "id": file_id,
            "object": "file",
            "bytes": size,
            "created_at": int(time.time()) + 1,
            "filename": filename,
            "purpose": "user_data",
            "status": "processed",
        }
        for file_id in ids
    ]
    return web.json_response({"object": "list", "data": files, "has_more": False})


def hint_of(said: str) -> str:
    """The command that an error advises."""
    hints = re.findall(r"\n\nhint: (chunkup .*)$", said, re.MULTILINE)
    assert len(hints) == 1, said
    return str(hints[0])


# --- results ----------------------------------------------------------------------------------


async def test_one_file_prints_the_bare_id(shell: Shell) -> None:
    done = await shell.upload("a.bin")
    assert done.code == 0, done.err
    assert done.out.strip() == shell.house.files[0].id
    assert shell.house.content(done.out.strip()) == (shell.folder / "a.bin").read_bytes()
    assert "21 parts, 20.5 kB" in done.err


async def test_several_files_print_id_tab_path_and_one_failure_stops_no_other(
    shell: Shell,
) -> None:
    make_source(shell.folder / "b.bin", 10, seed=2)
    make_source(shell.folder / "c.bin", 3000, seed=3)

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "create" and b"b.bin" in await request.read():
            return web.json_response({"error": {"message": "not that one"}}, status=400)
        return await handler(request)

    shell.house.intercept = intercept
    done = await shell.upload("a.bin", "b.bin", "c.bin")
    assert done.code == 1
    names = {row.filename: row.id for row in shell.house.files}
    assert done.out == f"{names['a.bin']}\ta.bin\n{names['c.bin']}\tc.bin\n"
    assert "error[rejected]" in done.err
    assert "not that one" in done.err


async def test_dry_run_prints_the_plan_and_touches_nothing(shell: Shell) -> None:
    done = await shell.upload("a.bin", "--dry-run")
    assert done.code == 0
    assert "21 parts of 1 kB" in done.out
    assert shell.house.calls == []
    assert not Path(shell.environ["CHUNKUP_JOURNAL"]).exists()


async def test_verbose_says_every_request_and_no_secret(shell: Shell) -> None:
    done = await shell.run("-vv", "upload", "a.bin", "-p", "user_data", "-q")
    assert done.code == 0
    assert re.search(r"DEBUG POST /uploads: 200 after \d+ ms, request req_", done.err)
    assert re.search(r"DEBUG POST /uploads/upload_\w+/complete: 200", done.err)
    assert "Bearer" not in done.err
    assert KEY not in done.err


async def test_quiet_says_nothing_but_the_id(shell: Shell) -> None:
    done = await shell.upload("a.bin", "--quiet")
    assert (done.code, done.err) == (0, "")


# --- refusals: nothing is sent ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "environ", "code"),
    [
        (["nowhere.bin"], {}, "no-such-file"),
        (["."], {}, "not-a-file"),
        (["pipe"], {}, "not-a-file"),
        (["empty.bin"], {}, "empty-file"),
        (["batch.jsonl", "-p", "batch"], {}, "too-large"),
        (["a.bin"], {"OPENAI_API_KEY": ""}, "no-key"),
        (["a.bin", "--base-url", "http://192.0.2.1/v1"], {}, "plain-http"),
        (["a.bin", "--base-url", "ftp://x"], {}, "bad-option"),
        (["a.bin", "--base-url", "https://me:hunter2@x/v1"], {}, "bad-option"),
        (["a.bin", "--part-size", "0"], {}, "bad-option"),
        (["a.bin", "--part-size", "65MiB"], {}, "bad-option"),
        (["a.bin", "--part-size", "much"], {}, "usage"),
        (["a.bin", "--expires-after", "5s"], {}, "bad-option"),
        (["a.bin", "--nonsense"], {}, "usage"),
        (["a.bin", "empty.bin"], {}, "empty-file"),
        (["a.bin", "--journal", "open/j.db"], {}, "bad-journal"),
        (["a.bin", "--journal", "damaged.db"], {}, "bad-journal"),
        (["a.bin", "--journal", "link.db"], {}, "bad-journal"),
    ],
)
async def test_bad_input_is_one_sentence_a_hint_and_exit_2(
    shell: Shell, arguments: list[str], environ: dict[str, str], code: str
) -> None:
    here = shell.folder
    os.mkfifo(here / "pipe")
    (here / "empty.bin").touch()
    with (here / "batch.jsonl").open("wb") as sparse:
        sparse.truncate(200_000_001)
    (here / "open").mkdir()
    (here / "open").chmod(0o777)
    (here / "damaged.db").write_bytes(b"this is no database at all" * 100)
    (here / "link.db").symlink_to(here / "elsewhere.db")
    purpose = [] if "-p" in arguments else ["-p", "user_data"]
    done = await shell.run("upload", *arguments, *purpose, **environ)
    assert done.code == 2, done.err
    assert done.out == ""
    first, blank, hint = (done.err.rstrip("\n") + "\n\n").split("\n")[:3]
    assert first.startswith(f"error[{code}]: ")
    assert blank == ""
    assert hint.startswith("hint: ") or code == "usage"
    assert "hunter2" not in done.err
    assert shell.house.calls == []


async def test_unreadable_is_refused(shell: Shell) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (shell.folder / "a.bin").chmod(0)
    done = await shell.upload("a.bin")
    assert (done.code, done.err[:17]) == (2, "error[unreadable]")


async def test_no_purpose_and_no_file_are_usage_errors(shell: Shell) -> None:
    for arguments in (["upload", "a.bin"], ["upload", "-p", "batch"], ["frobnicate"], []):
        done = await shell.run(*arguments)
        assert done.code == 2, arguments
        assert done.out == ""


# --- going on ---------------------------------------------------------------------------------


async def kill_half_way(shell: Shell, number: signal.Signals) -> tuple[Result, int]:
    """Start an upload, signal it after five parts; how it ended, and bytes with receipts."""
    held, go = hold_parts_after(shell.house, 5)
    process = await shell.start("upload", "a.bin", "-p", "user_data", "--part-size", PART)
    await held.wait()
    journal = Path(shell.environ["CHUNKUP_JOURNAL"])
    book = await Journal.open(journal)
    while (await book.lines())[0].parts < 5:
        continue  # the rows come from another process, which tells nobody
    process.send_signal(number)
    ended = await shell.end(process)
    go.set()
    await shell.house.idle()
    (line,) = await book.lines()
    await book.close()
    shell.house.intercept = None
    shell.house.arrivals.clear()
    return ended, line.done


async def test_killed_and_resumed_sends_only_what_has_no_receipt(shell: Shell) -> None:
    ended, done = await kill_half_way(shell, signal.SIGKILL)
    assert ended.code == -9
    resumed = await shell.run("resume")
    assert resumed.code == 0, resumed.err
    file_id, _, path = resumed.out.strip().partition("\t")
    assert path == "a.bin"
    assert shell.house.content(file_id) == (shell.folder / "a.bin").read_bytes()
    assert shell.house.whole_bytes == SIZE - done
    assert re.search(r"continuing \w{6}: 5 of 21 parts, 5 of 20.5 kB", resumed.err)
    again = await shell.run("resume")
    assert (again.code, again.out) == (0, "")


async def test_the_same_command_continues(shell: Shell) -> None:
    _, done = await kill_half_way(shell, signal.SIGKILL)
    again = await shell.upload("a.bin")
    assert again.code == 0
    assert "continuing" in again.err
    assert shell.house.whole_bytes == SIZE - done
    assert shell.house.content(again.out.strip()) == (shell.folder / "a.bin").read_bytes()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
async def test_a_signal_keeps_receipts_and_prints_the_command_that_continues(
    shell: Shell, number: signal.Signals, code: int
) -> None:
    ended, done = await kill_half_way(shell, number)
    assert ended.code == code
    assert ended.out == ""
    hint = re.search(r"^hint: chunkup (resume .*)$", ended.err, re.MULTILINE)
    assert hint is not None, ended.err
    resumed = await shell.run(*hint[1].split())
    assert resumed.code == 0, resumed.err
    assert shell.house.content(resumed.out.strip()) == (shell.folder / "a.bin").read_bytes()
    assert shell.house.whole_bytes == SIZE - done


async def test_a_second_signal_leaves_at_once_and_is_still_resumable(shell: Shell) -> None:
    held, go = hold_parts_after(shell.house, 5)
    # A journal that is held by somebody else keeps the first signal's clean end waiting.
    process = await shell.start("upload", "a.bin", "-p", "user_data", "--part-size", PART)
    await held.wait()
    path = Path(shell.environ["CHUNKUP_JOURNAL"])
    book = await Journal.open(path)
    locked, unlock = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(_: object) -> None:
        loop.call_soon_threadsafe(locked.set)
        asyncio.run_coroutine_threadsafe(unlock.wait(), loop).result()

    holder = asyncio.create_task(book._do(hold, writes=True))
    await locked.wait()
    process.send_signal(signal.SIGINT)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(process.wait()), 1.0)
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 5.0) == 130
    unlock.set()
    await holder
    await book.close()
    go.set()
    await shell.house.idle()
    shell.house.intercept = None
    resumed = await shell.run("resume")
    assert resumed.code == 0, resumed.err
    file_id = resumed.out.split("\t")[0]
    assert shell.house.content(file_id) == (shell.folder / "a.bin").read_bytes()


async def test_an_id_that_was_committed_but_never_printed_is_printed(shell: Shell) -> None:
    first = await shell.upload("a.bin")
    book = await Journal.open(Path(shell.environ["CHUNKUP_JOURNAL"]))
    await book._do(lambda db: db.execute("UPDATE jobs SET printed = 0"), writes=True)
    await book.close()
    shell.house.calls.clear()
    resumed = await shell.run("resume")
    assert resumed.out.split("\t")[0] == first.out.strip()
    assert shell.house.calls == []
    again = await shell.run("resume")
    assert again.out == ""


async def test_a_held_job_is_exit_3_and_names_its_holder(shell: Shell) -> None:
    held, go = hold_parts_after(shell.house, 5)
    process = await shell.start("upload", "a.bin", "-p", "user_data", "--part-size", PART)
    await held.wait()
    second = await shell.upload("a.bin")
    assert second.code == 3
    assert f"held by process {process.pid}" in second.err
    listed = await shell.run("jobs")
    assert "running" in listed.out
    job = listed.out.splitlines()[1].split()[0]
    assert (await shell.run("resume", job)).code == 3
    assert (await shell.run("resume")).code == 3
    assert (await shell.run("cancel", job)).code == 3
    go.set()
    assert (await shell.end(process)).code == 0


async def test_a_server_that_is_gone_is_exit_75_and_the_hint_goes_on(shell: Shell) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "part":
            return web.Response(status=503, text="sorry", headers={"retry-after-ms": "10"})
        return await handler(request)

    shell.house.intercept = intercept
    done = await shell.upload("a.bin")
    assert done.code == 75, done.err
    assert "error[server-trouble]" in done.err
    hint = re.search(r"^hint: chunkup (resume .*)$", done.err, re.MULTILINE)
    assert hint is not None, done.err
    shell.house.intercept = None
    assert (await shell.run(*hint[1].split())).code == 0


async def test_a_port_where_nobody_listens_is_exit_75_after_the_retries(shell: Shell) -> None:
    url = "http://127.0.0.1:1/v1"
    done = await shell.upload("a.bin", "--base-url", url, CHUNKUP_OFFLINE_WAIT="15m")
    assert done.code == 75
    assert "error[unreachable]: cannot reach 127.0.0.1" in done.err
    assert f"--base-url {url}" in done.err


async def test_changed_source_is_exit_1_for_resume(shell: Shell) -> None:
    await kill_half_way(shell, signal.SIGKILL)
    (shell.folder / "a.bin").write_bytes(b"something else")
    done = await shell.run("resume")
    assert done.code == 1
    assert "error[source-changed]" in done.err
    new = await shell.upload("a.bin")
    assert new.code == 0
    assert shell.house.content(new.out.strip()) == b"something else"


# --- the journal's commands -------------------------------------------------------------------


async def test_jobs_show_and_cancel_tell_the_story(shell: Shell) -> None:
    empty = await shell.run("jobs")
    assert (empty.code, empty.out) == (0, "")
    await kill_half_way(shell, signal.SIGTERM)
    listed = await shell.run("jobs")
    header, row = listed.out.splitlines()
    assert header.split() == ["JOB", "STATE", "DONE", "SIZE", "PURPOSE", "FILE", "AGE", "WHY"]
    assert "stopped" in row
    assert "24 %" in row
    job = row.split()[0]
    shown = await shell.run("show", job[:4])
    assert "exit 130" in shown.out or "exit 143" in shown.out
    following = re.search(r"^next: +chunkup (resume .*)$", shown.out, re.MULTILINE)
    assert following is not None
    ended = await shell.run("cancel", job)
    assert ended.code == 0, ended.err
    assert shell.house.store.uploads()[0].status == "cancelled"
    refused = await shell.run(*following[1].split())
    assert refused.code == 1
    assert "error[job-ended]" in refused.err
    assert (await shell.run("show", "zzzzzz")).code == 2


async def test_resume_leaves_jobs_of_other_accounts_and_names_them(shell: Shell) -> None:
    await kill_half_way(shell, signal.SIGKILL)
    done = await shell.run("resume", OPENAI_API_KEY="sk-other")
    assert (done.code, done.out) == (0, "")
    assert "another destination or account" in done.err
    book = await Journal.open(Path(shell.environ["CHUNKUP_JOURNAL"]))
    assert (await book.lines())[0].phase is Phase.SENDING
    await book.close()


# --- output -----------------------------------------------------------------------------------


async def test_a_broken_stdout_does_not_stop_the_upload(shell: Shell) -> None:
    command = f'"{sys.executable}" -m chunkup upload a.bin -p user_data -q; echo "code $?" >&2'
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f"{{ {command}; }} | true"),
        cwd=shell.folder,
        env=shell.environ,
        stderr=asyncio.subprocess.PIPE,
    )
    shell.started.append(process)
    _, err = await process.communicate()
    assert shell.house.files[0].id in err.decode()
    assert "code 1" in err.decode()
    assert "Exception" not in err.decode()


async def test_every_command_has_help_and_the_root_shows_exit_codes(shell: Shell) -> None:
    root = await shell.run("--help")
    assert "75" in root.out
    names = re.findall(r"^  (\w+)  ", root.out.partition("Commands:")[2], re.MULTILINE)
    assert {"upload", "resume", "jobs", "show", "cancel", "serve", "demo"} <= set(names)
    for name in ("upload", "resume", "jobs", "show", "cancel", "serve", "demo"):
        assert (await shell.run(name, "-h")).code == 0
    assert (await shell.run("-V")).out.startswith("chunkup ")
