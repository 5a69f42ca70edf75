"""Profiles and headers as people write them, and what they mean.

A key never stands in a profile, only the variable that holds it; a header's value may be
given so too. Variables are looked up when they are needed, so that a profile that nobody uses
cannot fail, and no error ever shows a value.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from chunkup.errors import BadOption, NoKey
from chunkup.models import PART_SIZE, Limits
from chunkup.providers.dialect import Auth
from chunkup.text import printable

# As RFC 9110 has it. What does not fit may be a piece of a secret, and is not shown.
HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
ENV: Final = "env:"
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Header:
    """A header as somebody wrote it: a name, and a value or ``env:`` and a variable's name."""

    name: str
    written: str = field(repr=False)

    @property
    def literal(self) -> bool:
        """Whether the value itself was written, so that it must not be shown to anybody."""
        return not self.written.startswith(ENV)

    def value(self, environ: Mapping[str, str], whose: str = "") -> str:
        """The value as it is now.

        Raises:
            BadOption: The variable that is to hold it is not set.
        """
        if self.literal:
            return self.written
        variable = self.written.removeprefix(ENV)
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
    return make_header(name, written)


def parse_headers(lines: str) -> list[Header]:
    """The headers of ``CHUNKUP_HEADERS``: one a line, empty lines left out.

    Raises:
        BadOption: As :func:`parse_header`.
    """
    return [parse_header(line) for line in lines.split("\n") if line.strip()]


def make_header(name: str, written: str) -> Header:
    """A header whose name is known to be proper.

    Raises:
        BadOption: Its value is empty, or names no variable after ``env:``.
    """
    if not written:
        raise BadOption(f"the header {name} has no value", hint="leave that header away")
    if written.startswith(ENV) and not VARIABLE.fullmatch(written.removeprefix(ENV)):
        raise BadOption(
            f"the header {name} names no variable after env:", hint=f"write '{name}: env:VARIABLE'"
        )
    return Header(name, written)


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile; None where it says nothing. Sizes in bytes, times in seconds.

    ``api_key`` is the name of the variable that holds the key. ``preset`` is the name of a
    :class:`~chunkup.providers.Provider`; ``query`` is added to every URL; ``method`` is what
    ``--method`` says otherwise; ``cacert``, ``client_cert`` and ``client_key`` are paths. The
    limits are what the provider takes at most: of a part, of a
    file in parts, of a file in one request, and for single purposes.
    """

    name: str
    base_url: str | None = None
    preset: str | None = None
    organization: str | None = None
    project: str | None = None
    api_key: str | None = None
    auth: Auth | None = None
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[Header, ...] = ()
    no_key: bool | None = None
    allow_http: bool | None = None
    cacert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    method: str | None = None
    workers: int | None = None
    part_size: int | None = None
    retries: int | None = None
    stall_timeout: float | None = None
    offline_wait: float | None = None
    limit_rate: float | None = None
    part_limit: int | None = None
    upload_limit: int | None = None
    file_limit: int | None = None
    purpose_limits: tuple[tuple[str, int], ...] = ()

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

    @property
    def has_limits(self) -> bool:
        """Whether it says what the provider takes."""
        sizes = (self.part_limit, self.upload_limit, self.file_limit)
        return bool(self.purpose_limits) or any(size is not None for size in sizes)

    def limits(self, known: Limits) -> Limits:
        """What the provider takes: ``known``, but for what this profile says."""
        return replace(
            known,
            part=self.part_limit or known.part,
            upload=self.upload_limit or known.upload,
            file=self.file_limit or known.file,
            by_purpose=tuple({**dict(known.by_purpose), **dict(self.purpose_limits)}.items()),
        )

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
            "cacert": self.cacert,
            "client_cert": self.client_cert,
            "client_key": self.client_key,
            "method": self.method,
            "workers": self.workers,
            "part_size": part_size,
            "retries": self.retries,
            "stall_timeout": self.stall_timeout,
            "offline_wait": self.offline_wait,
            "limit_rate": self.limit_rate,
        }
        return {name: value for name, value in said.items() if value is not None}
