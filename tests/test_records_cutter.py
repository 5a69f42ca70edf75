"""Where a file may be cut: whatever it holds, whatever the limits, however it is read."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_records import blocks_of

from chunkup.models import Limits, Piece, Span, Split
from chunkup.providers import OPENAI
from chunkup.records import Check, Finding
from chunkup.records.cutter import Cutter
from chunkup.records.lines import Block

MANY = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
BLANK = b" \t\r\n"

# Lines of many lengths, blank ones among them, and any bytes at all.
lines = (
    st.sampled_from([b"", b" ", b"\t\r", b"\x0b", b"{}", b'{"a":1}', b'{"a":"xxxxxxxx"}'])
    | st.binary(max_size=6)
    | st.integers(1, 40).map(lambda size: b"x" * size)
)
files = st.lists(lines, min_size=1, max_size=30).map(b"\n".join).filter(bool)
limits = st.none() | st.integers(1, 60)
few = st.none() | st.integers(1, 6)
cuts = st.sets(st.integers(1, 30))


def cut(
    data: bytes, size: int | None, records: int | None, cuts: set[int]
) -> tuple[tuple[Piece, ...], list[Finding]]:
    """The pieces of a file that is read in such blocks."""
    cutter = Cutter(size, records)
    findings, line, offset = [], 1, 0
    for block in blocks_of(data, cuts):
        fed = Block(block, line, offset)
        findings += cutter.feed(fed)
        line += fed.count
        offset += len(block)
    pieces, more = cutter.close(line - 1, offset)
    return pieces, findings + more


def lines_of(data: bytes) -> list[bytes]:
    """The lines with their newlines."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


@MANY
@given(files, limits, few, cuts)
def test_pieces_tile_the_file_end_between_records_and_respect_every_limit(
    data: bytes, size: int | None, records: int | None, cuts: set[int]
) -> None:
    pieces, findings = cut(data, size, records, cuts)
    every = lines_of(data)
    too_large = {finding.offset for finding in findings}
    at, number = 0, 1
    for piece in pieces:
        assert (piece.span.start, piece.first_line) == (at, number)
        content = data[piece.span.start : piece.span.stop]
        assert content == b"".join(every[number - 1 : number - 1 + piece.lines])
        inside = [line for line in lines_of(content) if line.strip(BLANK)]
        assert records is None or len(inside) <= records
        assert size is None or len(content) <= size or piece.span.start in too_large
        # No File is made of nothing but blank lines, unless there is nothing else.
        assert inside or len(pieces) == 1
        at, number = piece.span.stop, number + piece.lines
    assert (at, number) == (len(data), len(every) + 1)


@MANY
@given(files, limits, few, cuts, cuts)
def test_the_cuts_are_the_same_however_the_file_is_read(
    data: bytes, size: int | None, records: int | None, one: set[int], other: set[int]
) -> None:
    assert cut(data, size, records, one) == cut(data, size, records, other)


@MANY
@given(files, st.integers(1, 60), cuts)
def test_a_record_is_told_exactly_if_it_is_too_large_by_itself(
    data: bytes, size: int, cuts: set[int]
) -> None:
    _, findings = cut(data, size, None, cuts)
    units: list[list[int]] = []  # line, offset, length; a record and the blank lines behind it
    offset = 0
    for number, line in enumerate(lines_of(data), 1):
        if units and not line.strip(BLANK):
            units[-1][2] += len(line)
        elif line.strip(BLANK):
            start = 0 if not units else offset
            units.append([number, start, offset + len(line) - start])
        offset += len(line)
    units = units or [[1, 0, len(data)]]
    expected = [(line, start) for line, start, length in units if length > size]
    assert [(one.line, one.offset) for one in findings] == expected
    assert {one.code for one in findings} <= {"record_too_large"}


@MANY
@given(files, limits, few, cuts)
def test_no_piece_could_take_the_next_record_as_well(
    data: bytes, size: int | None, records: int | None, cuts: set[int]
) -> None:
    pieces, _ = cut(data, size, records, cuts)
    for piece, following in pairwise(pieces):
        first, *rest = lines_of(data[following.span.start : following.span.stop])
        unit = len(first)
        for line in rest:
            if line.strip(BLANK):
                break
            unit += len(line)
        content = data[piece.span.start : piece.span.stop]
        inside = [line for line in lines_of(content) if line.strip(BLANK)]
        full = (records is not None and len(inside) == records) or (
            size is not None and piece.span.size + unit > size
        )
        assert full


@MANY
@given(files, limits, few, cuts)
def test_a_check_changes_nothing_about_the_cuts(
    data: bytes, size: int | None, records: int | None, cuts: set[int]
) -> None:
    made = []
    for check in (True, False):
        judge = Check("batch", Limits(), OPENAI, check=check, split=Split(size, records))
        for block in blocks_of(data, cuts):
            judge.feed(block)
        judge.close()
        made.append(judge.pieces)
    assert made[0] == made[1] == cut(data, size, records, cuts)[0]


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Split(), [Span(0, 20), Span(20, 40), Span(40, 50)]),
        (Split(size=35), [Span(0, 20), Span(20, 40), Span(40, 50)]),
        (Split(size=10), [Span(at, at + 10) for at in range(0, 50, 10)]),
        (Split(lines=1), [Span(at, at + 10) for at in range(0, 50, 10)]),
        (Split(lines=9), [Span(0, 20), Span(20, 40), Span(40, 50)]),
    ],
)
def test_the_provider_has_the_last_word(wish: Split, expected: list[Span]) -> None:
    takes = Limits(by_purpose=(("batch", 39),), records=(("batch", 2),))
    check = Check("batch", takes, OPENAI, check=False, split=wish)
    check.feed(b'{"a":123}\n' * 5)
    assert check.close() == []
    assert [piece.span for piece in check.pieces] == expected


def test_a_record_that_no_cut_makes_small_enough_is_named() -> None:
    _, findings = cut(b'{"a":1}\n{"b":"xxxxxxxxxx"}\n{}\n', 12, None, set())
    (finding,) = findings
    assert (finding.line, finding.offset, finding.error) == (2, 8, True)
    assert "this line has 19 bytes, more than the 12 bytes" in finding.message


@pytest.mark.parametrize("takes", [Limits(upload=39), Limits(records=(("batch", 3),))])
def test_one_block_may_be_more_than_one_piece(takes: Limits) -> None:
    check = Check("batch", takes, OPENAI, check=False, split=Split())
    check.feed(b'{"a":123}\n' * 5)
    assert check.close() == []
    assert [piece.span for piece in check.pieces] == [Span(0, 30), Span(30, 50)]


def test_blank_lines_before_the_first_record_are_in_its_piece() -> None:
    pieces, findings = cut(b"\n \n{}\n{}\n", 4, None, set())
    assert [piece.span for piece in pieces] == [Span(0, 6), Span(6, 9)]
    assert [(one.line, one.offset) for one in findings] == [(3, 0)]


def test_a_piece_asks_for_at_most_so_many_inputs() -> None:
    cutter = Cutter(inputs=3)
    block = Block(b"{}\n" * 5, 1, 0)
    (finding,) = cutter.feed(block, [2, 1, 1, 4, 0])
    assert (finding.line, finding.code) == (4, "record_too_large")
    pieces, _ = cutter.close(5, 15)
    assert [piece.lines for piece in pieces] == [2, 1, 1, 1]


def test_a_file_of_blank_lines_is_one_piece_and_told_if_it_is_too_large() -> None:
    assert cut(b"\n\n\n", 3, 1, set()) == ((Piece(Span(0, 3), 1, 3),), [])
    _, findings = cut(b"\n\n\n", 2, 1, set())
    assert [(one.line, one.offset) for one in findings] == [(1, 0)]
