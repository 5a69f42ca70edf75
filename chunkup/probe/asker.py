"""One request, as chunkup sends it, and any answer that there is."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp

from chunkup.body import FormBody
from chunkup.foreign import mapped, read
from chunkup.probe.replies import Reply
from chunkup.transport import Transport
from chunkup.verdicts import Call, retry_after

# Bytes of an answer. Who ignores what a page was limited to sends all Files there are.
_MOST: Final = 16 << 20
# Attempts at a request that was throttled, and the longest wait between them in seconds.
_ATTEMPTS: Final = 3
_LONGEST_WAIT: Final = 5.0


class Asker:
    """Requests with bounded answers in bounded time.

    Args:
        transport: Where they go; opened and closed by the caller.
        patience: Seconds for one request.
        pace: What every wait is multiplied with.
    """

    def __init__(self, transport: Transport, *, patience: float, pace: float) -> None:
        self.transport = transport
        self.patience = patience
        self._pace = pace

    async def wait(self, seconds: float) -> None:
        """Let time pass on the server."""
        await asyncio.sleep(seconds * self._pace)

    async def ask(  # noqa: PLR0913  (the few ways in which requests differ)
        self,
        method: str,
        path: str,
        what: Call,
        body: Mapping[str, Any] | Callable[[], FormBody] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        fresh: bool = False,
        patience: float | None = None,
    ) -> Reply:
        """Any answer there is. A request that was throttled did nothing, and is sent again.

        Raises:
            Unreachable: There was none.
            ServerTrouble: There was none that could be read.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            reply = await self._once(
                method, path, what, body, params, headers, fresh, patience or self.patience
            )
            if reply.status != 429 or attempt == _ATTEMPTS:
                break
            wait = retry_after(reply.headers, now=self.transport.server_now())
            if (wait or 0) > _LONGEST_WAIT:
                break
            await self.wait(wait or attempt / 2)
        return reply

    async def _once(  # noqa: PLR0913, PLR0917  (as ask)
        self,
        method: str,
        path: str,
        what: Call,
        body: Mapping[str, Any] | Callable[[], FormBody] | None,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        fresh: bool,  # noqa: FBT001  (as ask)
        patience: float,
    ) -> Reply:
        form = body() if callable(body) else None
        answered = False
        try:
            async with (
                self.transport.answer(
                    method,
                    path,
                    what,
                    form if form is not None else body,  # type: ignore[arg-type]
                    params=params,
                    headers=headers,
                    fresh=fresh,
                    timeout=aiohttp.ClientTimeout(total=patience),
                    any_status=True,
                ) as response,
                mapped(what),
            ):
                raw = await read(response, _MOST)
                answered = True
        finally:
            if form is not None:
                await form.aclose(answered=answered)
        lower = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status, lower, raw)
