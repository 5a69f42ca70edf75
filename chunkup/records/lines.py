"""Lines as they come, and what is in them: the fast way for those that are as they should be."""

import json
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from itertools import accumulate
from typing import Any, Final, TypeVar

import msgspec

from chunkup.records.finding import Finding, shown

BLANK: Final = b" \t\r\n"
# What a decoder raises, whatever is wrong.
UNUSUAL: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_Row = TypeVar("_Row")


class Block:
    """Whole lines of a file, in order; the last may lack its newline.

    ``first`` is the number of the first line, from 1, and ``offset`` where it begins.
    """

    def __init__(self, data: bytes, first: int, offset: int) -> None:
        self.data = data
        self.first = first
        self.offset = offset
        # A single line is not copied: it may be as large as a file may be.
        self.lines = data.split(b"\n") if data.find(b"\n", 0, -1) >= 0 else [data]
        if not self.lines[-1] and len(self.lines) > 1:
            self.lines.pop()
        self.count = len(self.lines)

    @cached_property
    def texts(self) -> list[int]:
        """Where each line begins, if newlines had no length."""
        return list(accumulate(map(len, self.lines), initial=self.offset))

    def start(self, at: int) -> int:
        """At which byte of the file the line begins that has this index in the block."""
        return self.texts[at] + at

    @cached_property
    def full(self) -> bool:
        """Whether surely no line is blank: none begins with a blank, or is empty."""
        return min(self.lines) >= b"!"

    def rows(self, decode: Callable[[bytes], _Row]) -> list[_Row | None]:
        """What ``decode`` makes of each line; None where it is anything but that."""
        # msgspec does not look at the text that it skips.
        utf8 = _is_utf8(self.data)
        if utf8:
            with suppress(*UNUSUAL):
                return [decode(line) for line in self.lines]
        return [_row(decode, line) if utf8 or _is_utf8(line) else None for line in self.lines]


def _row(decode: Callable[[bytes], _Row], line: bytes) -> _Row | None:
    try:
        return decode(line)
    except UNUSUAL:
        return None


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def parse(data: bytes, line: int, offset: int) -> tuple[dict[str, Any] | None, list[Finding]]:
    """Say exactly what is wrong with a line, and give what is in it if that can be said.

    It is far slower than a decoder, and takes what a decoder refuses though a server may not.
    """

    def found(code: str, message: str, *, error: bool = True) -> Finding:
        return Finding(code, message, line, offset, error)

    try:
        text = data.decode()
    except UnicodeDecodeError as wrong:
        byte = data[wrong.start]
        said = f"byte {wrong.start} of the line, 0x{byte:02x}, is not UTF-8"
        return None, [found("invalid_utf8", said)]
    if not data.strip(BLANK):
        return None, [found("blank_line", "there is nothing in this line", error=False)]
    try:
        # Numbers of any length: all that matters is that they are some.
        value = json.loads(text, parse_constant=_no_constant, parse_int=float)
    except RecursionError:
        said = "this line is nested too deep to be checked"
        return None, [found("deep_nesting", said, error=False)]
    except json.JSONDecodeError as wrong:
        said = f"this line is not JSON: {_lower(wrong.msg)} at character {wrong.colno}"
        return None, [found("invalid_json_line", said)]
    except _NoJsonError as wrong:
        return None, [found("invalid_json_line", f"this line is not JSON: {wrong} is no number")]
    if not isinstance(value, dict):
        return None, [found("invalid_json_line", f"this line is {_kind(value)}, not an object")]
    findings = []
    if r"\u" in text and _half(value):
        said = r"an escape such as \ud800 stands for half a character"
        findings.append(found("lone_surrogate", said, error=False))
    return value, findings


class _NoJsonError(Exception):
    """Python takes it, and JSON does not."""


def _no_constant(name: str) -> None:
    raise _NoJsonError(name)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _kind(value: object) -> str:
    return "a string" if isinstance(value, str) else shown(value)


def _half(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False
