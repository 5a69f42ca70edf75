"""Waiting until a server is through with a File and lets it be used.

The official words are ``uploaded``, ``processed`` and ``error`` (API reference, read 2026-11-21).
Others have their own, and some say nothing at all.
"""

import asyncio
import shlex
import time
from functools import partial
from typing import Final

from chunkup.api import Api
from chunkup.errors import Failed, NotFound, Stopped
from chunkup.models import RemoteFile
from chunkup.search import Reach
from chunkup.text import duration_text, printable

# The official word, Moonshot's ("ok"), and what others have for it.
_READY: Final = frozenset(
    {"processed", "ok", "active", "available", "completed", "ready", "succeeded", "success"}
)
# The official word, Azure's, and what says that there will be no File any more.
HOPELESS: Final = frozenset(
    {"error", "failed", "cancelled", "canceled", "deleting", "deleted", "expired"}
)
# Of 250 new Files at Azure, 3 to 5 were answered with 404 at first (azure-sdk-for-net 47121).
_FRESH: Final = 60.0
# Looks at a File that is ready and has no size yet, in case that is only late.
_SIZELESS: Final = 3
_LONGEST_STEP: Final = 15.0


async def wait_processed(
    api: Api,
    reach: Reach,
    file: RemoteFile | str,
    *,
    timeout: float = 600.0,  # noqa: ASYNC109  (how long a person wants to wait, as an argument)
    step: float = 0.5,
) -> RemoteFile:
    """Ask for a File, at growing intervals, until it is processed.

    A File that the server does not know is waited for as well, for a minute: some know a new one
    only later. One without any status is taken as it is.

    Args:
        api: Where it is.
        reach: Carries out a request that may be repeated.
        file: The File, or its id.
        timeout: Seconds to wait in all.
        step: Seconds until the second look.

    Raises:
        NotFound: There is no such File, or there is none any more.
        Failed: The server says that it could not process it.
        Stopped: It is not through after ``timeout``.
    """
    name = file if isinstance(file, str) else file.id
    if isinstance(file, RemoteFile) and file.bytes is not None and _is_ready(file):
        return file
    since, found, missing, sizeless = time.monotonic(), None, None, 0
    try:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    found = await reach(partial(api.retrieve, name))
                except NotFound as error:
                    if found is not None or time.monotonic() - since > _FRESH:
                        raise
                    missing = error
                else:
                    if _is_ready(found):
                        sizeless += 1
                        if found.bytes is not None or sizeless > _SIZELESS:
                            return found
                await asyncio.sleep(step)
                step = min(step * 1.5, _LONGEST_STEP)
    except TimeoutError:
        if found is None and missing is not None:
            raise missing from None
        said = f", but {printable(found.status, 40)!r}" if found and found.status else ""
        raise Stopped(
            f"File {printable(name)} is not processed after {duration_text(timeout)}{said}; "
            "the server goes on with it",
            hint=f"chunkup files show {shlex.quote(name)}",
        ) from None


def _is_ready(file: RemoteFile) -> bool:
    """Whether a File can be used.

    Raises:
        Failed: It never will be.
    """
    if not file.status:
        return True
    word = file.status.lower()
    if word in HOPELESS:
        said = f": {printable(file.status_details)}" if file.status_details else ""
        raise Failed(
            f"the server says {printable(file.status, 40)!r} of File {printable(file.id)}{said}",
            hint=f"chunkup files show {shlex.quote(file.id)}",
        )
    return word in _READY
