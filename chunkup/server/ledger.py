"""The rows, in SQLite: what every statement says, and the lock around them.

Synchronous writes are off: a commit never waits for gigabytes of content to reach the device,
and the death of the process loses nothing all the same. The rollback journal keeps its length,
so that a full disk can still be made room on: what is deleted or expires needs none.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from chunkup.server.errors import no_such_file, no_such_upload
from chunkup.server.rows import FilePage, FileRow, PartRow, UploadRow, UploadStatus

_SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, filename TEXT NOT NULL, bytes INTEGER NOT NULL,
    mime_type TEXT NOT NULL, purpose TEXT NOT NULL, created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL, file_seconds INTEGER, status TEXT NOT NULL, file_id TEXT
);
CREATE INDEX IF NOT EXISTS pending_uploads ON uploads (expires_at) WHERE status = 'pending';
CREATE TABLE IF NOT EXISTS parts (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, upload_id TEXT NOT NULL,
    bytes INTEGER NOT NULL, xxh3 TEXT NOT NULL, created_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS parts_of_upload ON parts (upload_id);
CREATE TABLE IF NOT EXISTS files (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL,
    filename TEXT NOT NULL, purpose TEXT NOT NULL, created_at INTEGER NOT NULL,
    expires_at INTEGER, gone INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS files_in_order ON files (created_at, seq);
CREATE INDEX IF NOT EXISTS mortal_files ON files (expires_at) WHERE gone = 0;
CREATE TABLE IF NOT EXISTS segments (
    file_id TEXT NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL,
    bytes INTEGER NOT NULL, PRIMARY KEY (file_id, position)
);
"""

_PART = "SELECT id, upload_id, bytes, xxh3, created_at FROM parts"
_FILE = "SELECT id, bytes, filename, purpose, created_at, expires_at FROM files"

_PAGE_DESC = f"""
{_FILE} WHERE gone = 0 AND (:purpose IS NULL OR purpose = :purpose)
AND (:created_at IS NULL OR (created_at, seq) < (:created_at, :seq))
ORDER BY created_at DESC, seq DESC LIMIT :limit
"""
_PAGE_ASC = f"""
{_FILE} WHERE gone = 0 AND (:purpose IS NULL OR purpose = :purpose)
AND (:created_at IS NULL OR (created_at, seq) > (:created_at, :seq))
ORDER BY created_at, seq LIMIT :limit
"""


class Ledger:
    """One connection, used by one thread at a time; each method is one short look or change.

    Changes belong inside `transaction`.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = PERSIST")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the connection once nobody uses it."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what happens inside happen wholly or, when it raises, not at all."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    # --- uploads and parts

    def add_upload(self, row: UploadRow) -> None:
        """Insert an upload."""
        self._run("INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", *astuple(row))

    def end_upload(
        self, upload_id: str, status: UploadStatus, file_id: str | None = None
    ) -> UploadRow:
        """Say how an upload ended, and return it."""
        self._run(
            "UPDATE uploads SET status = ?, file_id = ? WHERE id = ?", status, file_id, upload_id
        )
        return self.upload(upload_id)

    def upload(self, upload_id: str) -> UploadRow:
        """Return an upload.

        Raises:
            ApiError: 404 when there was never such an upload.
        """
        # Ids are ASCII; other text may not even be encodable, and SQLite would raise.
        if upload_id.isascii():
            for row in self._run("SELECT * FROM uploads WHERE id = ?", upload_id):
                return UploadRow(*row)
        raise no_such_upload(upload_id)

    def uploads(self) -> list[UploadRow]:
        """Return every upload there ever was, oldest first."""
        return [UploadRow(*row) for row in self._run("SELECT * FROM uploads ORDER BY rowid")]

    def add_part(self, row: PartRow) -> None:
        """Insert a part."""
        self._run(
            "INSERT INTO parts (id, upload_id, bytes, xxh3, created_at) VALUES (?, ?, ?, ?, ?)",
            *astuple(row),
        )

    def parts(self, upload_id: str | None) -> list[PartRow]:
        """Return the parts of one upload, or all there ever were, as they arrived."""
        if upload_id is None:
            rows = self._run(f"{_PART} ORDER BY seq")
        else:
            rows = self._run(f"{_PART} WHERE upload_id = ? ORDER BY seq", upload_id)
        return [PartRow(*row) for row in rows]

    # --- files

    def add_file(self, row: FileRow, segments: Sequence[tuple[str, int]]) -> None:
        """Insert a file with the names and lengths of its segments, in order."""
        self._run(
            "INSERT INTO files (id, bytes, filename, purpose, created_at, expires_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            *astuple(row),
        )
        for position, (name, size) in enumerate(segments):
            self._run("INSERT INTO segments VALUES (?, ?, ?, ?)", row.id, position, name, size)

    def file(self, file_id: str) -> FileRow:
        """Return a file.

        Raises:
            ApiError: 404 when it is unknown or gone.
        """
        if file_id.isascii():
            for row in self._run(f"{_FILE} WHERE id = ? AND gone = 0", file_id):
                return FileRow(*row)
        raise no_such_file(file_id)

    def segments(self, file_id: str) -> list[tuple[str, int]]:
        """Return the names and lengths of a file's segments, in order."""
        return self._run(
            "SELECT name, bytes FROM segments WHERE file_id = ? ORDER BY position", file_id
        )

    def page(
        self, *, purpose: str | None, limit: int, newest_first: bool, after: str | None
    ) -> FilePage:
        """Return files by `created_at`, those of one second as they were made.

        Raises:
            ApiError: 404 when `after` was never a file; one that is gone still has its place.
        """
        with self._lock:
            created_at, seq = (None, None) if after is None else self._place(after)
            rows = self._db.execute(
                _PAGE_DESC if newest_first else _PAGE_ASC,
                {"purpose": purpose, "created_at": created_at, "seq": seq, "limit": limit + 1},
            ).fetchall()
        return FilePage(tuple(FileRow(*row) for row in rows[:limit]), len(rows) > limit)

    def bury(self, file_ids: Sequence[str]) -> list[str]:
        """Take files out of sight and return the segments that nobody needs any more.

        The rows of the files stay, so that a listing can go on after one of them.
        """
        names: list[str] = []
        for file_id in file_ids:
            names += [name for name, _ in self.segments(file_id)]
            self._run("DELETE FROM segments WHERE file_id = ?", file_id)
            self._run("UPDATE files SET gone = 1 WHERE id = ?", file_id)
        return names

    # --- time and order on disk

    def due(self, now: int) -> tuple[list[str], list[str]]:
        """Return the ids of pending uploads, and of files, whose time is over."""
        uploads = self._run(
            "SELECT id FROM uploads WHERE status = 'pending' AND expires_at <= ?", now
        )
        files = self._run("SELECT id FROM files WHERE gone = 0 AND expires_at <= ?", now)
        return [upload_id for (upload_id,) in uploads], [file_id for (file_id,) in files]

    def needed(self) -> set[str]:
        """Return the names of all segments that a file or a pending upload needs."""
        rows = self._run(
            "SELECT name FROM segments UNION SELECT parts.id FROM parts"
            " JOIN uploads ON uploads.id = parts.upload_id WHERE uploads.status = 'pending'"
        )
        return {name for (name,) in rows}

    def _place(self, file_id: str) -> tuple[int, int]:
        if file_id.isascii():
            for created_at, seq in self._run(
                "SELECT created_at, seq FROM files WHERE id = ?", file_id
            ):
                return created_at, seq
        raise no_such_file(file_id)

    def _run(self, sql: str, *values: str | int | None) -> list[Any]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()
