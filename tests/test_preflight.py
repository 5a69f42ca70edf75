"""A survey: one reading that says what is wrong where, and where to cut."""

import asyncio
import os
import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from chunkup.errors import SourceChanged, SourceGone
from chunkup.models import MIB, Span, Split
from chunkup.preflight import Report, Wish, survey, surveyor
from chunkup.preflight.report import Tally
from chunkup.providers import OPENAI
from chunkup.records import Finding
from chunkup.source import inspect

LIMITS = OPENAI.limits
BOUNDLESS = replace(LIMITS, by_purpose=(), records=())
BATCH = Wish("batch", "a.jsonl", "text/jsonl", LIMITS, OPENAI)


def line(custom_id: str, *, pad: int = 0) -> bytes:
    said = f'"messages":[{{"role":"user","content":"{"x" * pad}"}}]'
    rest = f'"method":"POST","url":"/v1/chat/completions","body":{{"model":"m",{said}}}'
    return f'{{"custom_id":"{custom_id}",{rest}}}\n'.encode()


def lines(count: int, *, pad: int = 0) -> bytes:
    return b"".join(line(f"id-{number}", pad=pad) for number in range(count))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.jsonl"


async def look(path: Path, content: bytes, wish: Wish = BATCH) -> tuple[Report, list[Finding]]:
    path.write_bytes(content)
    told: list[Finding] = []
    real, found = inspect(path)
    report = await survey(real, found, wish, tell=told.append)
    assert sum(report.counts.values()) == len(told) == report.errors + report.warnings
    assert len(report.findings) == min(20, len(told))
    assert set(report.findings) <= set(told)
    return report, told


def handles() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def places(told: list[Finding]) -> list[tuple[str, int | None, int | None]]:
    return [(finding.code, finding.line, finding.offset) for finding in told]


# --- what is found --------------------------------------------------------------------------


async def test_a_clean_file_has_nothing_but_lines(path: Path) -> None:
    content = lines(20_000)
    report, told = await look(path, content)
    assert len(content) > 2 * MIB
    assert report == Report(len(content), 20_000, (), {}, ())
    assert told == []


@pytest.mark.parametrize("pad", [0, 1000, 3 * MIB])
async def test_a_defect_is_found_at_its_line_wherever_reads_end(path: Path, pad: int) -> None:
    count = 4 if pad > MIB else 3000
    for at in (0, count // 2, count - 1):
        rows = [line(f"id-{number}", pad=pad) for number in range(count)]
        rows[at] = rows[at].replace(b'"POST"', b'"GET"')
        report, told = await look(path, b"".join(rows), replace(BATCH, limits=BOUNDLESS))
        assert places(told) == [("invalid_method", at + 1, sum(map(len, rows[:at])))]
        assert report.lines == count


@pytest.mark.parametrize("around", [-3, -2, -1, 0, 1, 2])
async def test_what_is_not_utf8_is_found_where_a_read_cuts_it(path: Path, around: int) -> None:
    begin = b'{"custom_id":"a","method":"POST","url":"/v1/responses","body":{"model":"m","input":"'
    good = b"x" * (MIB - len(begin) + around) + "é€😀".encode() + b'"}}\n'
    assert (await look(path, begin + good))[1] == []
    for broken in (b"\xff", b"\xed\xa0\x80", "😀".encode()[:3]):
        bad = good.replace("😀".encode(), broken)
        told = (await look(path, begin + bad + line("b")))[1]
        assert places(told) == [("invalid_utf8", 1, 0)]


async def test_ids_are_compared_across_the_whole_file(path: Path) -> None:
    rows = [line(f"id-{number}") for number in range(20_000)]
    rows[19_000] = rows[3]
    rows[19_990] = rows[19_000]
    report, told = await look(path, b"".join(rows))
    assert [(found.code, found.line) for found in told] == [
        ("duplicate_custom_id", 19_001),
        ("duplicate_custom_id", 19_991),
    ]
    assert told[0].offset == sum(map(len, rows[:19_000]))
    assert all("line 4 " in found.message for found in told)
    assert report.counts == {("duplicate_custom_id", True): 2}


async def test_ids_beyond_memory_are_compared_as_well_and_nothing_stays_open(path: Path) -> None:
    rows = [line(f"id-{number}") for number in range(150_000)]
    rows[149_999] = rows[10]
    rows[149_000] = rows[140_000]
    before = handles()
    report, told = await look(path, b"".join(rows), replace(BATCH, limits=BOUNDLESS))
    assert sorted((found.line, found.message.split()[-3]) for found in told) == [
        (149_001, "140001"),
        (150_000, "11"),
    ]
    assert [found.line for found in report.findings] == [149_001, 150_000]
    assert handles() == before


async def test_the_first_twenty_are_kept_and_errors_go_before_warnings(path: Path) -> None:
    blank = b"\n" * 100
    report, told = await look(path, blank + b"[]\n" * 5 + line("a") + b"1\n" * 3)
    assert len(told) == 108
    assert report.counts == {("blank_line", False): 100, ("invalid_json_line", True): 8}
    assert [found.line for found in report.findings] == [
        *range(1, 13),
        *range(101, 106),
        *range(107, 110),
    ]
    assert (report.errors, report.warnings) == (8, 100)
    report, _ = await look(path, blank + b"[]\n" * 100)
    assert [found.line for found in report.findings] == [*range(101, 121)]


def test_findings_that_come_late_are_kept_if_they_are_early() -> None:
    # Of millions of ids the duplicates are known only in the end.
    tally = Tally()
    chance = random.Random(5)
    told = [Finding("invalid_json_line", "", number, 0) for number in range(1, 101)]
    chance.shuffle(told)
    for finding in told:
        tally.add(finding)
    assert [finding.line for finding in tally.first] == [*range(1, 21)]


async def test_marks_ends_and_blanks(path: Path) -> None:
    two = line("a") + line("b")
    assert (await look(path, two[:-1]))[0] == Report(len(two) - 1, 2, (), {}, ())
    report, told = await look(path, b"\xef\xbb\xbf" + two)
    assert places(told) == [("byte_order_mark", 1, 0)]
    report, told = await look(path, two.replace(b"\n", b"\r\n"))
    assert set(report.counts) == {("crlf", False)}
    for empty in (b"\n", b"\n\n\n", b" \t\r\n", b" "):
        report, _ = await look(path, empty)
        assert ("empty_file", True) in report.counts
        assert report.lines == max(1, empty.count(b"\n"))


async def test_an_empty_file_is_said_to_be_empty_once(path: Path) -> None:
    report, told = await look(path, b"")
    assert places(told) == [("empty_file", None, None)]
    assert report.lines is None


async def test_a_line_that_no_file_may_hold_is_not_held(path: Path) -> None:
    wish = replace(BATCH, limits=replace(LIMITS, by_purpose=(("batch", 2 * MIB),)))
    _, told = await look(path, line("a") + line("b", pad=4 * MIB) + line("c"), wish)
    assert ("line_too_long", 2, len(line("a"))) in places(told)
    _, told = await look(
        path,
        line("a") + line("b", pad=4 * MIB) + line("c"),
        replace(wish, split=Split()),
    )
    assert ("record_too_large", 2, len(line("a"))) in places(told)


# --- what is not read -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "wish",
    [
        replace(BATCH, purpose="user_data", filename="a.pdf", mime_type="application/pdf"),
        replace(BATCH, purpose="user_data", filename="a.pdf", split=Split()),
        replace(BATCH, purpose="user_data"),
        replace(BATCH, check=False),
    ],
    ids=["no records", "no lines", "any lines", "unchecked"],
)
async def test_what_need_not_be_read_is_not(path: Path, wish: Wish) -> None:
    path.write_bytes(b"\xff")
    real, found = inspect(path)
    path.unlink()
    report = await survey(real, found, wish)
    assert (report.lines, report.pieces, report.errors) == (None, (), 0)


async def test_names_and_types_are_judged_without_reading(path: Path) -> None:
    wish = replace(BATCH, purpose="vision", filename="a.png", mime_type="text/html")
    _, told = await look(path, b"\x89PNG", wish)
    assert places(told) == [("mime_type_mismatch", None, None)]
    assert (await look(path, b"\x89PNG", replace(wish, check=False)))[1] == []


# --- cutting --------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("purpose", ["batch", "user_data"])
async def test_pieces_tile_the_file_and_end_between_lines(
    path: Path, purpose: str, *, check: bool
) -> None:
    content = lines(12_345)
    wish = replace(BATCH, purpose=purpose, check=check, split=Split(size=300_000, lines=1000))
    report, told = await look(path, content, wish)
    assert told == []
    assert report.lines == 12_345
    at, number = 0, 1
    for piece in report.pieces:
        assert (piece.span.start, piece.first_line) == (at, number)
        assert content[piece.span.stop - 1 : piece.span.stop] == b"\n"
        assert content.count(b"\n", at, piece.span.stop) == piece.lines <= 1000
        assert piece.span.size <= 300_000
        at, number = piece.span.stop, number + piece.lines
    assert at == len(content)
    assert len(report.pieces) == 13


async def test_a_file_that_fits_is_one_piece(path: Path) -> None:
    content = lines(10)
    report, _ = await look(path, content, replace(BATCH, split=Split()))
    assert [piece.span for piece in report.pieces] == [Span(0, len(content))]


async def test_checked_or_not_the_cuts_are_the_same(path: Path) -> None:
    content = b"\n\n" + lines(5000).replace(b"id-77", b"") + b"\n \n" + lines(3)
    split = Split(lines=999)
    checked, _ = await look(path, content, replace(BATCH, split=split))
    unchecked, told = await look(path, content, replace(BATCH, split=split, check=False))
    assert checked.errors
    assert told == []
    assert checked.pieces == unchecked.pieces
    assert len(checked.pieces) > 4


# --- while it reads -------------------------------------------------------------------------


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "chunkup-check"]


@pytest.mark.timeout(60)
async def test_who_is_cancelled_stops_it_within_a_read_and_waits_for_it(path: Path) -> None:
    path.write_bytes(b"[]\n")
    os.truncate(path, 64 << 30)  # no block of it is on the disk
    real, found = inspect(path)
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    troubles: list[object] = []
    loop.set_exception_handler(lambda _, trouble: troubles.append(trouble))
    before = handles()

    def tell(_: Finding) -> None:
        loop.call_soon_threadsafe(begun.set)

    wish = replace(BATCH, limits=BOUNDLESS)
    running = asyncio.create_task(survey(real, found, wish, tell=tell))
    await begun.wait()
    assert threads()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not threads()
    assert handles() == before
    await asyncio.sleep(0)
    assert troubles == []


@pytest.mark.timeout(60)
async def test_cancelled_before_it_began_it_does_not_begin(path: Path) -> None:
    path.write_bytes(lines(1000))
    real, found = inspect(path)
    running = asyncio.create_task(survey(real, found, BATCH))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not threads()


@pytest.mark.parametrize("change", ["longer", "shorter", "touched", "overwritten"])
async def test_a_file_that_changes_meanwhile_is_no_file(path: Path, change: str) -> None:
    content = b"[]\n" + lines(20_000)
    path.write_bytes(content)
    real, found = inspect(path)

    def tell(finding: Finding) -> None:
        if finding.line != 1:
            return
        match change:
            case "longer":
                with path.open("ab") as out:
                    out.write(b"{}\n")
            case "shorter":
                os.truncate(path, MIB + 17)
            case "touched":
                os.utime(path, ns=(0, found.mtime_ns + 1))
            case "overwritten":
                path.write_bytes(content[::-1])
                os.utime(path, ns=(0, found.mtime_ns + 1))
            case _:
                raise AssertionError(change)

    with pytest.raises(SourceChanged) as caught:
        await survey(real, found, BATCH, tell=tell)
    assert str(path) in caught.value.message
    assert not threads()


async def test_a_file_that_vanishes_meanwhile_was_read_all_the_same(path: Path) -> None:
    path.write_bytes(b"[]\n" + lines(20_000))
    real, found = inspect(path)

    def tell(_: Finding) -> None:
        path.unlink(missing_ok=True)

    report = await survey(real, found, BATCH, tell=tell)
    assert (report.lines, report.errors) == (20_001, 1)


async def test_a_file_that_is_gone_or_cannot_be_read_is_a_sentence(path: Path) -> None:
    path.write_bytes(lines(2))
    real, found = inspect(path)
    path.unlink()
    with pytest.raises(SourceGone, match=r"a\.jsonl"):
        await survey(real, found, BATCH)
    path.mkdir()
    with pytest.raises(SourceGone, match="directory"):
        await survey(real, found, BATCH)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_this_user_may_not_read_any_more(path: Path) -> None:
    path.write_bytes(lines(2))
    real, found = inspect(path)
    path.chmod(0)
    with pytest.raises(SourceGone, match="ermission"):
        await survey(real, found, BATCH)


async def test_progress_is_told_in_bytes_and_only_now_and_then(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(lines(20_000))
    real, found = inspect(path)
    heard: list[int] = []
    monkeypatch.setattr(surveyor, "_PACE", 3600.0)
    await survey(real, found, BATCH, progress=heard.append)
    assert heard == []
    monkeypatch.setattr(surveyor, "_PACE", 0.0)
    await survey(real, found, BATCH, progress=heard.append)
    assert heard == sorted(set(heard))
    assert len(heard) > 1
    assert heard[-1] == found.size


async def test_whoever_listens_and_raises_is_heard(path: Path) -> None:
    class Deaf(Exception):
        pass

    def tell(_: Finding) -> None:
        raise Deaf

    path.write_bytes(b"[]\n")
    with pytest.raises(Deaf):
        await survey(*inspect(path), BATCH, tell=tell)
    assert not threads()
