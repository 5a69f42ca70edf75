"""What is not whole yet lies under a hidden name in the folder where it will be.

One process holds it at a time. The name is always the same for the same thing, so that what a
kill leaves there is found by the next run, and never becomes more.
"""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

# What all these names begin with.
PREFIX: Final = ".chunkup-"

# What is laid in the way is taken away; who does that for ever wins.
_ROUNDS: Final = 100
_OURS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FIRST: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_THEIRS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def claim(path: Path) -> int:
    """A descriptor of the file, which is made if it is not there; private, and locked.

    Raises:
        BlockingIOError: Another process holds it.
        FileExistsError: Somebody lays other things there again and again.
        OSError: It cannot be made.
    """
    for _ in range(_ROUNDS):
        try:
            fd = os.open(path, _OURS, 0o600)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            path.unlink(missing_ok=True)  # somebody's link, which leads elsewhere
            continue
        try:
            found = os.fstat(fd)
            if not _is_ours(found):
                # Who laid it there could read, or change, what is written to it.
                path.unlink(missing_ok=True)
            else:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if is_at(path, found):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its owner was just through with it
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def name(path: Path, target: Path) -> None:
    """Give a file that is whole its name, unless somebody has that: who makes a name first has it.

    The hidden one may be there still, for the caller to take away once the new one is on the disk.

    Raises:
        FileExistsError: The name is taken.
        OSError: It cannot be given; nothing is there.
    """
    try:
        os.link(path, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links, as on memory sticks
        os.close(os.open(target, _FIRST, 0o600))
        try:
            path.replace(target)
        except OSError:
            target.unlink(missing_ok=True)
            raise


def let_go(target: Path) -> bool:
    """Take the hidden name from a file that is whole, if a kill left it both; whether it had."""
    had = False
    with suppress(OSError):
        found = target.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            for path in target.parent.glob(f"{PREFIX}*"):
                if is_at(path, found) and not _is_held(path):
                    path.unlink(missing_ok=True)
                    had = True
    return had


def is_at(path: Path, found: os.stat_result) -> bool:
    """Whether this very file has the name still."""
    with suppress(OSError):
        return os.path.samestat(path.lstat(), found)
    return False


def _is_ours(found: os.stat_result) -> bool:
    private = stat.S_ISREG(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
    return private and found.st_uid == os.geteuid() and found.st_nlink == 1


def _is_held(path: Path) -> bool:
    handle = os.open(path, _THEIRS)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
