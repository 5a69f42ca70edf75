"""What can become of a file between two runs: what was sent is used only if it is still in it."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ills
import pytest
from house import HASTY, House, make_source
from test_source_ills import (
    append,
    delete,
    edit,
    edit_the_tail,
    move,
    put_back,
    replace_it,
    swap_for_a_twin,
    truncate,
)
from test_uploader import refuse_after

from chunkup import AsyncUploader
from chunkup.errors import ChunkupError, Rejected, SourceChanged, SourceGone

SIZE, PART, SENT = 12_500, 1000, 5
ONE = replace(HASTY, workers=1)


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def round_its_time(path: Path) -> None:
    """What a file system does that keeps whole seconds alone, once it is mounted again."""
    second = path.stat().st_mtime_ns // 10**9 * 10**9
    os.utime(path, ns=(second, second))


def copy_back(path: Path) -> None:
    """Another inode with all that it was."""
    before, other = path.stat(), path.with_name("other")
    shutil.copyfile(path, other)
    put_back(other, before)
    other.replace(path)


def edit_in_what_was_sent(path: Path) -> None:
    edit(path, 4900, keep_time=False)


def edit_in_what_was_sent_and_put_its_time_back(path: Path) -> None:
    edit(path, 4900)


# What `resume` makes of it; None where it goes on, with so many parts to send.
Ill = tuple[Callable[[Path], None], type[ChunkupError] | None]
ILLS: dict[str, Ill] = {
    "appended": (append, SourceChanged),
    "truncated": (truncate, SourceChanged),
    "replaced": (replace_it, SourceChanged),
    "edited in what was sent": (edit_in_what_was_sent, SourceChanged),
    "edited there, time put back": (edit_in_what_was_sent_and_put_its_time_back, SourceChanged),
    "edited in the rest, time put back": (edit_the_tail, None),
    "swapped for a twin with the part that was sent": (swap_for_a_twin, None),
    "touched": (touch, None),
    "on a file system of whole seconds": (round_its_time, None),
    "copied back": (copy_back, None),
    "deleted": (delete, SourceGone),
    "moved": (move, SourceGone),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    make_source(path, SIZE)
    return path


async def half_sent(house: House, uploader: AsyncUploader, path: Path) -> str:
    """Let five parts through, one after another, and no more; the job."""
    refuse_after(house, SENT)
    with pytest.raises(Rejected) as caught:
        await uploader.upload(path, purpose="user_data")
    house.intercept = None
    await house.idle()
    house.calls.clear()
    house.arrivals.clear()
    assert caught.value.job_id is not None
    return caught.value.job_id


@pytest.mark.parametrize("md5", [True, False], ids=["MD5", "no MD5"])
@pytest.mark.parametrize("ill", ILLS)
async def test_what_was_sent_is_used_only_if_the_file_still_has_it(
    house: House, journal: Path, path: Path, ill: str, *, md5: bool
) -> None:
    act, expected = ILLS[ill]
    async with house.uploader(journal, options=ONE, part_size=PART, md5=md5) as uploader:
        job = await half_sent(house, uploader, path)
    act(path)
    async with house.uploader(journal, options=ONE, part_size=PART, md5=md5) as uploader:
        if expected is None:
            file = await uploader.resume(job)
            assert house.calls.count("part") == 13 - SENT
            assert house.content(file.id) == path.read_bytes()
            return
        with pytest.raises(expected) as caught:
            await uploader.resume(job)
        assert (caught.value.exit_code, caught.value.job_id) == (1, job)
        assert house.files == []
        if path.exists():
            # The command means the file as it is now, and the old job ends for it.
            file = await uploader.upload(path, purpose="user_data")
            assert house.content(file.id) == path.read_bytes()
            assert len(house.files) == 1


async def test_a_file_that_moved_is_followed_to_its_new_place(
    house: House, journal: Path, path: Path
) -> None:
    async with house.uploader(journal, options=ONE, part_size=PART) as uploader:
        job = await half_sent(house, uploader, path)
    move(path)
    async with house.uploader(journal, options=ONE, part_size=PART) as uploader:
        file = await uploader.resume(job, source=path.with_name("elsewhere.bin"))
    assert house.calls.count("part") == 13 - SENT
    assert house.content(file.id) == path.with_name("elsewhere.bin").read_bytes()


@pytest.mark.parametrize("md5", [True, False], ids=["MD5", "no MD5"])
async def test_a_file_system_that_is_mounted_again_costs_nothing(
    house: House, journal: Path, tmp_path: Path, *, md5: bool
) -> None:
    """Another device and another inode, as after a restart of a machine with network disks."""
    place = tmp_path / "place"
    with ills.small_disk(place):
        make_source(place / "a.bin", SIZE)
        before, content = (place / "a.bin").stat(), (place / "a.bin").read_bytes()
        async with house.uploader(journal, options=ONE, part_size=PART, md5=md5) as uploader:
            job = await half_sent(house, uploader, place / "a.bin")
    with ills.small_disk(place):
        (place / "first").touch()
        (place / "a.bin").write_bytes(content)
        put_back(place / "a.bin", before)
        after = (place / "a.bin").stat()
        assert after.st_mtime_ns == before.st_mtime_ns
        assert (after.st_ino, after.st_dev) != (before.st_ino, before.st_dev)
        async with house.uploader(journal, options=ONE, part_size=PART, md5=md5) as uploader:
            file = await uploader.resume(job)
    assert house.calls.count("part") == 13 - SENT
    assert house.content(file.id) == content
