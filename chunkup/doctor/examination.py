"""All checks in their order, within a bound of time."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from yarl import URL

from chunkup.aside import aside
from chunkup.doctor.asking import Asking, ask
from chunkup.doctor.disk import disk
from chunkup.doctor.finding import Finding, State, Veil, command
from chunkup.doctor.software import software
from chunkup.doctor.way import Way, walk
from chunkup.endpoint import Endpoint
from chunkup.errors import ChunkupError
from chunkup.proxies import Proxies, Proxy
from chunkup.trust import Trust, context

# Of the whole time, for each step of the way; what is left is for the request.
_SHARE: Final = 1 / 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is looked at.

    Attributes:
        findings: What was found out about the settings already.
        endpoint: Where they lead; None if nowhere.
        named: Whether the endpoint says who asks.
        variable: The environment variable that the key is to be in.
        trust: Whom to believe; None if that cannot be had.
        proxies: Those of the environment.
        journal: The journal's path, and where that is said.
        timeout: Seconds for all of it together.
        again: The command that looks once more, there or at another base URL.
        veil: What may not be shown.
    """

    findings: tuple[Finding, ...]
    endpoint: Endpoint | None
    named: bool
    variable: str
    trust: Trust | None
    proxies: Proxies
    journal: tuple[Path, str]
    timeout: float
    again: Callable[[str | None], str]
    veil: Veil


async def examine(subject: Subject) -> AsyncGenerator[Finding, None]:
    """What is found out, each as soon as it is, and safe to be shown to anybody."""
    async for finding in _all(subject):
        yield subject.veil.finding(finding)


async def _all(subject: Subject) -> AsyncIterator[Finding]:
    end = time.monotonic() + subject.timeout
    yield software()
    for finding in subject.findings:
        yield finding
    for finding in await _disk(subject):
        yield finding
    if subject.endpoint is None:
        for check in ("proxy", "name", "connection", "tls", "answer", "clock"):
            yield Finding(check, State.SKIP, "not tried: there is no base URL to send to")
        return
    async for finding in _network(subject, subject.endpoint, end):
        yield finding


async def _disk(subject: Subject) -> list[Finding]:
    """The journal's folder may lie on a disk that never answers."""
    path, whence = subject.journal
    patience = subject.timeout * _SHARE
    try:
        async with asyncio.timeout(patience):
            return await aside(partial(disk, path, whence))
    except TimeoutError:
        says = f"{path} ({whence}) could not be looked at in {patience:.0f} s"
        hint = 'export CHUNKUP_JOURNAL="$HOME/chunkup/journal.db"'
        return [
            Finding("journal", State.FAIL, says, hint=hint),
            Finding("disk", State.SKIP, "not looked at: it does not answer"),
        ]


async def _network(subject: Subject, endpoint: Endpoint, end: float) -> AsyncIterator[Finding]:
    url = URL(endpoint.base_url)
    found, proxy = _proxy(subject, url)
    yield found
    open_ = found.state is not State.FAIL
    if not open_:
        for check in ("name", "connection", "tls"):
            yield Finding(check, State.SKIP, "not tried: the proxy cannot be used")
    else:
        way = Way(
            url=url,
            proxy=proxy,
            trust=None if subject.trust is None else context(subject.trust),
            patience=subject.timeout * _SHARE,
            again=subject.again,
            veil=subject.veil,
        )
        async for finding in walk(way):
            open_ &= finding.state in {State.OK, State.WARN}
            yield finding
    if not open_:
        for check in ("answer", "clock"):
            yield Finding(check, State.SKIP, "not asked: the way to the server is not open")
        return
    asking = Asking(
        endpoint=endpoint,
        named=subject.named,
        variable=subject.variable,
        proxied=proxy.variable if proxy else None,
        patience=end - time.monotonic(),
        again=subject.again,
        veil=subject.veil,
    )
    async for finding in ask(asking):
        yield finding


def _proxy(subject: Subject, url: URL) -> tuple[Finding, Proxy | None]:
    try:
        proxy = subject.proxies.for_url(url)
    except ChunkupError as error:
        hint = command(error.hint, f"unset {error.message.partition(' ')[0]}")
        return Finding("proxy", State.FAIL, error.message, hint=hint), None
    if proxy is None:
        return Finding("proxy", State.OK, "none for this URL", facts={"proxy": None}), None
    where = proxy.url.removeprefix("http://")
    says = f"{where}, which {proxy.variable} names"
    facts = {"proxy": where, "variable": proxy.variable}
    return Finding("proxy", State.OK, says, facts=facts), proxy
