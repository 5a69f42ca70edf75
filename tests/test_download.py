"""A File's content into a file: whole or not at all, and going on where it stopped."""

import asyncio
import fcntl
import gzip
import os
import random
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from house import HASTY, Handler, House, call_of
from test_files import file_of, uploader_at
from wire import Asked, Caller, listening, reply

from chunkup import Options
from chunkup.errors import BadAnswer, BadOption, Busy, NotFound, Rejected, Stopped, Unreachable

SIZE = 300_000
CONTENT = random.Random(7).randbytes(SIZE)
QUICK = Options(retries=6, looks=(0.0,), patience=0.0, offline_wait=0.0)


@dataclass
class Giver:
    """A server that gives one File's content in its own way; ``starts`` is where it was asked to.

    ``turns`` say in turn how many bytes come before it breaks off, the last one for ever. With
    ``lands``, the folder of the download, it breaks off no sooner than these lie there: what a
    connection has brought and nobody has read may be lost with it.
    """

    content: bytes = CONTENT
    ranges: bool = True
    turns: list[int | None] = field(default_factory=lambda: [None])
    file: dict[str, object] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    lands: Path | None = None
    starts: list[int] = field(default_factory=list)
    answer: Callable[[Asked, int], bytes | None] = lambda _asked, _start: None

    async def serve(self, caller: Caller) -> None:
        while True:
            asked = await caller.request()
            if not asked.target.endswith("/content"):
                size = {"bytes": len(self.content)}
                name = {"id": asked.target.rpartition("/")[2]}
                await caller.say(reply(file_of(1, **{**size, **name, **self.file})))
                continue
            wanted = asked.headers.get("range", "bytes=0-")
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.starts.append(start)
            said = self.answer(asked, start)
            if said is not None:
                await caller.say(said)
                continue
            if not self.ranges:
                start = 0
            await self._give(caller, start, partial="range" in asked.headers and self.ranges)

    async def _give(self, caller: Caller, start: int, *, partial: bool) -> None:
        turn = self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]
        body = self.content[start:]
        lines = [f"HTTP/1.1 {206 if partial else 200} X", f"Content-Length: {len(body)}"]
        if partial:
            whole = len(self.content)
            lines.append(f"Content-Range: bytes {start}-{whole - 1}/{whole}")
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        await caller.say("\r\n".join([*lines, "", ""]).encode() + body[:turn])
        if turn is not None and turn < len(body):
            while not (self._landed(start + turn) or caller.reader.at_eof()):  # noqa: ASYNC110  (a file tells nobody)
                await asyncio.sleep(0)
            # What was written has to be through before the connection breaks.
            caller.writer.close()
            await caller.writer.wait_closed()

    def _landed(self, size: int) -> bool:
        if self.lands is None:
            return True
        return any((self.lands / name).stat().st_size >= size for name in leftovers(self.lands))


async def downloaded(
    giver: Giver, journal: Path, to: Path, *, options: Options = QUICK, **how: Any
) -> bytes:
    async with (
        listening(giver.serve) as wire,
        uploader_at(wire.url, journal, options=options) as uploader,
    ):
        assert await uploader.files.download("file-1", to, **how) == to
    return to.read_bytes()


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".chunkup-"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "here"
    made.mkdir()
    return made


# --- whole, private, at once ------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 65_536, 1_300_000])
async def test_what_was_uploaded_comes_back_private_and_whole(
    house: House, journal: Path, folder: Path, size: int
) -> None:
    content = os.urandom(size)
    old = os.umask(0)
    try:
        async with house.uploader(journal) as uploader:
            file = await uploader.files.create(content, filename="../x", purpose="user_data")
            path = await uploader.files.download(file.id, folder / "out.bin")
            pieces = [block async for block in uploader.files.content(file.id)]
    finally:
        os.umask(old)
    assert path == folder / "out.bin"
    assert path.read_bytes() == content == b"".join(pieces)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in folder.iterdir()] == ["out.bin"]


async def test_nothing_is_under_the_name_before_all_of_it_is_there(
    house: House, journal: Path, folder: Path
) -> None:
    seen: list[list[str]] = []

    async def slowly(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) != "content":
            return await handler(request)
        response = web.StreamResponse(headers={"Content-Length": str(SIZE)})
        await response.prepare(request)
        for at in range(0, SIZE, 100_000):
            await response.write(CONTENT[at : at + 100_000])
            while not (names := [entry.name for entry in folder.iterdir()]):  # noqa: ASYNC110  (a folder tells nobody)
                await asyncio.sleep(0)
            seen.append(names)
        return response

    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(CONTENT, filename="a", purpose="user_data")
        house.intercept = slowly
        await uploader.files.download(file.id, folder / "out.bin")
    assert all(len(names) == 1 and names[0].startswith(".chunkup-") for names in seen)
    assert (folder / "out.bin").read_bytes() == CONTENT


# --- what is there already --------------------------------------------------------------------


async def test_nothing_is_overwritten_unless_asked(
    house: House, journal: Path, folder: Path
) -> None:
    (folder / "out").write_text("dear")
    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(b"new", filename="a", purpose="user_data")
        house.calls.clear()
        with pytest.raises(BadOption, match="is there already"):
            await uploader.files.download(file.id, folder / "out")
        assert house.calls == []
        assert (folder / "out").read_text() == "dear"
        await uploader.files.download(file.id, folder / "out", overwrite=True)
    assert (folder / "out").read_text() == "new"


@pytest.mark.parametrize("overwrite", [False, True])
async def test_what_appears_meanwhile_is_not_overwritten_either(
    house: House,
    journal: Path,
    folder: Path,
    overwrite: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    async def meanwhile(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "content":
            (folder / "out").write_text("dear")
        return await handler(request)

    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(b"new", filename="a", purpose="user_data")
        house.intercept = meanwhile
        if overwrite:
            await uploader.files.download(file.id, folder / "out", overwrite=True)
        else:
            with pytest.raises(BadOption, match="appeared while"):
                await uploader.files.download(file.id, folder / "out")
    assert (folder / "out").read_text() == ("new" if overwrite else "dear")


async def test_without_hard_links_it_gets_its_name_all_the_same(
    house: House, journal: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("chunkup.hidden.os.link", unable)

    async def meanwhile(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "content":
            (folder / "two").write_text("dear")
        return await handler(request)

    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(b"new", filename="a", purpose="user_data")
        await uploader.files.download(file.id, folder / "one")
        house.intercept = meanwhile
        with pytest.raises((BadOption, Stopped)):
            await uploader.files.download(file.id, folder / "two")
    assert (folder / "one").read_text() == "new"
    assert (folder / "two").read_text() == "dear"


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "nowhere", "nul"])
@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_path_that_no_file_can_have_is_refused_before_anything_is_asked(
    house: House,
    journal: Path,
    folder: Path,
    kind: str,
    overwrite: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    to = folder / "out"
    if kind == "folder":
        to.mkdir()
    elif kind == "pipe":
        os.mkfifo(to)
    elif kind == "link":
        to.symlink_to(folder / "elsewhere")
    else:
        to = folder / "none" / "out" if kind == "nowhere" else folder / "a\0b"
    async with house.uploader(journal) as uploader:
        with pytest.raises(BadOption):
            await uploader.files.download("file-1", to, overwrite=overwrite)
    assert house.calls == []


# --- going on ---------------------------------------------------------------------------------


async def test_what_broke_off_goes_on_where_it_stopped(journal: Path, folder: Path) -> None:
    giver = Giver(turns=[100_000, 50_000, 1, None], lands=folder)
    assert await downloaded(giver, journal, folder / "out") == CONTENT
    assert giver.starts == [0, 100_000, 150_000, 150_001]


async def test_a_server_without_ranges_starts_over(journal: Path, folder: Path) -> None:
    giver = Giver(ranges=False, turns=[100_000, 200_000, None])
    assert await downloaded(giver, journal, folder / "out") == CONTENT
    assert len(giver.starts) == 3


async def test_the_same_call_later_goes_on_and_proves_what_is_there(
    journal: Path, folder: Path
) -> None:
    giver = Giver(turns=[200_000, None], lands=folder)
    async with listening(giver.serve) as wire:
        async with uploader_at(wire.url, journal, options=Options(retries=0)) as uploader:
            with pytest.raises(Unreachable):
                await uploader.files.download("file-1", folder / "out")
        (name,) = leftovers(folder)
        held = (folder / name).stat().st_size
        assert held == 200_000
        async with uploader_at(wire.url, journal) as uploader:
            await uploader.files.download("file-1", folder / "out")
    assert giver.starts == [0, max(0, held - 65_536)]
    assert (folder / "out").read_bytes() == CONTENT
    assert leftovers(folder) == []


@pytest.mark.parametrize("spoil", ["changed", "longer"])
async def test_what_lies_there_and_is_of_other_content_is_not_used(
    journal: Path, folder: Path, spoil: str
) -> None:
    giver = Giver(turns=[200_000, None], lands=folder)
    async with listening(giver.serve) as wire:
        async with uploader_at(wire.url, journal, options=Options(retries=0)) as uploader:
            with pytest.raises(Unreachable):
                await uploader.files.download("file-1", folder / "out")
        path = folder / leftovers(folder)[0]
        held = path.stat().st_size
        with path.open("r+b") as handle:
            handle.seek(held - 10)
            handle.write(CONTENT[held - 10 :] + b"more" if spoil == "longer" else b"otherwise")
        async with uploader_at(wire.url, journal) as uploader:
            await uploader.files.download("file-1", folder / "out")
    assert giver.starts[-1] == 0
    assert (folder / "out").read_bytes() == CONTENT


async def test_another_file_begins_anew_and_so_does_who_asks_for_it(
    journal: Path, folder: Path
) -> None:
    giver = Giver(turns=[200_000, None], lands=folder)
    options = Options(retries=0)
    async with (
        listening(giver.serve) as wire,
        uploader_at(wire.url, journal, options=options) as uploader,
    ):
        with pytest.raises(Unreachable):
            await uploader.files.download("file-1", folder / "out")
        assert len(leftovers(folder)) == 1
        await uploader.files.download("file-2", folder / "out")
        await uploader.files.download("file-1", folder / "other")
        assert len(leftovers(folder)) == 1
        await uploader.files.download("file-1", folder / "out", overwrite=True, resume=False)
    assert giver.starts == [0] * 4
    assert leftovers(folder) == []


async def test_a_range_that_does_not_fit_is_not_used(journal: Path, folder: Path) -> None:
    def shifted(asked: Asked, start: int) -> bytes | None:
        if not start:
            return None
        headers = {"Content-Range": f"bytes {start + 1}-{SIZE - 1}/{SIZE}"}
        return reply(CONTENT[start + 1 :], 206, headers)

    giver = Giver(turns=[100_000, None], lands=folder, answer=shifted)
    assert await downloaded(giver, journal, folder / "out", options=Options(retries=1)) == CONTENT
    assert giver.starts[-1] == 0


async def test_a_range_that_cannot_be_satisfied_is_not_asked_for_again(
    journal: Path, folder: Path
) -> None:
    def unsatisfiable(asked: Asked, start: int) -> bytes | None:
        return reply(b"", 416, {"Content-Range": f"bytes */{SIZE}"}) if start else None

    giver = Giver(turns=[100_000, None], lands=folder, answer=unsatisfiable)
    assert await downloaded(giver, journal, folder / "out") == CONTENT
    assert giver.starts[-1] == 0


async def test_the_pieces_of_a_content_that_started_over_are_given_once(journal: Path) -> None:
    giver = Giver(ranges=False, turns=[100_000, 150_000, None])
    async with (
        listening(giver.serve) as wire,
        uploader_at(wire.url, journal, options=QUICK) as uploader,
    ):
        found = b"".join([block async for block in uploader.files.content("file-1")])
    assert found == CONTENT


async def test_a_bad_line_that_brings_something_each_time_comes_to_an_end(
    journal: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkup.files.fetching._WORTH", 20_000)
    giver = Giver(turns=[66_000], lands=folder)
    options = Options(retries=1, offline_wait=0)
    assert await downloaded(giver, journal, folder / "out", options=options) == CONTENT
    assert len(giver.starts) > 3


@pytest.mark.parametrize("worth", [500, 1 << 20])
async def test_a_line_that_brings_nothing_new_does_not_end_never(
    journal: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, worth: int
) -> None:
    monkeypatch.setattr("chunkup.files.fetching._WORTH", worth)
    giver = Giver(turns=[1000], ranges=False)
    with pytest.raises(Unreachable):
        await downloaded(giver, journal, folder / "out", options=Options(retries=2))
    assert len(giver.starts) == 3


# --- what is not the File ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("giver", "said"),
    [
        pytest.param(Giver(file={"bytes": SIZE + 1}), "has 300001 bytes, and gives", id="shorter"),
        pytest.param(Giver(file={"bytes": SIZE - 1}), "has 299999 bytes, and gives", id="longer"),
        pytest.param(
            Giver(file={"bytes": SIZE + 1}, answer=lambda *_: chunked(CONTENT)),
            "300000 of the 300001 bytes",
            id="ends early and well",
        ),
        pytest.param(
            Giver(file={"bytes": SIZE - 1}, answer=lambda *_: chunked(CONTENT)),
            "more than the 299999 bytes",
            id="does not end",
        ),
    ],
)
async def test_content_of_another_length_is_no_file(
    journal: Path, folder: Path, giver: Giver, said: str
) -> None:
    with pytest.raises(BadAnswer, match=said):
        await downloaded(giver, journal, folder / "out", options=Options(retries=1))
    assert list(folder.iterdir()) == []


def chunked(content: bytes) -> bytes:
    """An answer that does not say how long it is."""
    head = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)


async def test_content_that_comes_packed_is_unpacked_and_never_continued(
    journal: Path, folder: Path
) -> None:
    def packed(asked: Asked, start: int) -> bytes | None:
        assert asked.headers["accept-encoding"] == "identity"
        headers = {"Content-Encoding": "gzip"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{SIZE - 1}/{SIZE}"
        return reply(gzip.compress(CONTENT), 206 if start else 200, headers)

    giver = Giver(turns=[100_000], lands=folder)
    giver.answer = lambda asked, start: packed(asked, start) if giver.starts[1:] else None
    assert await downloaded(giver, journal, folder / "out") == CONTENT
    assert giver.starts[0] == giver.starts[-1] == 0


@pytest.mark.parametrize("total", ["*", "x", "9" * 5000, ""])
async def test_a_range_whose_whole_is_no_number_is_of_unknown_length(
    journal: Path, folder: Path, total: str
) -> None:
    def odd(asked: Asked, start: int) -> bytes | None:
        headers = {"Content-Range": f"bytes {start}-{SIZE - 1}/{total}"}
        return reply(CONTENT[start:], 206, headers) if start else None

    giver = Giver(turns=[100_000], lands=folder, answer=odd)
    assert await downloaded(giver, journal, folder / "out") == CONTENT


async def test_a_file_of_unknown_length_is_what_comes(journal: Path, folder: Path) -> None:
    giver = Giver(file={"bytes": None}, answer=lambda *_: chunked(CONTENT))
    assert await downloaded(giver, journal, folder / "out") == CONTENT


async def test_content_that_changes_under_way_is_no_file(journal: Path, folder: Path) -> None:
    giver = Giver(turns=[100_000, None], lands=folder, headers={"ETag": '"one"'})

    def other(asked: Asked, start: int) -> bytes | None:
        giver.headers = {"ETag": '"two"'} if start else giver.headers
        return None

    giver.answer = other
    with pytest.raises(BadAnswer, match="changed while it was read"):
        await downloaded(giver, journal, folder / "out")
    assert list(folder.iterdir()) == []


async def test_a_purpose_that_is_not_given_back_is_a_clear_sentence(
    journal: Path, folder: Path
) -> None:
    # Recorded by users of the official API (community.openai.com 1357013).
    refusal = {"error": {"message": "Not allowed to download files of purpose: user_data"}}
    giver = Giver(answer=lambda *_: reply(refusal, 400))
    with pytest.raises(Rejected, match="Not allowed to download files of purpose") as caught:
        await downloaded(giver, journal, folder / "out")
    assert caught.value.hint is not None
    assert "keeps all other purposes" in caught.value.hint
    assert len(giver.starts) == 1
    assert list(folder.iterdir()) == []


async def test_a_file_that_is_not_there_leaves_nothing_behind(
    house: House, journal: Path, folder: Path
) -> None:
    async with house.uploader(journal) as uploader:
        with pytest.raises(NotFound):
            await uploader.files.download("file-none", folder / "out")
    assert list(folder.iterdir()) == []


# --- lines and disks --------------------------------------------------------------------------


async def test_silence_and_a_trickle_are_given_up(journal: Path, folder: Path) -> None:
    pace = 0.0

    async def serve(caller: Caller) -> None:
        while True:
            asked = await caller.request()
            if not asked.target.endswith("/content"):
                await caller.say(reply(file_of(1, bytes=SIZE)))
                continue
            await caller.say(b"HTTP/1.1 200 X\r\nContent-Length: 300000\r\n\r\nab")
            while pace:
                await caller.say(b"x")
                await asyncio.sleep(pace)
            await caller.for_ever()

    options = Options(retries=0, stall_timeout=0.3)
    async with (
        listening(serve) as wire,
        uploader_at(wire.url, journal, options=options) as uploader,
    ):
        with pytest.raises(Unreachable, match="did not answer in time"):
            await uploader.files.download("file-1", folder / "out")
        pace = 0.02
        with pytest.raises(Stopped, match="less than 1 KiB a second"):
            await uploader.files.download("file-1", folder / "out")


async def test_whoever_takes_its_time_is_not_blamed_on_the_line(journal: Path) -> None:
    taken = asyncio.Event()

    async def serve(caller: Caller) -> None:
        while True:
            asked = await caller.request()
            if not asked.target.endswith("/content"):
                await caller.say(reply(file_of(1, bytes=4)))
                continue
            await caller.say(b"HTTP/1.1 200 X\r\nContent-Length: 4\r\n\r\nab")
            await taken.wait()
            await caller.say(b"cd")

    # Twice the stall is the time in which next to nothing may come.
    options = Options(retries=0, stall_timeout=0.5)
    async with (
        listening(serve) as wire,
        uploader_at(wire.url, journal, options=options) as uploader,
    ):
        found = b""
        async for block in uploader.files.content("file-1"):
            if found:
                await asyncio.sleep(1.3)
            found += block
            taken.set()
    assert found == b"abcd"


async def test_a_full_disk_is_a_stop_and_what_is_there_is_kept(
    journal: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, room = os.pwrite, 150_000

    def full(fd: int, data: bytes, at: int) -> int:
        if at >= room:
            raise OSError(28, "No space left on device")
        return real(fd, data[: room - at], at)

    giver = Giver()
    async with listening(giver.serve) as wire, uploader_at(wire.url, journal) as uploader:
        monkeypatch.setattr("chunkup.files.download.os.pwrite", full)
        with pytest.raises(Stopped, match="No space left on device; the 150000 bytes"):
            await uploader.files.download("file-1", folder / "out")
        monkeypatch.undo()
        await uploader.files.download("file-1", folder / "out")
    assert (folder / "out").read_bytes() == CONTENT
    assert giver.starts == [0, 150_000 - 65_536]


async def test_a_folder_that_cannot_be_written_is_a_refusal(
    house: House, journal: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def unable(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        if ".chunkup-" in str(path):
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode, **more)

    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(b"abc", filename="a", purpose="user_data")
        monkeypatch.setattr("chunkup.files.download.os.open", unable)
        with pytest.raises(BadOption, match="cannot be written: Permission denied"):
            await uploader.files.download(file.id, folder / "out")


async def test_a_stop_in_the_middle_keeps_what_came(journal: Path, folder: Path) -> None:
    async def serve(caller: Caller) -> None:
        while True:
            asked = await caller.request()
            if not asked.target.endswith("/content"):
                await caller.say(reply(file_of(1, bytes=SIZE)))
                continue
            await caller.say(
                b"HTTP/1.1 200 X\r\nContent-Length: 300000\r\n\r\n" + CONTENT[:100_000]
            )
            await caller.for_ever()

    async with listening(serve) as wire, uploader_at(wire.url, journal) as uploader:
        task = asyncio.create_task(uploader.files.download("file-1", folder / "out"))
        while not (names := leftovers(folder)) or not (folder / names[0]).stat().st_size:  # noqa: ASYNC110  (a folder tells nobody)
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(leftovers(folder)) == 1
    assert not (folder / "out").exists()


async def test_closing_the_uploader_stops_a_download(
    house: House, journal: Path, folder: Path
) -> None:
    arrived = asyncio.Event()

    async def held(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "content":
            arrived.set()
            await asyncio.Event().wait()
        return await handler(request)

    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(b"abc", filename="a", purpose="user_data")
        house.intercept = held
        task = asyncio.create_task(uploader.files.download(file.id, folder / "out"))
        await arrived.wait()
    with pytest.raises(Stopped):
        await asyncio.wait_for(task, 30)
    assert list(folder.iterdir()) == []


# --- who else is there ------------------------------------------------------------------------


async def test_two_that_want_the_same_are_one_and_one_busy(
    house: House, journal: Path, folder: Path
) -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def held(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) == "content" and not arrived.is_set():
            arrived.set()
            await go.wait()
        return await handler(request)

    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(b"abc", filename="a", purpose="user_data")
        house.intercept = held
        task = asyncio.create_task(uploader.files.download(file.id, folder / "out"))
        await arrived.wait()
        with pytest.raises(Busy, match="another process is downloading"):
            await uploader.files.download(file.id, folder / "out")
        go.set()
        await task
    assert (folder / "out").read_bytes() == b"abc"


@pytest.mark.parametrize("laid", ["link", "pipe", "open to others", "hard link"])
async def test_what_somebody_laid_in_the_way_is_neither_followed_nor_used(
    house: House, journal: Path, folder: Path, tmp_path: Path, laid: str
) -> None:
    other = tmp_path / "other"
    other.write_text("precious")
    # Private as ours are, so that nothing but being a link tells it from one.
    other.chmod(0o600)

    async def interfere(request: web.Request, handler: Handler) -> web.StreamResponse:
        if call_of(request) != "content" or not first:
            return await handler(request)
        first.clear()
        (name,) = leftovers(folder)
        path = folder / name
        path.unlink()
        if laid == "link":
            path.symlink_to(other)
        elif laid == "hard link":
            path.hardlink_to(other)
        elif laid == "pipe":
            os.mkfifo(path)
        else:
            path.write_bytes(b"ab")
            path.chmod(0o666)
        return web.Response(status=400)

    first = [True]
    async with house.uploader(journal, options=HASTY) as uploader:
        file = await uploader.files.create(b"abc", filename="a", purpose="user_data")
        house.intercept = interfere
        with pytest.raises(Rejected):
            await uploader.files.download(file.id, folder / "out")
        assert len(leftovers(folder)) == 1
        await uploader.files.download(file.id, folder / "out")
    assert (folder / "out").read_bytes() == b"abc"
    assert stat.S_IMODE((folder / "out").stat().st_mode) == 0o600
    assert other.read_text() == "precious"


async def test_who_lays_something_in_the_way_for_ever_is_said_to(
    house: House, journal: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def interfere(fd: int, how: int) -> None:
        for name in leftovers(folder):
            (folder / name).unlink()
        real(fd, how)

    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(b"abc", filename="a", purpose="user_data")
        monkeypatch.setattr("chunkup.hidden.fcntl.flock", interfere)
        with pytest.raises(Busy, match="keeps laying"):
            await uploader.files.download(file.id, folder / "out")


async def test_the_turn_of_who_was_waiting_comes_with_a_new_file(
    house: House, journal: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first one is through between the second one's opening and its lock.
    real = fcntl.flock
    moved = False

    def late(fd: int, how: int) -> None:
        nonlocal moved
        if not moved:
            moved = True
            (name,) = leftovers(folder)
            (folder / name).rename(folder / "theirs")
        real(fd, how)

    async with house.uploader(journal) as uploader:
        file = await uploader.files.create(b"abc", filename="a", purpose="user_data")
        monkeypatch.setattr("chunkup.hidden.fcntl.flock", late)
        await uploader.files.download(file.id, folder / "out")
    assert (folder / "theirs").read_bytes() == b""
    assert (folder / "out").read_bytes() == b"abc"


async def test_an_uploader_of_another_place_uses_nothing_of_this_one(
    journal: Path, folder: Path
) -> None:
    for _ in range(2):
        giver = Giver(turns=[200_000, 0], lands=folder)
        with pytest.raises(Unreachable):
            await downloaded(giver, journal, folder / "out", options=Options(retries=0))
        assert giver.starts == [0]
    assert len(leftovers(folder)) == 2
