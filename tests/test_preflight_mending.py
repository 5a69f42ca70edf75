"""Mending: a new file, in which nothing else is another."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkup.errors import BadOption, SourceChanged, SourceGone
from chunkup.models import MIB, Split
from chunkup.preflight import Mended, Wish, mend
from chunkup.preflight.fresh import Fresh
from chunkup.preflight.mending import _Work
from chunkup.providers import OPENAI
from chunkup.source import inspect

BATCH = Wish("batch", "a.jsonl", "text/jsonl", OPENAI.limits, OPENAI)
# Spaces, an order and escapes of somebody's own, a nested custom_id, a number that no float is.
ROW = (
    b'{"method":"POST" , %s"url":"/v1/responses","body":{"custom_id":"nested",'
    b'"model":"m","input":"\\u00e4 \xc3\xa4","seed":12345678901234567890.10}}'
)


def row(custom_id: str | None) -> bytes:
    return ROW % (b"" if custom_id is None else b'"custom_id" : "%s", ' % custom_id.encode())


def given_anew(name: str) -> bytes:
    """A row that had no id."""
    return b'{"custom_id":"%s",' % name.encode() + row(None)[1:]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def mended(folder: Path, content: bytes, wish: Wish = BATCH) -> Mended:
    path = folder / "a.jsonl"
    path.write_bytes(content)
    for old in ("b.jsonl", "ids.jsonl"):
        (folder / old).unlink(missing_ok=True)
    real, found = inspect(path)
    result = await mend(real, found, wish, folder / "b.jsonl", folder / "ids.jsonl")
    assert path.read_bytes() == content
    assert inspect(path)[1] == found
    made = ["a.jsonl"]
    if result.after is not None:
        made.append("b.jsonl")
    if result.ids:
        made.append("ids.jsonl")
        assert len((folder / "ids.jsonl").read_bytes().splitlines()) == result.ids
    assert files(folder) == made
    return result


def mapping(folder: Path) -> list[tuple[int, object, str]]:
    return [
        (entry["line"], entry["was"], entry["custom_id"])
        for entry in map(json.loads, (folder / "ids.jsonl").read_bytes().splitlines())
    ]


KINDS = st.sampled_from(["clean", "crlf", "returns", "blank", "spaces", "missing", "twice"])


@settings(max_examples=60, deadline=None)
@given(kinds=st.lists(KINDS, min_size=1, max_size=12), mark=st.booleans(), ended=st.booleans())
def test_all_that_can_be_mended_is_and_every_other_byte_stays(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], *, mark: bool, ended: bool
) -> None:
    folder = tmp_path_factory.mktemp("mend")
    was, becomes = bytearray(b"\xef\xbb\xbf" if mark else b""), bytearray()
    anew: list[tuple[int, str | None, str]] = []
    number = count(1)
    for index, kind in enumerate(["clean", *kinds]):
        line = next(number)
        if kind in {"blank", "spaces"}:
            was += b"\n" if kind == "blank" else b" \t\r\n"
            line = next(number)
        if kind == "missing":
            was += row(None)
            becomes += given_anew(f"line-{line}")
            anew.append((line, None, f"line-{line}"))
        elif kind == "twice":
            was += row("id-0")
            becomes += row(f"line-{line}")
            anew.append((line, "id-0", f"line-{line}"))
        else:
            was += row(f"id-{index}")
            becomes += row(f"id-{index}")
        was += {"crlf": b"\r\n", "returns": b"\r\r\n"}.get(kind, b"\n")
        becomes += b"\n"
    content = bytes(was if ended else was.rstrip(b"\r\n"))
    result = asyncio.run(mended(folder, content))
    if content == becomes:
        assert result.after is None
        return
    assert (folder / "b.jsonl").read_bytes() == becomes
    assert result.after is not None
    assert result.after.counts == {}
    assert result.ids == len(anew)
    if anew:
        assert mapping(folder) == anew


async def test_a_clean_file_is_not_written_anew(folder: Path) -> None:
    result = await mended(folder, row("a") + b"\n" + row("b") + b"\n")
    assert (result.after, result.ids, result.before.errors) == (None, 0, 0)


async def test_an_id_that_another_line_has_already_is_no_new_one(folder: Path) -> None:
    content = b"\n".join([row(None), row("line-1"), row("a"), row("a"), b""])
    result = await mended(folder, content)
    assert result.after is not None
    assert result.after.counts == {}
    (one, was, first), (four, also, second) = mapping(folder)
    assert (one, was, four, also) == (1, None, 4, "a")
    assert first.startswith("line-1-")
    assert second.startswith("line-4-")


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b'{"custom_id": null ,"x":null', b'{"custom_id": "line-2" ,"x":null'),
        (b'{"custom_id":"\\u0061","x":"a"', b'{"custom_id":"line-2","x":"a"'),
        (
            b'{"x":{"custom_id":"a"},"custom_id" :\t"a"',
            b'{"x":{"custom_id":"a"},"custom_id" :\t"line-2"',
        ),
        (b' {"x":"{"', b' {"custom_id":"line-2","x":"{"'),
        (
            b'{"x":"\\"custom_id\\":\\"a\\"","custom_id":"a"',
            b'{"x":"\\"custom_id\\":\\"a\\"","custom_id":"line-2"',
        ),
    ],
)
async def test_only_the_id_of_the_line_itself_is_changed(
    folder: Path, was: bytes, becomes: bytes
) -> None:
    rest = b',"method":"POST","url":"/v1/responses","body":{"model":"m"}}\n'
    result = await mended(folder, row("a") + b"\n" + was + rest)
    assert result.ids == 1
    assert (folder / "b.jsonl").read_bytes() == row("a") + b"\n" + becomes + rest


async def test_what_only_a_person_can_mend_stays_and_is_found_again(folder: Path) -> None:
    bad = [
        b"[]",
        row("a").replace(b"POST", b"GET"),
        b'{"custom_id":7' + row(None)[1:].replace(b'"method"', b',"method"'),
        b"\xff",
        b'{"custom\\u005fid":"x",' + row(None)[1:],
        b'{"custom\\u005fid":"x",' + row(None)[1:],
    ]
    result = await mended(folder, b"\r\n".join([row("x1"), *bad, row("x1"), b""]))
    assert (folder / "b.jsonl").read_bytes() == b"\n".join([row("x1"), *bad, row("line-8"), b""])
    assert result.after is not None
    assert {code for code, _ in result.after.counts} == {
        code for code, _ in result.before.counts
    } - {"crlf"}
    assert result.ids == 1


async def test_mending_checks_whatever_was_wished(folder: Path) -> None:
    wish = replace(BATCH, check=False, split=Split(lines=1))
    result = await mended(folder, row("a") + b"\r\n" + row("a") + b"\r\n", wish)
    assert result.ids == 1
    assert result.before.pieces == ()
    assert result.after is not None
    assert result.after.lines == 2


async def test_what_holds_no_records_is_left_alone(folder: Path) -> None:
    result = await mended(folder, b"\xef\xbb\xbfa\r\n\r\n", replace(BATCH, purpose="user_data"))
    assert result.after is None


async def test_examples_for_fine_tuning_get_no_ids(folder: Path) -> None:
    chat = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}'
    wish = replace(BATCH, purpose="fine-tune")
    result = await mended(folder, b"\r\n".join([chat] * 11), wish)
    assert (folder / "b.jsonl").read_bytes() == (chat + b"\n") * 11
    assert result.ids == 0
    assert result.after is not None
    assert result.after.counts == {}


async def test_a_line_that_is_too_long_to_be_held_is_copied(folder: Path) -> None:
    wish = replace(BATCH, limits=replace(BATCH.limits, by_purpose=(("batch", 2 * MIB),)))
    long = b"[" * (5 * MIB) + b"\r\n"
    result = await mended(folder, row("a") + b"\r\n" + long + row("a") + b"\r\n", wish)
    wanted = row("a") + b"\n" + long + row("line-3") + b"\n"
    assert (folder / "b.jsonl").read_bytes() == wanted
    assert result.after is not None
    assert ("line_too_long", False) in result.after.counts


async def test_the_new_files_are_for_those_who_may_read_the_old_one(folder: Path) -> None:
    path = folder / "a.jsonl"
    path.write_bytes(row(None))
    for mode in (0o600, 0o640, 0o444):
        path.chmod(mode)
        await mend(*inspect(path), BATCH, folder / "b.jsonl", folder / "ids.jsonl")
        for name in ("b.jsonl", "ids.jsonl"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == mode
            (folder / name).unlink()


@pytest.mark.parametrize("taken", ["b.jsonl", "ids.jsonl", "a.jsonl"])
async def test_what_is_there_is_never_written_over(folder: Path, taken: str) -> None:
    path = folder / "a.jsonl"
    path.write_bytes(row(None))
    before = {name: (folder / name).read_bytes() for name in files(folder)}
    if taken != "a.jsonl":
        (folder / taken).symlink_to("nowhere")
    target, ids = (folder / name for name in ("b.jsonl", "ids.jsonl"))
    with pytest.raises(BadOption, match="is there already"):
        await mend(*inspect(path), BATCH, path if taken == "a.jsonl" else target, ids)
    with pytest.raises(BadOption, match="no folder"):
        await mend(*inspect(path), BATCH, folder / "no" / "b.jsonl", folder / "x")
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert set(files(folder)) == {"a.jsonl", taken}


class Enough(Exception):
    pass


def at_halt(number: int, act: Callable[[], None]) -> Callable[[], None]:
    calls = count(1)

    def halt() -> None:
        if next(calls) == number:
            act()

    return halt


def enough() -> None:
    raise Enough


def work_on(folder: Path) -> _Work:
    path = folder / "a.jsonl"
    path.write_bytes(b"\r\n".join([row(None), row("a"), row("a")]))
    real, found = inspect(path)
    return _Work(real, found, BATCH, None)


async def test_whenever_it_is_stopped_nothing_stays_behind(folder: Path) -> None:
    for number in count(1):
        work = work_on(folder)
        try:
            work.mended(folder / "b.jsonl", folder / "ids.jsonl", at_halt(number, enough))
        except Enough:
            assert files(folder) == ["a.jsonl"]
        else:
            break
    assert number > 3
    assert files(folder) == ["a.jsonl", "b.jsonl", "ids.jsonl"]


@pytest.mark.parametrize("taken", ["b.jsonl", "ids.jsonl"])
async def test_a_name_that_is_taken_meanwhile_stays_what_it_is(folder: Path, taken: str) -> None:
    work = work_on(folder)

    def lay() -> None:
        (folder / taken).write_bytes(b"somebody's")

    with pytest.raises(BadOption, match="is there already"):
        work.mended(folder / "b.jsonl", folder / "ids.jsonl", at_halt(2, lay))
    assert files(folder) == sorted(["a.jsonl", taken])
    assert (folder / taken).read_bytes() == b"somebody's"


async def test_a_source_that_changes_meanwhile_is_not_mended(folder: Path) -> None:
    for number in (1, 2):
        work = work_on(folder)

        def touch() -> None:
            os.utime(folder / "a.jsonl", ns=(0, 7))

        with pytest.raises(SourceChanged):
            work.mended(folder / "b.jsonl", folder / "ids.jsonl", at_halt(number, touch))
        assert files(folder) == ["a.jsonl"]


async def test_a_source_that_is_gone_is_a_sentence(folder: Path) -> None:
    path = folder / "a.jsonl"
    path.write_bytes(row(None))
    real, found = inspect(path)
    path.unlink()
    with pytest.raises(SourceGone):
        await mend(real, found, BATCH, folder / "b.jsonl", folder / "ids.jsonl")
    assert files(folder) == []


@pytest.mark.timeout(60)
async def test_who_is_cancelled_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "a.jsonl"
    path.write_bytes(row(None) + b"\n")
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    write = Fresh.write

    def first_write(self: Fresh, data: bytes) -> None:
        write(self, data)
        loop.call_soon_threadsafe(begun.set)

    monkeypatch.setattr(Fresh, "write", first_write)
    wish = replace(BATCH, limits=replace(BATCH.limits, by_purpose=(("batch", MIB),)))
    os.truncate(path, 128 * MIB)  # no block of it is on the disk
    real, found = inspect(path)
    running = asyncio.create_task(mend(real, found, wish, folder / "b.jsonl", folder / "ids.jsonl"))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert files(folder) == ["a.jsonl"]


FULL = """
import asyncio, resource, sys
from pathlib import Path
from chunkup.errors import Stopped
from chunkup.preflight import Wish, mend
from chunkup.providers import OPENAI
from chunkup.source import inspect
folder = Path(sys.argv[1])
wish = Wish("batch", "a.jsonl", "text/jsonl", OPENAI.limits, OPENAI)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    path, found = inspect(folder / "a.jsonl")
    asyncio.run(mend(path, found, wish, folder / "b.jsonl", folder / "ids.jsonl"))
except Stopped as error:
    print(error.message)
    sys.exit(error.exit_code)
"""


def test_a_disk_that_takes_no_more_is_named_and_nothing_stays_behind(folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(b"\r\n".join([row(None)] * 20_000))
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(folder)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (75, "")
    assert str(folder) in done.stdout
    assert "cannot be written" in done.stdout
    assert files(folder) == ["a.jsonl"]
