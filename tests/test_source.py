"""The file: what can be uploaded, and as what."""

import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkup.errors import (
    NoSuchFile,
    NotAFile,
    Refused,
    SourceGone,
    Unreadable,
)
from chunkup.source import inspect, look_again, mime_type_of

SIZE = 100_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(random.Random(1).randbytes(SIZE))
    return path


# --- inspect --------------------------------------------------------------------------------


def test_a_regular_file_is_known_by_its_real_path_and_its_stat(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    real, found = inspect(link)
    stat = path.stat()
    assert real == str(path.resolve())
    assert found == look_again(real)
    assert (found.size, found.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert (found.inode, found.device) == (stat.st_ino, stat.st_dev)


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [Path.mkdir, make_fifo, make_socket])
def test_what_is_no_regular_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "odd")
    with pytest.raises(NotAFile):
        inspect(tmp_path / "odd")
    (tmp_path / "link").symlink_to("odd")
    with pytest.raises(NotAFile):
        inspect(tmp_path / "link")
    with pytest.raises(SourceGone):
        look_again(str(tmp_path / "odd"))


@pytest.mark.timeout(10)
@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero", "/dev/tty"])
def test_a_device_is_refused(device: str) -> None:
    if not Path(device).exists():
        pytest.skip(f"there is no {device} here")
    with pytest.raises(NotAFile):
        inspect(device)


def test_a_path_where_nothing_is_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("nothing", "dangling", "nothing/below"):
        with pytest.raises(NoSuchFile) as caught:
            inspect(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(SourceGone):
        look_again(str(tmp_path / "nothing"))


def test_paths_that_no_file_can_have_are_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for odd in (path / "below", tmp_path / ("x" * 300), tmp_path / "loop", "a\0b", ""):
        with pytest.raises(Refused):
            inspect(odd)


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """A real user id without rights, which is what access() asks for."""
    if os.geteuid() != 0:
        yield
        return
    os.setreuid(65534, 0)
    try:
        yield
    finally:
        os.setreuid(0, 0)


def test_a_file_that_this_user_may_not_read_is_refused(path: Path, unprivileged: None) -> None:
    path.chmod(0)
    with pytest.raises(Unreadable) as caught:
        inspect(path)
    assert "chmod" in str(caught.value.hint)


# --- MIME types -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jsonl", "text/jsonl"),
        ("A.JSONL", "text/jsonl"),
        ("dir.pdf/a.md", "text/markdown"),
        ("a.py", "text/x-python"),
        ("a.png", "image/png"),
        ("a.unheard-of", "application/octet-stream"),
        ("no extension", "application/octet-stream"),
        (".jsonl", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_the_mime_type_is_the_apis_then_the_systems_then_octets(name: str, expected: str) -> None:
    assert mime_type_of(name) == expected


@given(st.text(max_size=40))
def test_every_name_has_a_mime_type(name: str) -> None:
    assert "/" in mime_type_of(name)
