"""SIGKILL while a file is written that somebody asked for: whole or absent, and nothing piles up.

A run is recorded, and killed at each of the calls by which it writes; a seeded sample of them by
default, all of them with ``CHUNKUP_LONG=1``. Then the same command comes again.
"""

import asyncio
import fcntl
import json
import random
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import ills
import pytest
from house import KEY, House, make_source, open_house
from test_kill_calls import TOGETHER, Desk, Point, opened, points, sampled, watching

from chunkup import AsyncUploader
from chunkup.errors import BadOption, Busy
from chunkup.files.download import checked
from chunkup.manifest import read
from chunkup.preflight.fresh import Fresh, free

ROW = '{"method":"POST","url":"/v1/responses","body":{"model":"m","input":"x"}}'


def hidden(desk: Desk) -> list[str]:
    return [path.name for path in desk.disk.iterdir() if path.name.startswith(".")]


def names(desk: Desk) -> set[str]:
    return {path.name for path in desk.disk.iterdir()}


def begin(desk: Desk) -> None:
    """What all of them need: sources on the disk, and a File on the server."""
    make_source(desk.disk / "a.bin", 1_500, seed=1)
    make_source(desk.disk / "b.bin", 2_500, seed=2)
    (desk.disk / "a.jsonl").write_text(f"{ROW}\r\n{ROW}\n")


# --- a manifest -------------------------------------------------------------------------------

SEND = ("upload", "a.bin", "b.bin", "-p", "user_data", "--part-size", "1000")


async def with_a_manifest(desk: Desk, under: tuple[str, ...]) -> int:
    words = (*SEND, "--manifest", "m.jsonl", "--skip-existing")
    return (await desk.run(*words, under=under, cwd=desk.disk))[0]


def whole_manifest(desk: Desk, *, ended: bool) -> None:
    path = desk.disk / "m.jsonl"
    entries = read(path) if path.exists() else []
    files = {file.id: file.filename for file in desk.house.files}
    assert all(files[entry.file] == entry.filename for entry in entries)
    assert sorted(files.values()) == sorted(set(files.values()))
    if ended:
        assert [entry.filename for entry in entries] == ["a.bin", "b.bin"]
    assert len(hidden(desk)) <= (0 if ended else 1)


# --- a download -------------------------------------------------------------------------------


async def a_download(desk: Desk, under: tuple[str, ...]) -> int:
    if not desk.house.files:
        journal = desk.folder / "other" / "journal.db"
        async with AsyncUploader(base_url=desk.house.url, api_key=KEY, journal=journal) as uploader:
            await uploader.files.create(desk.source, purpose="user_data")
    words = ("files", "download", desk.house.files[0].id, "-o", "out.bin")
    there = (desk.disk / "out.bin").exists()
    code = (await desk.run(*words, under=under, cwd=desk.disk))[0]
    # What is whole already is not fetched again, and not written over.
    return 0 if there and code == 2 else code


def whole_download(desk: Desk, *, ended: bool) -> None:
    path = desk.disk / "out.bin"
    if ended or path.exists():
        assert path.read_bytes() == desk.source.read_bytes()
    assert len(hidden(desk)) <= (0 if ended else 1)


# --- what is mended ---------------------------------------------------------------------------


async def a_mending(desk: Desk, under: tuple[str, ...]) -> int:
    words = ("check", "a.jsonl", "-p", "batch", "--fix", "-o", "b.jsonl")
    there = (desk.disk / "b.jsonl").exists()
    code = (await desk.run(*words, under=under, cwd=desk.disk))[0]
    return 0 if there and code == 2 else code


def whole_mending(desk: Desk, *, ended: bool) -> None:
    target, mapping = desk.disk / "b.jsonl", desk.disk / "b.ids.jsonl"
    for path in (target, mapping):
        if ended or path.exists():
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            assert [row["custom_id"] for row in rows] == ["line-1", "line-2"]
    # Which ids are new must not be lost: the file is there only if they are.
    assert mapping.exists() or not target.exists()
    assert len(hidden(desk)) <= (0 if ended else 2)


# --- standard input ---------------------------------------------------------------------------


async def standard_input(desk: Desk, under: tuple[str, ...]) -> int:
    words: tuple[str, ...] = ("upload", "-", "-p", "user_data", "--part-size", "1000")
    if await desk.seen():
        words = ("resume",)  # what comes in again would be another job's
    return (await desk.run(*words, under=under, cwd=desk.disk, stdin=desk.disk / "b.bin"))[0]


def whole_spool(desk: Desk, *, ended: bool) -> None:
    for file in desk.house.files:
        assert desk.house.content(file.id) == (desk.disk / "b.bin").read_bytes()
    spool = desk.journal.with_name("journal.db-spool")
    kept = list(spool.iterdir()) if spool.exists() else []
    assert len(kept) <= (0 if ended else 1)
    if ended:
        assert len(desk.house.files) == 1


@dataclass(frozen=True)
class Case:
    calls: tuple[str, ...]
    run: Callable[[Desk, tuple[str, ...]], Awaitable[int]]
    whole: Callable[..., None]


CASES = {
    "manifest": Case(
        ("write", "fsync", "rename", "unlink", "fchmod"), with_a_manifest, whole_manifest
    ),
    "download": Case(("pwrite64", "fsync", "link", "unlink"), a_download, whole_download),
    "mending": Case(
        ("write", "fsync", "fchmod", "link", "unlink", "ftruncate"), a_mending, whole_mending
    ),
    "standard input": Case(("write", "fsync", "mkdir", "unlink"), standard_input, whole_spool),
}


async def one_kill(folder: Path, case: Case, point: Point) -> None:
    async with open_house(folder / "server") as house:
        desk = opened(folder, house)
        begin(desk)
        await case.run(desk, ills.strace(point.inject))
        case.whole(desk, ended=False)
        before = len(hidden(desk))
        # A second kill at the same place leaves no more than the first.
        await case.run(desk, ills.strace(point.inject))
        case.whole(desk, ended=False)
        assert len(hidden(desk)) <= max(before, 1)
        assert await case.run(desk, ()) == 0, point
        case.whole(desk, ended=True)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", CASES)
async def test_killed_while_it_writes_it_is_whole_or_absent(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    seed = random.randrange(1 << 32)
    recorded = tmp_path / "recorded"
    async with open_house(recorded / "server") as house:
        desk = opened(recorded, house)
        begin(desk)
        assert await case.run(desk, watching(recorded / "log", case.calls)) == 0
        case.whole(desk, ended=True)
    found = points(recorded / "log", case.calls)
    chosen = sampled(found, random.Random(seed), 3)
    print(f"{len(chosen)} of {len(found)} calls, seed {seed}: {chosen}")
    turns = asyncio.Semaphore(TOGETHER)

    async def in_turn(point: Point) -> None:
        async with turns:
            folder = tmp_path / f"{point.call}-{point.nth}"
            await one_kill(folder, case, point)
            shutil.rmtree(folder)

    async with asyncio.TaskGroup() as group:
        for point in chosen:
            group.create_task(in_turn(point))


# --- what is left between two calls, laid as a kill leaves it ------------------------------------

ROWS = b'{"custom_id":"line-1"}\n'


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "b.jsonl", tmp_path / "b.ids.jsonl"


def killed(target: Path, *, published: bool) -> Path:
    """A new file as a kill leaves it: hidden, or under both names; the hidden one."""
    left = Path(Fresh(target).path)
    left.touch(0o600)
    left.write_bytes(ROWS)
    if published:
        target.hardlink_to(left)
    return left


def test_new_ids_without_their_file_are_taken_away(places: tuple[Path, Path]) -> None:
    target, mapping = places
    killed(target, published=False)
    killed(mapping, published=True)
    free(target, mapping)
    with Fresh(target) as new, Fresh(mapping) as ids:
        for file in (ids, new):
            file.write(b"new\n")
            file.seal(0o600)
            file.publish()
    assert {path.name: path.read_bytes() for path in target.parent.iterdir()} == {
        "b.jsonl": b"new\n",
        "b.ids.jsonl": b"new\n",
    }


def test_somebodys_file_in_their_place_is_not_taken_away(places: tuple[Path, Path]) -> None:
    target, mapping = places
    killed(mapping, published=False)
    mapping.write_bytes(b"precious")
    (target.parent / "second").hardlink_to(mapping)
    with pytest.raises(BadOption, match="is there already"):
        free(target, mapping)
    assert mapping.read_bytes() == b"precious"


def test_nor_is_what_another_process_is_at(places: tuple[Path, Path]) -> None:
    target, mapping = places
    left = killed(mapping, published=True)
    with left.open("rb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with pytest.raises(BadOption, match="is there already"):
            free(target, mapping)
        assert mapping.read_bytes() == left.read_bytes() == ROWS
    free(target, mapping)
    assert list(target.parent.iterdir()) == []


def test_two_who_write_the_same_are_one_and_one_busy(places: tuple[Path, Path]) -> None:
    target, _ = places
    with Fresh(target) as new:
        new.write(ROWS)
        with pytest.raises(Busy, match=r"another process is writing .*b\.jsonl"), Fresh(target):
            pass
        new.seal(0o600)
        new.publish()
    assert [path.read_bytes() for path in target.parent.iterdir()] == [ROWS]


def test_what_is_whole_and_hidden_still_has_one_name_then(places: tuple[Path, Path]) -> None:
    target, mapping = places
    for place in places:
        killed(place, published=True)
    with pytest.raises(BadOption, match="is there already"):
        free(target, mapping)
    assert sorted(target.parent.iterdir()) == sorted(places)
    # A download the same.
    killed(target.with_name("c.bin"), published=True)
    with pytest.raises(BadOption, match="is there already"):
        checked(target.with_name("c.bin"))
    assert len(list(target.parent.iterdir())) == 3


async def test_standard_input_of_a_job_that_ended_goes_with_the_next_resume(
    tmp_path: Path, house: House
) -> None:
    desk = opened(tmp_path, house)
    assert (await desk.upload(1))[0] == 0
    spool = desk.journal.with_name("journal.db-spool")
    spool.mkdir(0o700)
    (spool / ("0" * 32)).write_bytes(b"left")
    code, _, err = await desk.run("resume")
    assert (code, list(spool.iterdir())) == (0, []), err
