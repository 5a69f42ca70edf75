"""What the system has run out of for this process: files, threads, memory.

Neither a file nor a server is to blame for it, and neither is blamed: the sentence names the
limit.
"""

import errno
import resource
import threading
from typing import Final

from chunkup.errors import Stopped

# Open files of a process that sends nothing yet, and those that each slot may take: a file and a
# connection for the part in it, and for each of two files that have parts to send a pass and a
# request of its own.
_BESIDES: Final = 28
_EACH: Final = 6
# Bytes that may be written at once.
_NEAR: Final = 64 << 10
_NO_THREAD: Final = "can't start new thread"


def shortage(error: BaseException) -> Stopped | None:
    """What was lacking, if that is what went wrong; also in a group of errors."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for one in error.exceptions if (found := shortage(one))), None)
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EMFILE:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        why = (
            f"this process may have {soft} files and connections open at once, and that is not "
            "enough; raise it (ulimit -n), or send less at once (--workers)"
        )
    elif number == errno.ENFILE:
        why = "this system has as many files open as it can have; see what holds them"
    elif isinstance(error, MemoryError) or number == errno.ENOMEM:
        why = "there is no memory left for this process; give it more, or send less at once"
    elif isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        why = (
            "this process may start no more threads; raise the limit of its user (ulimit -u) or "
            "of its container"
        )
    else:
        return None
    return Stopped(why, retryable=number is not None)


def outgrown(size: int) -> str | None:
    """Why a file of this size could not grow, where the system's limit may be the reason."""
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft == resource.RLIM_INFINITY or soft - size > _NEAR:
        return None
    return f"files of this process may have {soft} bytes at most (ulimit -f)"


def begin(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        Stopped: The system has none left.
    """
    try:
        thread.start()
    except RuntimeError as error:
        raise shortage(error) or error from error


def affordable(workers: int) -> int:
    """How many of these can send at once with the open files that this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return workers
    return max(1, min(workers, (soft - _BESIDES) // _EACH))
