"""Whether the Files of a manifest are what it says: asked of the server, one File each."""

import asyncio
import hashlib
import os
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Final

from chunkup.aside import aside
from chunkup.body import quoted
from chunkup.engine import Engine
from chunkup.errand import Errand
from chunkup.errors import (
    BadAnswer,
    BadOption,
    ChunkupError,
    NotFound,
    OtherAccount,
    OutOfQuota,
    ProxyRefused,
    Refused,
    Rejected,
    SourceGone,
    Stopped,
    Unauthorized,
)
from chunkup.files.fetching import pieces
from chunkup.files.stored import an_id
from chunkup.manifest import Entry, read
from chunkup.models import Account, RemoteFile, Span
from chunkup.processing import HOPELESS
from chunkup.reading import md5_of
from chunkup.source import inspect
from chunkup.text import printable

AT_ONCE: Final = 8
# OpenAI answers 400 for most purposes; others have no such call, or not for this key.
_KEPT: Final = frozenset({400, 403, 404, 405, 501})


class State(StrEnum):
    """What became of a File."""

    OK = "ok"
    GONE = "gone"
    DIFFERS = "differs"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verified:
    """What the server says of an entry.

    Attributes:
        entry: The entry.
        state: ``ok``; ``gone`` if there is no such File any more; ``differs`` if it is another, or
            cannot be used; ``unknown`` if that could not be found out.
        message: Why it is not ``ok``, or why its content was not compared.
        compared: Whether the content was, byte by byte.
        error: What kept it ``unknown``.
    """

    entry: Entry
    state: State
    message: str | None = None
    compared: bool = False
    error: ChunkupError | None = None


async def verify(
    engine: Engine, manifest: str | os.PathLike[str] | Sequence[Entry], *, content: bool = True
) -> AsyncGenerator[Verified]:
    """Ask the server about each File of a manifest; in its order, eight at once.

    Nothing is written, and nothing on the server changes. A content is compared by its MD5 as it
    comes in, or with the file that it was made of if the manifest has none. Close the generator
    if you leave it early (:func:`contextlib.aclosing`).

    Args:
        engine: Where, and as whom.
        manifest: Its path, or what was read of it.
        content: Whether to compare contents, where the server gives them back.

    Raises:
        Refused: That is no manifest.
        Unauthorized, Failed: The server will hear nothing from this key, or on this way.
        Stopped: It failed eight times in a row.
    """
    if isinstance(manifest, str | os.PathLike):
        entries: Sequence[Entry] = await aside(partial(read, manifest))
    else:
        entries = manifest
    visit = _Visit(engine, content=content)
    left = iter(entries)
    running: deque[asyncio.Task[Verified]] = deque()
    try:
        while True:
            while len(running) < AT_ONCE and (entry := next(left, None)) is not None:
                running.append(asyncio.create_task(visit.to(entry)))
            if not running:
                return
            await asyncio.wait([running[0]])
            yield running.popleft().result()
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


class _Visit:
    """One command's visit to the server."""

    def __init__(self, engine: Engine, *, content: bool) -> None:
        self._engine = engine
        self._shop = engine.workshop
        self._ask = Errand(self._shop)
        self._content = content
        # Refusals of one File say nothing of the next; a server that is down does.
        self._in_trouble = 0

    async def to(self, entry: Entry) -> Verified:
        """What there is to say of one entry.

        Raises:
            ChunkupError: There is nothing to be said of any.
        """
        try:
            self._require_ours(entry.account)
            found = await self._seen(entry)
        except (Unauthorized, ProxyRefused, OutOfQuota):
            raise
        except Stopped as error:
            self._in_trouble += 1
            if self._in_trouble >= AT_ONCE:
                raise
            return Verified(entry, State.UNKNOWN, error.message, error=error)
        except (Rejected, BadAnswer, BadOption, OtherAccount) as error:
            return Verified(entry, State.UNKNOWN, error.message, error=error)
        self._in_trouble = 0
        return found

    def _require_ours(self, account: Account) -> None:
        endpoint = self._engine.endpoint
        ours = Account(endpoint.base_url, endpoint.organization, endpoint.project)
        if account != ours:
            raise OtherAccount(f"it belongs to {_named(account)}, and not to {_named(ours)}")

    async def _seen(self, entry: Entry) -> Verified:
        try:
            file = await self._retrieved(entry)
            if self._over(file.expires_at):
                return Verified(entry, State.GONE, "it expired")
            if (wrong := _difference(entry, file)) is not None:
                return Verified(entry, State.DIFFERS, wrong)
            return await self._compared(entry, file) if self._content else Verified(entry, State.OK)
        except NotFound:
            why = "it expired" if self._over(entry.expires_at) else "the server has no such File"
            return Verified(entry, State.GONE, why)

    async def _retrieved(self, entry: Entry) -> RemoteFile:
        return await self._ask(partial(self._shop.api.retrieve, an_id(entry.file)))

    def _over(self, expires_at: int | None) -> bool:
        return expires_at is not None and expires_at <= self._shop.api.server_now()

    async def _compared(self, entry: Entry, file: RemoteFile) -> Verified:
        wanted, whose = entry.md5, "the manifest's"
        if wanted is None:
            wanted, whose = await _md5_of_source(entry), "that of its source, as it is now"
        if wanted is None:
            why = "its content was not compared: the manifest has no MD5, and its source is gone"
            return Verified(entry, State.OK, why)
        try:
            found = await self._md5(replace(file, bytes=entry.bytes))
        except Rejected as error:
            status = error.answer.status if error.answer else 0
            if status not in _KEPT or isinstance(error, Unauthorized):
                raise
            await self._retrieved(entry)  # or it vanished just now
            why = f"its content cannot be compared: {error.message}"
            return Verified(entry, State.OK, why)
        except BadAnswer as error:
            return Verified(entry, State.DIFFERS, error.message, compared=True)
        if found != wanted:
            why = f"its content has another MD5 than {whose}: {found}, not {wanted}"
            return Verified(entry, State.DIFFERS, why, compared=True)
        return Verified(entry, State.OK, compared=True)

    async def _md5(self, file: RemoteFile) -> str:
        digest, given = hashlib.md5(usedforsecurity=False), 0
        async with aclosing(pieces(self._shop, file)) as found:
            async for at, block in found:
                new = block[max(0, given - at) :]  # what comes a second time was counted
                given += len(new)
                digest.update(new)
        return digest.hexdigest()


def _difference(entry: Entry, file: RemoteFile) -> str | None:
    """What the server says otherwise than the manifest; what it does not say is no difference."""
    if file.bytes not in {None, entry.bytes}:
        return f"it has {file.bytes} bytes, not {entry.bytes}"
    if file.purpose not in {"", entry.purpose}:
        return f"its purpose is {printable(file.purpose)}, not {printable(entry.purpose)}"
    if (file.status or "").lower() in HOPELESS:
        details = f": {printable(file.status_details)}" if file.status_details else ""
        return f"it cannot be used, the server says {printable(file.status or '', 40)!r}{details}"
    # One that was there already keeps the name that it was made under.
    named = bool(file.filename) and not entry.reused
    if named and quoted(file.filename) != quoted(entry.filename):
        return f"its name is {printable(file.filename)}, not {printable(entry.filename)}"
    return None


async def _md5_of_source(entry: Entry) -> str | None:
    """The MD5 of the stretch as it is now; None if it is not there any more."""
    try:
        path, fingerprint = await aside(partial(inspect, entry.source))
    except (Refused, SourceGone):
        return None
    return await md5_of(path, fingerprint, Span(entry.start, entry.stop))


def _named(account: Account) -> str:
    who = (("organization", account.organization), ("project", account.project))
    said = ", ".join(f"{word} {printable(name)}" for word, name in who if name)
    return f"{said} at {printable(account.base_url)}" if said else printable(account.base_url)
