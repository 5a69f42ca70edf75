"""A manifest's lines: what they hold, how they are read, and that the schema says the same."""

import dataclasses
import json
import os
import types
import typing
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkup.errors import BadOption, NoSuchFile, NotAFile, Refused, Unreadable
from chunkup.manifest import Attempts, Entry, entry_of, line_of, read, schema
from chunkup.models import Account

SCHEMA = schema()
URL = "https://files.example/v1"
# Every text that a path, a name or a server's word may be, halves of surrogate pairs included.
anything = st.text(st.characters(codec=None, categories=None), max_size=20)
counts = st.integers(0, 2**53)


def entry(name: str = "a.jsonl", start: int = 0, stop: int = 10, **more: Any) -> Entry:
    """An entry as an ordinary upload makes it."""
    values: dict[str, Any] = {
        "source": f"/data/{name}",
        "given": name,
        "start": start,
        "stop": stop,
        "bytes": stop - start,
        "md5": "d41d8cd98f00b204e9800998ecf8427e",
        "file": f"file-{name}-{start}",
        "filename": name,
        "purpose": "batch",
        "mime_type": "text/jsonl",
        "created_at": 1700000000,
        "account": Account(URL),
        "job": "k7f2m9",
        "started_at": 1700000000.5,
        "completed_at": 1700000009.25,
        "attempts": Attempts(1, 1),
    }
    return Entry(**(values | more))


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    start = draw(counts)
    stop = start + draw(st.integers(1, 2**40))
    maybe = st.none() | st.integers(1, 2**31)
    return Entry(
        source=draw(anything),
        given=draw(st.none() | anything),
        start=start,
        stop=stop,
        cut=draw(st.booleans()),
        first_line=draw(maybe),
        lines=draw(maybe),
        bytes=stop - start,
        md5=draw(st.none() | st.text("0123456789abcdef", min_size=32, max_size=32)),
        file=draw(anything),
        filename=draw(anything),
        purpose=draw(anything),
        mime_type=draw(anything),
        created_at=draw(counts),
        expires_at=draw(st.none() | counts),
        account=Account(draw(anything), draw(st.none() | anything), draw(st.none() | anything)),
        job=draw(anything),
        started_at=draw(st.floats(0, 2**40)),
        completed_at=draw(st.floats(0, 2**40)),
        attempts=Attempts(draw(counts), draw(counts)),
        reused=draw(st.booleans()),
    )


def complaints(line: object) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(line)]


# --- writing and reading ----------------------------------------------------------------------


# The first draw makes a table of all characters, which takes its time on a busy machine.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(entries())
def test_every_line_is_what_the_schema_says_and_reads_as_it_was(one: Entry) -> None:
    line = line_of(one)
    assert line.isascii()
    assert "\n" not in line
    found = json.loads(line)
    assert complaints(found) == []
    assert entry_of(found) == one


def test_a_line_is_this() -> None:
    cut: dict[str, Any] = {
        "cut": True,
        "first_line": 3,
        "lines": 2,
        "filename": "a-00002-of-00002.jsonl",
    }
    assert line_of(entry(start=4, account=Account(URL, "org-1", "proj_1"), **cut)) == (
        '{"v": 1, "source": "/data/a.jsonl", "given": "a.jsonl", "start": 4, "stop": 10, '
        '"cut": true, "first_line": 3, "lines": 2, "bytes": 6, '
        '"md5": "d41d8cd98f00b204e9800998ecf8427e", "file": "file-a.jsonl-4", '
        '"filename": "a-00002-of-00002.jsonl", "purpose": "batch", "mime_type": "text/jsonl", '
        '"created_at": 1700000000, "expires_at": null, '
        f'"account": {{"base_url": "{URL}", "organization": "org-1", "project": "proj_1"}}, '
        '"job": "k7f2m9", "started_at": 1700000000.5, "completed_at": 1700000009.25, '
        '"attempts": {"runs": 1, "uploads": 1}, "reused": false}'
    )


def test_nothing_of_an_account_but_its_place_is_written() -> None:
    account = Account(URL, headers=("x-team",), key_hash="5ec4e7")
    line = line_of(entry(account=account))
    assert "5ec4e7" not in line
    assert "x-team" not in line


def test_a_path_that_is_no_text_comes_back_as_it_was() -> None:
    raw = b"/data/\xff\xfe.jsonl"
    line = line_of(entry(source=os.fsdecode(raw)))
    assert os.fsencode(json.loads(line)["source"]) == raw


def test_what_upload_called_it_is_what_verify_calls_it() -> None:
    assert entry().shown == "a.jsonl"
    assert entry(given=None).shown == "/data/a.jsonl"
    assert entry(cut=True, filename="a-00001-of-00002.jsonl").shown == "a-00001-of-00002.jsonl"


# --- the schema -------------------------------------------------------------------------------


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


NAMES = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}


def promised(hint: Any) -> set[str]:
    if isinstance(hint, types.UnionType):
        return {NAMES[one] for one in typing.get_args(hint)}
    return {NAMES[hint]} if hint in NAMES else {"object"}


def test_the_schema_has_each_field_with_its_type() -> None:
    hints = typing.get_type_hints(Entry)
    assert set(SCHEMA["properties"]) == {"v", *hints} == set(SCHEMA["required"])
    for name, hint in hints.items():
        told = SCHEMA["properties"][name]["type"]
        assert set([told] if isinstance(told, str) else told) == promised(hint), name
    attempts = {field.name for field in dataclasses.fields(Attempts)}
    assert set(SCHEMA["properties"]["attempts"]["properties"]) == attempts


def test_a_line_that_breaks_a_promise_is_refused() -> None:
    good = json.loads(line_of(entry()))
    assert complaints(good) == []
    for name in good:
        assert complaints({key: value for key, value in good.items() if key != name})
    for name, value in (("md5", "no"), ("start", -1), ("account", None), ("v", 2), ("bytes", "1")):
        assert complaints(good | {name: value}), name
    assert complaints(good | {"news": True}) == []


# --- files that are none ----------------------------------------------------------------------


def written(folder: Path, *lines: object) -> Path:
    path = folder / "m.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


def test_a_manifest_is_read_in_its_order(tmp_path: Path) -> None:
    two = [entry("b.jsonl"), entry("a.jsonl")]
    assert read(written(tmp_path, line_of(two[0]), "", line_of(two[1]))) == two
    assert read(written(tmp_path)) == []


def test_what_another_version_adds_or_leaves_out_is_no_obstacle(tmp_path: Path) -> None:
    plain = json.loads(line_of(entry()))
    newer = plain | {"v": 7, "sha256": "?", "attempts": {"runs": 1, "uploads": 1, "naps": 3}}
    needed = ("source", "start", "stop", "bytes", "file", "filename", "purpose", "account")
    least = {name: plain[name] for name in needed}
    least["account"] = {"base_url": URL}
    first, second = read(written(tmp_path, newer, least))
    assert first == entry()
    assert (second.file, second.md5, second.reused) == (entry().file, None, False)


def test_an_md5_in_capitals_is_the_same_one(tmp_path: Path) -> None:
    line = json.loads(line_of(entry()))
    assert read(written(tmp_path, line | {"md5": line["md5"].upper()})) == [entry()]


GOOD = json.loads(line_of(entry()))
BAD = {
    "text": "file-1\ta.jsonl",
    "a list": [],
    "a number": "1",
    "half a line": line_of(entry())[:-9],
    "a batch": {"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": {}},
    "no id": {key: value for key, value in GOOD.items() if key != "file"},
    "no account": GOOD | {"account": None},
    "no place": GOOD | {"account": {}},
    "a number for a path": GOOD | {"source": 1},
    "yes for a number": GOOD | {"start": True},
    "before the beginning": GOOD | {"start": -1},
    "an end before the beginning": GOOD | {"start": 10},
    "too large": GOOD | {"stop": 2**63},
    "no digest": GOOD | {"md5": "d41d8cd9"},
    "no moment": GOOD | {"started_at": "today"},
    "no attempts": GOOD | {"attempts": {"runs": -1}},
    "a word for yes": GOOD | {"reused": "yes"},
    "NaN": line_of(entry()).replace("1700000000.5", "NaN"),
    "NaN elsewhere": json.dumps(GOOD | {"news": float("nan")}),
    "a number without end": line_of(entry()).replace("1700000000.5", "1" * 5000),
    "depth": "[" * 100_000,
    "length": json.dumps(GOOD | {"given": "x" * (1 << 20)}),
}


@pytest.mark.parametrize("line", BAD.values(), ids=BAD.keys())
def test_a_file_that_is_no_manifest_is_refused_with_its_line(tmp_path: Path, line: object) -> None:
    path = written(tmp_path, line_of(entry()), line)
    with pytest.raises(BadOption) as caught:
        read(path)
    assert f"{path} is no manifest: line 2 " in caught.value.message
    assert len(caught.value.message) < 500
    assert caught.value.hint is not None
    assert caught.value.exit_code == 2


def test_a_line_of_a_newer_version_that_lacks_something_says_so(tmp_path: Path) -> None:
    newer = {key: value for key, value in GOOD.items() if key != "file"} | {"v": 2}
    with pytest.raises(BadOption, match=r"line 1 has no 'file'; a newer version of chunkup wrote"):
        read(written(tmp_path, newer))


def test_bytes_that_are_no_text_are_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"\xff\xfe\x00\n")
    with pytest.raises(BadOption, match="line 1 is no JSON"):
        read(tmp_path / "m")


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotAFile):
        read(tmp_path / "pipe")
    with pytest.raises(NotAFile):
        read(tmp_path)
    with pytest.raises(NoSuchFile):
        read(tmp_path / "none")
    with pytest.raises(Refused):
        read("zero\0byte")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(Unreadable):
        read(tmp_path / "circle")


def test_a_path_turns_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m"
    path.write_text("no")
    with pytest.raises(BadOption) as caught:
        read(path)
    assert "\x1b" not in caught.value.message
