r"""Events as JSON for programs: one object a line, described by ``events.schema.json``.

Lines are pure ASCII. A path that is not UTF-8 keeps its bytes as lone surrogates, written
``\udcff``, from which ``os.fsencode`` makes the path again. A number that JSON has no word for,
such as the endless lateness of an upload that does not move, is null.
"""

import json
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from importlib.resources import files
from math import isfinite
from typing import Any, Final, cast

from chunkup.events import Event, Summary

VERSION: Final = 1
_BETWEEN_WORDS: Final = re.compile(r"(?<!^)(?=[A-Z])")


def name_of(kind: type[Event | Summary]) -> str:
    """What an event is called in JSON: its class's name in snake_case."""
    return _BETWEEN_WORDS.sub("_", kind.__name__).lower()


def record(event: Event | Summary) -> dict[str, Any]:
    """An event as JSON values: ``v``, ``time``, ``event``, then its own fields in their order."""
    own = _plain(event)
    return {"v": VERSION, "time": own.pop("time"), "event": name_of(type(event)), **own}


def schema() -> dict[str, Any]:
    """The JSON Schema (Draft 2020-12) of a line."""
    text = files("chunkup.render").joinpath("events.schema.json").read_text(encoding="utf-8")
    return cast("dict[str, Any]", json.loads(text))


class JsonLines:
    """Writes each event as one line; ``write`` gets it without the line's end."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def show(self, event: Event | Summary) -> None:
        """Write one event. What ``write`` raises is the caller's."""
        self._write(json.dumps(record(event), ensure_ascii=True, allow_nan=False))


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
