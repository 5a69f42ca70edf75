"""The key: where it comes from, which one it is now, and which one names the account."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import Final

from chunkup.errors import BadOption, Unreachable

KeySource = Callable[[], str | Awaitable[str]]

# A source may ask a network. What it has not got by then will not come.
_PATIENCE: Final = 60.0


class Key:
    """The key, as its source has it at the moment.

    A source may give another key at any time. The first one that it gave stays the name of the
    account: a key that is replaced makes nobody somebody else.
    """

    def __init__(self, source: KeySource) -> None:
        self._source = source
        self._first: str | None = None

    async def now(self) -> str:
        """The key for one request.

        Raises:
            Unreachable: The source raised, or gave nothing in a minute.
            BadOption: What it gave cannot be a key.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                given = self._source()
                found = await given if isawaitable(given) else given
        except Exception as error:
            # Of somebody else's error only the name is harmless for sure.
            raise Unreachable(
                f"the source of the API key failed ({type(error).__name__}), so nothing was sent",
                sent=False,
            ) from error
        key = _clean(found)
        del given, found  # which a traceback could show
        if key is None:
            raise _cannot_be()
        self._first = self._first or key
        return key

    async def first(self) -> str:
        """The key by which the account is known; raises as :meth:`now`."""
        return self._first or await self.now()


def key_of(given: str | KeySource | None, environ: Mapping[str, str]) -> Key | None:
    """The key that is given, or else the environment's; None if there is neither.

    Raises:
        BadOption: It cannot be a key. What a callable gives is looked at when it is asked.
    """
    if callable(given):
        return Key(given)
    written = (given or environ.get("OPENAI_API_KEY") or "").strip()
    if not written:
        return None
    key = _clean(written)
    if key is None:
        raise _cannot_be()
    return Key(lambda: key)


def _clean(given: object) -> str | None:
    # A key that was read from a file ends in a line end.
    key = given.strip() if isinstance(given, str) else ""
    return key if sendable(key) else None


def _cannot_be() -> BadOption:
    # The key itself must not stand in the message.
    return BadOption("the API key is empty, or has characters that no header can carry")


def sendable(text: str, also: str = "") -> bool:
    """Whether a header can carry this: visible ASCII, and what ``also`` allows."""
    return bool(text) and all("!" <= char <= "~" or char in also for char in text)
