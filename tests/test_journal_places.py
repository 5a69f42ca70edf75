"""Where a journal may be, whom it lets in, and what happens when the disk fails it."""

import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from journals import FACTS, facts, made, opened, refuses
from strategies import plain_job

from chunkup.journal import Journal

NOBODY = 65534


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in folder.rglob("*")
    }


# --- modes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_made_is_for_this_user_only(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        made(tmp_path / "state" / "chunkup" / "journal.db")
        found = modes(tmp_path)
    finally:
        os.umask(before)
    files = {name for name in found if ".db" in name and not name.endswith("-owners")}
    assert {name: oct(found[name]) for name in files} == dict.fromkeys(files, "0o600")
    folders = found.keys() - files
    assert "state/chunkup" in folders
    assert {name: oct(found[name]) for name in folders} == dict.fromkeys(folders, "0o700")


async def test_owner_files_are_for_this_user_only(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "journal.db")
    job, _ = await journal.adopt(plain_job())
    await journal.claim(job.id, "upload")
    found = modes(tmp_path)
    await journal.close()
    assert found["journal.db-owners"] == 0o700
    assert {mode for name, mode in found.items() if name != "journal.db-owners"} == {0o600}
    assert any(name.startswith("journal.db-owners/") for name in found)


def test_what_existed_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "shared" / "journal.db"
    made(path)
    path.parent.chmod(0o755)
    path.chmod(0o640)
    opened(path)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


# --- places ---------------------------------------------------------------------------------


def test_a_symbolic_link_is_refused_and_its_target_untouched(tmp_path: Path) -> None:
    made(tmp_path / "real.db")
    before = (tmp_path / "real.db").read_bytes()
    for target in ("real.db", "nothing.db"):
        link = tmp_path / f"to-{target}"
        link.symlink_to(target)
        refuses(link, "not a regular file")
    assert (tmp_path / "real.db").read_bytes() == before
    assert not (tmp_path / "nothing.db").exists()


def test_a_link_in_the_place_of_the_lock_is_refused_and_its_target_untouched(
    tmp_path: Path,
) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "journal.db-lock").symlink_to("precious")
    refuses(tmp_path / "journal.db", "symbolic link")
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.db").mkdir()
    refuses(tmp_path / "journal.db", "not a regular file")
    assert (tmp_path / "journal.db").is_dir()


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "journal.db")
    refuses(tmp_path / "journal.db", "not a regular file")


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("words")
    refuses(tmp_path / "file" / "journal.db", "folder")


def test_a_folder_in_which_everybody_may_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    refuses(folder / "journal.db", "everybody")
    assert list(folder.iterdir()) == []


def test_a_folder_in_which_nobody_can_replace_our_file_will_do(tmp_path: Path) -> None:
    folder = tmp_path / "sticky"
    folder.mkdir()
    folder.chmod(0o1777)
    opened(folder / "journal.db")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "journal.db")
    os.chown(tmp_path / "journal.db", NOBODY, NOBODY)
    refuses(tmp_path / "journal.db", "another user")


# --- disks ----------------------------------------------------------------------------------


def python(code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


UNPRIVILEGED = """
import asyncio, os, sys
from pathlib import Path
from chunkup.errors import ChunkupError
from chunkup.journal import Journal

if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    asyncio.run(Journal.open(Path(sys.argv[1])))
except ChunkupError as error:
    print(type(error).__name__, bool(error.hint))
"""


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("journal.db", "JournalTrouble True"),
        ("new/journal.db", "BadJournal True"),
    ],
)
def test_a_folder_that_cannot_be_written_is_explained(where: str, expected: str) -> None:
    # Not tmp_path: its parents are closed to the user that root becomes here.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        assert python(UNPRIVILEGED, Path(folder) / where).strip() == expected
        assert list(Path(folder).iterdir()) == []
        Path(folder).chmod(0o755)


FULL = """
import asyncio, json, resource, sys
from pathlib import Path
from chunkup.errors import JournalTrouble
from chunkup.journal import Journal
from chunkup.machine import Accepted
from chunkup.models import Receipt, Span

def limit(size):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

async def main():
    path = Path(sys.argv[1])
    journal = await Journal.open(path)
    job = sys.argv[2]
    done, codes = 0, []
    limit(path.stat().st_size + 8192)
    for number in range(300, 5000):
        fact = Accepted("upload_1", Receipt(Span(number, number + 1), f"part_{number}", "a" * 32))
        try:
            await journal.record(job, fact)
            done += 1
        except JournalTrouble as error:
            codes.append(error.code)
            limit(resource.RLIM_INFINITY)
            if len(codes) == 3:
                break
    await journal.close()
    print(json.dumps([done, codes]))

asyncio.run(main())
"""


def test_after_a_write_that_failed_a_process_writes_no_more_even_if_it_could(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.db"
    job = made(path)
    done, codes = json.loads(python(FULL, path, job))
    assert codes == ["journal-trouble"] * 3
    assert done > 0
    assert len(facts(path, job)) == len(FACTS) + done
