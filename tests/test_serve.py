"""``chunkup serve`` as a process: one line on stdout, and it keeps what it acknowledged."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from house import KEY, make_source

import chunkup
from chunkup import events
from chunkup.server.store import Store


@contextmanager
def serving(*arguments: str, key: str | None = KEY) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "chunkup", "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"OPENAI_API_KEY": key} if key else {},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout, process.stderr:
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()
            process.wait()


def test_serve_prints_its_url_once_and_binds_to_this_machine(tmp_path: Path) -> None:
    with serving("--dir", str(tmp_path / "kept")) as (url, process):
        assert url.startswith("http://127.0.0.1:")
        process.terminate()
        out, err = process.communicate()
        assert (process.returncode, out, err) == (143, "", "")


def test_serve_takes_the_key_of_its_environment(tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    make_source(source, 1000)
    with serving("--dir", str(tmp_path / "kept")) as (url, _):
        journal = tmp_path / "j" / "journal.db"
        file = chunkup.upload(source, purpose="batch", base_url=url, api_key=KEY, journal=journal)
        assert file.bytes == 1000
        with pytest.raises(chunkup.Failed) as caught:
            chunkup.upload(source, purpose="batch", base_url=url, api_key="sk-no", journal=journal)
        assert caught.value.code == "unauthorized"
    with serving("--dir", str(tmp_path / "kept"), key=None) as (url, _):
        kept = chunkup.upload(source, purpose="batch", base_url=url, no_key=True, journal=journal)
        assert kept.id != file.id


def test_serve_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    with serving("--dir", str(tmp_path / "kept")) as (url, _):
        port = url.rpartition(":")[2].partition("/")[0]
        with serving("--port", port) as (nothing, second):
            assert nothing == ""
            _, err = second.communicate()
            assert second.returncode == 2
            assert "error[bad-option]" in err
    for arguments in (["--ttl", "0"], ["--port", "99999"], ["--dir", "/dev/null/x"]):
        with serving(*arguments) as (nothing, process):
            _, err = process.communicate()
            assert (nothing, process.returncode) == ("", 2), err
            assert "Traceback" not in err


async def test_an_upload_outlives_the_servers_kill_and_restart(tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    md5 = make_source(source, 2_000_000)
    kept = str(tmp_path / "kept")
    restarted: list[asyncio.Future[None]] = []
    retried: list[events.Event] = []

    with serving("--dir", kept) as (url, first), ExitStack() as later:
        port = url.rpartition(":")[2].partition("/")[0]

        def restart() -> None:
            first.kill()
            first.wait()
            again, _ = later.enter_context(serving("--dir", kept, "--port", port))
            assert again == url

        def watch(event: events.Event) -> None:
            if isinstance(event, events.PartRetried):
                retried.append(event)
            if isinstance(event, events.PartAccepted) and not restarted:
                restarted.append(asyncio.ensure_future(asyncio.to_thread(restart)))

        async with chunkup.AsyncUploader(
            base_url=url,
            api_key=KEY,
            journal=tmp_path / "j" / "journal.db",
            part_size=20_000,
            options=chunkup.Options(workers=2, retries=12),
        ) as uploader:
            file = await uploader.upload(source, purpose="user_data", on_event=watch)
            (line,) = await (await uploader.journal()).lines()
        await restarted[0]
        assert line.generation == 1
        assert retried
    store = Store(tmp_path / "kept")
    assert store.md5_of(file.id) == md5
    store.close()
