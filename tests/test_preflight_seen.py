"""Ids that were there before: all of them, and no other, however many there are."""

import os
import random
import subprocess
import sys
import tempfile
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chunkup.errors import Stopped
from chunkup.preflight import seen as seen_module
from chunkup.preflight import spill
from chunkup.preflight.seen import Seen

Told = tuple[int, int, int, str | None]


def told_of(
    ids: list[str], *, kept: int = 100_000, portion: int = 1 << 16, most: int = 150_000
) -> list[Told]:
    told: list[Told] = []
    seen = Seen(lambda *found: told.append(found), kept=kept, portion=portion, most=most)
    with closing(seen):
        for line, custom_id in enumerate(ids, 1):
            seen(custom_id, line, line * 10)
        seen.settle()
    return told


def handles() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def expected(ids: list[str]) -> list[Told]:
    firsts: dict[str, int] = {}
    told: list[Told] = []
    for line, custom_id in enumerate(ids, 1):
        first = firsts.setdefault(custom_id, line)
        if first != line:
            content = custom_id.encode("utf-8", "surrogatepass")
            short = len(content) <= 64 and "\ud800" not in custom_id
            told.append((first, line, line * 10, custom_id if short else None))
    return told


LATE = "0" * 53 + "111120?10c"
IDS = st.lists(
    st.one_of(
        st.sampled_from(["a", "b", "c", "ä", "日本", "\ud800", "x" * 64, "x" * 65, "ä" * 33]),
        st.text(max_size=3),
        st.text(min_size=63),
    )
)


# Halves of halves: the second half is found out to be too many where the first has told already.
@example(["x" * 65, LATE, LATE, "\ud800"], 0, 1, 1, 1)
@given(IDS, st.integers(0, 8), st.integers(1, 5), st.integers(1, 4), st.sampled_from([1, 256]))
def test_every_further_line_of_an_id_is_told_with_the_first(
    ids: list[str], kept: int, portion: int, most: int, shares: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen_module, "SHARES", shares)
        patch.setattr(spill, "SHARES", shares)
        told = told_of(ids, kept=kept, portion=portion, most=most)
    assert sorted(told, key=lambda found: found[1]) == expected(ids)


@pytest.mark.parametrize("most", [200, 700, 150_000])
def test_shares_that_are_too_large_for_one_reading_are_read_again(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(seen_module, "SHARES", 2)
    monkeypatch.setattr(spill, "SHARES", 2)
    chance = random.Random(7)
    ids = [f"id-{chance.randrange(3000)}" for _ in range(4000)]
    told = told_of(ids, kept=10, portion=500, most=most)
    assert sorted(told, key=lambda found: found[1]) == expected(ids)


def test_what_fits_into_memory_is_told_at_once_and_needs_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    told: list[Told] = []
    seen = Seen(lambda *found: told.append(found))
    for line in range(1, 100_001):
        seen(f"id-{line % 99_999}", line, 0)
    assert told == [(1, 100_000, 0, "id-1")]
    seen.settle()
    seen.close()
    assert len(told) == 1


def test_an_id_is_never_taken_for_the_digest_of_another() -> None:
    # The digest of a long id is kept in its place, and any 32 bytes are somebody's text.
    long = "x" * 65
    ids = [long, long[:-1], long + "x", long[:64], long]
    told = told_of(ids)
    assert told == [(2, 4, 40, long[:64]), (1, 5, 50, None)]
    assert told_of(ids, kept=0) in ([told[0], told[1]], [told[1], told[0]])


def test_the_same_id_over_and_over_takes_no_memory() -> None:
    counted = 0

    def count(*_: object) -> None:
        nonlocal counted
        counted += 1

    seen = Seen(count, kept=10, portion=2000, most=1000)
    for line in range(1, 21):
        seen(f"id-{line}", line, 0)
    tracemalloc.start()
    try:
        for line in range(21, 60_021):
            seen("id-1", line, 0)
        seen.settle()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    seen.close()
    assert counted == 60_000
    # All in a list would take more than 6 MB.
    assert peak < 2_000_000


def test_its_file_has_no_name_and_is_gone_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = handles()
    seen = Seen(lambda *_: None, kept=1, portion=1)
    for line in range(1, 10):
        seen(str(line), line, 0)
    assert list(tmp_path.iterdir()) == []
    assert handles() == before + 1
    seen.close()
    assert handles() == before


FULL = """
import resource, sys
from chunkup.errors import Stopped
from chunkup.errors import Stopped
from chunkup.preflight import seen as seen_module
from chunkup.preflight import spill
from chunkup.preflight.seen import Seen
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
seen = Seen(lambda *_: None, kept=10, portion=1000)
try:
    for line in range(1, 100_000):
        seen(f"id-{line}", line, 0)
except Stopped as error:
    print(error.message)
    print(error.hint)
    sys.exit(error.exit_code)
"""


def test_a_disk_that_takes_no_more_is_named_with_what_helps(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (75, "")
    assert str(tmp_path) in done.stdout
    assert "File too large" in done.stdout
    assert "export TMPDIR=" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_a_sentence_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    seen = Seen(lambda *_: None, kept=1)
    seen("a", 1, 0)
    with pytest.raises(Stopped, match="nowhere"):
        seen("b", 2, 5)
    seen.close()


class Enough(Exception):
    pass


@pytest.mark.parametrize("stop_at", [1, 2, 200])
def test_it_can_be_halted_while_it_settles(stop_at: int) -> None:
    calls = 0

    def halt() -> None:
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise Enough

    def take_all(seen: Seen) -> None:
        for line in range(1, 50):
            seen(str(line), line, 0)
        seen.settle()

    with closing(Seen(lambda *_: None, halt, kept=10, portion=10)) as seen, pytest.raises(Enough):
        take_all(seen)
    assert calls == stop_at


def test_a_share_of_too_many_ids_is_not_held_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # A single share stands for one of those that a file of a thousand million lines would have.
    monkeypatch.setattr(seen_module, "SHARES", 1)
    monkeypatch.setattr(spill, "SHARES", 1)
    told: list[Told] = []
    with closing(Seen(lambda *f: told.append(f), kept=10, portion=500, most=500)) as seen:
        for line in range(1, 6001):
            seen(f"id-{line % 5990}", line, line)
        tracemalloc.start()
        try:
            seen.settle()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert sorted(told, key=lambda found: found[1]) == [
        (line - 5990, line, line, f"id-{line % 5990}") for line in range(5991, 6001)
    ]
    # All of them in a dict take more than 800 kB.
    assert peak < 400_000
