"""Hidden names: held by one process, found again after a kill, and given up for the real one."""

import fcntl
import os
import stat
from pathlib import Path

import pytest

from chunkup import hidden


@pytest.fixture(params=["links", "no links"])
def folder(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a file system with hard links, and on one without."""

    def unable(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if request.param == "no links":
        monkeypatch.setattr(os, "link", unable)
    return tmp_path


@pytest.fixture
def path(folder: Path) -> Path:
    """A hidden file that is whole."""
    path = folder / f"{hidden.PREFIX}one"
    path.write_bytes(b"whole")
    path.chmod(0o600)
    return path


def test_a_whole_file_gets_its_name(path: Path, folder: Path) -> None:
    hidden.name(path, folder / "a")
    assert (folder / "a").read_bytes() == b"whole"
    path.unlink(missing_ok=True)
    assert [entry.name for entry in folder.iterdir()] == ["a"]


@pytest.mark.parametrize("kind", ["file", "link to nowhere", "folder"])
def test_a_name_that_somebody_has_stays_theirs(path: Path, folder: Path, kind: str) -> None:
    target = folder / "a"
    if kind == "file":
        target.write_bytes(b"theirs")
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to(folder / "nowhere")
    before = target.lstat()
    with pytest.raises(FileExistsError):
        hidden.name(path, target)
    assert os.path.samestat(target.lstat(), before)
    assert path.read_bytes() == b"whole"
    assert not (folder / "nowhere").exists()


def test_a_name_that_cannot_be_given_is_nobodys(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        hidden.name(folder / "gone", folder / "a")
    assert list(folder.iterdir()) == []


def test_one_process_holds_it_and_the_next_finds_what_it_left(path: Path) -> None:
    first = hidden.claim(path)
    assert os.pread(first, 10, 0) == b"whole"
    with pytest.raises(BlockingIOError):
        hidden.claim(path)
    os.close(first)
    os.close(hidden.claim(path))


def test_what_others_could_read_or_change_is_not_written_to(path: Path, folder: Path) -> None:
    path.chmod(0o644)
    handle = hidden.claim(path)
    found = os.fstat(handle)
    assert (found.st_size, stat.S_IMODE(found.st_mode)) == (0, 0o600)
    os.close(handle)
    path.unlink()
    (folder / "theirs").write_bytes(b"dear")
    path.symlink_to(folder / "theirs")
    os.close(hidden.claim(path))
    assert (folder / "theirs").read_bytes() == b"dear"
    assert not path.is_symlink()


def test_the_hidden_name_that_a_kill_left_to_a_whole_file_is_taken_away(tmp_path: Path) -> None:
    path, target = tmp_path / f"{hidden.PREFIX}one", tmp_path / "a"
    path.write_bytes(b"whole")
    hidden.name(path, target)
    assert path.exists()
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not hidden.let_go(target)
    assert hidden.let_go(target)
    assert not hidden.let_go(target)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
