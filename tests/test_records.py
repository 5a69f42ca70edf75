"""The rules for files of records, fed as a reader feeds them."""

import json
from typing import Any

import pytest
from datasets import (
    BATCH,
    EMBEDDINGS,
    LINES,
    TUNING,
    Defect,
    Records,
    Style,
    asked,
    batches,
    joined,
    tunings,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkup.models import Limits, Span, Split
from chunkup.providers import COMPATIBLE, OPENAI, PRESETS, Provider
from chunkup.records import CODES, Check, Finding, duplicate, has_records, outside
from chunkup.records.lines import Block

SEVERAL = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
FEW = settings(SEVERAL, max_examples=10)
# Long enough to be cut anywhere, in blocks as a reader may have them.
cuts = st.sets(st.integers(1, 30))
ends = st.lists(st.sampled_from([b"\n", b"a", b" ", b"\r", b"{}\n"]), min_size=1).map(b"".join)


def name_of(at: int, defect: Defect) -> str:
    return f"{at}-{defect.code}"


class Ids:
    """Says which ids were there before, as plainly as can be."""

    def __init__(self) -> None:
        self.firsts: dict[str, int] = {}
        self.findings: list[Finding] = []
        self.told: list[tuple[str, int, int]] = []

    def __call__(self, custom_id: str, line: int, offset: int) -> None:
        self.told.append((custom_id, line, offset))
        first = self.firsts.setdefault(custom_id, line)
        if first != line:
            self.findings.append(duplicate(custom_id, line, offset, first))


def blocks_of(data: bytes, cuts: set[int]) -> list[bytes]:
    """The lines of a file in blocks, a new one before each line of ``cuts``."""
    lines = data.splitlines(keepends=True) if b"\r" not in data else _lines(data)
    blocks = [b""]
    for number, line in enumerate(lines):
        if number in cuts and blocks[-1]:
            blocks.append(b"")
        blocks[-1] += line
    return [block for block in blocks if block]


def _lines(data: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines


def found(
    data: bytes,
    purpose: str = "batch",
    *,
    provider: Provider = OPENAI,
    limits: Limits | None = None,
    cuts: set[int] = frozenset(),  # type: ignore[assignment]
    split: Split | None = None,
) -> list[Finding]:
    """All that is wrong with a file, by line."""
    ids = Ids()
    check = Check(purpose, limits or provider.limits, provider, seen=ids, split=split)
    findings = []
    for block in blocks_of(data, cuts):
        findings += check.feed(block)
    findings += check.close() + ids.findings
    for finding in findings:
        assert finding.code in CODES
        assert finding.message.isprintable()
        assert not finding.message.endswith(".")
        assert (finding.line is None) == (finding.offset is None)
    return findings


def brief(findings: list[Finding]) -> list[tuple[str, int | None, bool]]:
    return [(one.code, one.line, one.error) for one in findings]


def planted(records: Records, defect: Defect, at: int) -> list[bytes]:
    """The lines of a clean file, with a defect in one; a blank line comes beside the others."""
    lines = records.lines
    spoilt = defect.spoil(records.records[at], records.styles[at])
    if defect.code == "blank_line":
        lines.insert(at, spoilt)
    else:
        lines[at] = spoilt
    return lines


def row(number: int, **changed: Any) -> dict[str, Any]:
    url = "/v1/chat/completions"
    record = {"custom_id": f"r{number}", "method": "POST", "url": url, "body": {"model": "m"}}
    return {**record, **changed}


def file_of(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@SEVERAL
@given(batches(), cuts)
def test_a_clean_batch_is_clean_however_it_is_written_and_read(
    records: Records, cuts: set[int]
) -> None:
    data = joined(records.lines, last_newline=records.last_newline)
    assert found(data, cuts=cuts) == []
    assert found(data, cuts=cuts, split=Split(lines=2)) == []


@pytest.mark.parametrize(
    "index", range(len(BATCH)), ids=[name_of(*each) for each in enumerate(BATCH)]
)
@FEW
@given(st.data())
def test_a_planted_defect_is_found_at_its_line_and_nothing_else(
    index: int, data: st.DataObject
) -> None:
    defect = BATCH[index]
    records = data.draw(batches(fewest=1 if defect.first else 2))
    at = data.draw(st.integers(0 if defect.first else 1, len(records.records) - 1))
    lines = planted(records, defect, at)
    # A carriage return is only one before a newline.
    content = joined(lines, last_newline=records.last_newline or defect.code == "crlf")
    expected = [(defect.code, at + 1, defect.error)]
    if not any(line.strip() for line in lines if defect.code != "blank_line" or line):
        expected = []
    findings = found(content, cuts=data.draw(cuts))
    if content and not content.endswith(b"\n") and not lines[-1]:
        return  # what would be the blank line is only the end of the line before
    assert brief(findings) == expected
    assert findings[0].offset == sum(len(line) + 1 for line in lines[:at])


@FEW
@given(batches(fewest=2), st.data())
def test_a_planted_duplicate_is_found_at_its_line_with_the_line_of_the_first(
    records: Records, data: st.DataObject
) -> None:
    second = data.draw(st.integers(1, len(records.records) - 1))
    first = data.draw(st.integers(0, second - 1))
    records.records[second]["custom_id"] = records.records[first]["custom_id"]
    (finding,) = found(joined(records.lines), cuts=data.draw(cuts))
    assert brief([finding]) == [("duplicate_custom_id", second + 1, True)]
    assert f"is on line {first + 1} as well" in finding.message


@FEW
@given(batches(), cuts)
def test_every_id_is_told_in_order_with_its_line_and_its_byte(
    records: Records, cuts: set[int]
) -> None:
    ids = Ids()
    check = Check("batch", OPENAI.limits, OPENAI, seen=ids)
    data = joined(records.lines)
    for block in blocks_of(data, cuts):
        check.feed(block)
    assert [custom_id for custom_id, _, _ in ids.told] == [
        record["custom_id"] for record in records.records
    ]
    for _, line, offset in ids.told:
        assert data[offset:].startswith(records.lines[line - 1] + b"\n")


@pytest.mark.parametrize(
    ("kind", "index"),
    [
        pytest.param(kind, at, id=f"{kind}-{name_of(at, defect)}")
        for kind, defects in TUNING.items()
        for at, defect in enumerate(defects)
    ],
)
@FEW
@given(st.data())
def test_a_planted_defect_of_an_example_is_found_at_its_line_and_nothing_else(
    kind: str, index: int, data: st.DataObject
) -> None:
    defect = TUNING[kind][index]
    records = data.draw(tunings(kind, fewest=11))
    # A line that cannot be read says nothing of the format; the next one does.
    at = data.draw(st.integers(0 if defect.first else 1, len(records.records) - 1))
    lines = planted(records, defect, at)
    findings = found(joined(lines), "fine-tune", cuts=data.draw(cuts))
    assert brief(findings) == [(defect.code, at + 1, defect.error)]


@pytest.mark.parametrize("kind", TUNING)
@FEW
@given(st.data())
def test_a_clean_fine_tuning_file_is_clean(kind: str, data: st.DataObject) -> None:
    records = data.draw(tunings(kind))
    assert found(joined(records.lines), "fine-tune", cuts=data.draw(cuts)) == []


@pytest.mark.parametrize(
    "index", range(len(LINES)), ids=[name_of(*each) for each in enumerate(LINES)]
)
def test_of_an_evaluation_only_the_form_is_judged(index: int) -> None:
    defect = LINES[index]
    lines = file_of({"item": {"a": 1}}, {"item": 2}, {"item": 3})
    assert found(lines, "evals") == []
    style = Style(ascii=True, separators=(",", ":"), turned=False, around="")
    spoilt = [b'{"item":1}', defect.spoil({"item": 1}, style), b'{"item":1}']
    assert brief(found(joined(spoilt), "evals")) == [(defect.code, 2, defect.error)]


def test_a_mark_at_the_beginning_is_an_error_and_hides_nothing_else() -> None:
    data = b"\xef\xbb\xbf" + file_of(row(1), row(2, method="GET"))
    assert brief(found(data)) == [("byte_order_mark", 1, True), ("invalid_method", 2, True)]
    again = file_of(row(1)) + b"\xef\xbb\xbf" + file_of(row(2))
    assert brief(found(again)) == [("invalid_json_line", 2, True)]


@pytest.mark.parametrize("data", [b"\n", b" \n\t\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_file_without_a_record_is_empty(data: bytes) -> None:
    assert ("empty_file", None, True) in brief(found(data))


def test_carriage_returns_are_told_once() -> None:
    data = file_of(row(1), row(2), row(3)).replace(b"\n", b"\r\n")
    assert brief(found(data, cuts={1, 2})) == [("crlf", 1, False)]


def test_all_that_is_wrong_with_a_line_is_said() -> None:
    (first, second, third) = found(file_of({"custom_id": "a", "body": 3}))
    assert [first.message, second.message, third.message] == [
        "method is missing",
        "url is missing",
        "body is a number, not an object",
    ]


def test_an_empty_id_is_only_worth_a_look() -> None:
    data = file_of(row(1), row(2, custom_id=""))
    assert brief(found(data)) == [("invalid_custom_id", 2, False)]


def test_an_example_of_another_format_is_an_error() -> None:
    chat = {"messages": [{"role": "assistant", "content": "x"}]}
    data = file_of(*[chat] * 9, {"prompt": "a", "completion": "b"})
    assert brief(found(data, "fine-tune")) == [("format_mismatch", 10, True)]


def test_what_a_file_says_is_made_printable_and_short() -> None:
    wild = "\x1b[31m\u202e" + "x" * 500
    (finding,) = found(file_of(row(1), row(2, body={"model": wild})))
    assert r"\x1b[31m\u202e" in finding.message
    assert len(finding.message) < 200


@pytest.mark.parametrize("number", [b"1" * 5000, b"1e999", b"-0", b"1E+2"])
def test_a_number_of_any_size_is_one(number: bytes) -> None:
    data = file_of(row(1), row(2)).replace(b'"m"}', b'"m","x":%s}' % number, 1)
    assert found(data) == []
    # And on the slow way.
    slow = data.replace(b'"POST"', b'"GET"', 1)
    assert [one.code for one in found(slow)] == ["invalid_method"]


def test_the_last_of_two_members_of_one_name_counts() -> None:
    good = json.dumps(row(1)).encode().replace(b"{", b'{"custom_id":1,', 1)
    assert found(good + b"\n") == []
    bad = good[:-1] + b',"custom_id":1}'
    assert brief(found(bad + b"\n")) == [("invalid_custom_id", 1, True)]


def test_an_id_elsewhere_in_the_line_is_none() -> None:
    nested = {"custom_id": "a", "body": {"model": "m", "custom_id": "b"}}
    assert found(file_of(row(1, body=nested["body"]), row(2, body=nested["body"]))) == []
    missing = {**row(1, body=nested["body"])}
    del missing["custom_id"]
    assert brief(found(file_of(missing))) == [("missing_custom_id", 1, True)]


@pytest.mark.parametrize("cut", [False, True])
def test_too_many_requests_are_said_once_at_the_first_that_is_too_much(*, cut: bool) -> None:
    limits = Limits(records=(("batch", 3),))
    data = b"\n" + file_of(*(row(number) for number in range(6)))
    split = Split() if cut else None
    findings = found(data, limits=limits, cuts={2, 4}, split=split)
    expected = [] if cut else [("too_many_tasks", 5, True)]
    assert brief(findings) == [("blank_line", 1, False), *expected]
    assert found(file_of(*(row(number) for number in range(3))), limits=limits) == []


@FEW
@given(batches(url=EMBEDDINGS), cuts, st.integers(1, 20))
def test_inputs_of_embeddings_are_counted(records: Records, cuts: set[int], most: int) -> None:
    each = [asked(record["body"]["input"]) for record in records.records]
    sums = [sum(each[: number + 1]) for number in range(len(each))]
    over = next((number for number, total in enumerate(sums, 1) if total > most), None)
    findings = found(joined(records.lines), limits=Limits(inputs=most), cuts=cuts)
    assert brief(findings) == ([] if over is None else [("too_many_inputs", over, True)])
    assert found(joined(records.lines), limits=Limits(), cuts=cuts) == []


@FEW
@given(batches(url=EMBEDDINGS), cuts, st.integers(4, 9))
def test_a_cut_respects_the_inputs(records: Records, cuts: set[int], most: int) -> None:
    check = Check("batch", Limits(inputs=most), OPENAI, split=Split())
    for block in blocks_of(joined(records.lines), cuts):
        assert check.feed(block) == []
    assert check.close() == []
    for piece in check.pieces:
        inside = records.records[piece.first_line - 1 : piece.first_line - 1 + piece.lines]
        assert sum(asked(record["body"]["input"]) for record in inside) <= most


def test_inputs_of_lines_that_are_only_unusual_count_as_well() -> None:
    rows = [
        row(n, url="/v1/embeddings", method="post", body={"model": "m", "input": ["a", "b"]})
        for n in range(3)
    ]
    findings = found(file_of(*rows), provider=COMPATIBLE, limits=Limits(inputs=4))
    assert ("too_many_inputs", 3, True) in brief(findings)


def test_what_the_official_api_refuses_may_be_right_elsewhere() -> None:
    data = file_of(row(1, url="/v4/chat", method="post"), row(2, url="/v4/chat"))
    assert brief(found(data, provider=OPENAI)) == [
        ("invalid_method", 1, True),
        ("invalid_url", 1, True),
        ("invalid_url", 2, True),
    ]
    assert brief(found(data, provider=COMPATIBLE)) == [
        ("invalid_method", 1, False),
        ("invalid_url", 1, False),
    ]
    azure = file_of(row(1, url="/chat/completions"))
    assert found(azure, provider=PRESETS["azure"]) == []


def test_two_urls_or_two_models_are_refused_everywhere_but_where_lines_name_none() -> None:
    data = file_of(row(1), row(2, url="/v1/responses"), row(3, body={"model": "n"}))
    codes = ["url_mismatch", "model_mismatch"]
    assert [one.code for one in found(data, provider=COMPATIBLE)] == codes
    short = file_of({"custom_id": "a", "body": {}}, {"custom_id": "b", "body": {"model": "x"}})
    assert found(short + data, provider=PRESETS["mistral"]) == []
    wrong = file_of({"custom_id": "a", "body": 3}, {"body": {}})
    assert brief(found(wrong, provider=PRESETS["mistral"])) == [
        ("invalid_request", 1, True),
        ("missing_custom_id", 2, True),
    ]


def test_few_examples_are_a_warning() -> None:
    one = {"messages": [{"role": "assistant", "content": "x"}]}
    (finding,) = found(file_of(one), "fine-tune")
    assert brief([finding]) == [("too_few_examples", None, False)]
    assert finding.message.startswith("there is 1 example,")
    assert found(file_of(*[one] * 10), "fine-tune") == []


def test_a_format_that_nobody_knows_is_said_once() -> None:
    data = file_of(*[{"text": "x"}] * 12)
    assert brief(found(data, "fine-tune")) == [("unknown_format", 1, False)]


def test_lines_that_are_too_long_to_be_held_are_passed_over() -> None:
    check = Check("batch", Limits(by_purpose=(("batch", 1000),)), OPENAI, split=Split())
    assert check.feed(file_of(row(1))) == []
    size = len(file_of(row(1)))
    (warning,) = check.skip(2000)
    assert brief([warning]) == [("line_too_long", 2, False)]
    (error,) = check.feed(file_of(row(3)))
    assert brief([error]) == [("record_too_large", 2, True)]
    assert error.offset == size
    assert check.close() == []
    assert (check.lines, check.records) == (3, 3)


def test_without_a_check_only_cuts_are_made() -> None:
    check = Check("batch", OPENAI.limits, OPENAI, check=False, split=Split(lines=1))
    assert check.feed(b"\xff\n\nnonsense\n") == []
    assert check.close() == []
    assert [piece.span for piece in check.pieces] == [Span(0, 3), Span(3, 12)]


@pytest.mark.parametrize("purpose", ["user_data", "assistants", "vision", "file-extract"])
def test_other_purposes_have_no_records(purpose: str) -> None:
    assert not has_records(purpose)
    assert found(b"\xff\n", purpose) == []


@SEVERAL
@given(st.binary(min_size=1, max_size=8) | ends)
def test_a_block_knows_its_lines(data: bytes) -> None:
    block = Block(data, 1, 100)
    expected = data.split(b"\n")
    expected = expected[:-1] if data.endswith(b"\n") else expected
    assert [line.rstrip(b"\n") for line in block.lines] == expected
    assert block.count == len(expected)
    for at, line in enumerate(expected):
        assert data[block.start(at) - 100 :].startswith(line)
    if block.full:
        assert all(line.strip(b" \t\r\n") for line in expected)


OUTSIDE: tuple[tuple[str, str, str, int, list[tuple[str, bool]]], ...] = (
    ("batch", "a.jsonl", "text/jsonl", 10, []),
    ("batch", "a.jsonl", "application/x-ndjson", 10, []),
    ("batch", "A.JSONL", "text/jsonl", 10, []),
    ("batch", "a.json", "application/json", 10, [("invalid_extension", True)]),
    ("batch", "a", "text/jsonl", 10, [("invalid_extension", True)]),
    ("fine-tune", "a.csv", "text/csv", 10, [("invalid_extension", True)]),
    ("batch", "a.jsonl", "image/png", 10, [("mime_type_mismatch", False)]),
    ("batch", "a.jsonl", "text/jsonl", 200 * 10**6, []),
    ("batch", "a.jsonl", "text/jsonl", 200 * 10**6 + 1, [("file_too_large", True)]),
    ("batch", "a.jsonl", "text/jsonl", 0, [("empty_file", True)]),
    ("user_data", "a.pdf", "application/pdf", 10, []),
    ("user_data", "a.pdf", "application/octet-stream", 10, []),
    ("user_data", "a.exe", "application/octet-stream", 10, [("invalid_extension", False)]),
    ("user_data", "a.pdf", "image/png", 10, [("mime_type_mismatch", False)]),
    ("vision", "a.png", "image/png; x=1", 10, []),
    ("vision", "a.pdf", "application/pdf", 10, [("invalid_extension", False)]),
    ("evals", "a.bin", "application/octet-stream", 10, []),
    ("file-extract", "a.exe", "", 9 << 30, [("file_too_large", True)]),
)


@pytest.mark.parametrize(("purpose", "name", "kind", "size", "expected"), OUTSIDE)
def test_what_a_name_and_a_size_say(
    purpose: str, name: str, kind: str, size: int, expected: list[tuple[str, bool]]
) -> None:
    findings = outside(purpose, name, kind, size, OPENAI.limits, OPENAI)
    assert [(one.code, one.error) for one in findings] == expected
    assert all(one.line is None and one.message.isprintable() for one in findings)


def test_a_file_that_will_be_cut_may_be_large_and_elsewhere_a_name_is_only_a_warning() -> None:
    size = 10**12
    assert outside("batch", "a.jsonl", "text/jsonl", size, OPENAI.limits, OPENAI, split=True) == []
    (finding,) = outside("batch", "a.bin", "", 10, COMPATIBLE.limits, COMPATIBLE)
    assert not finding.error


@pytest.mark.parametrize(
    ("url", "error"),
    [("/v1/moderations", False), ("/v1/images/generations", False), ("/v1/responses", True)],
)
def test_some_requests_may_leave_the_model_to_the_server(url: str, *, error: bool) -> None:
    data = file_of(row(1, url=url, body={"input": "x"}), row(2, url=url, body={"input": "y"}))
    told = brief(found(data))
    assert told == [("missing_required_parameter", line, error) for line in (1, 2)]
