"""Waiting that a cancellation cannot cut short, for what must not be left half-done."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_Result = TypeVar("_Result")


async def outlast(work: Awaitable[_Result]) -> _Result:
    """Wait for ``work`` to the end; if cancelled meanwhile, be cancelled only then.

    ``work`` itself is never cancelled, however often the caller is.
    """
    running = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not running.cancelled():
            running.exception()
        raise cancelled
    return running.result()
