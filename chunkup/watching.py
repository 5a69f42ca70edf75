"""The watch over a part on its way: what is hopeless is cut, and nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from chunkup.body import FormBody
from chunkup.errors import Unreachable
from chunkup.pace import Clocks, Verdict, Watch
from chunkup.veil import blank

_TICK: Final = 1.0


@asynccontextmanager
async def watched(
    body: FormBody, tracker: aiohttp.UploadTracker, stall: float, moved: Callable[[int], None]
) -> AsyncIterator[None]:
    """Look at a part's progress once a second; cut what is hopeless."""
    loop = asyncio.get_running_loop()
    watch, clocks = Watch(stall, loop.time()), Clocks(loop.time(), time.time())
    verdict = Verdict.HEALTHY
    timer: asyncio.TimerHandle | None = None

    def tick() -> None:
        nonlocal verdict, timer
        sent = body.acknowledged(tracker.bytes_written)
        moved(sent)
        now = loop.time()
        slept = clocks.slept(now, time.time())
        verdict = watch.look(
            now, sent, whole=sent >= body.content_size, slept=slept, resting=body.resting
        )
        if verdict is Verdict.HEALTHY:
            timer = loop.call_later(_TICK, tick)
        else:
            scope.reschedule(loop.time())

    try:
        async with asyncio.timeout(None) as scope:
            timer = loop.call_later(_TICK, tick)
            yield
    except TimeoutError as error:
        if verdict is Verdict.SLEPT:
            raise Unreachable(
                "the machine was asleep, and the connection did not live through it", slept=True
            ) from blank(error)
        what = "no byte moved" if verdict is Verdict.STALLED else "no answer came"
        if not body.begun:
            what = "no connection to the server was made"
        raise Unreachable(f"{what} for {stall:.0f} s or longer", sent=body.begun) from blank(error)
    finally:
        if timer is not None:
            timer.cancel()
