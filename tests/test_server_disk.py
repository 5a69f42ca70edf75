"""The embedded server's disk has no room, or its folder is not one of its own."""

import errno
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from house import Clock, Handler, House, call_of, make_source, open_house
from ills import remount, small_disk

from chunkup.server.store import NewFile, NewUpload, Store, UploadRow


def fill(disk: Path, *, but: int = 0) -> None:
    """Leave so many bytes on it."""
    with (disk / "ballast").open("ab", buffering=0) as ballast:
        found = os.statvfs(disk)
        left = found.f_bavail * found.f_frsize - but
        try:
            while left > 0:
                left -= ballast.write(bytes(min(left, 4096)))
        except OSError:
            assert not but


def strike(house: House, disk: Path, call: str, *, but: int = 0) -> list[int]:
    """Fill the disk before a request of this kind; make room once one was refused."""
    refused: list[int] = []

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == call and not refused:
            fill(disk, but=but)
        response = await handler(request)
        if response.status >= 400:
            refused.append(response.status)
            remount(disk, "size=8m")
        return response

    house.intercept = intercept
    return refused


@pytest.mark.parametrize(
    ("call", "but"),
    [
        pytest.param("create", 0, id="create"),
        pytest.param("part", 0, id="a part, all of it"),
        pytest.param("part", 8192, id="a part, its middle"),
        pytest.param("complete", 0, id="complete"),
        pytest.param("post", 20_000, id="a single request, its middle"),
    ],
)
async def test_a_full_disk_is_said_and_loses_nothing_of_what_was_acknowledged(
    tmp_path: Path, journal: Path, caplog: pytest.LogCaptureFixture, call: str, but: int
) -> None:
    source = tmp_path / "a.bin"
    md5 = make_source(source, 200_000)
    with small_disk(tmp_path / "disk", size="1m") as disk:
        async with open_house(disk / "kept") as house:
            refused = strike(house, disk, call, but=but)
            async with house.uploader(journal, part_size=20_000) as uploader:
                file = await uploader.upload(
                    source, purpose="user_data", method="files" if call == "post" else "uploads"
                )
                (line,) = await (await uploader.journal()).lines()
            # Several parts may be on their way at once; all of them are refused alike.
            assert set(refused) == {500}
            assert line.generation == 1
            (kept,) = house.files
            assert kept.id == file.id
            assert house.store.md5_of(file.id) == md5
            names = {path.name for path in (disk / "kept" / "content").iterdir()}
            assert names == house.store._ledger.needed()
            assert list((disk / "kept" / "incoming").iterdir()) == []
        troubles = [one for one in caplog.records if one.name.startswith("chunkup.server")]
        assert troubles
        assert not any(one.exc_info for one in troubles)
        assert all(re.search("No space|full", one.getMessage()) for one in troubles)


def _full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "full"),
        (OSError(errno.EIO, "Input/output error"), "failing"),
        (_full(), "full"),
        (sqlite3.OperationalError("disk I/O error"), "failing"),
    ],
    ids=["no space", "broken", "no space for rows", "broken rows"],
)
async def test_a_disk_that_refuses_is_an_answer_and_no_traceback(
    house: House, caplog: pytest.LogCaptureFixture, error: Exception, says: str
) -> None:
    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        raise error

    house.intercept = intercept
    async with ClientSession() as session, session.get(f"{house.url}/files/a%1b[31m") as answer:
        told = (await answer.json())["error"]
    assert (answer.status, told["type"]) == (500, "server_error")
    assert told["message"] == f"The server's disk is {says}."
    (trouble,) = [one for one in caplog.records if one.name.startswith("chunkup.server")]
    assert trouble.exc_info is None
    assert trouble.getMessage() == f"GET /v1/files/a%1B%5B31m failed: {error}"


# --- room again ------------------------------------------------------------------------------


def begun(store: Store, size: int = 50_000) -> UploadRow:
    new = NewUpload(filename="a", bytes=size, mime_type="text/plain", purpose="user_data")
    upload = store.create_upload(new)
    add_part(store, upload.id, size)
    return upload


def add_part(store: Store, upload_id: str, size: int) -> None:
    incoming = store.receive()
    try:
        incoming.write([memoryview(bytes(size))])
        store.add_part(upload_id, incoming)
    finally:
        incoming.discard()


def delete(store: Store, upload: UploadRow, file_id: str) -> None:
    store.delete_file(file_id)


def cancel(store: Store, upload: UploadRow, file_id: str) -> None:
    store.cancel_upload(upload.id)


def expire(store: Store, upload: UploadRow, file_id: str) -> None:
    assert isinstance(store.clock, Clock)
    store.clock.offset += 4000
    assert store.upload(upload.id).status == "expired"


@pytest.mark.parametrize("way", [delete, cancel, expire])
def test_room_can_be_made_on_a_disk_without_any(
    tmp_path: Path, way: Callable[[Store, UploadRow, str], None]
) -> None:
    with (
        small_disk(tmp_path / "disk", size="400k") as disk,
        closing(Store(disk / "kept", clock=Clock())) as store,
    ):
        upload = begun(store)
        incoming = store.receive()
        incoming.write([memoryview(bytes(50_000))])
        file = store.add_file(NewFile(filename="b", purpose="user_data"), incoming)
        fill(disk)
        with pytest.raises(OSError, match="No space"):
            add_part(store, upload.id, 50_000)
        assert list((disk / "kept" / "incoming").iterdir()) == []

        way(store, upload, file.id)

        free = os.statvfs(disk)
        assert free.f_bavail * free.f_frsize >= 49_152
        begun(store, 20_000)


def test_a_body_that_cannot_be_given_its_name_leaves_nothing(tmp_path: Path) -> None:
    with closing(Store(tmp_path)) as store:
        incoming = store.receive()
        incoming.write([memoryview(b"abc")])
        (tmp_path / "content").rmdir()
        with pytest.raises(OSError, match="No such file"):
            store.add_file(NewFile(filename="b", purpose="user_data"), incoming)
        incoming.discard()
        assert list((tmp_path / "incoming").iterdir()) == []
        assert store.files() == []


# --- folders ---------------------------------------------------------------------------------


def refused(*arguments: str) -> str:
    """What ``chunkup serve`` says of what it cannot use."""
    pipe = subprocess.PIPE
    words = [sys.executable, "-m", "chunkup", "serve", *arguments]
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        if serves := process.stdout.readline():
            process.kill()
        _, said = process.communicate()
    assert (process.returncode, serves) == (2, ""), said
    assert said.startswith("error[bad-option]: ")
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("folder", ["content", "incoming"])
@pytest.mark.parametrize("rows", [None, b""])
def test_a_folder_of_somebodys_own_files_is_refused_and_left_alone(
    tmp_path: Path, folder: str, rows: bytes | None
) -> None:
    """A website has a ``content`` too, and a store sweeps what its rows do not know."""
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "chapter.md").write_text("months of work")
    if rows is not None:
        (tmp_path / "server.db").write_bytes(rows)
    assert "holds files that no server here knows of" in refused("--dir", str(tmp_path))
    assert (tmp_path / folder / "chapter.md").read_text() == "months of work"


def test_rows_that_are_damaged_are_refused_and_no_content_is_swept(tmp_path: Path) -> None:
    with closing(Store(tmp_path)) as store:
        begun(store)
    before = {path: path.read_bytes() for path in tmp_path.glob("content/*")}
    damaged = b"dear diary " * 1000
    (tmp_path / "server.db").write_bytes(damaged)
    assert "file is not a database" in refused("--dir", str(tmp_path))
    assert {path: path.read_bytes() for path in tmp_path.glob("content/*")} == before
    assert (tmp_path / "server.db").read_bytes() == damaged


def test_a_folder_that_is_being_served_is_refused(tmp_path: Path) -> None:
    with closing(Store(tmp_path)):
        assert "is in use by another server" in refused("--dir", str(tmp_path))


def test_a_disk_without_room_is_refused(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size="64k") as disk:
        fill(disk, but=8192)
        assert "full" in refused("--dir", str(disk / "kept"))
