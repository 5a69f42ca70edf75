"""Files of records as property tests draw them: clean ones, and ones with a defect at a line."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

URLS = ("/v1/chat/completions", "/v1/responses", "/v1/completions")
EMBEDDINGS = "/v1/embeddings"

# Drawn whole and from few: that is fast, and what JSON makes hard is in them.
TEXTS = ("", "a", 'say "no"\n\\', "größer 狐 😀", "\u2028\x7f{}[]\t", '{"custom_id":"x"}', "}\n{")
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 10**30, 1.5, 1e300, [], {}, [[1], {"a": []}], {"custom_id": 1, "url": 2}),
    *({"model": [{"model": None}]}, *TEXTS),
)
NAMES = ("a", "b", "ä", "狐", "r 1", "r-1", "x" * 70, "😀", "line", '"')

texts = st.sampled_from(TEXTS)
filled = st.sampled_from(TEXTS[1:])
names = st.sampled_from(NAMES)
values = st.sampled_from(VALUES)
_more: st.SearchStrategy[dict[str, Any]] = st.just({}) | st.builds(
    lambda one, two: {"xa": one, "xb": two}, values, values
)


@dataclass(frozen=True, slots=True)
class Style:
    """How an object is written: JSON leaves a lot open."""

    ascii: bool
    separators: tuple[str, str]
    turned: bool
    around: str

    def line(self, record: dict[str, Any]) -> bytes:
        """One record, without its newline."""
        items = list(record.items())
        text = json.dumps(
            dict(reversed(items) if self.turned else items),
            ensure_ascii=self.ascii,
            separators=self.separators,
        )
        return f"{self.around}{text}{self.around}".encode()


styles = st.sampled_from(
    [
        Style(ascii=True, separators=(", ", ": "), turned=False, around=""),
        Style(ascii=False, separators=(",", ":"), turned=False, around=""),
        Style(ascii=False, separators=(" ,\t", " : "), turned=True, around=""),
        Style(ascii=True, separators=(",", ":"), turned=True, around=" "),
        Style(ascii=False, separators=(", ", ": "), turned=False, around="\t"),
    ]
)


@dataclass(frozen=True, slots=True)
class Records:
    """A file: its records, and how each is written."""

    records: list[dict[str, Any]]
    styles: list[Style]
    last_newline: bool = True

    @property
    def lines(self) -> list[bytes]:
        """All lines without their newlines."""
        return [style.line(one) for style, one in zip(self.styles, self.records, strict=True)]


def joined(lines: list[bytes], *, last_newline: bool = True) -> bytes:
    """The bytes of a file."""
    return b"\n".join(lines) + b"\n" * last_newline


@st.composite
def batches(draw: st.DrawFn, fewest: int = 1, most: int = 6, url: str | None = None) -> Records:
    """A clean batch."""
    count = draw(st.integers(fewest, most))
    url = url or draw(st.sampled_from(URLS))
    model = draw(names)
    ids = draw(st.permutations(NAMES))[:count]
    records: list[dict[str, Any]] = []
    for custom_id in ids:
        body: dict[str, Any] = {**draw(_more), "model": model}
        if url == EMBEDDINGS:
            body["input"] = draw(inputs)
        record = {"custom_id": custom_id, "method": "POST", "url": url, "body": body}
        records.append({**draw(_more), **record})
    written = draw(st.lists(styles, min_size=count, max_size=count))
    return Records(records, written, draw(st.booleans()))


inputs = st.sampled_from(
    ["a", "", [1, 2, 3], ["a"], ["a", "b", "[c"], [[1], [2, 3]], [[1]], "[1, 2]"]
)


def asked(given: object) -> int:
    """How many embeddings an ``input`` asks for, as the API's reference has it."""
    if isinstance(given, list) and isinstance(given[0], str | list):
        return len(given)
    return 1


def _said(role: str, content: object = "yes", **more: object) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


_PICTURE = [{"type": "image_url", "image_url": {"url": "x"}}]
_before = st.sampled_from(
    [
        [],
        [_said("user", "größer")],
        [_said("system"), _said("user", _PICTURE, name="me")],
        [_said("developer"), _said("user"), _said("assistant", weight=0), _said("tool")],
    ]
)
_reply = st.sampled_from(
    [
        _said("assistant"),
        _said("assistant", None, tool_calls=[{"id": "1"}]),
        _said("assistant", "\n", refusal=None, weight=1),
    ]
)
_last = st.sampled_from([_said("user"), _said("user", _PICTURE)])

examples: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "chat": st.builds(
        lambda before, reply: {"messages": [*before, reply], "tools": []}, _before, _reply
    ),
    "completions": st.builds(
        lambda prompt, completion: {"prompt": prompt, "completion": completion}, filled, filled
    ),
    "preference": st.builds(
        lambda before, last, good, bad, word: {
            "input": {"messages": [*before, last]},
            f"preferred_{word}": [good],
            f"non_preferred_{word}": [bad],
        },
        *(_before, _last, _reply, _reply, st.sampled_from(["output", "completion"])),
    ),
    "reinforcement": st.builds(
        lambda before, last, answer: {"messages": [*before, last], "answer": answer},
        *(_before, _last, values),
    ),
}


@st.composite
def tunings(draw: st.DrawFn, kind: str, fewest: int = 10, most: int = 11) -> Records:
    """A clean fine-tuning file."""
    count = draw(st.integers(fewest, most))
    records = draw(st.lists(examples[kind], min_size=count, max_size=count))
    written = draw(st.lists(styles, min_size=count, max_size=count))
    return Records(records, written, draw(st.booleans()))


@dataclass(frozen=True, slots=True)
class Defect:
    """Something wrong with one line.

    Attributes:
        code: What has to be found.
        spoil: Makes the line wrong, given the record and how it is written.
        error: Whether that is an error.
        first: Whether it can be in the first line as well.
    """

    code: str
    spoil: Callable[[dict[str, Any], Style], bytes]
    error: bool = True
    first: bool = True


def _with(**changed: Any) -> Callable[[dict[str, Any], Style], bytes]:
    return lambda record, style: style.line({**record, **changed})


def _without(name: str) -> Callable[[dict[str, Any], Style], bytes]:
    return lambda record, style: style.line(
        {key: value for key, value in record.items() if key != name}
    )


def _body(**changed: Any) -> Callable[[dict[str, Any], Style], bytes]:
    return lambda record, style: style.line({**record, "body": {**record["body"], **changed}})


def _raw(name: str, value: bytes) -> Callable[[dict[str, Any], Style], bytes]:
    """A member that no record can have, somewhere that a fast reader skips."""
    return lambda record, style: style.line(record).replace(
        b"{", b'{"%s":%s,' % (name.encode(), value), 1
    )


def _text(change: Callable[[bytes], bytes]) -> Callable[[dict[str, Any], Style], bytes]:
    return lambda record, style: change(style.line(record))


# Of any line that has to be an object.
LINES = (
    Defect("invalid_utf8", _raw("x", b'"\xff"')),
    Defect("invalid_utf8", _raw("x", b'"\xc3"')),
    Defect("invalid_utf8", _raw("x", b'"\xed\xa0\x80"')),
    Defect("invalid_json_line", _text(lambda line: line.rstrip()[:-1])),
    Defect("invalid_json_line", _text(lambda line: line + b"{}")),
    Defect("invalid_json_line", _text(lambda line: line + b",")),
    Defect("invalid_json_line", _text(lambda line: b"[" + line + b"]")),
    Defect("invalid_json_line", _text(lambda _line: b'"text"')),
    Defect("invalid_json_line", _text(lambda _line: b"null")),
    Defect("invalid_json_line", _text(lambda line: line.replace(b'"', b"'"))),
    Defect("invalid_json_line", _raw("x", b"NaN")),
    Defect("invalid_json_line", _raw("x", b"-Infinity")),
    Defect("invalid_json_line", _raw("x", b"01")),
    Defect("invalid_json_line", _raw("x", b'"\x01"')),
    Defect("invalid_json_line", _raw("x", b"[1,]")),
    Defect("invalid_json_line", _text(lambda line: b"\x0b" + line)),
    Defect("blank_line", lambda _record, _style: b"", error=False),
    Defect("blank_line", lambda _record, _style: b" \t", error=False),
    Defect("crlf", _text(lambda line: line + b"\r"), error=False),
    Defect("lone_surrogate", _raw("x", rb'"\ud800"'), error=False),
    Defect("lone_surrogate", _raw("x", rb'"a\uDC00b"'), error=False),
    Defect("deep_nesting", _raw("x", b"[" * 5000 + b"]" * 5000), error=False),
)
BATCH = (
    *LINES,
    Defect("missing_custom_id", _without("custom_id")),
    Defect("missing_custom_id", _with(custom_id=None)),
    Defect("invalid_custom_id", _with(custom_id=7)),
    Defect("invalid_custom_id", _with(custom_id=["a"])),
    Defect("invalid_custom_id", _with(custom_id=True)),
    Defect("invalid_custom_id", _with(custom_id=""), error=False),
    Defect("missing_required_parameter", _without("method")),
    Defect("missing_required_parameter", _without("url")),
    Defect("missing_required_parameter", _without("body")),
    Defect("missing_required_parameter", _with(body={"input": "no model"})),
    Defect("invalid_method", _with(method="GET")),
    Defect("invalid_method", _with(method="post")),
    Defect("invalid_method", _with(method=1)),
    Defect("invalid_url", _with(url="/v1/files")),
    Defect("invalid_url", _with(url="https://api.openai.com/v1/responses")),
    Defect("invalid_url", _with(url=3)),
    Defect("url_mismatch", _with(url="/v1/moderations"), first=False),
    Defect("invalid_request", _with(body=[])),
    Defect("invalid_request", _with(body="text")),
    Defect("invalid_request", _body(model=3)),
    Defect("model_mismatch", _body(model="another"), first=False),
)


def _messages(change: Callable[[list[Any]], object]) -> Callable[[dict[str, Any], Style], bytes]:
    return lambda record, style: style.line({**record, "messages": change(record["messages"])})


_ANSWER = {"role": "assistant", "content": "yes"}
_MESSAGES = (
    Defect("missing_messages_list", _messages(lambda _: []), first=False),
    Defect("missing_messages_list", _messages(lambda _: None), first=False),
    Defect("missing_messages_list", _messages(lambda said: ["text", *said])),
    Defect("message_missing_key", _messages(lambda said: [{"content": "x"}, *said])),
    Defect("message_missing_key", _messages(lambda said: [{"role": 1}, *said])),
    Defect(
        "unrecognized_role",
        _messages(lambda said: [{**said[0], "role": "bot"}, *said]),
        error=False,
    ),
    Defect(
        "message_unrecognized_key",
        _messages(lambda said: [{**said[0], "x": 1}, *said]),
        error=False,
    ),
    Defect(
        "missing_content",
        _messages(lambda said: [{"role": "user", "content": ""}, *said]),
        error=False,
    ),
    Defect("missing_content", _messages(lambda said: [{"role": "user"}, *said]), error=False),
)
TUNING: dict[str, tuple[Defect, ...]] = {
    "chat": (
        *LINES,
        *_MESSAGES,
        Defect("missing_messages_list", _without("messages"), first=False),
        Defect(
            "example_missing_assistant_message",
            _messages(lambda _: [{"role": "user", "content": "x"}]),
            error=False,
            first=False,
        ),
        Defect(
            "unexpected_last_message",
            _messages(lambda said: [*said, {"role": "user", "content": "x"}]),
            error=False,
            first=False,
        ),
        Defect("format_mismatch", lambda _r, style: style.line({"prompt": "a"}), first=False),
    ),
    "completions": (
        Defect("missing_required_parameter", _without("prompt")),
        Defect("missing_required_parameter", _with(completion=None)),
        Defect("missing_content", _with(completion=""), error=False),
        Defect("format_mismatch", _with(preferred_output=[_ANSWER]), first=False),
    ),
    "preference": (
        Defect("missing_required_parameter", _without("input")),
        Defect("missing_required_parameter", _with(input=[])),
        Defect("missing_messages_list", _with(input={})),
        Defect(
            "format_mismatch", lambda _r, style: style.line({"messages": [_ANSWER]}), first=False
        ),
    ),
    "reinforcement": (
        *_MESSAGES,
        Defect(
            "unexpected_last_message",
            _messages(lambda said: [*said, _ANSWER]),
            error=False,
            first=False,
        ),
    ),
}
