"""Faults as text: JSON, one object a line or a list of them, read strictly and written back."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from chunkup.server.faults import Fault

_BLANKS = " \t\r\n"


class PlanError(ValueError):
    """A plan that cannot be; `line` is where, counted from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line
        self.problem = problem


def read_plan(text: str) -> tuple[Fault, ...]:
    """Return the faults of a plan, in its order.

    Raises:
        PlanError: it is no JSON, has no faults, or one of them cannot be.
    """
    found = []
    for line, value in _values(text):
        try:
            found.append(Fault.of_data(value))
        except (TypeError, ValueError) as error:
            raise PlanError(line, str(error)) from error
    if not found:
        raise PlanError(1, "there is no fault in this plan")
    return tuple(found)


def plan_text(faults: Iterable[Fault]) -> str:
    """Return the plan that `read_plan` reads as these faults: one a line."""
    return "".join(json.dumps(fault.as_data()) + "\n" for fault in faults)


def _values(text: str) -> Iterator[tuple[int, Any]]:
    at = _skip(text, 0)
    if not text.startswith("[", at):
        while at < len(text):
            line, value, end = _value(text, at)
            yield line, value
            at = _skip(text, end)
            if at < len(text) and "\n" not in text[end:at]:
                raise PlanError(_line(text, at), "a line holds one fault, and this one goes on")
        return
    at = _skip(text, at + 1)
    more = not text.startswith("]", at)
    while more:
        line, value, end = _value(text, at)
        yield line, value
        at = _skip(text, end)
        more = text.startswith(",", at)
        if more:
            at = _skip(text, at + 1)
    if not text.startswith("]", at):
        raise PlanError(_line(text, at), "a list goes on with , or ends with ]")
    at = _skip(text, at + 1)
    if at < len(text):
        raise PlanError(_line(text, at), "the list has ended, and nothing comes after it")


def _value(text: str, at: int) -> tuple[int, Any, int]:
    line = _line(text, at)
    try:
        value, end = _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        problem = f"this is not JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        raise PlanError(error.lineno, f"{problem} (column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        raise PlanError(line, f"this is not JSON: {error}") from error
    return line, value, end


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANKS:
        at += 1
    return at


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r:.50} stands in it twice")
        found[name] = value
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"it has no {name}")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
