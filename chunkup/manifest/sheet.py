"""The manifest's file: read line by line, and replaced as a whole. All of it may block."""

import errno
import fcntl
import hashlib
import json
import os
import shlex
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from chunkup.errors import BadOption, NoSuchFile, NotAFile, Unreadable
from chunkup.manifest.entry import Entry, Key, entry_of
from chunkup.text import printable

# Bytes of a line: two paths of the longest kind, each byte of them written as ``\udcff``.
_LONGEST: Final = 1 << 20
_PATIENCE: Final = 10.0
_STEP: Final = 0.02
# What a file system says that has no such locks, or none for folders.
_NO_LOCKS: Final = frozenset({errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


def read(path: str | os.PathLike[str]) -> list[Entry]:
    """The entries of a manifest, in its order.

    Raises:
        NoSuchFile, NotAFile, Unreadable: There is none, or it cannot be read.
        BadOption: It is no manifest.
    """
    shown = printable(os.fspath(path), 4096)
    try:
        with open(path, "rb", opener=_without_waiting) as handle:
            if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
                raise NotAFile(f"{shown} is no regular file", hint="give the path of a manifest")
            return [entry for entry, _ in _lines(handle, shown)]
    except FileNotFoundError:
        raise NoSuchFile(f"there is no file {shown}", hint="check the path") from None
    except IsADirectoryError:
        raise NotAFile(f"{shown} is a directory", hint="give the path of a manifest") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Unreadable(f"{shown} cannot be read: {why}") from error


def _lines(handle: BinaryIO, shown: str) -> Iterator[tuple[Entry, str]]:
    """Each entry with its line, members that only another version knows included."""
    number = 0
    while line := handle.readline(_LONGEST):
        number += 1
        if not line.strip():
            continue
        try:
            found = _json(line)
            entry = entry_of(found)
        except ValueError as error:
            raise BadOption(
                f"{shown} is no manifest: line {number} {error}",
                hint="give a file that `chunkup upload --manifest FILE` wrote, or a new path",
            ) from None
        yield entry, json.dumps(found, ensure_ascii=True)


def _json(line: bytes) -> object:
    try:
        return json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ValueError("is no JSON") from None


def _no_number(word: str) -> object:
    raise ValueError(word)


class Sheet:
    """The file at ``path``, which need not be there; a symbolic link is followed once, now.

    Attributes:
        path: Where it really is.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._shown = printable(os.fspath(path), 4096)
        self.path = Path(os.path.realpath(path))
        name = hashlib.blake2b(os.fsencode(self.path.name), digest_size=10).hexdigest()
        # One for each manifest and no more: what a kill leaves there, the next writer replaces.
        self._hidden = self.path.with_name(f".chunkup-manifest-{name}")
        self._lines: dict[Key, str] = {}
        self._seen: tuple[int, ...] | None = None

    def check(self) -> None:
        """Refuse a place that cannot be written, and a file that is no manifest.

        Raises:
            BadOption: So it is; the file is as it was.
        """
        try:
            with self._locked():
                self._load()
                if self.path.exists() and not os.access(self.path, os.W_OK):
                    raise PermissionError(errno.EACCES, "it may not be written by this user")
                with self._made():
                    pass
                self._hidden.unlink()
        except OSError as error:
            folder = self.path.parent
            hint = None if folder.is_dir() else f"mkdir -p -- {shlex.quote(str(folder))}"
            raise BadOption(
                f"the manifest {self._shown} cannot be written: {error.strerror or error}",
                hint=hint or "name another place with --manifest FILE",
            ) from error

    def merge(self, ours: Mapping[Key, str]) -> None:
        """Add these lines, or put them into the place of older ones.

        They are in their command's order, and stay in it among each other as far as what is
        there already allows.

        Raises:
            OSError: It was not written.
            BadOption: What is there now is no manifest; it is as it was.
        """
        with self._locked() as folder:
            self._load()
            self._lines = merged(self._lines, ours)
            self._seen = None
            with self._made() as handle:
                for line in self._lines.values():
                    handle.write(f"{line}\n".encode("ascii"))
                handle.flush()
                os.fsync(handle.fileno())
                self._hidden.replace(self.path)
                self._seen = _stamp(os.fstat(handle.fileno()))
            with suppress(OSError):  # not every file system can; the name is there all the same
                os.fsync(folder)

    def _load(self) -> None:
        """Know what is there, unless it is what was written here."""
        try:
            with open(self.path, "rb", opener=_without_waiting) as handle:
                found = os.fstat(handle.fileno())
                if not stat.S_ISREG(found.st_mode):
                    raise BadOption(f"the manifest {self._shown} is there, and no regular file")
                if _stamp(found) != self._seen:
                    self._lines = {entry.key: line for entry, line in _lines(handle, self._shown)}
                    self._seen = _stamp(found)
        except FileNotFoundError:
            self._lines, self._seen = {}, None
        except IsADirectoryError:
            raise BadOption(f"the manifest {self._shown} is a directory") from None

    @contextmanager
    def _made(self) -> Iterator[BinaryIO]:
        """The file that will have the name, as private as the one that has it, or wholly so."""
        self._hidden.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._hidden, flags, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as handle:
                with suppress(FileNotFoundError):
                    _be_like(self.path.stat(), descriptor)
                yield handle
        except BaseException:
            self._hidden.unlink(missing_ok=True)
            raise

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the folder, so that of two commands neither loses what the other adds.

        The folder, since its lock is there before the file is and leaves nothing behind.
        """
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            until = time.monotonic() + _PATIENCE
            while not _taken(folder):
                if time.monotonic() > until:
                    raise TimeoutError(errno.ETIMEDOUT, "another process holds its folder")
                time.sleep(_STEP)
            yield folder
        finally:
            os.close(folder)


def merged(theirs: Mapping[Key, str], ours: Mapping[Key, str]) -> dict[Key, str]:
    """Lines that are there and lines to add, as one manifest.

    What is there keeps its place, and its newer version gets it. What is new comes behind the
    line that precedes it in ``ours``, so that the pieces of a file that was sent in several runs
    are in order; or before the first of ``ours`` that is there; or at the end.
    """
    behind: dict[Key, list[Key]] = {}
    first: list[Key] = []
    anchor: Key | None = None
    for key in ours:
        if key in theirs:
            if anchor is None:
                behind[key] = []
                leading = key
            anchor = key
        elif anchor is None:
            first.append(key)
        else:
            behind.setdefault(anchor, []).append(key)
    found: dict[Key, str] = {}
    for key, line in theirs.items():
        if anchor is not None and key == leading:
            found.update((new, ours[new]) for new in first)
        found[key] = ours.get(key, line)
        found.update((new, ours[new]) for new in behind.get(key, ()))
    if anchor is None:
        found.update(ours)
    return found


def _taken(folder: int) -> bool:
    """Whether the folder is ours now, or can be nobody's."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _be_like(found: os.stat_result, descriptor: int) -> None:
    with suppress(PermissionError):  # only the system's own user may give a file away
        os.fchown(descriptor, found.st_uid, found.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(found.st_mode))


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _without_waiting(path: str, flags: int) -> int:
    """A pipe would wait for a writer."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
