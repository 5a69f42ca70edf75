"""Profiles and headers as people write them, and what they mean.

A key never stands in a profile, only the variable that holds it; a header's value may be
given so too. Variables are looked up when they are needed, so that a profile that nobody uses
cannot fail, and no error ever shows a value.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from chunkup.errors import BadOption, NoKey
from chunkup.models import PART_SIZE
from chunkup.text import parse_duration, parse_size, printable

# As RFC 9110 has it. What does not fit may be a piece of a secret, and is not shown.
HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_ENV: Final = "env:"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Header:
    """A header as somebody wrote it: a name, and a value or ``env:`` and a variable's name."""

    name: str
    written: str = field(repr=False)

    @property
    def literal(self) -> bool:
        """Whether the value itself was written, so that it must not be shown to anybody."""
        return not self.written.startswith(_ENV)

    def value(self, environ: Mapping[str, str], whose: str = "") -> str:
        """The value as it is now.

        Raises:
            BadOption: The variable that is to hold it is not set.
        """
        if self.literal:
            return self.written
        variable = self.written.removeprefix(_ENV)
        found = environ.get(variable, "").strip()
        if not found:
            raise BadOption(
                f"the header {self.name}{whose} comes from {variable}, which is not set",
                hint=f"export {variable}=...",
            )
        return found


def parse_header(text: str) -> Header:
    """The header of ``Name: value`` or ``Name: env:VARIABLE``.

    Raises:
        BadOption: It is none. Nothing of it is shown but a proper name.
    """
    name, colon, written = (piece.strip() for piece in text.partition(":"))
    if not colon or not HEADER_NAME.fullmatch(name):
        raise BadOption(
            "a header that was given has no name in front of a colon",
            hint="write --header 'Name: value', or --header 'Name: env:VARIABLE'",
        )
    return _header(name, written)


def parse_headers(lines: str) -> list[Header]:
    """The headers of ``CHUNKUP_HEADERS``: one a line, empty lines left out.

    Raises:
        BadOption: As :func:`parse_header`.
    """
    return [parse_header(line) for line in lines.split("\n") if line.strip()]


def _header(name: str, written: str) -> Header:
    if not written:
        raise BadOption(f"the header {name} has no value", hint="leave that header away")
    if written.startswith(_ENV) and not _VARIABLE.fullmatch(written.removeprefix(_ENV)):
        raise BadOption(
            f"the header {name} names no variable after env:", hint=f"write '{name}: env:VARIABLE'"
        )
    return Header(name, written)


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile; None where it says nothing. Sizes in bytes, times in seconds.

    ``api_key`` is the name of the variable that holds the key. ``part_limit`` and
    ``upload_limit`` are what the provider takes at most.
    """

    name: str
    base_url: str | None = None
    organization: str | None = None
    project: str | None = None
    api_key: str | None = None
    headers: tuple[Header, ...] = ()
    no_key: bool | None = None
    allow_http: bool | None = None
    workers: int | None = None
    part_size: int | None = None
    retries: int | None = None
    stall_timeout: float | None = None
    offline_wait: float | None = None
    part_limit: int | None = None
    upload_limit: int | None = None

    @property
    def label(self) -> str:
        """Its name, safe on a terminal."""
        return printable(self.name, 80)

    def key(self, environ: Mapping[str, str]) -> str | None:
        """The key as it is now; None if the profile names no variable for it.

        Raises:
            NoKey: That variable is not set.
        """
        if self.api_key is None:
            return None
        found = environ.get(self.api_key, "").strip()
        if not found:
            raise NoKey(
                f"the key of profile {self.label} comes from {self.api_key}, which is not set",
                hint=f"export {self.api_key}=...",
            )
        return found

    def defaults(self) -> dict[str, Any]:
        """What stands in place of an option's own default, by the option's name."""
        part_size = self.part_size
        if part_size is None and self.part_limit is not None:
            part_size = min(PART_SIZE, self.part_limit)
        said = {
            "base_url": self.base_url,
            "organization": self.organization,
            "project": self.project,
            "no_key": self.no_key,
            "allow_http": self.allow_http,
            "workers": self.workers,
            "part_size": part_size,
            "retries": self.retries,
            "stall_timeout": self.stall_timeout,
            "offline_wait": self.offline_wait,
        }
        return {name: value for name, value in said.items() if value is not None}


# --- what a profile may say -----------------------------------------------------------------


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError('is to be text in quotes, such as "https://host/v1"')
    return value.strip()


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is to be true or false")  # noqa: TRY004  (all wrong values are one kind)
    return value


def _key_variable(value: object) -> str:
    if not isinstance(value, str) or not value.startswith(_ENV):
        raise ValueError('names the variable that holds the key: api_key = "env:VARIABLE"')
    if not _VARIABLE.fullmatch(value.removeprefix(_ENV)):
        raise ValueError('names no variable after env:, as in api_key = "env:VARIABLE"')
    return value.removeprefix(_ENV)


def _headers(value: object) -> tuple[Header, ...]:
    if not isinstance(value, dict):
        raise ValueError('is a table, such as { X-Name = "value", X-Other = "env:VARIABLE" }')  # noqa: TRY004  (the same)
    found = []
    for name, written in value.items():
        if not HEADER_NAME.fullmatch(name) or not isinstance(written, str):
            raise ValueError("has an entry that is not a name and a text in quotes")
        found.append(_header(name, written.strip()))
    return tuple(found)


def _whole(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"is to be a whole number from {least} to {most}")
        return value

    return read


def _size(value: object) -> int:
    size = value if isinstance(value, int) and not isinstance(value, bool) else 0
    if isinstance(value, str):
        size = parse_size(value)
    if size < 1:
        raise ValueError('is to be a size such as "64MiB"')
    return size


def _duration(*, zero: bool) -> Callable[[object], float]:
    def read(value: object) -> float:
        seconds = -1.0
        if isinstance(value, str):
            seconds = parse_duration(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            seconds = float(value)
        if not (0 if zero else 1e-9) <= seconds < float("inf"):
            raise ValueError('is to be a duration such as "90s" or "15m"')
        return seconds

    return read


# The bounds are those of the options of the same names.
_READERS: Final[dict[str, Callable[[object], Any]]] = {
    "base_url": _text,
    "organization": _text,
    "project": _text,
    "api_key": _key_variable,
    "headers": _headers,
    "no_key": _flag,
    "allow_http": _flag,
    "workers": _whole(1, 64),
    "part_size": _size,
    "retries": _whole(0, 100),
    "stall_timeout": _duration(zero=False),
    "offline_wait": _duration(zero=True),
}
_LIMITS: Final[dict[str, Callable[[object], Any]]] = {"part": _size, "upload": _size}


def read_profile(name: str, table: object, place: str) -> Profile:
    """The profile that a TOML table describes; ``place`` says in errors where that is.

    Raises:
        BadOption: A key or a value that cannot be. Of values, only harmless ones are shown.
    """
    place = f"[profiles.{printable(name, 80)}] in {place}"
    if not isinstance(table, dict):
        raise BadOption(f"{place} is no table", hint="write its keys below [profiles.NAME]")
    said = _understood(table, {**_READERS, "limits": lambda value: value}, place)
    limits = said.pop("limits", {})
    if not isinstance(limits, dict):
        raise BadOption(f"{place}: limits is a table", hint='write limits = { part = "64MiB" }')
    for what, size in _understood(limits, _LIMITS, f"{place}, limits").items():
        said[f"{what}_limit"] = size
    if said.get("no_key") and said.get("api_key"):
        raise BadOption(f"{place} has an api_key and says no_key", hint="leave one of them away")
    return Profile(name, **said)


def _understood(
    table: dict[str, Any], readers: Mapping[str, Callable[[object], Any]], place: str
) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for key, value in table.items():
        if key not in readers:
            raise BadOption(
                f"{place} says {printable(key, 80)!r}, which is not known",
                hint="known are " + ", ".join(readers),
            )
        try:
            said[key] = readers[key](value)
        except ValueError as error:
            raise BadOption(f"{place}: {key} {error}", hint="repair it there") from None
        except BadOption as error:
            raise BadOption(f"{place}: {error.message}", hint=error.hint) from None
    return said
