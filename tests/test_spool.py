import asyncio
import os
import pty
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

import pytest

from chunkup import spool as module
from chunkup.errors import BadJournal, EmptyFile, JournalTrouble, NotAFile, Unreadable
from chunkup.spool import Spool, filename_for

CONTENT = bytes(range(256)) * 17


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db-spool"


@pytest.fixture
def spool(folder: Path) -> Iterator[Spool]:
    made = Spool(folder)
    handles, threads = open_handles(), set(threading.enumerate())
    try:
        yield made
    finally:
        made.close()
    assert open_handles() == handles
    begun = set(threading.enumerate()) - threads
    assert not any(thread.name.startswith("chunkup") for thread in begun)


def open_handles() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def written(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.iterdir())


class Given:
    """A pipe with something in it."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.end, self._writer = os.pipe()
        self.write(content)

    def write(self, content: bytes) -> None:
        assert os.write(self._writer, content) == len(content)

    def over(self) -> int:
        os.close(self._writer)
        return self.end


async def take(spool: Spool, content: bytes = CONTENT) -> str:
    given = Given(content)
    try:
        return await spool.take(given.over())
    finally:
        os.close(given.end)


# --- what comes in --------------------------------------------------------------------------


async def test_all_of_it_is_there_for_this_user_only(spool: Spool, folder: Path) -> None:
    old = os.umask(0)
    try:
        path = Path(await take(spool))
    finally:
        os.umask(old)
    assert path.read_bytes() == CONTENT
    assert path.parent == folder
    assert path == path.resolve()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for made in (folder, folder.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700


async def test_more_than_a_pipe_holds_comes_piece_by_piece_and_is_told(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TELL_EVERY", 0.0)
    monkeypatch.setattr(module, "_UNSAFE", 1 << 20)
    code = "import sys; sys.stdout.buffer.write(b'0123456789abcdef' * 500_000)"
    told: list[int] = []
    end, begin = os.pipe()
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=begin)
    os.close(begin)
    path = await spool.take(end, tell=told.append)
    os.close(end)
    await writer.wait()
    assert Path(path).read_bytes() == b"0123456789abcdef" * 500_000
    assert told == sorted(told)
    assert told[-1] == 8_000_000


async def test_it_is_told_only_now_and_then(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TELL_EVERY", 1e9)
    told: list[int] = []
    given = Given()
    await spool.take(given.over(), tell=told.append)
    os.close(given.end)
    await asyncio.sleep(0)
    assert told == []


async def test_a_file_can_be_standard_input_too(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    with (tmp_path / "source").open("rb") as stream:
        stream.seek(100)
        path = await spool.take(stream.fileno())
    assert Path(path).read_bytes() == CONTENT[100:]


async def test_each_is_a_file_of_its_own(spool: Spool, folder: Path) -> None:
    first, second = await take(spool, b"1"), await take(spool, b"1")
    assert written(folder) == sorted([first, second])


async def test_it_is_on_the_disk_before_anybody_relies_on_it(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, int]] = []

    def fsync(handle: int) -> None:
        found = os.fstat(handle)
        synced.append((stat.S_ISDIR(found.st_mode), found.st_size))
        true_fsync(handle)

    true_fsync = os.fsync
    monkeypatch.setattr(os, "fsync", fsync)
    await take(spool)
    assert (False, len(CONTENT)) in synced
    assert any(folder for folder, _ in synced)


# --- what cannot be taken -------------------------------------------------------------------


async def test_nothing_is_refused(spool: Spool, folder: Path) -> None:
    with pytest.raises(EmptyFile, match="standard input is empty"):
        await take(spool, b"")
    assert written(folder) == []


@pytest.mark.timeout(10)
async def test_a_terminal_is_refused_at_once(spool: Spool, folder: Path) -> None:
    controller, terminal = pty.openpty()
    try:
        with pytest.raises(NotAFile, match="nobody types a dataset") as caught:
            await spool.take(terminal)
    finally:
        os.close(controller)
        os.close(terminal)
    assert caught.value.hint == "cat FILE | chunkup upload - --purpose user_data"
    assert not folder.exists()


async def test_a_folder_as_standard_input_is_refused(
    spool: Spool, folder: Path, tmp_path: Path
) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(Unreadable, match="standard input cannot be read: Is a directory"):
            await spool.take(handle)
    finally:
        os.close(handle)
    assert written(folder) == []


async def test_cancelled_while_nothing_comes_it_leaves_nothing(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TELL_EVERY", 0.0)
    given = Given()
    told = asyncio.Event()
    taking = asyncio.create_task(spool.take(given.end, tell=lambda _: told.set()))
    await told.wait()
    assert len(written(folder)) == 1
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert written(folder) == []
    os.close(given.over())


async def test_cancelled_while_it_never_ends_it_leaves_nothing(spool: Spool, folder: Path) -> None:
    endless = os.open("/dev/zero", os.O_RDONLY)
    begun = asyncio.Event()
    taking = asyncio.create_task(spool.take(endless, tell=lambda _: begun.set()))
    await begun.wait()
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    os.close(endless)
    assert written(folder) == []


FULL = """
import asyncio, os, resource, sys
from pathlib import Path
from chunkup.errors import JournalTrouble
from chunkup.spool import Spool
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))
spool = Spool(Path(sys.argv[1]))
try:
    asyncio.run(spool.take(0))
except JournalTrouble as error:
    print(error.message, error.hint, sep="\\n")
"""


def test_a_disk_that_takes_no_more_is_a_stop_and_leaves_nothing(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(folder)],
        input=bytes(6_000_000),
        capture_output=True,
        check=False,
    )
    said = done.stdout.decode().splitlines()
    assert said[0] == (
        f"standard input cannot be kept in {folder}: File too large; nothing was sent"
    ), done.stderr
    assert "--journal" in said[1]
    assert written(folder) == []


# --- a folder that cannot be trusted --------------------------------------------------------


async def test_a_folder_that_others_may_look_into_is_refused(spool: Spool, folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o750)
    with pytest.raises(BadJournal, match="others may look into") as caught:
        await take(spool)
    assert caught.value.hint == f"chmod 700 -- {folder}"
    assert written(folder) == []


@pytest.mark.parametrize("what", ["link", "file", "theirs"])
async def test_something_else_in_its_place_is_refused(
    spool: Spool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    folder.parent.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    said = "is no folder of this user"
    if what == "link":
        folder.symlink_to(elsewhere)
    elif what == "theirs":
        folder.mkdir(mode=0o700)
        user = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: user)
    else:
        folder.write_bytes(b"x")
        said = "cannot be used: File exists"
    with pytest.raises(BadJournal, match=said):
        await take(spool)
    assert written(elsewhere) == []


async def test_a_place_without_room_for_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(BadJournal, match="cannot be used: Not a directory"):
        await take(Spool(tmp_path / "file" / "spool"))


async def test_a_name_that_is_taken_is_never_written_to(
    spool: Spool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(parents=True, mode=0o700)
    (tmp_path / "theirs").write_bytes(b"theirs")
    name = "0123456789abcdef" * 2
    (folder / name).symlink_to(tmp_path / "theirs")
    monkeypatch.setattr("secrets.token_hex", lambda _: name)
    with pytest.raises(JournalTrouble, match="File exists"):
        await take(spool)
    assert (tmp_path / "theirs").read_bytes() == b"theirs"


async def test_below_a_linked_folder_the_path_is_the_real_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    spool = Spool.beside(tmp_path / "link" / "journal.db")
    path = await take(spool)
    assert path == os.path.realpath(path)
    assert Path(path).parent == tmp_path / "real" / "journal.db-spool"
    assert spool.owns(path)
    spool.discard(path)
    assert not Path(path).exists()


# --- what is removed ------------------------------------------------------------------------


async def test_what_served_is_discarded(spool: Spool, folder: Path) -> None:
    path, other = await take(spool), await take(spool)
    assert spool.owns(path)
    spool.discard(path)
    assert written(folder) == [other]
    spool.discard(path)
    spool.close()
    spool.discard(other)
    assert written(folder) == []
    assert spool.owns(other)


def lies_elsewhere(folder: Path) -> str:
    return str(folder.parent / "outside")


def has_another_name(folder: Path) -> str:
    return str(folder / "mine.jsonl")


def climbs_out(folder: Path) -> str:
    return str(folder / ".." / "outside")


def is_deeper(folder: Path) -> str:
    return str(folder / "sub" / ("a" * 32))


@pytest.mark.parametrize("where", [lies_elsewhere, has_another_name, climbs_out, is_deeper])
async def test_what_is_none_of_ours_is_never_discarded(
    spool: Spool, folder: Path, where: Callable[[Path], str]
) -> None:
    path = where(folder)
    (folder / "sub").mkdir(parents=True)
    Path(path).write_bytes(b"theirs")
    assert not spool.owns(path)
    spool.discard(path)
    assert Path(path).read_bytes() == b"theirs"


@pytest.mark.parametrize("sweeping", [False, True])
async def test_a_link_is_never_followed(
    spool: Spool, folder: Path, tmp_path: Path, *, sweeping: bool
) -> None:
    folder.mkdir(parents=True)
    (tmp_path / "theirs").write_bytes(b"theirs")
    link = folder / ("b" * 32)
    link.symlink_to(tmp_path / "theirs")
    if sweeping:
        (folder / ("c" * 32)).write_bytes(b"left")

        async def in_use() -> Collection[str]:
            handle = os.open(tmp_path / "theirs", os.O_RDONLY)
            flock(handle, LOCK_EX | LOCK_NB)  # not so much as locked
            os.close(handle)
            return ()

        assert await spool.sweep(in_use) == 1
    else:
        spool.discard(str(link))
    assert (tmp_path / "theirs").read_bytes() == b"theirs"


async def nobody() -> Collection[str]:
    return ()


async def test_without_a_folder_there_is_nothing_to_sweep(spool: Spool, folder: Path) -> None:
    assert await spool.sweep(nobody) == 0
    assert not folder.exists()


async def test_sweeping_takes_what_no_job_refers_to_and_nobody_holds(
    spool: Spool, folder: Path
) -> None:
    mine = await take(spool)
    earlier = Spool(folder)
    needed, left, left_too = [await take(earlier) for _ in range(3)]
    earlier.close()
    (folder / "notes.txt").write_bytes(b"whose is this?")
    os.mkfifo(folder / ("c" * 32))

    async def in_use() -> Collection[str]:
        for path in (left, left_too):  # nobody can begin to write there while it is decided
            handle = os.open(path, os.O_RDONLY)
            with pytest.raises(BlockingIOError):
                flock(handle, LOCK_EX | LOCK_NB)
            os.close(handle)
        return {needed}

    assert await spool.sweep(in_use) == 2
    assert written(folder) == sorted(
        [mine, needed, str(folder / "notes.txt"), str(folder / ("c" * 32))]
    )


async def test_the_journal_is_not_asked_for_nothing(spool: Spool) -> None:
    async def in_use() -> Collection[str]:
        raise AssertionError

    mine = await take(spool)
    assert await Spool(Path(mine).parent).sweep(in_use) == 0
    assert Path(mine).exists()


async def test_a_sweep_that_fails_removes_nothing(spool: Spool, folder: Path) -> None:
    path = await take(spool)
    spool.close()

    async def in_use() -> Collection[str]:
        raise JournalTrouble("the disk failed")

    with pytest.raises(JournalTrouble):
        await spool.sweep(in_use)
    assert written(folder) == [path]


async def test_what_is_swept_away_between_making_and_locking_is_made_anew(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[str] = []

    def late(handle: int, operation: int) -> None:
        if not swept:
            swept.extend(written(folder))
            Path(swept[0]).unlink()
        flock(handle, operation)

    monkeypatch.setattr(module, "flock", late)
    path = await take(spool)
    assert swept
    assert swept != [path]
    assert written(folder) == [path]


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from chunkup import spool
spool._TELL_EVERY = 0.0
def tell(size):
    print(size, flush=True)
asyncio.run(spool.Spool(Path(sys.argv[1])).take(0, tell=tell))
"""


async def test_what_a_killed_process_left_is_swept_and_not_before(
    spool: Spool, folder: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED, str(folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"half of it")
    await process.stdout.readline()
    (path,) = written(folder)
    assert await spool.sweep(nobody) == 0
    process.kill()
    await process.wait()
    process.stdin.close()
    assert Path(path).read_bytes() == b"half of it"
    assert await spool.sweep(nobody) == 1
    assert written(folder) == []


# --- names ----------------------------------------------------------------------------------


def test_two_journals_in_one_folder_have_two_spools(tmp_path: Path) -> None:
    assert Spool.beside(tmp_path / "a.db")._folder == tmp_path / "a.db-spool"
    assert Spool.beside(tmp_path / "b.db")._folder == tmp_path / "b.db-spool"


@pytest.mark.parametrize(
    ("purpose", "name"),
    [
        ("batch", "stdin.jsonl"),
        ("fine-tune", "stdin.jsonl"),
        ("evals", "stdin.jsonl"),
        ("user_data", "stdin"),
        ("vision", "stdin"),
    ],
)
def test_what_the_file_is_called(purpose: str, name: str) -> None:
    assert filename_for(purpose) == name
