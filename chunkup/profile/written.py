"""What a profile in a file may say: the keys of a TOML table, read and judged.

An error names the place and the key, and of values only harmless ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from chunkup.errors import BadOption
from chunkup.models import LEAST_RATE, METHODS
from chunkup.profile import ENV, HEADER_NAME, VARIABLE, Header, Profile, make_header
from chunkup.providers import PRESETS
from chunkup.providers.dialect import Auth
from chunkup.text import parse_duration, parse_rate, parse_size, printable


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError('is to be text in quotes, such as "https://host/v1"')
    return value.strip()


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is to be true or false")  # noqa: TRY004  (all wrong values are one kind)
    return value


def _file(value: object) -> str:
    if not isinstance(value, str) or not value.startswith(("/", "~")) or not value.isprintable():
        raise ValueError('is to be a whole path in quotes, such as "~/company-ca.pem"')
    return value


def _key_variable(value: object) -> str:
    if not isinstance(value, str) or not value.startswith(ENV):
        raise ValueError('names the variable that holds the key: api_key = "env:VARIABLE"')
    if not VARIABLE.fullmatch(value.removeprefix(ENV)):
        raise ValueError('names no variable after env:, as in api_key = "env:VARIABLE"')
    return value.removeprefix(ENV)


def _headers(value: object) -> tuple[Header, ...]:
    if not isinstance(value, dict):
        raise ValueError('is a table, such as { X-Name = "value", X-Other = "env:VARIABLE" }')  # noqa: TRY004  (the same)
    found = []
    for name, written in value.items():
        if not HEADER_NAME.fullmatch(name) or not isinstance(written, str):
            raise ValueError("has an entry that is not a name and a text in quotes")
        found.append(make_header(name, written.strip()))
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


def _rate(value: object) -> float:
    if not isinstance(value, str):
        raise ValueError('is to be a rate in quotes, such as "5MB/s" or "40Mbit/s"')  # noqa: TRY004  (the same)
    rate = parse_rate(value)
    if rate < LEAST_RATE:
        raise ValueError(f'is to be "{LEAST_RATE >> 10}KiB/s" or more')
    return rate


def _preset(value: object) -> str:
    if not isinstance(value, str) or value not in PRESETS:
        raise ValueError(f"is to be one of {', '.join(sorted(PRESETS))}")
    return value


def _auth(value: object) -> Auth:
    if not isinstance(value, str) or value not in set(Auth):
        raise ValueError(f"is to be one of {', '.join(Auth)}")
    return Auth(value)


def _method(value: object) -> str:
    if value not in METHODS:
        raise ValueError(f"is to be one of {', '.join(METHODS)}")
    return str(value)


def _query(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise ValueError('is a table, such as { api-version = "2024-10-21" }')  # noqa: TRY004  (the same)
    return tuple((_text(name), _text(said)) for name, said in value.items())


def _purposes(value: object) -> tuple[tuple[str, int], ...]:
    if not isinstance(value, dict):
        raise ValueError('is a table, such as { batch = "200MB" }')  # noqa: TRY004  (the same)
    return tuple((purpose, _size(size)) for purpose, size in value.items())


# The bounds are those of the options of the same names.
_READERS: Final[dict[str, Callable[[object], Any]]] = {
    "base_url": _text,
    "preset": _preset,
    "organization": _text,
    "project": _text,
    "api_key": _key_variable,
    "auth": _auth,
    "query": _query,
    "headers": _headers,
    "no_key": _flag,
    "allow_http": _flag,
    # A command that is run elsewhere means the same file.
    "cacert": _file,
    "client_cert": _file,
    "client_key": _file,
    "method": _method,
    "workers": _whole(1, 64),
    "part_size": _size,
    "retries": _whole(0, 100),
    "stall_timeout": _duration(zero=False),
    "offline_wait": _duration(zero=True),
    "limit_rate": _rate,
}
_LIMITS: Final[dict[str, Callable[[object], Any]]] = {
    "part": _size,
    "upload": _size,
    "file": _size,
    "purposes": _purposes,
}


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
        said["purpose_limits" if what == "purposes" else f"{what}_limit"] = size
    if said.get("no_key") and said.get("api_key"):
        raise BadOption(f"{place} has an api_key and says no_key", hint="leave one of them away")
    return completed(Profile(name, **said))


def completed(profile: Profile) -> Profile:
    """A profile with its preset's address and key, where it names none of its own.

    A preset's key belongs to the preset's address: a profile that goes elsewhere names its own.
    """
    preset = PRESETS.get(profile.preset or "")
    if preset is None or preset.base_url is None or profile.base_url is not None:
        return profile
    key = None if profile.no_key else profile.api_key or preset.key
    return replace(profile, base_url=preset.base_url, api_key=key)


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
