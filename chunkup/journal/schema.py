"""Opening the file, and its shape through time.

A migration, once released, is never edited: a change of shape is a new one below the last.
"""

import errno
import os
import secrets
import shlex
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Final

from sqlite_utils import Database, Migrations

from chunkup.durable import make_private
from chunkup.errors import BadJournal, JournalTrouble, Stopped
from chunkup.journal.damage import damaged, is_damage
from chunkup.shortage import outgrown, shortage

# Says in the file itself whose it is, so that no other program's database is taken for one.
APPLICATION_ID: Final = 0x63686B75
_OLDEST_SQLITE: Final = (3, 37)
# Seconds in which another process is through with what it does to the journal.
PATIENCE: Final = 30.0
_NAME_ANOTHER: Final = "name another file with --journal PATH"
# Another journal would know nothing of the job.
_MEND: Final = "see that its disk is in order, then run the same command again"

migrations = Migrations("chunkup")


@migrations()
def m001_facts(db: Database) -> None:
    """Jobs and their durable facts; ``owner`` is who runs the job now.

    A path is bytes, since it need not be text. An inode is text, since it may have 64 bits
    and an INTEGER has 63.
    """
    db.executescript("""
        CREATE TABLE meta (
            name TEXT PRIMARY KEY,
            value BLOB NOT NULL
        ) STRICT;
        CREATE TABLE jobs (
            id TEXT PRIMARY KEY,
            set_id TEXT NOT NULL,
            created_at REAL NOT NULL,
            base_url TEXT NOT NULL,
            organization TEXT,
            project TEXT,
            headers TEXT NOT NULL,
            key_hash TEXT,
            path BLOB NOT NULL,
            start INTEGER NOT NULL CHECK (start >= 0),
            stop INTEGER NOT NULL CHECK (stop > start),
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            inode TEXT NOT NULL,
            device TEXT NOT NULL,
            purpose TEXT NOT NULL,
            filename TEXT NOT NULL,
            mime_type TEXT NOT NULL,
            expires_after INTEGER,
            part_size INTEGER NOT NULL CHECK (part_size > 0),
            md5 INTEGER NOT NULL,
            method TEXT NOT NULL,
            owner TEXT,
            owner_pid INTEGER,
            owner_host TEXT,
            owner_since REAL,
            printed INTEGER NOT NULL DEFAULT 0
        ) STRICT;
        CREATE INDEX jobs_by_path ON jobs (path);
        CREATE TABLE uploads (
            job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            generation INTEGER NOT NULL,
            id TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            expires_at INTEGER,
            answer_lost INTEGER NOT NULL DEFAULT 0,
            ended TEXT,
            PRIMARY KEY (job_id, generation)
        ) STRICT;
        CREATE TABLE parts (
            job_id TEXT NOT NULL,
            generation INTEGER NOT NULL,
            start INTEGER NOT NULL,
            stop INTEGER NOT NULL CHECK (stop > start),
            part_id TEXT NOT NULL,
            xxh3 TEXT NOT NULL,
            PRIMARY KEY (job_id, generation, start),
            FOREIGN KEY (job_id, generation) REFERENCES uploads (job_id, generation)
                ON DELETE CASCADE
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE asks (
            job_id TEXT NOT NULL,
            generation INTEGER NOT NULL,
            number INTEGER NOT NULL,
            part_ids TEXT NOT NULL,
            md5 TEXT,
            asked_at REAL NOT NULL,
            refused TEXT,
            PRIMARY KEY (job_id, generation, number),
            FOREIGN KEY (job_id, generation) REFERENCES uploads (job_id, generation)
                ON DELETE CASCADE
        ) STRICT;
        CREATE TABLE endings (
            job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
            kind TEXT NOT NULL CHECK (kind IN ('completed', 'failed', 'cancelled')),
            ended_at REAL NOT NULL,
            file_id TEXT,
            file TEXT,
            recovered INTEGER NOT NULL DEFAULT 0,
            code TEXT,
            message TEXT,
            CHECK ((kind = 'completed') = (file_id IS NOT NULL))
        ) STRICT;
        CREATE INDEX endings_by_file ON endings (file_id) WHERE file_id IS NOT NULL;
    """)
    db.execute("INSERT INTO meta VALUES ('salt', ?)", [secrets.token_bytes(16)])


@migrations()
def m002_notes(db: Database) -> None:
    """What people ask about afterwards; nothing decides by it."""
    db.executescript("""
        CREATE TABLE runs (
            id INTEGER PRIMARY KEY,
            job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            started_at REAL NOT NULL,
            ended_at REAL,
            pid INTEGER NOT NULL,
            host TEXT NOT NULL,
            command TEXT NOT NULL,
            exit_code INTEGER,
            code TEXT,
            message TEXT,
            request_id TEXT
        ) STRICT;
        CREATE INDEX runs_by_job ON runs (job_id);
    """)


@migrations()
def m003_sets(db: Database) -> None:
    """Jobs of one command as a set; what a person decided, or asks a running job to do.

    ``given`` is the path as the command had it, which is how results are named. ``stop_asked``
    is read by the process that owns the job.
    """
    for change in (
        "ALTER TABLE jobs ADD COLUMN given BLOB",
        "ALTER TABLE jobs ADD COLUMN stop_asked REAL",
        "ALTER TABLE uploads ADD COLUMN doubted INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX jobs_by_set ON jobs (set_id)",
    ):
        db.execute(change)


@migrations()
def m004_methods(db: Database) -> None:
    """Sending in parts was the only way there was, and nobody had asked for it by name."""
    db.execute("UPDATE jobs SET method = 'auto' WHERE method = 'uploads'")


@migrations()
def m005_owners(db: Database) -> None:
    """Whose an Upload is, as the server said: a key that was replaced may be the same owner's."""
    db.execute("ALTER TABLE uploads ADD COLUMN owner TEXT")


@migrations()
def m006_datasets(db: Database) -> None:
    """Pieces of files, Files that were there already, and where a set's manifest is.

    ``unchecked`` are files whose content is to be checked before they begin.
    ``cut_size`` and ``cut_lines`` are what a file was cut by, so that it is cut alike again.
    ``md5`` of an ending is that of a File that was reused, which no ask of its job has.
    ``links`` is what the way to a place carried the last time, in bytes a second.
    """
    for change in (
        "ALTER TABLE jobs ADD COLUMN first_line INTEGER",
        "ALTER TABLE jobs ADD COLUMN lines INTEGER",
        "ALTER TABLE jobs ADD COLUMN cut_size INTEGER",
        "ALTER TABLE jobs ADD COLUMN cut_lines INTEGER",
        "ALTER TABLE jobs ADD COLUMN unchecked INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE endings ADD COLUMN reused INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE endings ADD COLUMN md5 TEXT",
        "CREATE TABLE sets (set_id TEXT PRIMARY KEY, manifest BLOB, skip_existing INTEGER) STRICT",
        "CREATE TABLE links (base_url TEXT PRIMARY KEY, rate REAL NOT NULL, noted_at REAL) STRICT",
    ):
        db.execute(change)


@migrations()
def m007_touched(db: Database) -> None:
    """When anything about a job's file changed the last time, which an edit cannot hide."""
    db.execute("ALTER TABLE jobs ADD COLUMN touched_ns INTEGER")


_STEPS: Final = (
    m001_facts,
    m002_notes,
    m003_sets,
    m004_methods,
    m005_owners,
    m006_datasets,
    m007_touched,
)


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
    known = {step.__name__ for step in _STEPS}
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
