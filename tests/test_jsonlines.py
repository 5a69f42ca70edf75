"""Lines for programs: what a line holds, and that the schema that ships says the same."""

import dataclasses
import json
import os
import types
import typing
from math import inf, nan
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkup import events
from chunkup.models import RemoteFile
from chunkup.render import JsonLines, record, schema
from chunkup.render.jsonlines import name_of

SCHEMA = schema()
KINDS = {name_of(kind): kind for kind in events.EVENTS}
# Whatever may be endless in the program is null in JSON.
ENDLESS = {("late", "seconds"), ("progress", "expires_in")}
COUNTED_FROM_ONE = {"generation", "attempt", "line"}
NAMES = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}


def complaints(line: dict[str, Any]) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(line)]


def line_of(event: events.Event | events.Summary) -> tuple[str, dict[str, Any]]:
    lines: list[str] = []
    JsonLines(lines.append).show(event)
    (line,) = lines
    return line, json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def values(kind: str, name: str, hint: Any) -> st.SearchStrategy[Any]:
    """What a field of this type may hold, odd things included."""
    if typing.get_origin(hint) is types.UnionType:
        return st.one_of(*(values(kind, name, one) for one in typing.get_args(hint)))
    if typing.get_origin(hint) is tuple:
        return st.lists(st.text(), max_size=3).map(tuple)
    if hint is RemoteFile:
        return st.builds(RemoteFile, **fields("file", RemoteFile))
    if hint is int:
        return st.integers(1 if name in COUNTED_FROM_ONE else 0)
    if hint is float:
        finite = st.floats(0, 1e12)
        return finite | st.just(inf) if (kind, name) in ENDLESS else finite
    if hint is str:
        return st.text(st.characters(codec=None, categories=None))
    return st.from_type(hint)


def fields(kind: str, made: Any) -> dict[str, st.SearchStrategy[Any]]:
    hints = typing.get_type_hints(made)
    return {name: values(kind, name, hint) for name, hint in hints.items()}


any_event = st.sampled_from(sorted(KINDS)).flatmap(
    lambda name: st.builds(KINDS[name], **fields(name, KINDS[name]))
)


@given(any_event)
def test_every_line_is_what_the_schema_says(event: events.Event | events.Summary) -> None:
    line, read = line_of(event)
    assert line.isascii()
    assert "\n" not in line
    assert complaints(read) == []
    assert list(read)[:3] == ["v", "time", "event"]
    assert read["event"] == name_of(type(event))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_knows_each_event_and_no_other() -> None:
    assert {ref["$ref"].removeprefix("#/$defs/") for ref in SCHEMA["oneOf"]} == set(KINDS)
    assert set(SCHEMA["$defs"]) == {*KINDS, "file"}
    assert len(SCHEMA["oneOf"]) == len(KINDS)


def promised(kind: str, name: str, hint: Any) -> set[str]:
    """The JSON types of a Python type."""
    if typing.get_origin(hint) is types.UnionType:
        own = {NAMES[one] for one in typing.get_args(hint)}
    elif typing.get_origin(hint) is tuple:
        own = {"array"}
    elif typing.get_origin(hint) is typing.Literal:
        own = {NAMES[type(one)] for one in typing.get_args(hint)}
    else:
        own = {NAMES[hint]}
    return own | ({"null"} if (kind, name) in ENDLESS else set())


@pytest.mark.parametrize("name", [*KINDS, "file"])
def test_the_schema_has_each_field_with_its_type(name: str) -> None:
    said = SCHEMA["$defs"][name]
    kind: Any = KINDS.get(name, RemoteFile)
    own = {field.name for field in dataclasses.fields(kind)}
    common = set() if name == "file" else {"v", "event"}
    assert set(said["properties"]) == own | common
    assert set(said["required"]) == own | common
    assert said["additionalProperties"] is True
    assert said["type"] == "object"
    if name != "file":
        assert said["properties"]["event"] == {"const": name}
        assert said["properties"]["v"] == {"const": 1}
    for field, hint in typing.get_type_hints(kind).items():
        told = said["properties"][field]
        if hint is RemoteFile:
            assert told == {"$ref": "#/$defs/file"}
            continue
        given = told["type"] if isinstance(told["type"], list) else [told["type"]]
        assert set(given) == promised(name, field, hint), field


def test_a_line_that_breaks_a_promise_is_refused() -> None:
    good = record(done())
    assert complaints(good) == []
    for name in good:
        assert complaints({key: value for key, value in good.items() if key != name})
    assert complaints(good | {"event": "celebrated"})
    assert complaints(good | {"file": None})
    assert complaints(good | {"v": 2})
    assert complaints(good | {"news": True}) == []


def done(path: str = "/data/a.jsonl") -> events.Completed:
    file = RemoteFile("file-1", 10, 1700000000, "a.jsonl", "batch", status="processed")
    return events.Completed(time=1.5, job="k7f2m9", path=path, file=file, recovered=False)


def test_a_line_has_the_file_as_the_sdk_names_it() -> None:
    assert line_of(done())[0] == (
        '{"v": 1, "time": 1.5, "event": "completed", "job": "k7f2m9", "path": "/data/a.jsonl", '
        '"file": {"id": "file-1", "bytes": 10, "created_at": 1700000000, "filename": "a.jsonl", '
        '"purpose": "batch", "object": "file", "status": "processed", "expires_at": null, '
        '"status_details": null}, "recovered": false, "reused": false}'
    )


def test_what_ended_says_why_and_how_to_go_on() -> None:
    unknown = events.Unknown(
        time=1.0,
        job="k7f2m9",
        path="a",
        code="outcome-unknown",
        message="nobody knows",
        hint=None,
        resume="chunkup resume k7f2m9",
        candidates=("file-1", "file-2"),
    )
    assert record(unknown) == {
        "v": 1,
        "time": 1.0,
        "event": "unknown",
        "job": "k7f2m9",
        "path": "a",
        "code": "outcome-unknown",
        "message": "nobody knows",
        "hint": None,
        "resume": "chunkup resume k7f2m9",
        "candidates": ["file-1", "file-2"],
    }


@pytest.mark.parametrize("endless", [inf, -inf, nan])
def test_what_json_has_no_number_for_is_null(endless: float) -> None:
    late = events.Late(time=1.0, job="k7f2m9", path="a", seconds=endless, rate=0.0)
    _, read = line_of(late)
    assert read["seconds"] is None
    assert read["rate"] == 0.0


def test_a_path_that_is_no_text_comes_back_byte_by_byte() -> None:
    raw = b"/data/\xff\xfe-\xc3\xa4\n.jsonl"
    line, read = line_of(done(os.fsdecode(raw)))
    assert line.isascii()
    assert os.fsencode(read["path"]) == raw


def test_a_summary_is_about_no_job() -> None:
    counts = {"files": 5, "completed": 1, "reused": 1, "failed": 1, "stopped": 1, "unknown": 0}
    summary = events.Summary(
        time=2.0,
        exit_code=3,
        **counts,
        busy=1,
        bytes=20,
        code="no-key",
        message="no key",
        hint="set OPENAI_API_KEY",
    )
    _, read = line_of(summary)
    assert complaints(read) == []
    assert not {"job", "path"} & set(read)
    assert read["event"] == "summary"
    assert read["exit_code"] == 3


def test_what_the_writer_raises_is_the_callers() -> None:
    def write(line: str) -> None:
        raise BrokenPipeError(line)

    with pytest.raises(BrokenPipeError):
        JsonLines(write).show(done())
