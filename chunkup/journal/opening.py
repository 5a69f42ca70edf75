"""The journal's file: made, brought up to date, or refused; and what its failures mean."""

import errno
import os
import shlex
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Final

from sqlite_utils import Database

from chunkup.durable import make_private
from chunkup.errors import BadJournal, JournalTrouble, Stopped
from chunkup.journal.damage import damaged, is_damage
from chunkup.journal.schema import APPLICATION_ID, STEPS, migrations
from chunkup.shortage import outgrown, shortage

_OLDEST_SQLITE: Final = (3, 37)
# Seconds in which another process is through with what it does to the journal.
PATIENCE: Final = 30.0
_NAME_ANOTHER: Final = "name another file with --journal PATH"
# Another journal would know nothing of the job.
_MEND: Final = "see that its disk is in order, then run the same command again"


def open_database(path: Path) -> Database:
    """Open the journal at ``path``, made or brought up to date where that is needed.

    The folder (0700) and the file (0600) are made if missing; what exists keeps its mode.

    Raises:
        BadJournal: Unsafe place, another program's file, damaged, or of a newer version.
        JournalTrouble: The disk is full, read-only or failing.
    """
    _check_place(path)
    try:
        with _making(path):
            return _open_locked(path)
    except sqlite3.Error as error:
        raise translate(error, path) from error
    except (UnicodeDecodeError, KeyError) as error:  # of the tables' own definitions
        raise damaged(path, error) from error
    except OSError as error:
        raise JournalTrouble(
            f"the journal {path} cannot be opened: {error.strerror}", hint=_MEND
        ) from error


def translate(error: sqlite3.Error, path: Path) -> BadJournal | JournalTrouble:
    """What a failure of SQLite means to a person."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if is_damage(error):
        return damaged(path, error)
    if primary == sqlite3.SQLITE_BUSY:
        return _kept(path)
    if primary == sqlite3.SQLITE_FULL:
        return JournalTrouble(
            f"no space is left for the journal {path}", hint="free some space, then resume"
        )
    if primary == sqlite3.SQLITE_CANTOPEN and (lack := _lacking()):
        return JournalTrouble(f"the journal {path} cannot be opened: {lack}")
    if primary == sqlite3.SQLITE_IOERR and (limit := _limit(path)):
        return JournalTrouble(f"the journal {path} cannot grow: {limit}")
    return JournalTrouble(f"the journal {path} failed: {error}", hint=_MEND)


def _limit(path: Path) -> str | None:
    with suppress(OSError):
        return outgrown(path.stat().st_size)
    return None


def _lacking() -> Stopped | None:
    """Why SQLite could not open a file, which it does not tell: the system does, to who tries."""
    held: list[int] = []
    try:
        # The database, its rollback journal and their folder. None of them is opened itself:
        # to close it again would let go of the locks that SQLite has on it.
        held.extend(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(3))
    except OSError as error:
        return shortage(error)
    finally:
        for handle in held:
            os.close(handle)
    return None


def _open_locked(path: Path) -> Database:
    # sqlite-utils needs the default transaction handling; None only keeps Python from
    # opening deferred transactions behind our back.
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        # Plugins of sqlite-utils are other people's code, and this is the memory.
        db = Database(connection, execute_plugins=False)
        _check_identity(db, path)
        for pragma in (
            "journal_mode = TRUNCATE",
            "synchronous = EXTRA",
            "fullfsync = ON",
            "foreign_keys = ON",
        ):
            db.execute(f"PRAGMA {pragma}").fetchall()
        if migrations.pending(db):
            # First of all, so that a making that is killed half-way is known for ours.
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            migrations.apply(db)
    except BaseException:
        connection.close()
        raise
    return db


def _check_identity(db: Database, path: Path) -> None:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise BadJournal(
            f"SQLite {sqlite3.sqlite_version} is older than 3.37, which the journal needs",
            hint="use a Python that was built with a newer SQLite",
        )
    tables = set(db.table_names())
    if not tables:
        return
    (found,) = db.execute("PRAGMA application_id").fetchone()
    if found != APPLICATION_ID:
        raise BadJournal(f"{path} is some other program's database", hint=_NAME_ANOTHER)
    known = {step.__name__ for step in STEPS}
    if any(row.name not in known for row in migrations.applied(db)):
        raise BadJournal(
            f"the journal {path} was written by a newer version of chunkup",
            hint="pip install --upgrade chunkup-uploads",
        )


def _check_place(path: Path) -> None:
    folder = path.parent
    try:
        make_private(folder)
        place = folder.stat()
    except OSError as error:
        raise BadJournal(
            f"the journal's folder {folder} cannot be used: {error.strerror}", hint=_NAME_ANOTHER
        ) from error
    sticky = place.st_mode & stat.S_ISVTX
    if place.st_mode & stat.S_IWOTH and not sticky:
        raise BadJournal(
            f"everybody may write in {folder}, so nothing in it can be trusted",
            hint=f"chmod o-w {shlex.quote(str(folder))}",
        )
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise BadJournal(f"the journal {path} is not a regular file", hint=_NAME_ANOTHER)
    # SQLite plays back a rollback journal into the file whoever put it there.
    for suffix in ("", "-journal", "-lock", "-owners"):
        beside = path.with_name(path.name + suffix)
        with suppress(FileNotFoundError):
            if beside.lstat().st_uid != os.geteuid():
                what = f"the journal {path}" if beside == path else f"{beside}, beside the journal,"
                raise BadJournal(f"{what} belongs to another user", hint=_NAME_ANOTHER)


@contextmanager
def _making(path: Path) -> Iterator[None]:
    """Hold the lock beside the journal while it is made or migrated.

    Six processes that open a new file at once otherwise meet half-made tables.
    """
    with private(path.with_name(path.name + "-lock")) as lock:
        until = time.monotonic() + PATIENCE
        while not _locked(lock, path):
            if time.monotonic() >= until:
                raise _kept(path)
            time.sleep(0.01)
        with private(path):
            pass
        yield


def _locked(lock: int, path: Path) -> bool:
    try:
        flock(lock, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise no_locks(path) from error
    return True


def _kept(path: Path) -> JournalTrouble:
    """What is wrong if another process works with the journal and does not end."""
    return JournalTrouble(
        f"another process has kept the journal {path} to itself for {PATIENCE:.0f} seconds; one "
        "that was stopped in the middle of a commit (Ctrl-Z) does, until it goes on or is ended",
        hint=f"fuser -v {shlex.quote(str(path))}",
    )


def no_locks(path: Path) -> BadJournal:
    """The refusal of a file system that cannot tell two processes apart."""
    return BadJournal(
        f"the file system of {path} has no locks, so two runs could take one job",
        hint="put the journal on a local disk with --journal PATH",
    )


@contextmanager
def private(path: Path, flags: int = 0) -> Iterator[int]:
    """A descriptor of a file for this user only; never through a symbolic link."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BadJournal(f"{path} is a symbolic link", hint=_NAME_ANOTHER) from error
        raise
    try:
        yield handle
    finally:
        os.close(handle)
