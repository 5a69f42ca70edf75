r"""One line of a manifest: what it says, and how it is written and read.

Lines are pure ASCII. A path that is not UTF-8 keeps its bytes as lone surrogates, written
``\udcff``, from which ``os.fsencode`` makes the path again.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from importlib.resources import files
from typing import Any, Final, cast

from chunkup.models import Account

VERSION: Final = 1
_MD5: Final = re.compile(r"[0-9a-f]{32}")

# What tells entries apart: source, start, stop, purpose and base URL.
Key = tuple[str, int, int, str, str]


@dataclass(frozen=True, slots=True)
class Attempts:
    """What a File took: runs of its job, and Uploads or single requests that were begun."""

    runs: int = 0
    uploads: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A File, and the stretch of a file that it is.

    Attributes:
        source: The file, absolute.
        given: The path as the command had it.
        start: The stretch's first byte.
        stop: The first byte after it.
        cut: Whether the stretch is a piece of its file, and not the whole.
        first_line: The number of its first line, from 1; None if lines were not counted.
        lines: How many there are in it.
        bytes: Bytes that were sent.
        md5: Of these bytes, in lowercase hex; None if it was not computed.
        file: The File's id.
        filename: The File's name, as it was asked for; what is ``reused`` has its older one there.
        created_at: When the File was made, Unix seconds of the server's clock; 0 if it did not say.
        expires_at: When it vanishes; None for never.
        account: Where it is, without headers and keys.
        job: The job's id.
        started_at: When the job was first run, Unix seconds.
        completed_at: When its File was known.
        attempts: What it took.
        reused: Whether the File was there already, and nothing was sent.
    """

    source: str
    given: str | None = None
    start: int
    stop: int
    cut: bool = False
    first_line: int | None = None
    lines: int | None = None
    bytes: int
    md5: str | None = None
    file: str
    filename: str
    purpose: str
    mime_type: str = ""
    created_at: int = 0
    expires_at: int | None = None
    account: Account
    job: str = ""
    started_at: float = 0.0
    completed_at: float = 0.0
    attempts: Attempts = Attempts()
    reused: bool = False

    @property
    def key(self) -> Key:
        """What a newer entry has to share with this one to take its place."""
        return (self.source, self.start, self.stop, self.purpose, self.account.base_url)

    @property
    def shown(self) -> str:
        """What ``chunkup upload`` calls it on standard output."""
        return self.filename if self.cut else self.given or self.source


def line_of(entry: Entry) -> str:
    """An entry as one line, without the line's end."""
    account, attempts = entry.account, entry.attempts
    own = {field.name: getattr(entry, field.name) for field in fields(Entry)}
    own |= {
        "account": {
            "base_url": account.base_url,
            "organization": account.organization,
            "project": account.project,
        },
        "attempts": {"runs": attempts.runs, "uploads": attempts.uploads},
    }
    return json.dumps({"v": VERSION, **own}, ensure_ascii=True, allow_nan=False)


def entry_of(found: object) -> Entry:
    """The entry that a line's JSON is. Members that are not known are nobody's business.

    Raises:
        ValueError: It is none; the sentence goes on from "line 3".
    """
    if not isinstance(found, Mapping):
        raise ValueError("is no JSON object")  # noqa: TRY004  (what a file says is no mistake of a program)
    try:
        entry = Entry(**_taken(Entry, found, _READ))
    except ValueError as error:
        version = found.get("v")
        if isinstance(version, int) and version > VERSION:
            raise ValueError(f"{error}; a newer version of chunkup wrote it") from None
        raise
    if entry.start >= entry.stop:
        raise ValueError("says that a File ends before it begins")
    return entry


def schema() -> dict[str, Any]:
    """The JSON Schema (Draft 2020-12) of a line."""
    text = files("chunkup.manifest").joinpath("manifest.schema.json").read_text(encoding="utf-8")
    return cast("dict[str, Any]", json.loads(text))


# --- reading ----------------------------------------------------------------------------------


def _taken(
    kind: Any, found: Mapping[str, Any], read: Mapping[str, Callable[[Any], Any]]
) -> dict[str, Any]:
    """The values of a dataclass's fields; one without a default has to be there."""
    values = {}
    for field in fields(kind):
        if field.name not in read:
            continue
        if field.name not in found:
            if field.default is MISSING:
                raise ValueError(f"has no {field.name!r}")
            continue
        value = found[field.name]
        if value is None and field.default is None:
            continue
        try:
            values[field.name] = read[field.name](value)
        except TypeError:
            raise ValueError(f"has a {field.name!r} that cannot be one") from None
    return values


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise TypeError
    return value


def _moment(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise TypeError
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _digest(value: Any) -> str:
    if not _MD5.fullmatch(_text(value).lower()):
        raise TypeError
    return _text(value).lower()


def _account(value: Any) -> Account:
    if not isinstance(value, Mapping):
        raise TypeError
    return Account(**_taken(Account, value, _WHERE))


def _attempts(value: Any) -> Attempts:
    if not isinstance(value, Mapping):
        raise TypeError
    return Attempts(**_taken(Attempts, value, {"runs": _count, "uploads": _count}))


_WHERE: Final = {"base_url": _text, "organization": _text, "project": _text}
_READ: Final[dict[str, Callable[[Any], Any]]] = {
    "source": _text,
    "given": _text,
    "start": _count,
    "stop": _count,
    "cut": _flag,
    "first_line": _count,
    "lines": _count,
    "bytes": _count,
    "md5": _digest,
    "file": _text,
    "filename": _text,
    "purpose": _text,
    "mime_type": _text,
    "created_at": _count,
    "expires_at": _count,
    "account": _account,
    "job": _text,
    "started_at": _moment,
    "completed_at": _moment,
    "attempts": _attempts,
    "reused": _flag,
}
