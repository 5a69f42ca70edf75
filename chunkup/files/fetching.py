"""A File's content on its way here.

Where the server knows ranges, what broke off goes on where it stopped; elsewhere it starts over.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Final

from chunkup.api import Content
from chunkup.errand import Errand, tell_retry
from chunkup.errors import BadAnswer, ChunkupError, Rejected, ServerTrouble, Stopped, Unreachable
from chunkup.link import Workshop
from chunkup.models import RemoteFile
from chunkup.pace import Floor, backoff
from chunkup.retry import Retry
from chunkup.text import duration_text, printable

# Bytes that make an attempt worth having been made, however it ended.
_WORTH: Final = 1 << 20


async def pieces(
    shop: Workshop, file: RemoteFile, start: int = 0
) -> AsyncGenerator[tuple[int, bytes]]:
    """The content from byte ``start`` on: each piece with its place in the whole.

    A place may be one that was given before: the server had to start over.

    Raises:
        BadAnswer: It is longer or shorter than the File, or changed on the way.
        Rejected: The server does not give it.
        Stopped: It broke off too often, or next to nothing comes.
    """
    at = best = start
    failures, ranges = 0, True
    etag: str | None = None
    while True:
        async with AsyncExitStack() as stack:
            content = await _opened(shop, stack, file, at if ranges else 0)
            if content is None:
                ranges, at = False, 0
                continue
            if etag is not None and content.etag not in {None, etag}:
                raise BadAnswer(f"the content of {_named(file)} changed while it was read")
            at, etag = content.start, content.etag or etag
            size = _size(file, content)
            error: ChunkupError
            # Only waiting for the server counts: whoever takes the pieces may be slow.
            floor, waited = Floor(2 * shop.options.stall_timeout), 0.0
            blocks = content.blocks()
            try:
                while True:
                    began = time.monotonic()
                    block = await anext(blocks, b"")
                    waited += time.monotonic() - began
                    if not block:
                        break
                    if size is not None and at + len(block) > size:
                        raise BadAnswer(f"more than the {size} bytes of {_named(file)} came")
                    yield at, block
                    at += len(block)
                    if floor.look(waited, at, sending=True):
                        span = duration_text(floor.window)
                        raise Stopped(f"less than 1 KiB a second came in for {span}")
            except Unreachable as broke:
                error = broke
            else:
                if size is None or at == size:
                    return
                # A gateway may end its own answer well although the server's broke off.
                error = BadAnswer(f"{at} of the {size} bytes of {_named(file)} came")
        if at >= best + _WORTH:
            best, failures = at, 0
        failures += 1
        if failures > shop.options.retries:
            raise error
        wait = backoff(failures, random.random())  # noqa: S311  (jitter)
        tell_retry(Retry(failures, wait, error))
        await asyncio.sleep(wait)


async def _opened(
    shop: Workshop, stack: AsyncExitStack, file: RemoteFile, start: int
) -> Content | None:
    """The answer, its body still to come; None if it is no good from this byte on."""

    async def attempt() -> Content:
        return await stack.enter_async_context(shop.api.content(file.id, start))

    try:
        return await Errand(shop)(attempt)
    except Rejected as error:
        status = error.answer.status if error.answer else 0
        if status == 416 and start:
            return None
        if status == 400:
            error.hint = (
                "OpenAI gives back batch and vision Files and what its APIs made, and keeps "
                "all other purposes to itself"
            )
        raise
    except ServerTrouble as error:
        # A success with another range than was asked for.
        if start and error.answer is None and not error.retryable:
            return None
        raise


def _size(file: RemoteFile, content: Content) -> int | None:
    """Bytes of the whole, if anybody says how many.

    Raises:
        BadAnswer: The server says two things.
    """
    if file.bytes is None or content.total is None:
        return file.bytes if content.total is None else content.total
    if file.bytes != content.total:
        raise BadAnswer(
            f"the server says that {_named(file)} has {file.bytes} bytes, and gives "
            f"{content.total} for it"
        )
    return file.bytes


def _named(file: RemoteFile) -> str:
    return f"File {printable(file.id)}"
