"""What was found out, as a profile in the user's file: one more table, and nothing else changed."""

import json
import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from chunkup import config
from chunkup.errors import BadOption, Failed
from chunkup.probe.words import Answered
from chunkup.text import printable

# What TOML takes for a key without quotes, and a shell for a word.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

# What follows for a profile from what was found.
_FOLLOWS: Final[dict[tuple[str, str], tuple[str, Any]]] = {
    ("uploads", "absent"): ("method", "files"),
    ("order", "arrival"): ("workers", 1),
}


def room(name: str, environ: Mapping[str, str] = os.environ) -> None:
    """Make sure that a profile of this name can be written.

    Raises:
        BadOption: There is one already, or the name or the file is of no use.
    """
    if not _NAME.fullmatch(name):
        raise BadOption(
            f"{printable(name, 80)!r} is no name for a profile",
            hint="use letters, digits, hyphens and underscores",
        )
    if name in config.names(environ):
        raise BadOption(
            f"there is a profile {name} already, and it is not overwritten",
            hint="choose another name for --write-profile",
        )


def follows(answered: Sequence[Answered]) -> dict[str, Any]:
    """The keys of a profile that the answers are a reason for."""
    found = ((one.question.name, one.found.word) for one in answered)
    return dict(_FOLLOWS[seen] for seen in found if seen in _FOLLOWS)


def table(name: str, said: Mapping[str, Any]) -> str:
    """A profile as TOML; empty values are left out, and a mapping is a table in one line."""
    lines = [f"{key} = {_value(value)}" for key, value in said.items() if value not in (None, {})]
    return "\n".join([f"[profiles.{name}]", *lines, ""])


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(key)} = {_value(inner)}" for key, inner in value.items())
        return f"{{ {', '.join(pairs)} }}"
    # The strings, numbers and flags of JSON are those of TOML.
    return json.dumps(value, ensure_ascii=False)


def add(name: str, text: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Append a profile to the user's file, whole or not at all; where that is.

    Raises:
        BadOption: The file cannot be understood with it.
        Failed: The file cannot be written.
    """
    # A link is followed: what is replaced is the file that it names.
    path = Path(os.path.realpath(config.config_path(environ)))
    room(name, environ)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        before, mode = _read(path)
        _replace(path, _extended(before, name, text, path), mode)
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}") from error
    return path


def _read(path: Path) -> tuple[bytes, int]:
    with suppress(FileNotFoundError):
        return path.read_bytes(), stat.S_IMODE(path.stat().st_mode)
    return b"", 0o600


def _extended(before: bytes, name: str, text: str, path: Path) -> bytes:
    gap = b"" if not before else b"\n" if before.endswith(b"\n") else b"\n\n"
    after = before + gap + text.encode()
    try:
        was = tomllib.loads(before.decode()).get("profiles", {})
        now = tomllib.loads(after.decode())["profiles"]
    except ValueError:
        now, was = {}, None
    if {**now, name: None} != {**(was or {}), name: None} or name not in now:
        raise BadOption(
            f"{path} is written so that nothing can be appended to it",
            hint="write each profile there below a line [profiles.NAME]",
        )
    return after


def _replace(path: Path, content: bytes, mode: int) -> None:
    # Made for this user alone; others may read it no sooner than they might the one before.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    made = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
