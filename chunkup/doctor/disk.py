"""The journal as it lies there, looked at without a trace.

Nothing is made, brought up to date or locked. The file is read as if it could not change, which
needs no lock; whether it did change meanwhile is seen afterwards. Whether its file system has
locks cannot be found out without taking one.
"""

import os
import shlex
import shutil
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from sqlite_utils import Database

from chunkup.doctor.finding import Fact, Finding, State
from chunkup.errors import BadJournal
from chunkup.journal.opening import translate
from chunkup.journal.schema import APPLICATION_ID, migrations
from chunkup.text import size_text

_ANOTHER: Final = 'export CHUNKUP_JOURNAL="$HOME/chunkup/journal.db"'
# A part's row takes a few hundred bytes; a disk with less than this fills up by other hands.
_LITTLE: Final = 100 * 10**6
_NOTHING: Final = 10**6
_LOOKS: Final = 5
_PAUSE: Final = 0.05
# Seconds for the whole file to be read; what is not damaged by then is called sound.
_THOROUGH: Final = 2.0


def disk(path: Path, whence: str) -> list[Finding]:
    """What there is to say about the journal and its disk; ``whence`` its path comes.

    It waits for the disk: call it where waiting does no harm.
    """
    path = path.absolute()
    try:
        return [_journal(path, whence), _free(_existing(path.parent))]
    except OSError as error:
        says = f"{path} ({whence}) cannot be looked at: {error.strerror}"
        return [
            Finding("journal", State.FAIL, says, hint=_ANOTHER),
            Finding("disk", State.SKIP, "not looked at: the journal's place is of no use"),
        ]


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _free(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    says, facts = f"{size_text(free)} free under the journal", {"free": free}
    if free >= _LITTLE:
        return Finding("disk", State.OK, says, facts=facts)
    state = State.WARN if free >= _NOTHING else State.FAIL
    return Finding("disk", state, says, hint=f"df -h {shlex.quote(str(folder))}", facts=facts)


# --- the file -------------------------------------------------------------------------------


def _journal(path: Path, whence: str) -> Finding:
    folder = _existing(path.parent)
    about = f"{path} ({whence})"
    trouble = _folder(folder)
    if trouble is not None:
        return Finding("journal", State.FAIL, f"{about}: {trouble[0]}", hint=trouble[1])
    try:
        found = path.lstat()
    except FileNotFoundError:
        return Finding(
            "journal",
            State.OK,
            f"{about} is not there yet; the first upload makes it",
            facts={"path": str(path), "exists": False},
        )
    mode = stat.S_IMODE(found.st_mode)
    facts: dict[str, Fact] = {
        "path": str(path),
        "exists": True,
        "mode": f"{mode:04o}",
        "size": found.st_size,
    }
    trouble = _unusable(path, found)
    if trouble is not None:
        says = f"{about}: {trouble[0]}"
        return Finding("journal", State.FAIL, says, hint=trouble[1], facts=facts)
    state, inside, hint = _inside(path)
    says = f"{mode:04o}, {size_text(found.st_size)}, {inside}"
    if state is State.OK and mode & 0o077:
        state = State.WARN
        says += "; others may read it, or more"
        hint = f"chmod 600 {shlex.quote(str(path))}"
    return Finding("journal", state, f"{about}: {says}", hint=hint, facts=facts)


def _folder(folder: Path) -> tuple[str, str] | None:
    """Why a journal cannot be in this folder, and what helps."""
    if not folder.is_dir():
        return f"{folder} is no folder", _ANOTHER
    place = folder.stat()
    if place.st_mode & stat.S_IWOTH and not place.st_mode & stat.S_ISVTX:
        return (
            f"everybody may write in {folder}, so nothing in it can be trusted",
            f"chmod o-w {shlex.quote(str(folder))}",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"you may not write in {folder}", _ANOTHER
    return None


def _unusable(path: Path, found: os.stat_result) -> tuple[str, str] | None:
    """Why the file itself cannot be the journal, and what helps."""
    if stat.S_ISLNK(found.st_mode):
        return "it is a symbolic link", _ANOTHER
    if not stat.S_ISREG(found.st_mode):
        return "it is not a regular file", _ANOTHER
    if found.st_uid != os.geteuid():
        return "it belongs to another user", _ANOTHER
    if not os.access(path, os.R_OK | os.W_OK):
        return "you may not read and write it", f"chmod 600 {shlex.quote(str(path))}"
    return None


# --- its content ----------------------------------------------------------------------------


def _inside(path: Path) -> tuple[State, str, str | None]:
    """State, words and hint for what the file holds."""
    for _ in range(_LOOKS):
        before = _now(path)
        if before is not None:
            try:
                seen = _content(path)
            except sqlite3.Error as error:
                seen = _broken(error, path)
            if _now(path) == before:
                return seen
        time.sleep(_PAUSE)
    return State.OK, "being written; or a run died while it did, which the next one mends", None


def _now(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file does; None while a transaction is on its way into it."""
    try:
        if path.with_name(path.name + "-journal").stat().st_size:
            return None
    except FileNotFoundError:
        pass
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _content(path: Path) -> tuple[State, str, str | None]:
    link = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)
    with closing(link):
        db = Database(link, execute_plugins=False)
        if not db.table_names():
            return State.OK, "empty", None
        (found,) = db.execute("PRAGMA application_id").fetchone()
        if found != APPLICATION_ID:
            return State.FAIL, "it is some other program's database", _ANOTHER
        applied = {row.name for row in migrations.applied(db)}
        known = _known()
        if applied - known:
            upgrade = "pip install --upgrade chunkup-uploads"
            return State.FAIL, "it was written by a newer version of chunkup", upgrade
        damage = _damage(link)
        if damage is not None:
            return _broken(damage, path)
        older = ", of an older version, which the next command brings up to date"
        return State.OK, _jobs(db) + (older if known - applied else ""), None


def _known() -> set[str]:
    """The changes of shape that this version knows of, which an empty file still lacks."""
    with closing(sqlite3.connect(":memory:")) as link:
        return {row.name for row in migrations.pending(Database(link, execute_plugins=False))}


def _damage(link: sqlite3.Connection) -> sqlite3.DatabaseError | None:
    """What is wrong with the file as a whole, as far as that is seen in time."""
    end = time.monotonic() + _THOROUGH
    link.set_progress_handler(lambda: time.monotonic() > end, 10_000)
    try:
        (said,) = link.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        said = "ok"
    finally:
        link.set_progress_handler(None, 0)
    if said == "ok":
        return None
    damage = sqlite3.DatabaseError(str(said).splitlines()[0])
    damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return damage


def _broken(error: sqlite3.Error, path: Path) -> tuple[State, str, str | None]:
    found = translate(error, path)
    what = "is damaged" if isinstance(found, BadJournal) else "cannot be read"
    return State.FAIL, f"it {what}: {error}", found.hint


def _jobs(db: Database) -> str:
    """How many jobs there are of each kind. The tables it asks have been there from the first."""
    counts = dict(
        db.execute(
            "SELECT coalesce(kind, 'unfinished'), count(*) FROM jobs"
            " LEFT JOIN endings ON endings.job_id = jobs.id GROUP BY 1 ORDER BY 1"
        ).fetchall()
    )
    if not counts:
        return "no jobs"
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())
