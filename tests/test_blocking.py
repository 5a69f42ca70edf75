"""The blocking calls: scripts, threads, running loops, Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from elsewhere import in_a_thread
from house import KEY, House, make_source, open_house

import chunkup
from chunkup.errors import NoSuchFile

SIZE = 10_500


@pytest.fixture
def server(tmp_path: Path) -> Iterator[House]:
    with in_a_thread(lambda: open_house(tmp_path / "server")) as house:
        yield house


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    make_source(path, SIZE)
    return path


def test_upload_in_a_script(server: House, journal: Path, source: Path) -> None:
    file = chunkup.upload(
        source,
        purpose="user_data",
        base_url=server.url,
        api_key=KEY,
        journal=journal,
        part_size=1000,
    )
    assert server.content(file.id) == source.read_bytes()


async def test_upload_inside_a_running_loop(server: House, journal: Path, source: Path) -> None:
    file = chunkup.upload(
        source, purpose="user_data", base_url=server.url, api_key=KEY, journal=journal
    )
    assert file.bytes == SIZE


def test_uploads_from_several_threads(server: House, journal: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.bin" for number in range(4)]
    for number, path in enumerate(paths):
        make_source(path, SIZE, seed=number)
    found: dict[Path, chunkup.RemoteFile] = {}

    def one(path: Path) -> None:
        found[path] = chunkup.upload(
            path, purpose="user_data", base_url=server.url, api_key=KEY, journal=journal
        )

    threads = [threading.Thread(target=one, args=[path]) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for path in paths:
        assert server.content(found[path].id) == path.read_bytes()


def test_errors_come_through_with_their_own_class(server: House, journal: Path) -> None:
    with pytest.raises(NoSuchFile):
        chunkup.upload(
            "nowhere", purpose="user_data", base_url=server.url, api_key=KEY, journal=journal
        )


INTERRUPTED = """
import os, signal, sys, chunkup
def watch(event):
    if type(event).__name__ == "PartAccepted" and event.done >= 3000:
        os.kill(os.getpid(), signal.SIGINT)
url, journal, source = sys.argv[1:]
try:
    chunkup.upload(source, purpose="user_data", base_url=url, api_key=os.environ["KEY"],
        journal=journal, part_size=1000, options=chunkup.Options(workers=1), on_event=watch)
except KeyboardInterrupt as error:
    print(error.__notes__[0])
    raise
"""


def test_ctrl_c_keeps_receipts_and_says_how_to_go_on(
    server: House, journal: Path, source: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, server.url, str(journal), str(source)],
        capture_output=True,
        text=True,
        env={**os.environ, "KEY": KEY},
        check=False,
    )
    assert done.returncode == -signal.SIGINT, done.stderr
    assert "chunkup.resume('" in done.stdout
    job = done.stdout.split("'")[1]
    file = chunkup.resume(job, base_url=server.url, api_key=KEY, journal=journal)
    assert server.content(file.id) == source.read_bytes()
    assert server.calls.count("create") == 1


def test_a_forked_child_starts_an_engine_of_its_own(
    server: House, journal: Path, source: Path
) -> None:
    code = """
import os, sys, chunkup
url, journal, source = sys.argv[1:]
def go():
    return chunkup.upload(source, purpose="user_data", base_url=url,
        api_key=os.environ["KEY"], journal=journal).id
first = go()
child = os.fork()
if child == 0:
    print(go(), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    done = subprocess.run(
        [sys.executable, "-c", code, server.url, str(journal), str(source)],
        capture_output=True,
        text=True,
        env={**os.environ, "KEY": KEY},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert server.content(done.stdout.strip()) == source.read_bytes()
