"""A manifest on the disk while its command runs: whole at any moment, and nobody's loss."""

import asyncio
import errno
import fcntl
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_manifest import entry

from chunkup.errors import BadOption, Failed
from chunkup.manifest import Entry, Key, Manifest, keeping, line_of, read, sheet
from chunkup.manifest.sheet import Sheet, merged


async def kept(path: Path, *entries: Entry, first: int = 0) -> Manifest:
    """One command's manifest, from its beginning to its end."""
    manifest = Manifest(path)
    await manifest.prepare()
    for place, one in enumerate(entries, first):
        manifest.add(place, one)
    await manifest.close()
    return manifest


def names(path: Path) -> list[str]:
    return [one.filename for one in read(path)]


def many(count: int, name: str = "a") -> list[Entry]:
    return [entry(f"{name}{number:05}") for number in range(count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder / "m.jsonl"


# --- before the first byte --------------------------------------------------------------------


async def refused(path: Path | str) -> BadOption:
    with pytest.raises(BadOption) as caught:
        await Manifest(path).prepare()
    assert caught.value.exit_code == 2
    return caught.value


async def test_to_prepare_leaves_nothing_behind(path: Path) -> None:
    await Manifest(path).prepare()
    assert list(path.parent.iterdir()) == []
    await kept(path)
    assert list(path.parent.iterdir()) == []


async def test_a_folder_that_is_not_there_is_named_with_what_makes_it(tmp_path: Path) -> None:
    error = await refused(tmp_path / "no such" / "m.jsonl")
    assert "cannot be written: No such file or directory" in error.message
    assert error.hint == f"mkdir -p -- '{tmp_path}/no such'"


async def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    places: list[Path | str] = [
        tmp_path,
        tmp_path / "file" / "m",
        tmp_path / "circle",
        "/proc/m",
        "zero\0",
        "",
        "-",
    ]
    for place in places:
        assert (await refused(place)).message, place


async def test_a_manifest_that_its_owner_protects_is_not_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept(path, entry())
    path.chmod(0o400)
    monkeypatch.setattr(os, "access", lambda *_: False)  # who runs this may be allowed everything
    assert "may not be written" in (await refused(path)).message


@pytest.mark.parametrize("content", [b"precious\n", b"{}\n", b"\xff", b"\n[1]"], ids=repr)
async def test_a_file_that_is_no_manifest_is_never_overwritten(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "is no manifest: line" in (await refused(path)).message
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


async def test_nor_one_that_came_meanwhile(path: Path) -> None:
    manifest = Manifest(path)
    await manifest.prepare()
    path.write_bytes(b"precious\n")
    manifest.add(0, entry())
    with pytest.raises(Failed, match=r"is no manifest: line 1 is no JSON; the uploads went on"):
        await manifest.close()
    assert path.read_bytes() == b"precious\n"
    assert list(path.parent.iterdir()) == [path]


async def test_an_empty_file_is_a_manifest_of_none(path: Path) -> None:
    path.touch()
    await kept(path, entry())
    assert read(path) == [entry()]


# --- how it lies there ------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_new_one_is_private_and_an_older_one_stays_as_it_was(path: Path) -> None:
    await kept(path, entry())
    assert mode(path) == 0o600
    path.chmod(0o664)
    await kept(path, entry("b.jsonl"))
    assert mode(path) == 0o664
    assert names(path) == ["a.jsonl", "b.jsonl"]


async def test_a_symbolic_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "m.jsonl", tmp_path / "there" / "real.jsonl"
    link.symlink_to("there/real.jsonl")
    manifest = await kept(link, entry())
    assert manifest.path == target
    assert link.is_symlink()
    assert read(target) == [entry()]
    await kept(link, entry("b.jsonl"))
    assert names(target) == ["a.jsonl", "b.jsonl"]
    assert [one.name for one in target.parent.iterdir()] == ["real.jsonl"]


async def test_a_link_that_is_laid_in_its_way_is_not_followed(path: Path) -> None:
    victim = path.parent / "victim"
    victim.write_text("precious")
    made = Sheet(path)
    made._hidden.symlink_to(victim)
    await kept(path, entry())
    assert victim.read_text() == "precious"
    assert read(path) == [entry()]
    assert sorted(path.parent.iterdir()) == [path, victim]


async def test_nor_is_one_that_is_laid_there_just_then(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = path.parent / "victim"
    victim.write_text("precious")
    unlink = Path.unlink

    def raced(self: Path, *, missing_ok: bool = False) -> None:
        unlink(self, missing_ok=missing_ok)
        if not self.is_symlink():
            self.symlink_to(victim)

    monkeypatch.setattr(Path, "unlink", raced)
    assert "File exists" in (await refused(path)).message
    assert victim.read_text() == "precious"


async def test_what_it_says_reaches_the_disk_before_its_name_does(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def replaced(self: Path, target: Path) -> Path:
        done.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    await kept(path, entry())
    assert done == ["file", "name", "folder"]


# --- together with what is there --------------------------------------------------------------


async def test_other_entries_stay_and_a_newer_one_takes_the_place_of_the_old(path: Path) -> None:
    await kept(path, entry("a"), entry("b"), entry("c"))
    newer = entry("b", file="file-newer")
    others = [
        entry("b", purpose="user_data"),
        entry("b", stop=11, bytes=11),
        entry("b", start=1, bytes=9),
        entry("b", account=entry().account.__class__("https://other.example/v1")),
    ]
    await kept(path, newer, *others)
    assert read(path) == [entry("a"), newer, *others, entry("c")]


async def test_what_only_another_version_knows_is_kept(path: Path) -> None:
    line = line_of(entry("a")).replace('{"v": 1,', '{"v": 9, "news": ["ä"],')
    path.write_text(line + "\n", encoding="utf-8")
    await kept(path, entry("b"))
    raw = path.read_bytes()
    assert raw.isascii()
    assert raw.splitlines() == [
        line.encode("ascii", "backslashreplace").replace(rb"\xe4", rb"\u00e4"),
        line_of(entry("b")).encode(),
    ]


async def test_what_another_command_adds_meanwhile_stays(path: Path) -> None:
    mine, theirs = Manifest(path), Manifest(path)
    await mine.prepare()
    await theirs.prepare()
    for number, one in enumerate(many(4)):
        manifest = (mine, theirs)[number % 2]
        manifest.add(number, one)
        await manifest._write()
    await mine.close()
    await theirs.close()
    assert sorted(names(path)) == [one.filename for one in many(4)]


async def test_files_that_end_in_any_order_are_in_that_of_the_command(path: Path) -> None:
    manifest = Manifest(path)
    await manifest.prepare()
    order = random.Random(5).sample(range(20), 20)
    for place in order:
        manifest.add(place, many(20)[place])
        await manifest._write()
    await manifest.close()
    assert read(path) == many(20)


async def test_a_set_that_is_gone_on_with_comes_out_as_if_it_had_never_stopped(path: Path) -> None:
    await kept(path, entry("before"))
    first = Manifest(path)
    await first.prepare()
    for place in (1, 4, 7):
        first.add(place, many(9)[place])
    await first.close()
    await kept(path, entry("between"))
    await kept(path, *many(9))
    found = read(path)
    assert [one for one in found if one in many(9)] == many(9)
    assert {"before", "between"} < {one.filename for one in found}


keys = st.lists(st.integers(0, 12), unique=True)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(keys, keys)
def test_nothing_is_lost_and_what_is_there_keeps_its_order(
    there: list[int], new: list[int]
) -> None:
    def lines(numbers: list[int], word: str) -> dict[Key, str]:
        return {entry(str(number)).key: f"{word} {number}" for number in numbers}

    theirs, ours = lines(there, "old"), lines(new, "new")
    found = merged(theirs, ours)
    assert found == theirs | ours
    assert [key for key in found if key in theirs] == list(theirs)
    common = [key for key in ours if key in theirs]
    if common == [key for key in theirs if key in ours]:
        assert [key for key in found if key in ours] == list(ours)
    if not common:
        assert list(found) == [*theirs, *ours]


# --- others at the same time ------------------------------------------------------------------

_PROGRAM = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from test_manifest import entry
from chunkup.manifest import Manifest

async def main(path, name, count):
    manifest = Manifest(path)
    await manifest.prepare()
    for place in range(count):
        manifest.add(place, entry(f"{name}{place:05}"))
        await manifest._write()
        if not place:
            print("ready", flush=True)
            sys.stdin.readline()
    await manifest.close()

asyncio.run(main(sys.argv[2], sys.argv[3], int(sys.argv[4])))
"""


def elsewhere(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    """Another process, which writes its manifest anew for each of its entries."""
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(Path(__file__).parent), str(path), name, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def let_go(*processes: subprocess.Popen[str]) -> None:
    """Let them write on, once all have written what they have first."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def test_of_three_commands_at_once_none_loses_anything(path: Path) -> None:
    running = [elsewhere(path, name, 40) for name in "abc"]
    let_go(*running)
    for process in running:
        process.communicate()
        assert process.returncode == 0
    found = names(path)
    assert len(found) == 120
    for name in "abc":
        assert [one for one in found if one[0] == name] == [one.filename for one in many(40, name)]
    assert list(path.parent.iterdir()) == [path]


def test_a_kill_at_any_moment_leaves_a_whole_one_or_none(path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    known = 0
    for _ in range(4):
        with elsewhere(path, "a", 100_000) as process:
            let_go(process)
            time.sleep(chance.uniform(0, 0.1))  # no event: any moment is to be met
            process.send_signal(signal.SIGKILL)
            process.wait()
        found = names(path)
        assert found == [one.filename for one in many(len(found))]
        assert len(found) >= known
        known = len(found)
    assert known
    assert len(list(path.parent.iterdir())) <= 2  # itself, and what one writer was at
    asyncio.run(kept(path, entry("last")))
    assert names(path)[-1] == "last"
    assert list(path.parent.iterdir()) == [path]


async def test_who_holds_the_folder_is_waited_for_but_not_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Manifest(path)
    await manifest.prepare()
    holder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        manifest.add(0, entry())
        closing = asyncio.create_task(manifest.close())
        await asyncio.sleep(0.1)  # nothing can tell that nothing happens
        assert not closing.done()
        assert not path.exists()
        fcntl.flock(holder, fcntl.LOCK_UN)
        await closing
        assert read(path) == [entry()]
        fcntl.flock(holder, fcntl.LOCK_EX)
        monkeypatch.setattr(sheet, "_PATIENCE", 0.05)
        assert "another process holds its folder" in (await refused(path)).message
    finally:
        os.close(holder)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP])
async def test_a_file_system_without_locks_has_manifests_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def none(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", none)
    await kept(path, entry())
    assert read(path) == [entry()]


# --- when it goes wrong -----------------------------------------------------------------------


async def test_a_folder_that_vanishes_is_an_error_at_the_end_and_none_before(path: Path) -> None:
    manifest = Manifest(path)
    await manifest.prepare()
    path.parent.rmdir()
    manifest.add(0, entry())
    await until_written(manifest)
    manifest.add(1, entry("b.jsonl"))
    with pytest.raises(Failed) as caught:
        await manifest.close()
    assert caught.value.exit_code == 1
    assert caught.value.message == (
        f"the manifest {path} could not be written: No such file or directory; "
        "the uploads went on without it"
    )
    assert caught.value.hint is not None


async def until_written(manifest: Manifest) -> None:
    """Wait until it was tried once to write what it has."""
    async with asyncio.timeout(30):
        while not manifest._due:  # noqa: ASYNC110  (it tells nobody)
            await asyncio.sleep(0)


async def test_what_is_made_good_in_time_is_none(path: Path) -> None:
    manifest = Manifest(path)
    await manifest.prepare()
    path.parent.rmdir()
    manifest.add(0, entry())
    await until_written(manifest)
    path.parent.mkdir()
    await manifest.close()
    assert read(path) == [entry()]


async def test_a_full_disk_leaves_what_was_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept(path, entry())

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    manifest = Manifest(path)
    await manifest.prepare()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        manifest.add(0, entry("b.jsonl"))
        with pytest.raises(Failed, match="No space left on device; the uploads went on"):
            await manifest.close()
    assert read(path) == [entry()]
    assert list(path.parent.iterdir()) == [path]


async def test_who_is_cancelled_at_the_end_has_it_written_all_the_same(path: Path) -> None:
    manifest = Manifest(path)
    await manifest.prepare()
    manifest.add(0, entry())
    closing = asyncio.create_task(manifest.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert read(path) == [entry()]


# --- what it costs ----------------------------------------------------------------------------


class Counted:
    """How often it was written, and on which threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, takes: float = 0.0) -> None:
        self.times = 0
        self.threads: set[threading.Thread] = set()
        merge = Sheet.merge

        def counted(sheet: Sheet, ours: Mapping[Key, str]) -> None:
            self.times += 1
            self.threads.add(threading.current_thread())
            time.sleep(takes)  # as a slow disk would
            merge(sheet, ours)

        monkeypatch.setattr(Sheet, "merge", counted)


async def test_ten_thousand_files_are_few_writings_and_none_on_the_loop(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, began = Counted(monkeypatch), time.monotonic()
    manifest = Manifest(path)
    await manifest.prepare()
    for place, one in enumerate(many(10_000)):
        manifest.add(place, one)
        if not place % 10:
            await asyncio.sleep(0)
    await manifest.close()
    assert counted.times <= 2 + time.monotonic() - began
    assert threading.main_thread() not in counted.threads
    assert read(path) == many(10_000)


async def test_a_slow_disk_is_written_to_for_a_twentieth_of_the_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch, takes=0.1)
    manifest = Manifest(path)
    await manifest.prepare()
    began = time.monotonic()
    manifest.add(0, entry())
    await until_written(manifest)
    assert manifest._due - began > 20 * 0.1
    manifest.add(1, entry("b.jsonl"))
    await manifest.close()
    assert counted.times == 2
    assert names(path) == ["a.jsonl", "b.jsonl"]


async def test_a_file_that_ends_while_others_are_written_is_not_forgotten(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_it, go_on = threading.Event(), threading.Event()
    merge = Sheet.merge

    def held(sheet: Sheet, ours: Mapping[Key, str]) -> None:
        at_it.set()
        assert go_on.wait(30)
        merge(sheet, ours)

    monkeypatch.setattr(Sheet, "merge", held)
    manifest = Manifest(path)
    await manifest.prepare()
    manifest.add(0, entry())
    await asyncio.to_thread(at_it.wait, 30)
    manifest.add(1, entry("b.jsonl"))
    go_on.set()
    await until_written(manifest)
    await manifest.close()
    assert names(path) == ["a.jsonl", "b.jsonl"]


async def test_a_fast_disk_is_left_alone_for_a_second(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_SHARE", 0.0)  # as if it took no time at all
    manifest = Manifest(path)
    await manifest.prepare()
    began = time.monotonic()
    manifest.add(0, entry())
    await until_written(manifest)
    assert manifest._due - began >= 1.0
    await manifest.close()


async def test_a_file_is_written_down_soon_after_it_ended(path: Path) -> None:
    manifest = Manifest(path)
    await manifest.prepare()
    for number, one in enumerate(many(3)):
        manifest.add(number, one)
        async with asyncio.timeout(30):
            while not path.exists() or len(read(path)) <= number:  # noqa: ASYNC110  (a file tells nobody)
                await asyncio.sleep(0.01)
    await manifest.close()
    assert read(path) == many(3)


async def test_nothing_is_left_open(path: Path) -> None:
    await kept(path, entry())
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(5):
        await kept(path, entry(str(number)))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert len(asyncio.all_tasks()) == 1
