"""A file in whole lines: every byte once, and lines that are longer than any memory."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkup.errors import SourceChanged, SourceGone
from chunkup.models import MIB, Fingerprint
from chunkup.preflight.reading import Block, blocks
from chunkup.source import inspect


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lines") / "a.jsonl"


def fingerprint(path: Path) -> Fingerprint:
    return inspect(path)[1]


def read(path: Path, content: bytes, read_size: int, longest: int = 1 << 30) -> list[Block]:
    path.write_bytes(content)
    found = fingerprint(path)
    return list(blocks(str(path), found, read_size=read_size, longest=longest))


CONTENT = st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b"bc", b"\xff", b"def" * 5])).map(
    b"".join
)


@given(CONTENT, st.integers(1, 20))
def test_blocks_are_whole_lines_and_together_the_file(
    scratch: Path, content: bytes, read_size: int
) -> None:
    at = 0
    found = read(scratch, content, read_size)
    for block in found:
        assert block.offset == at
        assert block.data is not None
        assert block.size == len(block.data) > 0
        assert block.data == content[at : at + block.size]
        at += block.size
        assert block.data.endswith(b"\n") or at == len(content)
    assert at == len(content)


@given(CONTENT, st.integers(1, 20), st.integers(1, 12))
def test_a_line_that_is_too_long_is_measured_and_not_held(
    scratch: Path, content: bytes, read_size: int, longest: int
) -> None:
    at = 0
    for block in read(scratch, content, read_size, longest):
        assert block.offset == at
        lines = content[at : at + block.size].splitlines(keepends=True)
        at += block.size
        if block.data is None:
            assert content[block.offset : at].count(b"\n") <= 1
            assert block.size > longest
        else:
            assert block.data == content[block.offset : at]
            assert block.size <= longest + read_size
            assert lines
        assert content[at - 1 : at] == b"\n" or at == len(content)
    assert at == len(content)


def test_a_line_without_an_end_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "sparse.jsonl"
    with path.open("wb") as out:
        out.write(b"{}\n")
        out.truncate(256 * MIB)
        out.seek(0, os.SEEK_END)
        out.write(b"\n[]\n")
    size = path.stat().st_size
    found = list(blocks(str(path), fingerprint(path), longest=2 * MIB))
    assert found == [
        Block(0, 3, b"{}\n"),
        Block(3, size - 6, None),
        Block(size - 3, 3, b"[]\n"),
    ]


def during(path: Path, change: Callable[[], object]) -> int:
    """How much is read while something changes at every block."""
    count = 0
    for block in blocks(str(path), fingerprint(path), read_size=300):
        change()
        count += block.size
    return count


def grow(path: Path) -> None:
    if path.stat().st_size < 100_000:
        with path.open("ab") as out:
            out.write(b"{}\n" * 1000)


@pytest.mark.timeout(20)
def test_what_is_written_behind_the_end_meanwhile_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "grows.jsonl"
    path.write_bytes(b"{}\n" * 1000)
    with pytest.raises(SourceChanged):
        during(path, partial(grow, path))
    # A block for each read of what was there at first, and no more.
    assert path.stat().st_size == 3000 + 10 * 3000


def test_a_file_that_is_cut_meanwhile_is_another(tmp_path: Path) -> None:
    path = tmp_path / "shrinks.jsonl"
    path.write_bytes(b"{}\n" * 1000)
    with pytest.raises(SourceChanged):
        during(path, partial(os.truncate, path, 900))


def test_equal_content_written_again_meanwhile_is_another_file(tmp_path: Path) -> None:
    path = tmp_path / "again.jsonl"
    path.write_bytes(b"{}\n" * 1000)
    later = path.stat().st_mtime_ns + 1
    with pytest.raises(SourceChanged) as caught:
        during(path, partial(os.utime, path, ns=(0, later)))
    assert str(path) in caught.value.message
    assert caught.value.hint is not None


def test_another_file_under_its_name_is_not_even_begun(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n")
    found = fingerprint(path)
    path.rename(tmp_path / "b.jsonl")
    with pytest.raises(SourceGone):
        next(blocks(str(path), found))
    path.write_bytes(b"[]\n")
    with pytest.raises(SourceChanged):
        next(blocks(str(path), found))


@pytest.mark.timeout(20)
def test_a_pipe_that_took_its_name_does_not_hang_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n")
    found = fingerprint(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SourceChanged):
        next(blocks(str(path), found))


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    assert read(tmp_path / "empty.jsonl", b"", 10) == []


class Enough(Exception):
    pass


def test_it_stops_within_one_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.jsonl"
    path.touch()
    os.truncate(path, 256 * MIB)  # no block of it is on the disk
    asked = 0

    def halt() -> None:
        nonlocal asked
        asked += 1
        if asked == 5:
            raise Enough

    with pytest.raises(Enough):
        list(blocks(str(path), fingerprint(path), halt))
    assert asked == 5
