"""Sizes, durations, rates, and what a server says, written for people."""

import math
from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chunkup.text import (
    duration_text,
    parse_duration,
    parse_rate,
    parse_size,
    printable,
    size_text,
)

UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("64MiB", 64 << 20),
        ("64 mib", 64 << 20),
        (" 200MB ", 200_000_000),
        ("1.5GB", 1_500_000_000),
        ("8.2GB", 8_200_000_000),
        ("0.5KiB", 512),
        ("2tb", 2 * 10**12),
        ("12b", 12),
    ],
)
def test_sizes_are_read_in_both_families_of_units(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert isinstance(parse_size(text), int)


@given(st.integers(0, 10**6), st.sampled_from(sorted(UNITS)), st.sampled_from(["", " "]))
def test_a_whole_number_of_units_is_read_exactly(number: int, unit: str, gap: str) -> None:
    assert parse_size(f"{number}{gap}{unit}") == number * UNITS[unit]


@given(st.integers(0, 10**6), st.integers(0, 999), st.sampled_from(sorted(UNITS)))
@example(8, 200, "GB")
@example(0, 1, "KiB")
def test_a_decimal_is_read_exactly_or_refused(number: int, decimals: int, unit: str) -> None:
    text = f"{number}.{decimals:03}{unit}"
    exact = (number + Fraction(decimals, 1000)) * UNITS[unit]
    if exact.denominator == 1:
        assert parse_size(text) == exact
    else:
        with pytest.raises(ValueError, match="whole number"):
            parse_size(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "MiB", "-1", "1e6", "1,5GB", "1.GB", ".5GB", "64 Mi B", "64MiBs", "0x10"),
        *("nan", "inf", "٣MB", "1\u212aB", "9" * 19, "1h", "1\n2", "None"),
    ],
)
def test_what_is_no_size_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("90", 90), ("90s", 90), ("5m", 300), ("2h", 7200), ("30d", 2_592_000)),
        *(("1.5H", 5400), ("0", 0), ("0.25 s", 0.25)),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1w", "1h30m", "1MiB", "nan", "inf", "1e3"])
def test_what_is_no_duration_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_duration(text)
    assert repr(text) in str(caught.value)


@given(st.integers(0, 10**6), st.sampled_from("smhd"), st.sampled_from(["", " "]))
def test_a_whole_number_of_a_unit_of_time_is_read_exactly(number: int, unit: str, gap: str) -> None:
    lengths = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    assert parse_duration(f"{number}{gap}{unit}") == number * lengths[unit]


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        *(("250000", 250_000), ("5MB/s", 5_000_000), ("1MiB/s", 1 << 20), ("1.5 kB/s", 1500)),
        *(("40Mbit/s", 5_000_000), ("500kbit/s", 62_500), ("500 KBIT/S", 62_500)),
        *(("8bit/s", 1), ("12B/s", 12), ("1Gbit/s", 125_000_000), ("8Kibit/s", 1024), ("0", 0)),
    ],
)
def test_rates_are_read_in_bytes_and_in_bits(text: str, rate: float) -> None:
    assert parse_rate(text) == rate
    assert isinstance(parse_rate(text), float)


@given(st.integers(0, 10**6), st.sampled_from(sorted(UNITS)), st.sampled_from(["", " "]))
def test_a_whole_number_of_a_rate_is_read_exactly(number: int, unit: str, gap: str) -> None:
    if unit:
        assert parse_rate(f"{number}{gap}{unit}/s") == number * UNITS[unit]
        bits = f"{number}{gap}{unit.removesuffix('B')}bit/s"
        assert parse_rate(bits) == number * UNITS[unit] / 8


@pytest.mark.parametrize(
    "text",
    [
        *("", "/s", "5MB", "5MB/", "5/s", "5MB/m", "5MB/s/s", "40Mbit", "40 Mbit / s", "-1MB/s"),
        *("inf", "nan", "5MiBs", "5 bits/s", "fast", "5Mbps"),
    ],
)
def test_what_is_no_rate_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_rate(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["40Mb/s", "5mb/s", "12b/s", "1Kib/s", " 5mb/s "])
def test_a_rate_that_may_be_bits_or_bytes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="bits or bytes"):
        parse_rate(text)


@given(st.text(max_size=20) | st.from_regex(r"[0-9]{1,4}[kmKM]?i?[bB]?(it)?(/s)?", fullmatch=True))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    for parse in (parse_size, parse_duration, parse_rate):
        with suppress(ValueError):
            assert parse(text) >= 0


@given(
    st.text("0123456789.", min_size=1, max_size=40),
    st.sampled_from([*UNITS, "s", "m", "h", "d", "kbit/s", "Mbit/s", "MiB/s", "/s"]),
)
def test_any_number_is_a_quantity_that_can_be_written_or_a_value_error(
    number: str, unit: str
) -> None:
    for parse, write in (
        (parse_size, size_text),
        (parse_duration, duration_text),
        (parse_rate, size_text),
    ):
        with suppress(ValueError):
            found = parse(number + unit)
            assert 0 <= found < math.inf
            assert write(found).isprintable()


@pytest.mark.parametrize("odd", ["\x1b[2J", "5\0", "5\u202eMB", "\ud800", "5" * 100_000])
def test_what_is_refused_is_quoted_harmlessly(odd: str) -> None:
    for parse in (parse_size, parse_duration, parse_rate):
        with pytest.raises(ValueError) as caught:
            parse(odd)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (0.6, "1 byte"),
        (2, "2 bytes"),
        (999.4, "999 bytes"),
        (999.5, "1 kB"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (67_108_864, "67.1 MB"),
        (200_000_000, "200 MB"),
        (6_240_000_000, "6.2 GB"),
        (3 * 10**12, "3 TB"),
    ],
)
def test_sizes_are_written_in_decimal_units(size: float, text: str) -> None:
    assert size_text(size) == text


@given(st.integers(1000, 10**15))
def test_a_written_size_is_read_back_within_its_one_digit(size: int) -> None:
    text = size_text(size)
    unit = text.split()[1]
    assert abs(parse_size(text.replace(" ", "")) - size) <= UNITS[unit] / 20


@given(st.integers(0, 10**15 - 10**11))
@example(999_949)
@example(999_950)
@example(999_999_999)
@example(999_999_999_999)
def test_no_size_is_written_as_a_thousand_of_a_smaller_unit(size: int) -> None:
    assert not size_text(size).startswith("1000")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (0.4, "0 s"),
        (8, "8 s"),
        (59.6, "1 min"),
        (310, "5 min 10 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (7380, "2 h 3 min"),
        (4 * 86400 + 3600 + 59, "4 d 1 h"),
        (math.inf, "for ever"),
        (-math.inf, "0 s"),
        (math.nan, "an unknown time"),
    ],
)
def test_durations_are_written_in_their_two_largest_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@given(st.floats(0, 10**9))
def test_a_written_duration_is_true_to_its_smaller_unit(seconds: float) -> None:
    lengths = {"d": 86400, "h": 3600, "min": 60, "s": 1}
    pieces = duration_text(seconds).split()
    numbers, units = [int(piece) for piece in pieces[::2]], pieces[1::2]
    said = sum(number * lengths[unit] for number, unit in zip(numbers, units, strict=True))
    order = list(lengths)
    smaller = order[min(order.index(units[0]) + 1, 3)]
    assert -0.5 <= seconds - said <= lengths[smaller]


@given(st.text(st.characters(), max_size=500), st.integers(1, 300))
def test_nothing_survives_that_a_terminal_could_obey(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit + 1
    shown.encode()
    assert printable(shown, limit) == shown


@given(st.text(st.characters(categories=["L", "N", "P"]), max_size=300))
def test_harmless_text_is_left_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("one\r\ntwo", "one\\r\\ntwo"),
        ("abc\u202egpj.exe", "abc\\u202egpj.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\x9b2J", "\\x9b2J"),
        ("\udce4.jsonl", "\\udce4.jsonl"),
        ("\U000e0041", "\\U000e0041"),
        ("Grüße 你好", "Grüße 你好"),
    ],
)
def test_control_characters_and_turned_writing_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_is_too_long_is_cut_and_says_so() -> None:
    assert printable("a" * 300) == "a" * 300
    assert printable("a" * 301) == "a" * 300 + "…"
    assert printable("a" * 10**7, limit=5) == "aaaaa…"
