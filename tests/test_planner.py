"""How a file is cut: whole, within limits, around what is under way."""

import shlex

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import scattered, spans

from chunkup.errors import BadOption, EmptyFile, TooLarge, TooSlow
from chunkup.models import PART_SIZE, Limits, Plan, Span
from chunkup.planner import cut, in_time, plan, whole

LIMITS = Limits(part=100, upload=1000, by_purpose=(("batch", 200),))


@given(spans(longest=500), st.integers(1, 100))
@example(Span(0, 300), 100)
@example(Span(0, 301), 100)
@example(Span(0, 299), 100)
@example(Span(0, 1), 100)
def test_parts_tile_the_file_and_only_the_last_is_shorter(span: Span, part_size: int) -> None:
    made = plan(span, part_size=part_size, purpose="user_data", limits=LIMITS)
    parts = made.parts()
    assert len(parts) == made.count
    assert [at for part in parts for at in range(part.start, part.stop)] == list(
        range(span.start, span.stop)
    )
    assert {part.size for part in parts[:-1]} <= {part_size}
    assert 1 <= parts[-1].size <= part_size


@pytest.mark.parametrize(("part_size", "fits"), [(0, False), (1, True), (100, True), (101, False)])
def test_a_part_size_is_between_one_and_the_providers_limit(part_size: int, *, fits: bool) -> None:
    if fits:
        made = plan(Span(0, 10), part_size=part_size, purpose="batch", limits=LIMITS)
        assert made == Plan(Span(0, 10), part_size)
    else:
        with pytest.raises(BadOption) as caught:
            plan(Span(0, 10), part_size=part_size, purpose="batch", limits=LIMITS)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("purpose", "size", "fits"),
    [
        ("batch", 199, True),
        ("batch", 200, True),
        ("batch", 201, False),
        ("user_data", 999, True),
        ("user_data", 1000, True),
        ("user_data", 1001, False),
    ],
)
def test_the_limit_of_the_purpose_comes_before_the_limit_of_the_provider(
    purpose: str, size: int, *, fits: bool
) -> None:
    span = Span(7, 7 + size)
    if fits:
        assert plan(span, part_size=100, purpose=purpose, limits=LIMITS).span == span
    else:
        with pytest.raises(TooLarge, match=purpose) as caught:
            plan(span, part_size=100, purpose=purpose, limits=LIMITS)
        assert caught.value.hint


@pytest.mark.parametrize("path", ["big.jsonl", "BIG.JSONL", "a b.ndjson"])
def test_records_that_are_too_much_for_one_file_are_to_be_cut(path: str) -> None:
    with pytest.raises(TooLarge) as caught:
        plan(Span(0, 201), part_size=100, purpose="batch", limits=LIMITS, path=path)
    assert caught.value.hint is not None
    assert shlex.split(caught.value.hint) == [
        *("chunkup", "upload", path, "--purpose", "batch", "--split")
    ]


@pytest.mark.parametrize("path", ["big.bin", "jsonl", "big.jsonl.gz"])
def test_how_to_cut_anything_else_only_its_owner_knows(path: str) -> None:
    with pytest.raises(TooLarge) as caught:
        plan(Span(0, 201), part_size=100, purpose="batch", limits=LIMITS, path=path)
    assert caught.value.hint == "cut the file into pieces of at most 200 bytes and upload each"


def test_a_provider_without_a_limit_takes_any_size() -> None:
    huge = Span(0, 1 << 60)
    assert plan(huge, part_size=PART_SIZE, purpose="batch", limits=Limits()).count == 1 << 34


def test_an_empty_file_is_refused() -> None:
    assert whole(1) == Span(0, 1)
    for size in (0, -1):
        with pytest.raises(EmptyFile):
            whole(size)


@given(spans(longest=60), st.integers(1, 70), st.data())
def test_what_is_cut_covers_the_missing_but_not_the_busy(
    span: Span, part_size: int, data: st.DataObject
) -> None:
    missing, busy = data.draw(scattered(span)), data.draw(scattered(span))
    parts = list(cut(missing, busy, part_size))
    wanted = {at for gap in missing for at in range(gap.start, gap.stop)}
    wanted -= {at for held in busy for at in range(held.start, held.stop)}
    covered = [at for part in parts for at in range(part.start, part.stop)]
    assert covered == sorted(wanted)
    assert all(part.size <= part_size for part in parts)


@given(spans(longest=60), st.integers(1, 70), st.data())
def test_what_is_cut_goes_to_nobody_twice_when_all_of_it_is_busy(
    span: Span, part_size: int, data: st.DataObject
) -> None:
    missing = data.draw(scattered(span))
    parts = list(cut(missing, (), part_size))
    assert list(cut(missing, parts, part_size)) == []


@given(spans(longest=60), st.integers(1, 70))
def test_a_fresh_file_is_cut_as_planned(span: Span, part_size: int) -> None:
    assert tuple(cut([span], (), part_size)) == Plan(span, part_size).parts()


@given(spans(longest=60), st.integers(1, 20), st.data())
def test_with_one_part_size_the_cuts_are_those_of_the_plan(
    span: Span, part_size: int, data: st.DataObject
) -> None:
    parts = Plan(span, part_size).parts()
    chosen = data.draw(st.sets(st.sampled_from(parts)))
    left = [part for part in parts if part not in chosen]
    assert list(cut([span], sorted(chosen), part_size)) == left


def test_cutting_is_lazy() -> None:
    parts = cut([Span(0, 1 << 50)], (), 1)
    assert next(parts).start == 0


@pytest.mark.parametrize(
    ("rate", "behind", "why"),
    [
        (0.0, 0.0, None),  # nothing is known, so nothing is said
        (10.0, 0.0, None),
        (10.0, 100.0, None),
        (
            9.9,
            0.0,
            "at 10 bytes/s 1 kB need .* Upload lives 1 min.* a faster link or disk, or smaller",
        ),
        (10.0, 100.1, "reading 1 kB for their MD5 takes .* a faster disk, .* or --no-md5"),
        (1e9, 3600.0, "reading"),
        (9.9, 3600.0, "at 10 bytes/s"),
    ],
)
def test_what_cannot_be_through_in_one_life_is_too_slow(
    rate: float, behind: float, why: str | None
) -> None:
    if why is None:
        in_time(1000, 100.0, rate=rate, behind=behind)
    else:
        with pytest.raises(TooSlow, match=why):
            in_time(1000, 100.0, rate=rate, behind=behind)
