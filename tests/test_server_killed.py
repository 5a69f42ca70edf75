"""The embedded server is killed anywhere, or has no room: what it acknowledged is there."""

import asyncio
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
from house import KEY, make_source
from ills import strace

import chunkup
from chunkup import events
from chunkup.server.store import FileRow, Store

SEED = int(os.environ.get("CHUNKUP_SEED", "20261121"))
CALLS = ("pwrite64", "write", "rename", "unlink", "ftruncate")
MANY = chunkup.Options(retries=12, looks=(0.0, 0.5, 1.0), patience=0.0)

# Each line tells of something that a client would have been answered.
SERVED = """
import hashlib, sys
from pathlib import Path
from chunkup.server.store import NewFile, NewUpload, Store

store = Store(Path(sys.argv[1]))

def body(content):
    incoming = store.receive()
    incoming.write([memoryview(content)])
    return incoming

for _ in range(2):
    new = NewUpload(filename="a", bytes=6, mime_type="text/plain", purpose="user_data")
    upload = store.create_upload(new)
    print("upload", upload.id, flush=True)
    parts = []
    for content in (b"abc", b"orphan", b"def"):
        parts.append(store.add_part(upload.id, body(content)).id)
        print("part", upload.id, parts[-1], flush=True)
    md5 = hashlib.md5(b"abcdef").hexdigest()
    _, file = store.complete_upload(upload.id, [parts[0], parts[2]], md5)
    print("file", file.id, "abcdef", flush=True)
    file = store.add_file(NewFile(filename="b", purpose="user_data"), body(b"whole"))
    print("mortal", file.id, flush=True)
    store.delete_file(file.id)
    print("deleted", file.id, flush=True)
"""


def served(folder: Path, *before: str) -> list[list[str]]:
    """What was acknowledged before it ended, or was killed."""
    done = subprocess.run(
        [*before, sys.executable, "-B", "-c", SERVED, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    lines = done.stdout.split("\n")
    return [line.split() for line in lines[:-1]]  # the last was cut, or is empty


def keeps(folder: Path, told: list[list[str]]) -> None:
    """A store opened now has all that was told, and nothing that is half done."""
    with closing(Store(folder)) as store:
        on_disk = {path.name for path in (folder / "content").iterdir()}
        assert on_disk == store._ledger.needed()
        assert list((folder / "incoming").iterdir()) == []
        files = {file.id: b"".join(store.read_file(file.id)).decode() for file in store.files()}
        assert set(files.values()) <= {"abcdef", "whole"}
        last = told[-1] if told else []
        for kind, *words in told:
            match kind, words:
                case "file", [name, content]:
                    assert files[name] == content
                case "mortal", [name]:
                    assert name in files or last == ["mortal", name] or ["deleted", name] in told
                case "deleted", [name]:
                    assert name not in files
                case "part", [begun, part]:
                    assert part in {row.id for row in store.parts(begun)}
                case "upload", [begun]:
                    store.upload(begun)
                case _:
                    pytest.fail(f"{kind} {words} was not to be told")
        finished = sum(kind in {"file", "mortal"} for kind, *_ in told)
        assert len(files) <= finished + 1
        # What was under way goes on.
        for upload in store.uploads():
            parts = [row for row in store.parts(upload.id) if row.bytes == 3]
            if upload.status == "pending" and len(parts) == 2:
                md5 = hashlib.md5(b"abcdef").hexdigest()
                _, file = store.complete_upload(upload.id, [row.id for row in parts], md5)
                assert b"".join(store.read_file(file.id)) == b"abcdef"


def test_whatever_call_it_is_killed_at_it_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    never = "kill:error=EPERM:when=1"
    whole = served(tmp_path / "whole", *strace(never, trace=",".join(CALLS) + ",kill", log=log))
    assert len(whole) == 14
    names = [line.split()[1].partition("(")[0] for line in log.read_text().splitlines()]
    points = [(name, nth + 1) for name in CALLS for nth in range(names.count(name))]
    assert {name for name, _ in points} >= {"pwrite64", "write", "rename", "unlink"}
    print("seed", SEED, "of", len(points))
    if not os.environ.get("CHUNKUP_LONG"):
        points = random.Random(SEED).sample(points, 8)
    for name, nth in points:
        folder = tmp_path / f"{name}-{nth}"
        told = served(folder, *strace(f"{name}:signal=SIGKILL:when={nth}"))
        assert len(told) < len(whole), f"{name} {nth} killed nobody"
        keeps(folder, told)


# --- the server, and somebody who uploads ----------------------------------------------------


@contextmanager
def serving(
    folder: Path, *before: str, port: str = "0"
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server's URL and its process, which is gone at the end of the block."""
    process = subprocess.Popen(
        [*before, sys.executable, "-m", "chunkup", "serve", "--dir", str(folder), "--port", port],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # Compiled modules are renamed too.
        env={**os.environ, "OPENAI_API_KEY": KEY, "PYTHONDONTWRITEBYTECODE": "1"},
        # What strace leaves when it is killed is killed with it.
        start_new_session=True,
    )
    assert process.stdout is not None
    with process, process.stdout:
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), url
            yield url, process
        finally:
            kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Restarted:
    """A server that is started again in the same place once it has died."""

    def __init__(self, folder: Path, *before: str) -> None:
        self._folder = folder
        self._open = ExitStack()
        self.url, self._first = self._open.enter_context(serving(folder, *before))
        self._port = self.url.rpartition(":")[2].partition("/")[0]
        self.again = 0

    def watch(self, repair: Callable[[], None] = lambda: None) -> threading.Thread:
        def wait() -> None:
            self._first.wait()
            repair()
            self._open.enter_context(serving(self._folder, port=self._port))
            self.again += 1

        thread = threading.Thread(target=wait)
        thread.start()
        return thread

    def kill(self) -> None:
        kill(self._first)

    @property
    def died(self) -> bool:
        return self._first.poll() is not None

    def close(self) -> None:
        self.kill()
        self._open.close()


def the_only_file(folder: Path, md5: str) -> FileRow:
    with closing(Store(folder)) as store:
        (file,) = store.files()
        assert store.md5_of(file.id) == md5
        assert {path.name for path in (folder / "content").iterdir()} == store._ledger.needed()
        assert list((folder / "incoming").iterdir()) == []
    return file


@pytest.mark.parametrize("call", ["rename", "pwrite64"])
async def test_a_run_goes_on_by_itself_when_the_server_dies_within_a_part(
    tmp_path: Path, call: str
) -> None:
    source = tmp_path / "a.bin"
    md5 = make_source(source, 20_000)
    kept = tmp_path / "kept"
    # The tables are made before. Calls are counted for each of eight threads by itself, and one
    # of them has its share of twenty parts in any case.
    Store(kept).close()
    nth = {"rename": 3, "pwrite64": 8}[call]
    server = Restarted(kept, *strace(f"{call}:signal=SIGKILL:when={nth}"))
    try:
        watcher = server.watch()
        async with chunkup.AsyncUploader(
            base_url=server.url,
            api_key=KEY,
            journal=tmp_path / "j" / "journal.db",
            part_size=1000,
            options=MANY,
        ) as uploader:
            file = await uploader.upload(source, purpose="user_data")
            (line,) = await (await uploader.journal()).lines()
        assert server.died
        await asyncio.to_thread(watcher.join)
        assert server.again == 1
        assert line.generation == 1
    finally:
        server.close()
    assert the_only_file(kept, md5).id == file.id


async def test_a_run_goes_on_by_itself_when_the_server_dies_while_it_completes(
    tmp_path: Path,
) -> None:
    source = tmp_path / "a.bin"
    md5 = make_source(source, 20_000)
    kept = tmp_path / "kept"
    held = tmp_path / "held"
    stuck: list[Path] = []
    server = Restarted(kept)

    def hold(event: events.Event) -> None:
        """Let the server's reading of the whole wait in its midst."""
        if isinstance(event, events.Completing) and not stuck:
            stuck.append(min((kept / "content").iterdir()))
            stuck[0].rename(held)
            os.mkfifo(stuck[0])
            killer.start()

    def kill_as_it_reads() -> None:
        with stuck[0].open("wb"):
            server.kill()

    killer = threading.Thread(target=kill_as_it_reads)
    try:
        watcher = server.watch(lambda: (held.rename(stuck[0]), None)[1])
        async with chunkup.AsyncUploader(
            base_url=server.url,
            api_key=KEY,
            journal=tmp_path / "j" / "journal.db",
            part_size=1000,
            options=MANY,
        ) as uploader:
            file = await uploader.upload(source, purpose="user_data", on_event=hold)
        assert server.died
        await asyncio.to_thread(watcher.join)
        assert server.again == 1
    finally:
        server.close()
    assert the_only_file(kept, md5).id == file.id
