"""The embedded server as users' tests have it: in a thread, by fixture or by ``with``."""

import asyncio
import gc
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import openai
import pytest
from house import make_source
from yarl import URL

import chunkup
from chunkup.events import Event, PartAccepted
from chunkup.server import strikes
from chunkup.server.rows import Orphans
from chunkup.server.store import StoreInUseError
from chunkup.testing import FaultNeverFired, Request, ServedUpload, Server, serve

SIZE, PART = 10_000, 1000
LARGE = 32 << 20  # more than any socket holds


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serve(tmp_path / "served") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=server.base_url, api_key=server.api_key, max_retries=0, timeout=10
    ) as client:
        yield client


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    make_source(path, SIZE)
    return path


def begin(client: openai.OpenAI, size: int = 3) -> str:
    return client.uploads.create(
        bytes=size, filename="a", mime_type="text/plain", purpose="user_data"
    ).id


def add(client: openai.OpenAI, upload_id: str, content: bytes = b"abc") -> str:
    return client.uploads.parts.create(upload_id, data=content).id


def calls(server: Server) -> list[tuple[str, int | None]]:
    return [(request.call, request.status) for request in server.requests]


def connect(server: Server) -> socket.socket:
    url = URL(server.base_url)
    return socket.create_connection((url.host, url.port), timeout=10)


def half_a_part(server: Server, upload_id: str) -> socket.socket:
    """A connection on which a part is under way, seen by the server."""
    wire, before = connect(server), len(server.requests)
    form = b'--b\r\nContent-Disposition: form-data; name="data"; filename="a"\r\n\r\nabc'
    head = (
        f"POST /v1/uploads/{upload_id}/parts HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n"
        f"Authorization: Bearer {server.api_key}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    wire.sendall(head.encode() + form)
    until(lambda: [seen.bytes for seen in server.requests[before:]] == [len(form)])
    return wire


def unread(server: Server, file_id: str) -> socket.socket:
    """A connection whose answer has begun, and most of it is still to be sent."""
    wire, before = connect(server), len(server.requests)
    wire.sendall(
        f"GET /v1/files/{file_id}/content HTTP/1.1\r\nHost: a\r\n"
        f"Authorization: Bearer {server.api_key}\r\n\r\n".encode()
    )
    until(lambda: [seen.status for seen in server.requests[before:]] == [200])
    return wire


def until(happened: Any) -> None:
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline


def rest_of(wire: socket.socket) -> bytes:
    """What still comes, until the other side closes or breaks the connection."""
    found = b""
    try:
        while more := wire.recv(1 << 16):
            found += more
    except ConnectionResetError:
        pass
    return found


# --- the fixture ------------------------------------------------------------------------------


def test_the_fixture_points_the_environment_here(chunkup_server: Server, tmp_path: Path) -> None:
    assert os.environ["OPENAI_BASE_URL"] == chunkup_server.base_url
    assert os.environ["OPENAI_API_KEY"] == chunkup_server.api_key
    assert os.environ["CHUNKUP_JOURNAL"] == str(chunkup_server.journal)
    assert chunkup_server.journal.is_relative_to(tmp_path)
    assert not chunkup_server.journal.parent.exists()
    assert chunkup_server.environ.items() <= os.environ.items()


def test_the_fixture_leaves_the_environment_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import os, threading\n"
        "def look():\n"
        "    return [os.environ.get(name) for name in\n"
        "            ('OPENAI_BASE_URL', 'OPENAI_API_KEY', 'CHUNKUP_JOURNAL')]\n"
        "before = look()\n"
        "def test_with(chunkup_server):\n"
        "    assert None not in look() and not set(look()) & set(before)\n"
        "    assert 'chunkup-server' in {thread.name for thread in threading.enumerate()}\n"
        "def test_without():\n"
        "    assert look() == before == ['http://before/v1', 'sk-before', None]\n"
        "    assert 'chunkup-server' not in {thread.name for thread in threading.enumerate()}\n"
    )
    keep = {name: value for name, value in os.environ.items() if name != "CHUNKUP_JOURNAL"}
    before = {"OPENAI_BASE_URL": "http://before/v1", "OPENAI_API_KEY": "sk-before"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "--rootdir", ".", "test_it.py"],
        cwd=tmp_path,
        env={**keep, **before},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_blocking_code_is_served(chunkup_server: Server, source: Path) -> None:
    file = chunkup.upload(source, purpose="user_data", part_size=PART)
    assert chunkup_server.files[file.id].read() == source.read_bytes()
    assert chunkup_server.journal.exists()


async def test_async_code_is_served_and_may_look_from_its_loop(
    chunkup_server: Server, source: Path
) -> None:
    async with chunkup.AsyncUploader(part_size=PART) as uploader:
        file = await uploader.upload(source, purpose="user_data")
    assert chunkup_server.files[file.id].read() == source.read_bytes()
    async with openai.AsyncOpenAI() as client:
        assert [found.id async for found in client.files.list()] == [file.id]


def test_the_command_line_is_served(chunkup_server: Server, source: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chunkup", "upload", str(source), "--purpose", "user_data"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(chunkup_server.files) == [done.stdout.strip()]


def test_the_plugin_imports_only_pytest() -> None:
    code = (
        "import sys, pytest\n"
        "before = set(sys.modules)\n"
        "import chunkup.pytest_plugin\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["chunkup", "chunkup.pytest_plugin"]


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    (found,) = entry_points(group="pytest11", name="chunkup")
    assert found.value == "chunkup.pytest_plugin"


# --- who is served ----------------------------------------------------------------------------


def test_only_its_own_key_opens(server: Server, client: openai.OpenAI, tmp_path: Path) -> None:
    with (
        openai.OpenAI(base_url=server.base_url, api_key="sk-other", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.files.list()
    client.files.list()
    assert calls(server) == [("list", 401), ("list", 200)]
    with serve(tmp_path / "other") as other:
        assert other.api_key != server.api_key
        assert other.base_url != server.base_url
    with serve(tmp_path / "other", api_key="sk-mine") as other:
        assert other.api_key == "sk-mine"


# --- what can be looked at --------------------------------------------------------------------


def test_files_are_a_mapping(server: Server, client: openai.OpenAI) -> None:
    assert dict(server.files) == {}
    one = client.files.create(file=("one.txt", b"1"), purpose="user_data")
    two = client.files.create(file=("two.txt", b"22"), purpose="user_data")
    assert list(server.files) == [one.id, two.id]
    assert len(server.files) == 2
    assert two.id in server.files
    assert "file-x" not in server.files
    with pytest.raises(KeyError):
        server.files["file-x"]
    seen = server.files[two.id]
    assert (seen.id, seen.filename, seen.purpose, seen.bytes) == (two.id, "two.txt", "user_data", 2)
    assert (seen.created_at, seen.expires_at) == (two.created_at, two.expires_at)
    assert seen.read() == b"22"
    assert one.id in repr(server.files)

    client.files.delete(two.id)
    assert list(server.files) == [one.id]
    with pytest.raises(KeyError, match=two.id):
        seen.read()


def test_uploads_are_a_mapping_however_they_ended(server: Server, client: openai.OpenAI) -> None:
    ids = [begin(client) for _ in range(4)]
    assert list(server.uploads) == ids
    parts = [add(client, upload_id) for upload_id in ids]
    orphan = add(client, ids[0], b"orphan")
    done = client.uploads.complete(ids[0], part_ids=[parts[0]])
    client.uploads.cancel(ids[1])

    completed, cancelled, *pending = server.uploads.values()
    assert done.file is not None
    assert (completed.status, completed.file) == ("completed", done.file.id)
    assert (completed.filename, completed.purpose, completed.bytes) == ("a", "user_data", 3)
    assert (completed.created_at, completed.expires_at) == (done.created_at, done.expires_at)
    assert [(part.id, part.bytes) for part in completed.parts] == [(parts[0], 3), (orphan, 6)]
    assert completed.parts[0].xxh3 == cancelled.parts[0].xxh3 != completed.parts[1].xxh3
    assert (cancelled.status, cancelled.file) == ("cancelled", None)
    assert [upload.status for upload in pending] == ["pending", "pending"]
    server.advance(3600)
    assert [upload.status for upload in server.uploads.values()] == [
        *("completed", "cancelled", "expired", "expired"),
    ]
    assert [upload.status for upload in pending] == ["pending", "pending"]  # as it stood
    with pytest.raises(KeyError):
        server.uploads["upload_x"]


def test_requests_are_written_down(server: Server, client: openai.OpenAI) -> None:
    assert list(server.requests) == []
    upload_id = begin(client)
    add(client, upload_id, bytes(5000))
    with pytest.raises(openai.NotFoundError):
        client.files.content("file-x")
    with pytest.raises(openai.NotFoundError):
        client.models.list()
    created, part, content, other = server.requests
    assert (created.method, created.path) == ("POST", "/v1/uploads")
    assert (created.call, created.status) == ("create", 200)
    assert (part.call, part.path) == ("part", f"/v1/uploads/{upload_id}/parts")
    assert 5000 < part.bytes < 6000
    assert content == Request("GET", "/v1/files/file-x/content", "content", 404, 0)
    assert other == Request("GET", "/v1/models", "other", 404, 0)
    # Of bodies that are over only their length is kept.
    until(lambda: all(seen.body is None for seen in server._recorder._seen))


def test_a_request_is_seen_while_it_is_under_way(server: Server, client: openai.OpenAI) -> None:
    with half_a_part(server, begin(client)) as wire:
        (under_way,) = [request for request in server.requests if request.call == "part"]
        assert under_way.status is None
        more = b"d" * 10
        wire.sendall(more)
        until(lambda: server.requests[-1].bytes == under_way.bytes + len(more))


# --- faults -----------------------------------------------------------------------------------


def test_a_lost_answer_is_no_answer_and_the_work_was_done(
    server: Server, client: openai.OpenAI
) -> None:
    upload_id = begin(client)
    fault = server.fault("part", nth=2, drop_answer=True)
    add(client, upload_id)
    with pytest.raises(openai.APIConnectionError):
        add(client, upload_id)
    assert len(server.uploads[upload_id].parts) == 2
    assert calls(server) == [("create", 200), ("part", 200), ("part", None)]
    assert (fault.seen, fault.fired) == (2, 1)
    server.check_faults()


def test_a_status_is_answered_as_often_as_told(server: Server, client: openai.OpenAI) -> None:
    server.fault("list", status=418, times=2, headers={"x-mine": "yes"}, message="No tea.")
    for _ in range(2):
        with pytest.raises(openai.APIStatusError, match="No tea") as refused:
            client.files.list()
        assert refused.value.response.headers["x-mine"] == "yes"
    client.files.list()
    assert calls(server) == [("list", 418), ("list", 418), ("list", 200)]


def test_a_request_that_hangs_has_no_answer(server: Server, client: openai.OpenAI) -> None:
    fault = server.fault("list", hang=True)
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.1).files.list()
    fault.wait(0)
    assert calls(server) == [("list", None)]


def test_what_is_no_fault_is_refused_at_once(server: Server) -> None:
    with pytest.raises(TypeError, match="a fault says what happens"):
        server.fault("part")
    with pytest.raises(TypeError, match="a request ends in one way"):
        server.fault("part", status=503, hang=True)
    with pytest.raises(ValueError, match="line 2: a fault says what happens"):
        server.play('{"call": "part", "hang": true}\n{"call": "part"}')
    with pytest.raises(ValueError, match="create, part, complete"):
        server.fault("parts", hang=True)
    with pytest.raises(TypeError):
        server.fault("part", drop_reply=True)  # type: ignore[call-arg]
    server.check_faults()


def test_every_fault_that_never_fired_is_named(tmp_path: Path) -> None:
    with pytest.raises(FaultNeverFired) as failed, serve(tmp_path) as server:  # noqa: PT012  (its end raises)
        server.fault("part", nth=3, drop_answer=True)
        server.fault("list", nth=2, status=503)
        server.fault("list", status=500)
        with (
            openai.OpenAI(
                base_url=server.base_url, api_key=server.api_key, max_retries=0
            ) as client,
            pytest.raises(openai.InternalServerError),
        ):
            client.files.list()
        with pytest.raises(FaultNeverFired):
            server.check_faults()
    assert isinstance(failed.value, AssertionError)
    part, listing = str(failed.value).splitlines()
    assert part == (
        "fault('part', nth=3, drop_answer=True) never fired; 'part' requests since it was set: 0"
    )
    assert listing == (
        "fault('list', nth=2, status=503) never fired; 'list' requests since it was set: 1"
    )


def test_an_error_is_not_hidden_by_a_fault_that_never_fired(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), serve(tmp_path) as server:  # noqa: PT012  (its end raises)
        server.fault("part", hang=True)
        raise ZeroDivisionError


def test_a_plan_is_set_at_once_and_its_strikes_are_told(
    server: Server, client: openai.OpenAI
) -> None:
    status, late = server.play(
        '{"call": "list", "nth": 2, "status": 503}\n{"call": "list", "delay": 0.001, "nth": 3}\n'
    )
    client.files.list()
    with pytest.raises(openai.InternalServerError):
        client.files.list()
    client.files.list()
    assert [(strike.call, strike.number, strike.fault) for strike in server.strikes] == [
        ("list", 2, status.fault),
        ("list", 3, late.fault),
    ]


def test_chance_is_the_seeds(tmp_path: Path) -> None:
    struck = []
    for run, seed in enumerate([3, 3, 4]):
        with (
            serve(tmp_path / str(run), seed=seed) as server,
            openai.OpenAI(
                base_url=server.base_url, api_key=server.api_key, max_retries=0
            ) as client,
        ):
            server.fault("list", probability=0.4, status=503)
            for _ in range(20):
                with suppress(openai.InternalServerError):
                    client.files.list()
            struck.append([strike.number for strike in server.strikes])
    assert struck[0] == struck[1] != struck[2]


def test_a_server_takes_offence_at_orphans_if_it_is_told_to(tmp_path: Path) -> None:
    cases: list[tuple[Orphans, str]] = [("count", "part"), ("refuse", "complete")]
    for orphans, fails in cases:
        with (
            serve(tmp_path / orphans, orphans=orphans) as server,
            openai.OpenAI(
                base_url=server.base_url, api_key=server.api_key, max_retries=0
            ) as client,
        ):
            upload_id = begin(client)
            add(client, upload_id)
            with pytest.raises(openai.BadRequestError, match="bytes"):
                client.uploads.complete(upload_id, part_ids=[add(client, upload_id)])
            assert calls(server)[-1] == (fails, 400)


def test_a_server_without_the_uploads_api_knows_no_such_address(tmp_path: Path) -> None:
    with (
        serve(tmp_path, with_uploads=False) as server,
        openai.OpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0) as client,
    ):
        with pytest.raises(openai.NotFoundError, match="Invalid URL"):
            begin(client)
        client.files.create(file=("a", b"a"), purpose="user_data")


# --- time -------------------------------------------------------------------------------------


def date_of(client: openai.OpenAI) -> float:
    raw = client.files.with_raw_response.list()
    return parsedate_to_datetime(raw.headers["Date"]).timestamp()


def test_the_clock_of_the_server_is_moved(server: Server, client: openai.OpenAI) -> None:
    before = date_of(client)
    server.advance(86_400)
    server.advance(0.5)
    assert 86_400 <= date_of(client) - before < 86_430
    upload = server.uploads[begin(client)]
    assert 86_400 <= upload.created_at - before < 86_430
    server.advance(3570)
    assert server.uploads[upload.id].status == "pending"
    server.advance(30)
    assert server.uploads[upload.id].status == "expired"
    with pytest.raises(openai.BadRequestError, match="expired"):
        add(client, upload.id)


def test_a_file_that_expired_is_gone(server: Server, client: openai.OpenAI) -> None:
    file = client.files.create(
        file=("a", b"a"),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    seen = server.files[file.id]
    server.advance(3600)
    assert file.id not in server.files
    with pytest.raises(KeyError):
        seen.read()


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_no_clock_goes_back_or_on_for_ever(server: Server, seconds: float) -> None:
    with pytest.raises(ValueError, match="0 seconds or more"):
        server.advance(seconds)


def test_the_life_of_an_upload_is_chosen(tmp_path: Path) -> None:
    with (
        serve(tmp_path, ttl=60) as server,
        openai.OpenAI(base_url=server.base_url, api_key=server.api_key) as client,
    ):
        upload = server.uploads[begin(client)]
        assert upload.expires_at - upload.created_at == 60


# --- restarts ---------------------------------------------------------------------------------


def test_a_restart_keeps_what_was_acknowledged(server: Server, client: openai.OpenAI) -> None:
    file = client.files.create(file=("a", b"content"), purpose="user_data")
    upload_id = begin(client)
    part_id = add(client, upload_id)
    server.advance(100)
    now, url = date_of(client), server.base_url
    before = server.requests

    server.restart()

    assert server.base_url == url
    assert server.requests == before
    assert server.files[file.id].read() == b"content"
    assert [part.id for part in server.uploads[upload_id].parts] == [part_id]
    done = client.uploads.complete(upload_id, part_ids=[part_id])
    assert done.file is not None
    assert date_of(client) >= now
    assert [request.call for request in server.requests[len(before) :]] == ["complete", "list"]


def test_a_restart_breaks_connections_and_loses_what_is_under_way(
    server: Server, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that a request that hangs is ended by the restart, and not by its client's going.
    monkeypatch.setattr(strikes, "_LOOK_SECONDS", 3600.0)
    upload_id = begin(client)
    fault = server.fault("list", hang=True)
    with (
        connect(server) as idle,
        connect(server) as hanging,
        half_a_part(server, upload_id) as wire,
    ):
        hanging.sendall(b"GET /v1/files HTTP/1.1\r\nHost: a\r\n\r\n")
        fault.wait()
        server.restart()
        assert [rest_of(one) for one in (idle, hanging, wire)] == [b"", b"", b""]
    assert calls(server) == [("create", 200), ("part", None), ("list", None)]
    assert server.uploads[upload_id].parts == ()
    # Nothing of the old one goes on in the new one.
    assert [task for task in tasks_of(server) if "RequestHandler" in repr(task)] == []


def tasks_of(server: Server) -> list[asyncio.Task[Any]]:
    async def look() -> list[asyncio.Task[Any]]:
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    return asyncio.run_coroutine_threadsafe(look(), server._loop).result(10)


def test_a_restart_waits_for_nobody_who_does_not_read(
    server: Server, client: openai.OpenAI
) -> None:
    file = client.files.create(file=("a", bytes(LARGE)), purpose="user_data")
    client.close()
    server.restart()
    gc.collect()
    before = open_files()
    with unread(server, file.id) as wire:
        server.restart()
        gc.collect()
        assert open_files() == before + 1  # the wire itself, on this side only
        assert len(rest_of(wire)) < LARGE


def test_a_restart_that_failed_can_be_tried_again(server: Server, client: openai.OpenAI) -> None:
    file = client.files.create(file=("a", b"content"), purpose="user_data")
    url = URL(server.base_url)
    server._do(server._die())
    with socket.create_server((url.host or "", url.port or 0)):
        with pytest.raises(OSError, match="in use"):
            server.restart()
        with pytest.raises(RuntimeError, match="has stopped"):
            server.files[file.id]
    server.restart()
    assert server.files[file.id].read() == b"content"


def test_faults_outlive_a_restart_and_go_on_counting(server: Server, client: openai.OpenAI) -> None:
    fault = server.fault("list", nth=3, status=503)
    client.files.list()
    server.restart()
    client.files.list()
    server.restart()
    with pytest.raises(openai.InternalServerError):
        client.files.list()
    assert (fault.seen, fault.fired) == (3, 1)


def test_an_upload_survives_restarts(chunkup_server: Server, source: Path) -> None:
    accepted = 0

    def restart_sometimes(event: Event) -> None:
        nonlocal accepted
        if isinstance(event, PartAccepted):
            accepted += 1
            if accepted in {3, 7, 20}:
                chunkup_server.restart()

    options = chunkup.Options(workers=4)
    file = chunkup.upload(
        source, purpose="user_data", part_size=250, on_event=restart_sometimes, options=options
    )
    assert chunkup_server.files[file.id].read() == source.read_bytes()
    (upload,) = chunkup_server.uploads.values()
    assert upload.status == "completed"


def test_looks_and_restarts_do_not_get_in_each_others_way(
    server: Server, client: openai.OpenAI
) -> None:
    file = client.files.create(file=("a", b"content"), purpose="user_data")
    upload_id = begin(client)
    over = threading.Event()
    found: list[object] = []

    def look() -> None:
        try:
            while not over.is_set():
                assert server.files[file.id].read() == b"content"
                assert isinstance(server.uploads[upload_id], ServedUpload)
                assert server.requests
        except BaseException as error:
            found.append(error)
            raise

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            server.restart()
            server.advance(1)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert found == []


# --- the end ----------------------------------------------------------------------------------


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_nothing_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gc.collect()
    threads, files = set(threading.enumerate()), open_files()
    wires = []
    with serve(tmp_path / "served") as server:
        with openai.OpenAI(base_url=server.base_url, api_key=server.api_key) as client:
            upload_id = begin(client)
            file = client.files.create(file=("a", bytes(LARGE)), purpose="user_data")
            for round_ in range(2):
                fault = server.fault("list", hang=True)
                wires += [connect(server), connect(server)]
                wires[-1].sendall(b"GET /v1/files HTTP/1.1\r\nHost: a\r\n\r\n")
                fault.wait()
                wires.append(half_a_part(server, upload_id))
                wires.append(unread(server, file.id))
                wires += [connect(server) for _ in range(20)]  # some hardly accepted
                if not round_:
                    server.restart()
        url = URL(server.base_url)
    for wire in wires:
        assert len(rest_of(wire)) < LARGE
        wire.close()
    assert set(threading.enumerate()) == threads
    gc.collect()
    assert open_files() == files
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((url.host, url.port))
    assert caplog.records == []
    with serve(tmp_path / "served") as again:
        assert list(again.uploads) == [upload_id]
        assert again.uploads[upload_id].parts == ()


def test_a_thread_that_cannot_begin_says_so(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from chunkup.testing import serve\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "try:\n"
        "    serve(sys.argv[1]).__enter__()\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Too many open files" in done.stdout, done.stderr


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there policies are on their way out")
def test_a_policy_of_the_tests_is_not_the_servers(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from chunkup.testing import serve\n"
        "class Policy(asyncio.DefaultEventLoopPolicy):\n"
        "    def new_event_loop(self):\n"
        "        raise NotImplementedError\n"
        "asyncio.set_event_loop_policy(Policy())\n"
        "with serve(sys.argv[1]) as server:\n"
        "    print(server.base_url)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("http://127.0.0.1:"), done.stderr


def test_a_server_that_is_over_says_so(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        pass
    for look in (lambda: dict(server.files), lambda: dict(server.uploads)):
        with pytest.raises(RuntimeError, match="has stopped"):
            look()
    assert server.requests == ()


def test_a_folder_has_one_server_at_a_time(tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    with serve(tmp_path / "kept") as first:
        with openai.OpenAI(base_url=first.base_url, api_key=first.api_key) as client:
            file = client.files.create(file=("a", b"content"), purpose="user_data")
        with pytest.raises(StoreInUseError), serve(tmp_path / "kept"):
            pass
    assert set(threading.enumerate()) == threads
    with serve(str(tmp_path / "kept")) as second:
        assert second.files[file.id].read() == b"content"


def test_a_server_shows_where_it_is_and_not_its_key(server: Server) -> None:
    assert re.fullmatch(r"<chunkup\.testing\.Server http://127\.0\.0\.1:\d+/v1>", repr(server))
