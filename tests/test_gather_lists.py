"""Lists of paths, by lines or by NUL bytes."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkup.errors import BadOption, NoSuchFile, NotAFile, Unreadable
from chunkup.gather import IN_IT, LONGEST_LIST, listed


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "#c", " d ", "-", "e\r"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        (b"", []),
        (b"\n\r\n\n", []),
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"b\r\n\r\na\r\n", ["b", "a"]),
        (b"\n\na\n\n", ["a"]),
        (b"#c\n d \n", ["#c", " d "]),
        (b"a\0", ["a"]),
        (b"a\0b", ["a", "b"]),
        (b"\0\0e\r\0a\0", ["e\r", "a"]),
        (b"a\na\n", ["a", "a"]),
        # The file of that name: standard input is none of a list's business.
        (b"-\na\n", ["./-", "a"]),
    ],
)
def test_a_list_by_lines_or_by_nul_bytes(data: bytes, paths: list[str]) -> None:
    assert listed(data, "list") == tuple(paths)


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"a\n\nmissing\nb\n", "line 3 of list"),
        (b"a\r\nb\r\nmissing", "line 3 of list"),
        (b"a\0missing\0", "entry 2 of list"),
    ],
)
def test_a_missing_file_is_refused_with_its_place_on_the_list(data: bytes, where: str) -> None:
    with pytest.raises(NoSuchFile) as caught:
        listed(data, "list")
    assert caught.value.message == f"{where}: there is no file missing"


def test_a_folder_on_a_list_needs_recursive_as_anywhere() -> None:
    with pytest.raises(NotAFile, match="line 2 of list: folder is a directory") as caught:
        listed(b"a\nfolder\n", "list")
    assert caught.value.hint == IN_IT
    assert listed(b"a\nfolder\n", "list", recursive=True) == ("a", "folder")


def test_other_trouble_has_its_place_on_the_list_too(here: Path) -> None:
    os.mkfifo(here / "pipe")
    with pytest.raises(NotAFile, match="line 1 of list: pipe is not a regular file"):
        listed(b"pipe\n", "list")
    with pytest.raises(Unreadable, match=r"line 2 of list: x+ cannot be read: File name too long"):
        listed(b"a\n" + b"x" * 5000, "list")


def test_what_is_far_too_long_for_a_list_is_refused() -> None:
    with pytest.raises(BadOption, match=r"big\.jsonl is longer than 64 MiB"):
        listed(bytes(LONGEST_LIST + 1), "big.jsonl")


NAME = st.binary(min_size=1, max_size=12).filter(
    lambda name: not set(name) & {0, ord("/")} and name not in {b".", b".."}
)
NO_LINES = NAME.filter(lambda name: b"\n" not in name and not name.endswith(b"\r"))


@settings(max_examples=50)
@given(names=st.lists(NO_LINES, min_size=1, max_size=5), end=st.sampled_from([b"\n", b"\r\n"]))
def test_any_names_come_back_by_lines(names: list[bytes], end: bytes) -> None:
    comes_back(names, end)


@settings(max_examples=50)
@given(names=st.lists(NAME, min_size=1, max_size=5))
def test_any_names_at_all_come_back_by_nul_bytes(names: list[bytes]) -> None:
    comes_back(names, b"\0")


def comes_back(names: list[bytes], end: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.fsencode(folder) + b"/" + name for name in names]
        for path in paths:
            Path(os.fsdecode(path)).touch()
        found = listed(end.join(paths) + end, "list")
    assert [os.fsencode(path) for path in found] == paths
