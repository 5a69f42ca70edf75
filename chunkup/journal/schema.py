"""The journal's tables, and their shape through time.

A migration, once released, is never edited: a change of shape is a new one below the last.
"""

import secrets
from typing import Final

from sqlite_utils import Database, Migrations

# Says in the file itself whose it is, so that no other program's database is taken for one.
APPLICATION_ID: Final = 0x63686B75

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


STEPS: Final = (
    m001_facts,
    m002_notes,
    m003_sets,
    m004_methods,
    m005_owners,
    m006_datasets,
    m007_touched,
)
