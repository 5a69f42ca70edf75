"""Uploads, parts and files: the rules, over the rows of `ledger` and the bytes of `content`.

Synchronous, and safe to call from several threads: rows change in transactions behind one
lock, which is never held while content is hashed or deleted. A part's bytes have their final
name before its row is committed, so no row is without bytes; bytes without a row are swept
when the next store opens the directory.
"""

import fcntl
import math
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from chunkup.server.content import (
    CONTENT,
    INCOMING,
    Content,
    Incoming,
    Slice,
    md5_of,
    read_slices,
)
from chunkup.server.errors import ApiError
from chunkup.server.ledger import Ledger
from chunkup.server.rows import (
    DEFAULT_LIMITS,
    FilePage,
    FileRow,
    NewFile,
    NewUpload,
    Orphans,
    PartRow,
    ServerLimits,
    UploadRow,
)
from chunkup.server.rules import (
    chosen_parts,
    file_deadline,
    new_file_id,
    require_no_orphans,
    require_pending,
    require_room,
)

__all__ = [
    "FilePage",
    "FileRow",
    "ForeignFolderError",
    "NewFile",
    "NewUpload",
    "Orphans",
    "PartRow",
    "ServerLimits",
    "Store",
    "StoreInUseError",
    "UploadRow",
]


class StoreInUseError(Exception):
    """Another store, perhaps in another process, has this directory open."""


class ForeignFolderError(Exception):
    """The directory holds files where a store would sweep, and no store's rows."""


class Store:
    """All state of the server, in one directory that one store has open at a time.

    `ttl` is the life of an upload in seconds, rounded up to whole ones because `expires_at`
    is an integer; `clock` gives Unix seconds. What has expired is removed, bytes included, by
    whatever call comes next, or by `sweep`. `orphans` says what becomes of parts that nobody
    lists.

    Raises:
        StoreInUseError: the directory is open elsewhere.
        ForeignFolderError: what is in it is not a store's.
        sqlite3.Error: its rows are damaged, or the disk refuses.
    """

    def __init__(
        self,
        directory: Path,
        *,
        ttl: float = 3600.0,
        clock: Callable[[], float] = time.time,
        limits: ServerLimits = DEFAULT_LIMITS,
        orphans: Orphans = "ignore",
    ) -> None:
        self.limits = limits
        self.clock = clock
        self._ttl = math.ceil(ttl)
        self._orphans = orphans
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        rows = directory / "server.db"
        _require_ours(directory, rows)
        self._lock_fd = _lock(directory / "lock")
        try:
            # The rows first: where they cannot be read, nothing is swept.
            self._ledger = Ledger(rows)
            self._content = Content(directory)
            self._content.remove_all_but(self._ledger.needed())
            self.sweep()
        except BaseException:
            os.close(self._lock_fd)
            raise

    def close(self) -> None:
        """Close the database and let another store have the directory; may be called again."""
        self._ledger.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    # --- uploads and parts

    def create_upload(self, new: NewUpload) -> UploadRow:
        """Add a pending upload that expires after the time to live."""
        self.sweep()
        now = self._now()
        row = UploadRow(
            id=f"upload_{secrets.token_hex(16)}",
            filename=new.filename,
            bytes=new.bytes,
            mime_type=new.mime_type,
            purpose=new.purpose,
            created_at=now,
            expires_at=now + self._ttl,
            file_seconds=new.file_seconds,
            status="pending",
            file_id=None,
        )
        with self._ledger.transaction():
            self._ledger.add_upload(row)
        return row

    def upload(self, upload_id: str) -> UploadRow:
        """Return an upload, however it ended.

        Raises:
            ApiError: 404 when there was never such an upload.
        """
        self.sweep()
        return self._ledger.upload(upload_id)

    def uploads(self) -> list[UploadRow]:
        """Return every upload there ever was, oldest first."""
        self.sweep()
        return self._ledger.uploads()

    def receive(self) -> Incoming:
        """Open a place for a body that is about to arrive."""
        return self._content.receive()

    def add_part(self, upload_id: str, incoming: Incoming) -> PartRow:
        """Make a part of a body that arrived whole.

        Raises:
            ApiError: the upload is unknown, ended while the body was on its way, or has no room
                for it where orphans count.
        """
        self.sweep()
        row = PartRow(
            id=f"part_{secrets.token_hex(16)}",
            upload_id=upload_id,
            bytes=incoming.bytes,
            xxh3=incoming.xxh3(),
            created_at=self._now(),
        )
        try:
            with self._ledger.transaction():
                upload = require_pending(self._ledger.upload(upload_id))
                if self._orphans == "count":
                    require_room(upload, self._ledger.parts(upload_id), row.bytes)
                incoming.keep(self._content.path(row.id))
                self._ledger.add_part(row)
        except BaseException:
            self._content.remove([row.id])
            raise
        return row

    def parts(self, upload_id: str | None = None) -> list[PartRow]:
        """Return every part ever stored, those that no file uses included, as they arrived."""
        return self._ledger.parts(upload_id)

    def complete_upload(
        self,
        upload_id: str,
        part_ids: Sequence[str],
        md5: str | None = None,
        *,
        stopped: Callable[[], bool] = lambda: False,
    ) -> tuple[UploadRow, FileRow]:
        """Make a file of the parts in the order given; blocks for the MD5 of the whole.

        Parts that are not listed lose their bytes and keep their rows. The file's
        `created_at` is the upload's, as recorded from api.openai.com. A refusal leaves the
        upload as it was.

        Raises:
            ApiError: the upload is unknown or not pending (also when it ended while this call
                hashed), or ids, byte count or MD5 do not fit.
            StoppedError: `stopped` became true while the content was hashed.
        """
        self.sweep()
        upload = require_pending(self._ledger.upload(upload_id))
        parts = chosen_parts(upload, self._ledger.parts(upload_id), part_ids)
        if md5 is not None:
            self._check_md5(upload_id, parts, md5, stopped)
            self.sweep()
        file = FileRow(
            id=new_file_id(),
            bytes=upload.bytes,
            filename=upload.filename,
            purpose=upload.purpose,
            created_at=upload.created_at,
            expires_at=file_deadline(upload.created_at, upload.purpose, upload.file_seconds),
        )
        with self._ledger.transaction():
            require_pending(self._ledger.upload(upload_id))
            stored = self._ledger.parts(upload_id)
            if self._orphans == "refuse":
                require_no_orphans(upload, stored, part_ids)
            self._ledger.add_file(file, [(part.id, part.bytes) for part in parts])
            completed = self._ledger.end_upload(upload_id, "completed", file.id)
            orphans = {part.id for part in stored} - set(part_ids)
        self._content.remove(orphans)
        return completed, file

    def cancel_upload(self, upload_id: str) -> UploadRow:
        """End a pending upload and delete the bytes of its parts.

        Raises:
            ApiError: the upload is unknown or has ended.
        """
        self.sweep()
        with self._ledger.transaction():
            require_pending(self._ledger.upload(upload_id), cancelling=True)
            cancelled = self._ledger.end_upload(upload_id, "cancelled")
            names = [part.id for part in self._ledger.parts(upload_id)]
        self._content.remove(names)
        return cancelled

    # --- files

    def add_file(self, new: NewFile, incoming: Incoming) -> FileRow:
        """Make a file of a body that arrived whole."""
        self.sweep()
        name = secrets.token_hex(16)
        now = self._now()
        row = FileRow(
            id=new_file_id(),
            bytes=incoming.bytes,
            filename=new.filename,
            purpose=new.purpose,
            created_at=now,
            expires_at=file_deadline(now, new.purpose, new.file_seconds),
        )
        try:
            with self._ledger.transaction():
                incoming.keep(self._content.path(name))
                self._ledger.add_file(row, [(name, row.bytes)])
        except BaseException:
            self._content.remove([name])
            raise
        return row

    def file(self, file_id: str) -> FileRow:
        """Return a file.

        Raises:
            ApiError: 404 when it is unknown, deleted or expired.
        """
        self.sweep()
        return self._ledger.file(file_id)

    def files(self) -> list[FileRow]:
        """Return every file that can be read, oldest first."""
        page = self.list_files(purpose=None, limit=1 << 40, newest_first=False, after=None)
        return list(page.files)

    def list_files(
        self, *, purpose: str | None, limit: int, newest_first: bool, after: str | None
    ) -> FilePage:
        """Return one page of files by `created_at`, those of one second as they were made.

        `after` may name a file that has been deleted since: a listing goes on where it stood.

        Raises:
            ApiError: 404 when `after` was never a file.
        """
        self.sweep()
        return self._ledger.page(
            purpose=purpose, limit=limit, newest_first=newest_first, after=after
        )

    def delete_file(self, file_id: str) -> None:
        """Delete a file and its bytes.

        Raises:
            ApiError: 404 when it is unknown, deleted or expired.
        """
        self.sweep()
        with self._ledger.transaction():
            self._ledger.file(file_id)
            names = self._ledger.bury([file_id])
        self._content.remove(names)

    def slices(self, file_id: str, start: int = 0, stop: int | None = None) -> list[Slice]:
        """Return where the bytes from `start` up to `stop` (the end) of a file lie, in order.

        Raises:
            ApiError: 404 when it is unknown, deleted or expired.
        """
        size = self.file(file_id).bytes
        end = size if stop is None else stop
        found = []
        begins = 0
        for name, length in self._ledger.segments(file_id):
            first, last = max(start, begins), min(end, begins + length)
            if first < last:
                found.append(Slice(self._content.path(name), first - begins, last - first))
            begins += length
        return found

    def read_file(self, file_id: str) -> Iterator[bytes]:
        """Yield the content of a file in reads of at most 1 MiB; raises as `slices` does."""
        return read_slices(self.slices(file_id))

    def md5_of(self, file_id: str) -> str:
        """Return the MD5 of a file's content, in hex; raises as `slices` does."""
        return md5_of(self.slices(file_id))

    # --- time

    def sweep(self) -> None:
        """End what has expired and delete its bytes."""
        now = self._now()
        if not any(self._ledger.due(now)):
            return
        with self._ledger.transaction():
            uploads, files = self._ledger.due(now)
            names = self._ledger.bury(files)
            for upload_id in uploads:
                self._ledger.end_upload(upload_id, "expired")
                names += [part.id for part in self._ledger.parts(upload_id)]
        self._content.remove(names)

    def _now(self) -> int:
        return math.floor(self.clock())

    def _check_md5(
        self, upload_id: str, parts: Sequence[PartRow], md5: str, stopped: Callable[[], bool]
    ) -> None:
        slices = [Slice(self._content.path(part.id), 0, part.bytes) for part in parts]
        try:
            actual = md5_of(slices, stopped)
        except FileNotFoundError:
            # The upload ended under us, and whoever ended it deleted the bytes.
            require_pending(self._ledger.upload(upload_id))
            raise
        if actual != md5.lower():
            message = f"MD5 checksum mismatch: the content has {actual}, not {md5}."
            raise ApiError(400, message, param="md5")


def _require_ours(directory: Path, rows: Path) -> None:
    """Refuse a folder whose files no rows can be asked about: all of them would be swept."""
    if rows.exists() and rows.stat().st_size:
        return
    for folder in (directory / INCOMING, directory / CONTENT):
        if folder.is_dir() and any(folder.iterdir()):
            raise ForeignFolderError(f"{folder} holds files that no server here knows of")


def _lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise StoreInUseError(f"{path.parent} is in use by another server") from error
    return fd
