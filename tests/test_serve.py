"""``chunkup serve`` as a process: one line on stdout, and it keeps what it acknowledged."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import openai
import pytest
from house import KEY, make_source

import chunkup
from chunkup import events
from chunkup.server.plans import read_plan
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
        file = chunkup.upload(
            source, purpose="user_data", base_url=url, api_key=KEY, journal=journal
        )
        assert file.bytes == 1000
        with pytest.raises(chunkup.Failed) as caught:
            chunkup.upload(
                source, purpose="user_data", base_url=url, api_key="sk-no", journal=journal
            )
        assert caught.value.code == "unauthorized"
    with serving("--dir", str(tmp_path / "kept"), key=None) as (url, _):
        kept = chunkup.upload(
            source, purpose="user_data", base_url=url, no_key=True, journal=journal
        )
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


# --- faults -----------------------------------------------------------------------------------


def plan(folder: Path, *lines: str) -> str:
    path = folder / "plan.jsonl"
    path.write_text("\n".join(lines))
    return str(path)


def list_often(url: str, count: int) -> list[int]:
    """The numbers of the requests that were refused."""
    refused = []
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        for number in range(1, count + 1):
            try:
                client.files.list()
            except openai.InternalServerError:
                refused.append(number)
    return refused


def ended(process: subprocess.Popen[str]) -> str:
    """What it said on stderr until it was told to end."""
    process.terminate()
    out, err = process.communicate()
    assert (process.returncode, out) == (143, "")
    return err


def test_a_plan_strikes_and_tells_each_strike(tmp_path: Path) -> None:
    path = plan(
        tmp_path,
        '{"call": "list", "nth": 2, "every": 2, "times": 2, "status": 503}',
        '{"call": "create", "hang": true}',
    )
    with serving("--faults", path) as (url, process):
        assert list_often(url, 6) == [2, 4]
        assert ended(process).splitlines() == [
            'struck: {"call": "list", "nth": 2, "status": 503}',
            'struck: {"call": "list", "nth": 4, "status": 503}',
        ]


def test_a_run_by_chance_is_seen_again_by_its_seed_or_by_what_it_told(tmp_path: Path) -> None:
    path = plan(tmp_path, '{"call": "any", "probability": 0.4, "status": 500}')
    with serving("--faults", path) as (url, process):
        refused = list_often(url, 40)
        first, *struck = ended(process).splitlines()
    seed = re.fullmatch(r"faults go by chance: --seed (\d+) strikes the same requests", first)
    assert seed
    with serving("--faults", path, "--seed", seed[1]) as (url, process):
        assert list_often(url, 40) == refused
        assert ended(process).splitlines() == struck
    with serving("--faults", path, "--seed", str(int(seed[1]) + 1)) as (url, process):
        assert list_often(url, 40) != refused
        ended(process)
    path = plan(tmp_path, *(line.removeprefix("struck: ") for line in struck))
    assert [fault.nth for fault in read_plan(Path(path).read_text())] == refused
    with serving("--faults", path) as (url, process):
        assert list_often(url, 40) == refused
        # Nothing in it goes by chance, so it has no seed to tell.
        assert ended(process).splitlines() == struck


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["", '{"call": "part", "tims": 3}'], "line 2: a fault has no 'tims'; did you mean"),
        (['{"call": "part"}'], "line 1: a fault says what happens"),
        (["part 3"], "line 1: this is not JSON"),
        (['{"call": "part\x1b[31m", "hang": true}'], "line 1: this is not JSON"),
        (['{"call": "part\\u001b[31m", "hang": true}'], "line 1: 'part\\x1b[31m' is not a call"),
        ([], "line 1: there is no fault in this plan"),
    ],
)
def test_what_is_no_plan_is_refused_with_its_line(
    tmp_path: Path, lines: list[str], said: str
) -> None:
    with serving("--faults", plan(tmp_path, *lines)) as (nothing, process):
        _, err = process.communicate()
    assert (nothing, process.returncode) == ("", 2)
    assert err.startswith(f"error[bad-option]: {tmp_path}/plan.jsonl, {said}")
    assert err.count("\n") == 3
    hint = err.rpartition("hint: ")[2]
    assert read_plan(hint[hint.index("{") :])
    assert "\x1b" not in err


def test_a_plan_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    for name, said in (
        ("missing", "cannot be read: No such file or directory"),
        (".", "is a directory"),
        ("binary", "is no plan: it is not UTF-8"),
    ):
        with serving("--faults", str(tmp_path / name)) as (nothing, process):
            _, err = process.communicate()
        assert (nothing, process.returncode) == ("", 2)
        assert said in err


def test_a_server_without_uploads_says_so_as_such_servers_do(tmp_path: Path) -> None:
    with (
        serving("--no-uploads", "--dir", str(tmp_path)) as (url, _),
        openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client,
    ):
        with pytest.raises(openai.NotFoundError) as refused:
            client.uploads.create(bytes=1, filename="a", mime_type="b/c", purpose="user_data")
        assert client.files.create(file=("a", b"a"), purpose="user_data").bytes == 1
    assert refused.value.body == {
        "message": "Invalid URL (POST /v1/uploads)",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_a_server_takes_offence_at_orphans_if_it_is_told_to(tmp_path: Path) -> None:
    for orphans, fails in (("ignore", 3), ("count", 1), ("refuse", 2)):
        done = 0
        with (
            serving("--orphans", orphans, "--dir", str(tmp_path)) as (url, _),
            openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client,
            suppress(openai.BadRequestError),
        ):
            upload = client.uploads.create(
                bytes=1, filename="a", mime_type="b", purpose="user_data"
            )
            client.uploads.parts.create(upload.id, data=b"a")
            done = 1
            part = client.uploads.parts.create(upload.id, data=b"a")
            done = 2
            client.uploads.complete(upload.id, part_ids=[part.id])
            done = 3
        assert done == fails
