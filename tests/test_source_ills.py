"""What can become of a file while it is being sent: never a File that mixes two versions of it."""

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from aiohttp import web
from house import HASTY, Handler, House, call_of, make_source

from chunkup import AsyncUploader, Options
from chunkup.errors import ChunkupError, SourceChanged, SourceGone
from chunkup.models import Split

# Of a single request the system takes some megabytes before anybody has read them.
SIZE, PARTS, PART, LARGE = 8500, 9, 1000, 16 << 20
# One part after another, so that it is known what was sent before.
ONE = replace(HASTY, workers=1)


# --- what can become of it ----------------------------------------------------------------------


def put_back(path: Path, before: os.stat_result) -> None:
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def edit(path: Path, at: int, *, keep_time: bool = True) -> None:
    """Other bytes, and nobody would think so."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(10)
        file.seek(at)
        file.write(bytes(byte ^ 1 for byte in old))
    put_back(path, before)
    if not keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"one more line\n")


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 700)


def edit_openly(path: Path) -> None:
    edit(path, path.stat().st_size // 2, keep_time=False)


def edit_the_head(path: Path) -> None:
    edit(path, 10)


def edit_the_tail(path: Path) -> None:
    edit(path, path.stat().st_size - 10)


def edit_both_ends(path: Path) -> None:
    edit_the_head(path)
    edit_the_tail(path)


def swap(path: Path, content: bytes) -> None:
    """Another file of the same time takes its name."""
    before, other = path.stat(), path.with_name("other")
    other.write_bytes(content)
    put_back(other, before)
    other.replace(path)


def replace_it(path: Path) -> None:
    swap(path, random.Random(8).randbytes(path.stat().st_size))


def swap_for_a_twin(path: Path) -> None:
    """Its size and most of its head are the same."""
    content = path.read_bytes()
    swap(path, content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def delete(path: Path) -> None:
    path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("elsewhere.bin"))


def touch_its_mode(path: Path) -> None:
    path.chmod(0o640)


# What has to come of it; None where a File of one whole version is as good.
Ill = tuple[Callable[[Path], None], type[ChunkupError] | None]
ILLS: dict[str, Ill] = {
    "appended": (append, SourceChanged),
    "truncated": (truncate, SourceChanged),
    "replaced": (replace_it, SourceChanged),
    "swapped for a twin": (swap_for_a_twin, SourceChanged),
    "edited": (edit_openly, SourceChanged),
    "edited in what was sent, time put back": (edit_the_head, SourceChanged),
    "edited in what is not sent, time put back": (edit_the_tail, None),
    "edited in both, time put back": (edit_both_ends, SourceChanged),
    "deleted": (delete, SourceGone),
    "moved": (move, SourceGone),
}
# How it is sent: the method, and whether there is an MD5.
ROUTES: dict[str, tuple[Literal["uploads", "files"], bool]] = {
    "parts": ("uploads", True),
    "parts, no MD5": ("uploads", False),
    "single": ("files", True),
    "single, no MD5": ("files", False),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    make_source(path, SIZE)
    return path


def uploader_of(house: House, journal: Path, options: Options = ONE) -> AsyncUploader:
    return house.uploader(journal, options=options, part_size=PART)


def when_half_way(house: House, act: Callable[[], None]) -> None:
    """Let something happen once the fifth part has arrived, or a piece of a single body."""
    acted = False

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal acted
        answer = None
        if call_of(request) == "part" and house.calls.count("part") == 5:
            answer = await handler(request)
        elif call_of(request) == "post":
            while request.content.total_bytes < 60_000:  # noqa: ASYNC110  (aiohttp tells nobody)
                await asyncio.sleep(0)
        if (answer or call_of(request) == "post") and not acted:
            acted = True
            act()
        return answer or await handler(request)

    house.intercept = intercept


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("ill", ILLS)
async def test_no_file_mixes_two_versions_of_what_changed_while_it_was_sent(
    house: House, journal: Path, path: Path, ill: str, route: str
) -> None:
    (act, expected), (method, md5) = ILLS[ill], ROUTES[route]
    if method == "files":
        make_source(path, LARGE)
    versions = [path.read_bytes()]

    def happen() -> None:
        act(path)
        if path.exists():
            versions.append(path.read_bytes())

    when_half_way(house, happen)
    caught: ChunkupError | None = None
    async with house.uploader(journal, options=ONE, part_size=PART, md5=md5) as uploader:
        try:
            await uploader.upload(path, purpose="user_data", method=method)
        except ChunkupError as error:
            caught = error
        assert len(versions) == 2 or expected is SourceGone
        assert [house.content(file.id) in versions for file in house.files] in ([], [True])
        if expected is None:
            assert caught is None or isinstance(caught, SourceChanged)
        else:
            assert isinstance(caught, expected), caught
            assert caught.exit_code == 1
            assert house.files == []
        if not path.exists():
            return
        # The same call sends what it is now.
        house.intercept = None
        file = await uploader.upload(path, purpose="user_data", method=method)
    assert house.content(file.id) == versions[-1]


@pytest.mark.parametrize("route", ROUTES)
async def test_what_is_only_touched_is_read_once_more_and_goes_on(
    house: House, journal: Path, path: Path, route: str
) -> None:
    method, md5 = ROUTES[route]
    if method == "files":
        make_source(path, LARGE)
    when_half_way(house, lambda: touch_its_mode(path))
    async with house.uploader(journal, options=ONE, part_size=PART, md5=md5) as uploader:
        file = await uploader.upload(path, purpose="user_data", method=method)
    assert house.content(file.id) == path.read_bytes()
    assert house.calls.count("part") == (PARTS if method == "uploads" else 0)


async def test_holes_arrive_as_the_zeros_that_they_are(
    house: House, journal: Path, path: Path
) -> None:
    with path.open("wb") as file:
        for at in (70_000, 200_000):
            file.seek(at)
            file.write(b"content")
        file.truncate(300_000)
    async with house.uploader(journal, part_size=30_000) as uploader:
        sent = await uploader.upload(path, purpose="user_data")
    assert house.content(sent.id) == path.read_bytes()
    assert sent.bytes == 300_000


@pytest.mark.parametrize(
    ("act", "expected"),
    [(append, SourceChanged), (edit_openly, SourceChanged), (replace_it, SourceChanged)],
    ids=["appended", "edited", "replaced"],
)
async def test_pieces_of_a_file_that_changes_are_all_of_one_version(
    house: House, journal: Path, tmp_path: Path, act: Callable[[Path], None], expected: type
) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"".join(b'{"n": %07d}\n' % number for number in range(1500)))
    before = path.read_bytes()
    when_half_way(house, lambda: act(path))
    async with uploader_of(house, journal) as uploader:
        results = [
            result
            async for result in uploader.upload_all(
                [path], purpose="user_data", split=Split(lines=500)
            )
        ]
    errors = [result.error for result in results if result.error is not None]
    assert errors
    assert all(isinstance(error, expected) for error in errors), errors
    assert all(house.content(file.id) in before for file in house.files)
