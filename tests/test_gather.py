import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chunkup.errors import BadOption, NoSuchFile, NotAFile, Unreadable
from chunkup.gather import IN_IT, Gathered, _Walk, gather


def grow(folder: Path, *names: str, content: bytes = b"x") -> None:
    """Files of these names, with the folders that they are in; a name ending in / is a folder."""
    for name in names:
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes(content)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def below(*given: str, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> list[str]:
    return list(gather(given, recursive=True, include=include, exclude=exclude).paths)


# --- what is named itself -------------------------------------------------------------------


@pytest.mark.parametrize("recursive", [False, True])
def test_what_is_named_itself_is_taken_as_it_is(here: Path, *, recursive: bool) -> None:
    grow(here, "b", ".hidden", "folder/")
    grow(here, "empty", content=b"")
    (here / "link").symlink_to("b")
    (here / "broken").symlink_to("nowhere")
    given = ("b", ".hidden", "empty", "link", "broken", "missing", "-", "b", "x" * 5000)
    found = gather(given, recursive=recursive, include=["*.jsonl"], exclude=["b"])
    assert found == Gathered(given)


def test_one_file_that_was_named_itself_is_single(here: Path) -> None:
    grow(here, "a", "d/b")
    assert gather(["a"]).single
    assert gather(["a"], recursive=True).single
    assert not gather(["a", "a"]).single
    assert not gather(["d"], recursive=True).single


@pytest.mark.parametrize("given", ["folder", "folder/", ".", "link"])
def test_a_folder_needs_recursive(here: Path, given: str) -> None:
    grow(here, "folder/a", "b")
    (here / "link").symlink_to("folder")
    with pytest.raises(NotAFile, match="is a directory") as caught:
        gather(["b", given])
    assert caught.value.hint == IN_IT
    assert caught.value.message.startswith(f"{given} ")


# --- folders --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "label"),
    [("data", "data/"), ("data/", "data/"), ("./data", "./data/"), (".", "./data/")],
)
def test_files_are_called_by_the_path_as_it_was_given(here: Path, given: str, label: str) -> None:
    grow(here, "data/a", "data/sub/b", "data/sub/deep/c")
    names = ("a", "sub/b", "sub/deep/c")
    assert below(given) == [label + name for name in names]
    whole = here / "data"
    assert below(str(whole)) == [f"{whole}/{name}" for name in names]


def test_files_come_by_the_bytes_of_their_names_folders_among_them(here: Path) -> None:
    grow(here, "d/b", "d/B", "d/a.x", "d/a/z", "d/a/y", "d/ä", "d/é", "d/z")
    (here / "d" / os.fsdecode(b"\xff")).write_bytes(b"x")
    (here / "d" / "\ue000").write_bytes(b"x")
    found = below("d")
    assert found == [
        *("d/B", "d/a/y", "d/a/z", "d/a.x", "d/b", "d/z", "d/ä", "d/é"),
        # As text, the stray byte would come first.
        *("d/\ue000", os.fsdecode(b"d/\xff")),
    ]
    assert found == below("d")


def test_several_are_taken_in_their_order(here: Path) -> None:
    grow(here, "z/1", "a/2", "m", "a/3")
    assert below("z", "m", "a", "-") == ["z/1", "m", "a/2", "a/3", "-"]


def test_hidden_ones_are_left_out_and_counted(here: Path) -> None:
    grow(here, "d/a", "d/.b", "d/.git/c", "d/.git/e", "d/sub/.f")
    found = gather(["d"], recursive=True)
    assert found.paths == ("d/a",)
    assert found.notes == ("3 hidden files and folders were left out",)


def test_a_hidden_one_that_is_named_itself_is_taken(here: Path) -> None:
    grow(here, ".d/a", ".d/.b")
    found = gather([".d", ".d/.b"], recursive=True)
    assert found.paths == (".d/a", ".d/.b")
    assert found.notes == ("1 hidden file or folder was left out",)


def test_empty_ones_are_left_out_and_counted(here: Path) -> None:
    grow(here, "d/a", "d/sub/")
    grow(here, "d/b", "d/sub/c", content=b"")
    found = gather(["d"], recursive=True)
    assert found == Gathered(("d/a",), ("2 empty files were left out",))


def test_what_is_no_regular_file_is_left_out_and_counted(here: Path) -> None:
    grow(here, "d/a")
    os.mkfifo(here / "d" / "pipe")
    (here / "d" / "to_pipe").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("d/socket")
        found = gather(["d"], recursive=True)
    assert found == Gathered(("d/a",), ("3 pipes, sockets and devices were left out",))


def test_a_link_to_a_file_is_followed_and_one_to_a_folder_is_not(here: Path) -> None:
    grow(here, "outside/far", "d/a", "d/sub/b")
    grow(here, "outside/empty", content=b"")
    for name, leads_to in (
        ("to_file", "../outside/far"),
        ("to_link", "to_file"),
        ("to_empty", "../outside/empty"),
        ("to_folder", "../outside"),
        ("loop", "."),
        ("sub/up", "../.."),
    ):
        (here / "d" / name).symlink_to(leads_to)
    found = gather(["d"], recursive=True)
    assert found.paths == ("d/a", "d/sub/b", "d/to_file", "d/to_link")
    assert found.notes == (
        "1 empty file was left out",
        "2 links were followed to their files",
        "3 links to folders were not followed",
    )


@pytest.mark.parametrize("leads_to", ["nowhere", "broken", "a/b"])
def test_a_link_that_leads_nowhere_is_refused_by_name(here: Path, leads_to: str) -> None:
    grow(here, "d/a", "d/b.jsonl")
    (here / "d" / "broken").symlink_to(leads_to)
    with pytest.raises(NoSuchFile, match="d/broken is a link that leads to no file") as caught:
        below("d")
    assert caught.value.hint == "mend it, or leave it out with --exclude broken"
    assert below("d", exclude=("broken",)) == ["d/a", "d/b.jsonl"]
    assert below("d", include=("*.jsonl",)) == ["d/b.jsonl"]


def test_a_linked_folder_is_told_of_whatever_is_included(here: Path) -> None:
    grow(here, "d/a.jsonl", "elsewhere/b.jsonl")
    (here / "d" / "more").symlink_to("../elsewhere")
    found = gather(["d"], recursive=True, include=["*.jsonl"])
    assert found == Gathered(("d/a.jsonl",), ("1 link to a folder was not followed",))


def test_what_is_written_meanwhile_is_none_of_the_data(here: Path) -> None:
    grow(here, "d/a", "d/journal.db", "d/journal.db-spool/b", "d/sub/manifest", "e")
    (here / "d" / "link").symlink_to("sub/manifest")
    own = [str(here / "d" / "journal.db"), "d/journal.db-spool", "./d/sub/../sub/manifest", "no"]
    found = gather(["d"], recursive=True, own=own)
    assert found == Gathered(("d/a",), ("4 files of chunkup's own were left out",))
    assert gather(["d/journal.db", "e"], recursive=True, own=own).paths == ("d/journal.db", "e")


def test_names_that_are_no_text_are_taken(here: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.jsonl")
    grow(here, f"d{name}/{name}", f"d{name}/line\nend", f"d{name}/*")
    found = below(f"d{name}", include=("*.jsonl", "*end", "[*]"))
    assert [os.fsencode(path) for path in found] == [
        b"d\xff\xfe.jsonl/*",
        b"d\xff\xfe.jsonl/line\nend",
        b"d\xff\xfe.jsonl/\xff\xfe.jsonl",
    ]
    assert all(Path(path).exists() for path in found)


# --- nothing --------------------------------------------------------------------------------


def test_nothing_at_all_is_refused_and_says_why(here: Path) -> None:
    grow(here, "d/.a", "d/b.txt", "d/build/c", "e/")
    grow(here, "e/f", content=b"")
    with pytest.raises(NoSuchFile) as caught:
        below("d", "e", include=("*.jsonl",), exclude=("build/",))
    assert caught.value.message == (
        "there is nothing to upload in d, e: 1 hidden file or folder was left out; "
        "--exclude left out 1 file or folder; 2 files match no --include"
    )
    assert "quote it" in (caught.value.hint or "")
    with pytest.raises(NoSuchFile, match="nothing to upload in e: 1 empty file") as caught:
        below("e")
    assert "quote" not in (caught.value.hint or "")


def test_nothing_in_one_of_several_is_told(here: Path) -> None:
    grow(here, "d/a", "e/")
    assert gather(["e", "d"], recursive=True) == Gathered(("d/a",), ("nothing was found in e",))


# --- all or nothing -------------------------------------------------------------------------


@pytest.mark.parametrize("gone", ["file", "folder"])
def test_what_vanishes_meanwhile_is_refused_by_name(here: Path, gone: str) -> None:
    grow(here, "d/a", "d/b", "d/c/e")
    found = _Walk().below("d")
    assert next(found) == "d/a"
    if gone == "file":
        (here / "d" / "b").unlink()
        name = "d/b"
    else:
        assert next(found) == "d/b"
        (here / "d" / "c" / "e").unlink()
        (here / "d" / "c").rmdir()
        name = "d/c"
    with pytest.raises(NoSuchFile, match=f"{name} vanished while") as caught:
        next(found)
    assert caught.value.hint


AS_NOBODY = """
import os
from chunkup.errors import Unreadable
from chunkup.gather import gather
if os.geteuid() == 0:  # who may read everything
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    gather(["."], recursive=True)
except Unreadable as error:
    print(error.message)
    print(error.hint)
"""


def test_a_folder_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    grow(tmp_path, "a/b", "closed place/c", "z/d")
    (tmp_path / "closed place").chmod(0)
    tmp_path.chmod(0o755)
    try:
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        (tmp_path / "closed place").chmod(0o700)
    assert done.stdout.splitlines() == [
        "./closed place cannot be read: Permission denied",
        "chmod u+rx -- './closed place'",
    ], done.stderr


@contextmanager
def deep(folder: Path, levels: int, name: str) -> Iterator[None]:
    """A file so many folders deep; made from inside, since its path may be longer than paths go."""
    outer = os.open(folder, os.O_RDONLY)
    try:
        for _ in range(levels):
            os.mkdir(name, dir_fd=outer)
            inner = os.open(name, os.O_RDONLY, dir_fd=outer)
            os.close(outer)
            outer = inner
        made = os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=outer)
        os.write(made, b"x")
        os.close(made)
    finally:
        os.close(outer)
    try:
        yield
    finally:
        # What removes temporary folders may go no deeper than paths do.
        subprocess.run(["rm", "-rf", name], cwd=folder, check=True)


def test_no_depth_is_too_deep_that_a_path_can_have(here: Path) -> None:
    with deep(here, 1500, "d"):
        assert below("d") == ["d/" * 1500 + "file"]


def test_what_is_deeper_than_any_path_is_refused(here: Path) -> None:
    with deep(here, 50, "d" * 100), pytest.raises(Unreadable, match="File name too long"):
        below("d" * 100)


def test_ten_thousand_files_and_no_handle(here: Path) -> None:
    for number in range(100):
        grow(here, *(f"d/{number:02}/{file:02}" for file in range(100)))
    before = len(list(Path("/dev/fd").iterdir()))
    walk = _Walk().below("d")
    first = next(walk)
    assert len(list(Path("/dev/fd").iterdir())) == before
    found = [first, *walk]
    assert len(found) == 10_000
    assert found == sorted(found)


# --- patterns -------------------------------------------------------------------------------

TREE = (
    *("a.jsonl", "b.txt", "build", "data/a.jsonl", "data/build/x.txt", "data/deep/er/a.jsonl"),
    *("data/deep/b.txt", "other/build/y", "other/data/z.jsonl"),
)


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("*", TREE),
        ("**", TREE),
        ("**/*", TREE),
        ("*.jsonl", [name for name in TREE if name.endswith(".jsonl")]),
        ("/*.jsonl", ["a.jsonl"]),
        ("./*.jsonl", ["a.jsonl"]),
        ("data/*.jsonl", ["data/a.jsonl"]),
        ("data/**/*.jsonl", ["data/a.jsonl", "data/deep/er/a.jsonl"]),
        ("**/data/*", ["data/a.jsonl", "other/data/z.jsonl"]),
        ("data/**", [name for name in TREE if name.startswith("data/")]),
        ("data/", [name for name in TREE if name.startswith("data/") or "/data/" in name]),
        ("/data/", [name for name in TREE if name.startswith("data/")]),
        ("build", ["build"]),
        ("build/", ["data/build/x.txt", "other/build/y"]),
        ("*/*", ["data/a.jsonl"]),
        ("*/**/b.txt", ["data/deep/b.txt"]),
        ("data/?.jsonl", ["data/a.jsonl"]),
        ("[ab].*", ["a.jsonl", "b.txt", "data/a.jsonl", "data/deep/b.txt", "data/deep/er/a.jsonl"]),
        ("[!a].*", ["b.txt", "data/build/x.txt", "data/deep/b.txt", "other/data/z.jsonl"]),
        ("A.JSONL", []),
        ("d", []),
        ("data", []),
        ("data?a.jsonl", []),
        ("data*", []),
    ],
)
def test_what_a_pattern_includes(here: Path, pattern: str, taken: list[str]) -> None:
    grow(here, *(f"root/{name}" for name in TREE), "root/.hidden.jsonl")
    wanted = sorted(f"root/{name}" for name in taken)
    if wanted:
        assert sorted(below("root", include=(pattern,))) == wanted
    else:
        with pytest.raises(NoSuchFile, match="9 files match no --include"):
            below("root", include=(pattern,))


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.jsonl", ["b.txt", "build", "data/build/x.txt", "data/deep/b.txt", "other/build/y"]),
        ("build", [name for name in TREE if "build" not in name]),
        ("build/", [name for name in TREE if "build/" not in name]),
        ("data/build", [name for name in TREE if name != "data/build/x.txt"]),
        ("data/**", [name for name in TREE if not name.startswith("data/")]),
        ("data", [name for name in TREE if "data/" not in name]),
        ("*/*", ["a.jsonl", "b.txt", "build"]),
        ("**/er", [name for name in TREE if "/er/" not in name]),
        ("nothing", TREE),
    ],
)
def test_what_a_pattern_excludes(here: Path, pattern: str, left: list[str]) -> None:
    grow(here, *(f"root/{name}" for name in TREE))
    assert sorted(below("root", exclude=(pattern,))) == sorted(f"root/{name}" for name in left)


def test_exclude_goes_before_include_and_any_include_will_do(here: Path) -> None:
    grow(here, *(f"root/{name}" for name in TREE))
    found = below("root", include=("*.txt", "y", "*.jsonl"), exclude=("deep/", "/a.*"))
    assert found == [
        *("root/b.txt", "root/data/a.jsonl", "root/data/build/x.txt"),
        *("root/other/build/y", "root/other/data/z.jsonl"),
    ]


def test_a_folder_that_is_excluded_is_not_looked_into(here: Path) -> None:
    with deep(here, 50, "d" * 100):
        grow(here, "a")
        assert below(".", exclude=("d*",)) == ["./a"]


@pytest.mark.parametrize("pattern", ["", "/", ".", "./", "//"])
def test_a_pattern_that_could_match_nothing_is_refused(here: Path, pattern: str) -> None:
    grow(here, "d/a")
    with pytest.raises(BadOption, match="matches nothing"):
        below("d", include=(pattern,))
