"""A machine that gives little: memory, open files, threads, processor time, sizes of files."""

import asyncio
import errno
import json
import os
import re
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import ills
import pytest
from aiohttp import web
from house import KEY, Handler, House, call_of, make_source
from test_cli import AS_USED, Result, Shell, shell
from wire import Caller, listening, reply

import chunkup.worker
from chunkup import AsyncUploader, Options, Stopped
from chunkup.shortage import shortage
from chunkup.source import gone

__all__ = ["shell"]

MB, GB = 1 << 20, 1 << 30
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="it takes /proc")
# Resident bytes of one command: what it needs is 55 to 80 MB, most of it imports.
ROOM = 110 * MB


@dataclass
class Sink:
    """Takes parts and keeps nothing of them.

    It reads on no more after ``hold`` bytes, and once ``crowd`` parts came at the same time.
    """

    hold: int
    crowd: int = 1
    taken: int = 0
    at_once: int = 0
    peak: int = 0
    held: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, caller: Caller) -> None:
        while True:
            head = await caller.head()
            if head.target.endswith("/parts") or head.target.endswith("/files"):
                await self._swallow(caller, int(head.headers["content-length"]))
                answer = {"id": f"part_{self.taken}", "object": "upload.part", "created_at": 1}
            else:
                asked = await caller.rest(head)
                answer = {"id": "upload_1", "object": "upload", "status": "pending", "data": []}
                answer |= {"created_at": 1, "expires_at": None, "has_more": False}
                answer |= asked.json if asked.body else {}
            await caller.say(reply({**answer, "upload_id": "upload_1"}))

    async def _swallow(self, caller: Caller, left: int) -> None:
        self.at_once += 1
        self.peak = max(self.peak, self.at_once)
        while left:
            if self.taken >= self.hold and self.peak >= self.crowd:
                self.held.set()
                await caller.for_ever()
            chunk = await caller.reader.read(min(left, 1 << 18))
            left -= len(chunk)
            self.taken += len(chunk)
        self.at_once -= 1


def peak(process: asyncio.subprocess.Process) -> int:
    """The most bytes that a running process ever had in memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


async def started(
    shell: Shell, before: tuple[str, ...], *arguments: str, **more: str
) -> asyncio.subprocess.Process:
    """A command with these words before it, in the shell's environment."""
    return await shell._started([*before, sys.executable, "-m", "chunkup", *arguments], more)


async def limited(shell: Shell, limits: dict[str, int], *arguments: str, **more: str) -> Result:
    return await shell.end(await started(shell, ills.limited((), **limits), *arguments, **more))


# --- memory ---------------------------------------------------------------------------------

SHAPES = {
    "2 GiB": (2 * GB, ("--part-size", "4MiB")),
    "50 GiB": (50 * GB, ("--part-size", "4MiB")),
    "50 GiB in few parts": (50 * GB, ("--part-size", "5GiB")),
    "50 GiB in one request": (50 * GB, ("--method", "files")),
}


@LINUX
@pytest.mark.parametrize("shape", SHAPES)
async def test_memory_is_that_of_the_workers_whatever_the_size(shell: Shell, shape: str) -> None:
    """Until well after each slot was used; a whole pass over 50 GiB would take minutes."""
    size, how = SHAPES[shape]
    source = sparse(shell.folder / "big.bin", size)
    sink = Sink(hold=100 * MB, crowd=16 if "4MiB" in how else 1)
    async with listening(sink) as wire:
        config = shell.folder / "config.toml"
        most = 'limits = { upload = "100GiB", file = "100GiB", part = "5GiB" }'
        config.write_text(f'[profiles.big]\nbase_url = "{wire.url}"\n{most}\n')
        process = await started(
            shell,
            (),
            *("upload", str(source), "-p", "user_data", "--workers", "16", "--profile", "big"),
            *(*how, "--quiet"),
            CHUNKUP_CONFIG=str(config),
            OPENAI_BASE_URL=wire.url,
        )
        await held_by(sink, process)
        found = peak(process)
        process.send_signal(signal.SIGTERM)
        ended = await shell.end(process)
    assert ended.code == 143, ended.err
    print(f"{shape}: {found / 1e6:.0f} MB, {sink.peak} parts at once")
    assert found < ROOM


async def held_by(sink: Sink, process: asyncio.subprocess.Process) -> None:
    """Wait until it reads no more; that comes before the command's end."""
    waits = [asyncio.ensure_future(sink.held.wait()), asyncio.ensure_future(process.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for one in waits:
        one.cancel()
    assert sink.held.is_set()


async def test_fifty_gigabytes_go_where_memory_is_short(shell: Shell) -> None:
    """The cache of the file is no need: a group with 90 MB for all of it kills nobody."""
    source = sparse(shell.folder / "big.bin", 8 * 10**9)
    sink = Sink(hold=200 * MB)
    async with listening(sink) as wire:
        with ills.cage("memory", limit_in_bytes="90M") as cage:
            process = await started(
                *(shell, cage.command(), "upload", str(source), "-p", "user_data", "--quiet"),
                OPENAI_BASE_URL=wire.url,
            )
            await held_by(sink, process)
            process.send_signal(signal.SIGTERM)
            ended = await shell.end(process)
    assert ended.code == 143, ended.err


@LINUX
async def test_a_line_without_end_is_not_held(shell: Shell) -> None:
    source = sparse(shell.folder / "endless.jsonl", 2 * GB)
    done = await limited(shell, {"as": 500 * MB}, "check", str(source), "-p", "batch")
    assert done.code == 2
    assert "file_too_large" in done.out + done.err


# --- open files -----------------------------------------------------------------------------


async def test_few_open_files_are_enough_for_many_files(shell: Shell) -> None:
    names = [f"{number:03}.bin" for number in range(40)]
    shell.make(*names)
    answering_together(shell, 6)
    done = await limited(shell, {"nofile": 64}, "upload", *names, *AS_USED, "--workers", "64")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == len(shell.house.files) == 40


def answering_together(shell: Shell, count: int) -> None:
    """Answer parts only once so many are there at a time, or no more come: all slots are used."""
    waiting = 0
    go = asyncio.Event()

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal waiting, go
        if call_of(request) == "part":
            waiting += 1
            if waiting >= count:
                waiting = 0
                go.set()
                go = asyncio.Event()
            else:
                mine = go
                try:
                    async with asyncio.timeout(0.2):
                        await mine.wait()
                except TimeoutError:
                    waiting = max(0, waiting - 1)
        return await handler(request)

    shell.house.intercept = intercept


@pytest.mark.parametrize("nofile", [8, 12])
async def test_too_few_open_files_are_named_and_cost_nothing(shell: Shell, nofile: int) -> None:
    done = await limited(shell, {"nofile": nofile}, "upload", "a.bin", *AS_USED)
    assert done.code == 75
    assert f"may have {nofile} files and connections open at once" in done.err
    again = await shell.upload("a.bin")
    assert again.code == 0, again.err
    assert len(shell.house.files) == 1


@pytest.fixture
def no_more_files() -> Iterator[None]:
    """This process may open no file, unless it closes another one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_file_is_not_blamed_for_the_open_files_of_others(no_more_files: None) -> None:
    with pytest.raises(OSError, match="Too many open files") as caught:
        os.open(os.devnull, os.O_RDONLY)
    error = caught.value
    assert isinstance(gone("a.bin", error), Stopped)
    assert not isinstance(gone("a.bin", OSError(errno.EIO, "broken")), Stopped)
    found = shortage(ExceptionGroup("several", [ValueError(), error]))
    assert found is not None
    assert found.retryable
    assert shortage(OSError(errno.EIO, "broken")) is None


async def test_there_are_no_more_workers_than_open_files_for_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with AsyncUploader(
        base_url="http://127.0.0.1:1/v1",
        api_key=KEY,
        journal=tmp_path / "journal.db",
        options=Options(workers=64),
    ) as uploader:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        try:
            assert uploader._engine.workshop.slots.slots.ceiling == 6
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "enough for 6 workers at most" in caplog.text


async def test_memory_that_runs_out_is_named_and_the_job_goes_on(
    house: House, tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_source(tmp_path / "a.bin", 5000)

    def none(*_: object, **__: object) -> None:
        raise MemoryError

    async with house.uploader(journal) as uploader:
        with monkeypatch.context() as short:
            short.setattr(chunkup.worker, "FormBody", none)
            with pytest.raises(Stopped, match="no memory left") as caught:
                await uploader.upload(tmp_path / "a.bin", purpose="user_data")
        assert caught.value.job_id is not None
        assert (await uploader.resume(caught.value.job_id)).bytes == 5000


async def test_a_server_lets_in_as_many_as_it_has_open_files_for(shell: Shell) -> None:
    process = await started(
        *(shell, ills.limited((), nofile=64), "serve", "--dir", "served"), OPENAI_API_KEY=KEY
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def post(number: int) -> None:
            form = aiohttp.FormData({"purpose": "user_data"})
            form.add_field("file", bytes(10_000), filename=f"{number}.bin")
            async with session.post(f"{url}/files", data=form) as answer:
                assert answer.status == 200

        await asyncio.gather(*map(post, range(150)))
    process.terminate()
    ended = await shell.end(process)
    assert (ended.code, ended.err) == (143, "")


# --- threads --------------------------------------------------------------------------------

# As the system says it, from the nth thread of the process on.
NO_THREADS = """
import os, threading
left, start = int(os.environ["THREADS"]), threading._start_new_thread

def counted(*what):
    global left
    left -= 1
    if left < 0:
        raise RuntimeError("can't start new thread")
    return start(*what)

threading._start_new_thread = counted
from chunkup.cli.main import main
main()
"""


@pytest.mark.parametrize("threads", [0, 1, 2, 4])
async def test_too_few_threads_are_named_and_cost_nothing(shell: Shell, threads: int) -> None:
    words = [sys.executable, "-c", NO_THREADS, "upload", "a.bin", *AS_USED]
    process = await shell._started(words, {"THREADS": str(threads)})
    done = await shell.end(process)
    if threads <= 2:
        assert done.code == 75
    if done.code != 0:
        assert "error[stopped]: this process may start no more threads" in done.err
    again = await shell.upload("a.bin")
    assert again.code == 0, again.err
    assert len(shell.house.files) == 1


async def test_a_program_can_try_again_once_there_are_threads(shell: Shell) -> None:
    """A blocking call that found no thread must not leave one behind that nobody runs."""
    script = f"""
import threading
import chunkup
start = threading._start_new_thread
def none(*_):
    raise RuntimeError("can't start new thread")
threading._start_new_thread = none
uploader = chunkup.Uploader(part_size={10_000})
try:
    uploader.upload("a.bin", purpose="user_data")
except chunkup.Stopped as error:
    print(error.code)
threading._start_new_thread = start
print(uploader.upload("a.bin", purpose="user_data").bytes)
"""
    process = await shell._started([sys.executable, "-c", script], {})
    done = await asyncio.wait_for(shell.end(process), 60)
    assert done.out.split() == ["stopped", "20500"], done.err


# --- processor time -------------------------------------------------------------------------


async def test_a_fifth_of_a_processor_is_enough(shell: Shell) -> None:
    """No time-out of ours takes a slow machine for a dead line."""
    with ills.cage("cpu", cfs_quota_us="20000") as cage:
        process = await started(shell, cage.command(), "upload", "a.bin", *AS_USED, "--json")
        assert process.stdout is not None
        events: list[dict[str, object]] = []
        while sum(event["event"] == "part_accepted" for event in events) < 3:
            events.append(json.loads(await process.stdout.readline()))
        process.kill()
        await shell.end(process)
        process = await started(shell, cage.command(), "upload", "a.bin", *AS_USED, "--json")
        done = await shell.end(process)
    assert done.code == 0, done.err
    told = [json.loads(line) for line in done.out.splitlines()]
    assert not [event for event in told if event["event"] in {"part_retried", "paused", "late"}]
    [begun] = [event for event in told if event["event"] == "job_started"]
    assert begun["done_parts"] >= 3
    amounts = [event["done"] for event in told if event["event"] == "progress"]
    assert amounts == sorted(amounts)
    assert len(shell.house.files) == 1


# --- sizes of files -------------------------------------------------------------------------


async def test_a_journal_that_may_not_grow_says_so_and_keeps_what_it_has(shell: Shell) -> None:
    make_source(shell.folder / "a.bin", 200_000)
    done = await limited(shell, {"fsize": 110_000}, "upload", "a.bin", *AS_USED)
    assert done.code == 75
    assert "cannot grow: files of this process may have 110000 bytes at most" in done.err
    [job] = (await shell.jobs()).values()
    assert job.parts > 0
    sent = shell.house.calls.count("part")
    again = await shell.upload("a.bin")
    assert again.code == 0, again.err
    assert shell.house.calls.count("part") - sent == 200 - job.parts


async def test_a_download_that_may_not_grow_goes_on_later(shell: Shell) -> None:
    file = (await shell.upload("a.bin")).out.strip()
    words = ("files", "download", file, "-o", "b.bin")
    done = await limited(shell, {"fsize": 9000}, *words)
    assert done.code == 75
    assert "File too large" in done.err
    assert not (shell.folder / "b.bin").exists()
    assert (await shell.run(*words)).code == 0
    assert (shell.folder / "b.bin").read_bytes() == (shell.folder / "a.bin").read_bytes()


async def test_a_mended_copy_that_may_not_grow_leaves_nothing(shell: Shell) -> None:
    line = {"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": {"model": "m"}}
    text = "".join(json.dumps({**line, "custom_id": str(at)}) + "\r\n" for at in range(500))
    (shell.folder / "b.jsonl").write_text("\ufeff" + text)
    before = sorted(shell.folder.iterdir())
    done = await limited(shell, {"fsize": 9000}, "check", "b.jsonl", "-p", "batch", "--fix")
    assert done.code == 75
    assert "File too large" in done.err
    assert sorted(shell.folder.iterdir()) == before


async def test_standard_input_that_may_not_be_kept_leaves_nothing(shell: Shell) -> None:
    make_source(shell.folder / "a.bin", 400_000)
    words = ills.limited((), fsize=200_000)
    process = await shell.paste(
        f"{' '.join(words)} $PYTHON -m chunkup upload - -p user_data < a.bin"
    )
    assert process.code == 75
    assert "File too large" in process.err
    spool = shell.journal.with_name(shell.journal.name + "-spool")
    assert list(spool.iterdir()) == []
    assert "create" not in shell.house.calls
