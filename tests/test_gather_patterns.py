"""Patterns of any shape, judged by what the standard library finds for them in real folders."""

import glob
import os
import tempfile
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkup.errors import NoSuchFile
from chunkup.gather import gather

NAMES = ("a", "b", "ab", "a.x", "[")
SEGMENT = st.sampled_from(["a", "b", "?", "*", "a*", "*.x", "[ab]", "[!a]", "**", "[[]", "a**b"])


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every name as a file or as a folder, three levels deep."""
    root = tmp_path_factory.mktemp("forest")
    folders = NAMES[:3]
    for depth in range(3):
        for place in product(folders, repeat=depth):
            here = root.joinpath(*(f"{name}d" for name in place))
            here.mkdir(exist_ok=True)
            for name in NAMES:
                (here / name).write_bytes(b"x")
    return root


def taken(root: Path, *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> set[str]:
    try:
        found = gather([str(root)], recursive=True, include=include, exclude=exclude)
    except NoSuchFile:
        return set()
    return {os.path.relpath(path, root) for path in found.paths}


def found_by_glob(root: Path, pattern: str) -> set[str]:
    # It has each pattern for the whole path, and finds "file/" for a file and "file/**".
    whole = pattern if "/" in pattern else f"**/{pattern}"
    found = glob.glob(whole, root_dir=root, recursive=True)  # noqa: PTH207  (Path.glob errs at **)
    return {
        os.path.normpath(path)
        for path in found
        if os.path.exists(f"{root}/{path}")  # noqa: PTH110  (a Path has no slash at its end)
    }


@given(pattern=st.lists(SEGMENT, min_size=1, max_size=5).map("/".join))
def test_a_pattern_includes_what_glob_finds(forest: Path, pattern: str) -> None:
    files = {path for path in found_by_glob(forest, pattern) if (forest / path).is_file()}
    assert taken(forest, include=(pattern,)) == files


@given(pattern=st.lists(SEGMENT, min_size=1, max_size=5).map("/".join))
def test_a_pattern_excludes_what_glob_finds_and_all_below(forest: Path, pattern: str) -> None:
    gone = found_by_glob(forest, pattern) - {"."}
    left = {
        path for path in taken(forest) if not any(Path(path).is_relative_to(one) for one in gone)
    }
    assert taken(forest, exclude=(pattern,)) == left


def test_the_worst_of_patterns_takes_no_time() -> None:
    with tempfile.TemporaryDirectory() as root:
        place = Path(root, *["a"] * 60)
        place.mkdir(parents=True)
        (place / "file").write_bytes(b"x")
        pattern = "/".join(["**", "a"] * 40 + ["b"])
        assert taken(Path(root), include=(pattern,)) == set()
