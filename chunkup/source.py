"""The file: what it is known by, and whether it is still the one that was seen."""

import mimetypes
import os
import shlex
import stat
from functools import partial
from pathlib import PurePath
from typing import Final

from chunkup.aside import aside
from chunkup.errors import (
    ChunkupError,
    NoSuchFile,
    NotAFile,
    SourceChanged,
    SourceGone,
    Unreadable,
)
from chunkup.models import Fingerprint, Source
from chunkup.patience import PATIENCE, patiently
from chunkup.providers import MIME_TYPES
from chunkup.shortage import shortage

_PUT_BACK: Final = "put the file back as it was, then resume"


def inspect(path: str | os.PathLike[str]) -> tuple[str, Fingerprint]:
    """The real path and the fingerprint of a file that can be uploaded.

    Raises:
        NoSuchFile: Nothing is there.
        NotAFile: It is a directory, a pipe, a device or a socket.
        Unreadable: This user may not read it.
    """
    shown = os.fspath(path)
    try:
        real = os.path.realpath(shown)
        found = os.stat(real)  # noqa: PTH116  (a descriptor or path, as the file system has it)
    except FileNotFoundError as error:
        raise NoSuchFile(f"there is no file {shown}", hint="check the path") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Unreadable(f"{shown} cannot be read: {why}") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        raise NotAFile(f"{shown} is {kind}", hint="give the path of a regular file")
    if not os.access(real, os.R_OK):
        raise Unreadable(
            f"{shown} cannot be read by this user", hint=f"chmod u+r -- {shlex.quote(real)}"
        )
    return real, fingerprint_of(found)


async def looked(path: str, patience: float = PATIENCE) -> Fingerprint:
    """A file that a job already knows, as it is now; see :func:`look_again`.

    Raises:
        SourceGone: It is not there, or no regular file any more.
        Stopped: Its disk does not answer.
    """
    return await patiently(aside(partial(look_again, path)), path, patience)


def look_again(path: str) -> Fingerprint:
    """A file that a job already knows, as it is now, in the calling thread.

    Raises:
        SourceGone: It is not there, or no regular file any more.
    """
    try:
        found = os.stat(path)  # noqa: PTH116  (as above)
    except OSError as error:
        raise gone(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise SourceGone(
            f"{path} is no regular file any more; what was accepted is kept", hint=_PUT_BACK
        )
    return fingerprint_of(found)


def fingerprint_of(found: os.stat_result) -> Fingerprint:
    """What decides whether a file is still the one that was seen before."""
    return Fingerprint(
        found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev, found.st_ctime_ns
    )


def gone(path: str, error: OSError) -> ChunkupError:
    """What it means to a job that its file could not be opened or read."""
    return shortage(error) or SourceGone(
        f"{path} cannot be read any more: {error.strerror or error}; what was accepted is kept",
        hint=_PUT_BACK,
    )


def changed(path: str) -> SourceChanged:
    """A file that moved under this run; nothing of it is completed."""
    return SourceChanged(
        f"{path} changed while it was being uploaded; nothing was completed",
        hint="upload it again when nobody writes to it",
    )


def open_now(path: str, flags: int) -> int:
    """Open without waiting: a pipe that took the file's name would wait for a writer."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def see_same(source: Source, descriptor: int) -> None:
    """See that what is open is the file of the fingerprint still.

    Raises:
        SourceChanged: It is another one, or was written to.
    """
    if fingerprint_of(os.fstat(descriptor)) != source.fingerprint:
        raise changed(source.path)


def opened(source: Source, path: str, flags: int) -> int:
    """Open the file of a fingerprint, and no other; an opener as :func:`open` takes it.

    Raises:
        SourceChanged: It is another one, or was written to.
    """
    descriptor = open_now(path, flags)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):  # which open() refuses in its words
            see_same(source, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def mime_type_of(filename: str) -> str:
    """The MIME type by the name's extension: the API's own table first, then the system's."""
    known = MIME_TYPES.get(PurePath(filename).suffix.lower())
    return known or mimetypes.guess_type(filename)[0] or "application/octet-stream"
