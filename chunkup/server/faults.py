"""Faults on purpose, as data: which requests are struck, and what they and their clients meet.

A fault answers four questions, and whatever it leaves open goes as it would without it: how much
of the request is read, whether it is carried out, what its answer is, and how that answer leaves.
What contradicts itself is refused in one sentence.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Final, TypedDict

ROUTES: Final = {
    ("POST", "/v1/uploads"): "create",
    ("POST", "/v1/uploads/{upload_id}/parts"): "part",
    ("POST", "/v1/uploads/{upload_id}/complete"): "complete",
    ("POST", "/v1/uploads/{upload_id}/cancel"): "cancel",
    ("POST", "/v1/files"): "file",
    ("GET", "/v1/files"): "list",
    ("GET", "/v1/files/{file_id}"): "retrieve",
    ("GET", "/v1/files/{file_id}/content"): "content",
    ("DELETE", "/v1/files/{file_id}"): "delete",
}

CALLS: Final = tuple(ROUTES.values())
"""The calls that can fail; `file` is POST /files, a whole file in one request."""

ANY: Final = "any"
"""In a fault: whatever of `CALLS` a request is."""

BODILESS: Final = frozenset({"list", "retrieve", "content", "delete"})
_FLAGS = ("drop_answer", "reset", "hang", "garble", "gzip")
_SECONDS = ("hold", "delay", "trickle")
_WHOLE = {"nth": 1, "times": 1, "every": 1, "until": 1, "after": 0, "cut": 0}

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[\t -~]*")
# They say where an answer ends and when it was given, which is for the server to know.
_FRAMING = frozenset({"content-length", "transfer-encoding", "date"})
# What may be long, or nobody's business, stands in a plan and in no message.
_UNSHOWN = frozenset({"body", "headers", "message"})


class Words(TypedDict, total=False):
    """What a fault may say beside its call; `Fault` says what it means."""

    nth: int
    times: int | None
    every: int | None
    until: int | None
    probability: float | None
    drop_answer: bool
    reset: bool
    hang: bool
    status: int | None
    body: Any
    message: str | None
    headers: Mapping[str, str]
    carried_out: bool | None
    after: int | None
    hold: float
    delay: float
    cut: int | None
    trickle: float
    garble: bool
    gzip: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to which requests of a call, or of all calls (`any`).

    Which: the `nth` of them and those after it up to `times` (one, but without end where one of
    the next two stands); with `every` each so many-th from there; with `probability` those that
    chance picks; none beyond the one whose number is `until`.

    What: `drop_answer` ends the connection instead of answering, `reset` breaks it, `hang` does
    neither until client or server go. `status` (300 to 599, with the error's `message`) or `body`
    (text as it stands, or JSON; with any status from 200) answer in the server's stead;
    `{upload_id}` and `{file_id}` in it become what the request named. Without one of these the
    answer is the request's own. `headers` are added to either.

    `carried_out` says whether the request is carried out: unless said, it is before a connection
    ends and where the answer is its own. With `after` only so many bytes of the request's body
    are read, and a few that were on their way. `hold` and `delay` are seconds: between its arrival
    and its being carried out, and between that and the answer. `garble` flips one bit of the
    content that is stored. `gzip` compresses the answer's body, `trickle` puts so many seconds
    after each byte of it, `cut` ends the connection after so many.

    Raises:
        TypeError: it contradicts itself or says nothing, or a value is of another type.
        ValueError: an unknown call, or a value out of bounds.
    """

    call: str
    nth: int = 1
    times: int | None = None
    every: int | None = None
    until: int | None = None
    probability: float | None = None
    drop_answer: bool = False
    reset: bool = False
    hang: bool = False
    status: int | None = None
    body: Any = None
    message: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    carried_out: bool | None = None
    after: int | None = None
    hold: float = 0
    delay: float = 0
    cut: int | None = None
    trickle: float = 0
    garble: bool = False
    gzip: bool = False

    def __post_init__(self) -> None:
        if self.call != ANY and self.call not in CALLS:
            said = f"{self.call!r} is not a call; the calls are {', '.join(CALLS)}, or {ANY}"
            raise ValueError(said)
        for name in _FLAGS:
            _check_flag(name, getattr(self, name))
        if self.carried_out is not None:
            _check_flag("carried_out", self.carried_out)
        for name, least in _WHOLE.items():
            if name == "nth" or getattr(self, name) is not None:
                _check_whole(name, getattr(self, name), least)
        for name in _SECONDS:
            _check_number(name, getattr(self, name), 86_400, from_zero=True)
        if self.probability is not None:
            _check_number("probability", self.probability, 1, from_zero=False)
        if self.until is not None and self.until < self.nth:
            raise ValueError(f"until {self.until} is before nth {self.nth}: nothing is struck")
        if self.status is not None:
            _check_status(self.status, with_body=self.body is not None)
        _check_words(self.headers, self.message)
        _check_body(self.body)
        for sentence in _contradictions(self):
            raise TypeError(sentence)

    def __str__(self) -> str:
        said = [
            f"{name}={'...' if name in _UNSHOWN else repr(value)}"
            for name, value in self.as_data().items()
            if name != "call"
        ]
        return f"fault({', '.join([repr(self.call), *said])})"

    @property
    def most(self) -> float:
        """How many requests are struck at most; infinite where there is no end."""
        if self.times is not None:
            return self.times
        return 1 if self.every is None and self.probability is None else math.inf

    @property
    def silent(self) -> bool:
        """Whether there is no answer."""
        return self.drop_answer or self.reset or self.hang

    @property
    def made_up(self) -> bool:
        """Whether the answer is the fault's, and not the request's own."""
        return self.status is not None or self.body is not None

    @property
    def is_streamed(self) -> bool:
        """Whether the answer's body leaves piece by piece, or not all of it."""
        return self.cut is not None or self.trickle > 0

    @property
    def carries_out(self) -> bool:
        """Whether the request is carried out."""
        if self.carried_out is not None:
            return self.carried_out
        return not (self.hang or self.made_up or self.after is not None)

    def as_data(self) -> dict[str, Any]:
        """Return what was said as JSON has it, in the order of the fields."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: dict(value) if name == "headers" else value
            for name, value in found.items()
            if value != _USUAL[name]
        }

    @classmethod
    def of_data(cls, data: Any) -> "Fault":
        """Return the fault that `as_data` gave; raises as the constructor does."""
        if not isinstance(data, dict):
            raise TypeError(f"a fault is an object, not {data!r:.50}")
        for name in data:
            if name not in _USUAL:
                near = get_close_matches(name, _USUAL, n=1)
                meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_USUAL)}"
                raise TypeError(f"a fault has no {name!r:.50}; {meant}")
        if "call" not in data:
            raise TypeError(f"a fault names its call: {', '.join(CALLS)}, or {ANY}")
        return cls(**data)


_USUAL: Final[dict[str, Any]] = {
    each.name: {} if each.name == "headers" else None if each.default is MISSING else each.default
    for each in fields(Fault)
}


def _contradictions(fault: Fault) -> Iterator[str]:
    """What of a fault cannot be, or cannot be together, each in a sentence."""
    said = fault.as_data()
    ends: list[str] = [name for name in ("drop_answer", "reset", "hang") if name in said]
    ends += [name for name in ("status", "body") if name in said][:1]
    if len(ends) > 1:
        yield f"a request ends in one way, not in {' and '.join(ends)}"
    shaping = ("headers", "message", "cut", "trickle", "gzip")
    for name in [name for name in shaping if fault.silent and name in said]:
        yield f"{ends[0]} gives no answer, so there is none that could have {name}"
    if fault.message is not None and (fault.status is None or fault.body is not None):
        yield "a message belongs to a status without a body: it is what the error says"
    if fault.status in {204, 205, 304}:
        for name in [name for name in ("body", "cut", "trickle", "gzip") if name in said]:
            yield f"an answer with status {fault.status} has no body, so {name} says nothing"
    if fault.hang and fault.delay:
        yield "hang never ends, so nothing comes after its delay"
    if not ends and fault.after is not None:
        yield "with after the rest is not read: say what happens then, such as hang or a status"
    if not ends and fault.carried_out is False:
        yield "what is not carried out has no answer of its own: say what happens instead"
    if fault.after is not None and fault.carried_out:
        yield "with after the rest is not read, so the request cannot be carried out"
    for name in [name for name in ("hold", "garble") if name in said and not fault.carries_out]:
        yield f"{name} is for a request that is carried out, and this one is not"
    if fault.garble and fault.call not in {"part", "file"}:
        yield f"garble is for part and file: {fault.call} has no content to be stored"
    if fault.after is not None and fault.call in BODILESS:
        yield f"after counts the bytes of a request's body, and {fault.call} has none"
    if fault.every is not None and fault.probability is not None:
        yield "every picks requests by their number and probability by chance: say one of them"
    what = said.keys() & {*_FLAGS, *_SECONDS, "status", "body", "headers", "cut"}
    if not what:
        yield "a fault says what happens, such as drop_answer=True, status=503 or hang=True"


def _check_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {value!r}")


def _check_whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is a whole number, not {value!r:.50}")
    if value < least:
        raise ValueError(f"{name} is {least} or more, not {value!r:.50}")


def _check_number(name: str, value: Any, most: int, *, from_zero: bool) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} is a number, not {value!r:.50}")
    if not 0 <= value <= most or (value == 0 and not from_zero):
        least = "0" if from_zero else "above 0, up"
        raise ValueError(f"{name} is {least} to {most}, not {value!r:.50}")


def _check_status(status: Any, *, with_body: bool) -> None:
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"status is a whole number, not {status!r:.50}")
    if not (200 if with_body else 300) <= status <= 599:
        more = "" if with_body or not 200 <= status < 300 else "; below 300 it needs a body"
        raise ValueError(f"status is {200 if with_body else 300} to 599, not {status}{more}")


def _check_words(headers: Any, message: Any) -> None:
    if not isinstance(message, str | None):
        raise TypeError(f"message is text, not {message!r:.50}")
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers are a mapping of names to values, not {headers!r:.50}")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"headers are text, not {name!r}: {value!r}")
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"no answer can have the header {name!r}: {value!r}")
        if name.lower() in _FRAMING:
            raise ValueError(f"the header {name!r} is set by the server itself")


def _check_body(body: Any) -> None:
    try:
        text = body if isinstance(body, str) else json.dumps(body, allow_nan=False)
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("body is no Unicode text") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"body is text or JSON, not {body!r:.50}") from error
    # What JSON would write otherwise, such as a tuple, would not come back the same.
    if not isinstance(body, str) and json.loads(text) != body:
        raise TypeError(f"body is text or JSON, not {body!r:.50}")
