"""What tells that a journal is not as it was written, beyond what SQLite itself sees.

SQLite knows the shape of its pages, and has no sums over what is in them. A text that is none,
a column that lost its name or a File with two ids was not written by anybody.
"""

import json
import shlex
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from chunkup.errors import BadJournal
from chunkup.models import RemoteFile

# All our statements are constants, so that a shape that does not fit them was never made.
_MISSHAPEN: Final = (
    "no such table",
    "no such column",
    "has no column named",
    "already exists",
    "duplicate column name",
    # Of a column that nobody wrote to just now.
    "cannot store ",
    "Could not decode to UTF-8",
)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite failed because of what is in the file."""
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int) and code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return True
    return any(sign in str(error) for sign in _MISSHAPEN)


def misread(error: Exception, *, writing: bool) -> sqlite3.DatabaseError | None:
    """The same as damage, if rows that cannot be understood are behind it.

    Who writes may also be refused for a value of its own, which says nothing about the file.
    """
    signs = (UnicodeDecodeError, json.JSONDecodeError, KeyError)
    if not isinstance(error, signs if writing else (*signs, TypeError, ValueError)):
        return None
    return _corrupt(f"a row cannot be understood ({type(error).__name__}: {error})")


def damaged(path: Path, why: object) -> BadJournal:
    """The refusal of such a journal, and how it is moved aside without losing another."""
    aside, count = Path(f"{path}.damaged"), 1
    while aside.exists():
        count += 1
        aside = Path(f"{path}.damaged-{count}")
    return BadJournal(
        f"the journal {path} is damaged: {why}; it was left as it is",
        hint=f"mv {shlex.quote(str(path))} {shlex.quote(str(aside))}",
    )


def file_of(file_id: str, text: str) -> RemoteFile:
    """The File that a job ended in; both of its columns have to name the same.

    Raises:
        sqlite3.DatabaseError: They do not.
    """
    file = RemoteFile(**json.loads(text))
    if file.id != file_id:
        raise _corrupt(f"one job has two Files, {file_id} and {file.id}")
    return file


def typed(values: Iterable[Any], kinds: Iterable[Any]) -> tuple[Any, ...]:
    """The values of a row, each of the kind that its column takes.

    A table that is STRICT lets nobody write another; one bit can change it all the same, and a
    text that became bytes would be met far from here.

    Raises:
        sqlite3.DatabaseError: One is of another kind.
    """
    found = tuple(values)
    for value, kind in zip(found, kinds, strict=True):
        if not isinstance(value, kind):
            raise _corrupt(f"a row has {type(value).__name__} in a column that takes none")
    return found


def _corrupt(why: str) -> sqlite3.DatabaseError:
    """An error as SQLite raises it."""
    damage = sqlite3.DatabaseError(why)
    damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return damage
