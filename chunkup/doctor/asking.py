"""One request as an upload would make it, and what its answer means: GET /files, one File long."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Final

import aiohttp
from yarl import URL

from chunkup.api import Api
from chunkup.doctor.finding import Fact, Finding, State, Veil, command
from chunkup.endpoint import Endpoint
from chunkup.errors import ChunkupError, OutOfQuota
from chunkup.text import duration_text
from chunkup.verdicts import http_date

# Seconds. A list of one File has no reason to take so long.
_SLOW: Final = 5.0
_SKEW: Final = 300.0
_VERSION: Final = re.compile(r"/v\d+\w*$")

_SAYS: Final = {
    401: "the server does not accept the key",
    403: "the key is known, but it may not list Files",
    404: "the server knows no Files below this base URL",
    405: "the server knows no Files below this base URL",
    407: "a proxy on the way wants a user name and a password",
    429: "the server asks for fewer requests",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """As whom it is asked, and what helps if that goes wrong.

    Attributes:
        endpoint: Where an upload would send.
        named: Whether the endpoint says who asks; without that, a refusal is as it should be.
        variable: The environment variable that the key is to be in.
        proxied: The variable that names the proxy, if one is used.
        patience: Seconds for all of it.
        again: The command that looks once more, there or at another base URL.
        veil: What may not be shown.
    """

    endpoint: Endpoint
    named: bool
    variable: str
    proxied: str | None
    patience: float
    again: Callable[[str | None], str]
    veil: Veil


@dataclass(slots=True)
class _Heard:
    """What came back, however little; ``moment`` by this machine's clock."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    moment: float = 0.0


async def ask(asking: Asking) -> AsyncIterator[Finding]:
    """Ask once, for no more than a File's description."""
    heard = _Heard()

    async def hear(_: object, __: SimpleNamespace, end: aiohttp.TraceRequestEndParams) -> None:
        heard.status, heard.moment = end.response.status, time.time()
        heard.headers = {name.lower(): value for name, value in end.response.headers.items()}

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(hear)
    patience = max(0.1, asking.patience)
    began = time.monotonic()
    error: ChunkupError | None = None
    api = Api(
        asking.endpoint,
        stall_timeout=patience,
        complete_timeout=patience,
        trace_configs=[trace],
    )
    try:
        api.open()
        async with asyncio.timeout(patience):
            await api.list_files(None, None, limit=1)
    except TimeoutError:
        error = ChunkupError(f"no answer came within {duration_text(patience)}")
    except ChunkupError as refusal:
        error = refusal
    finally:
        await api.close()
    yield _answer(asking, heard, error, time.monotonic() - began)
    yield _clock(heard)


# --- the answer -----------------------------------------------------------------------------


def _answer(asking: Asking, heard: _Heard, error: ChunkupError | None, took: float) -> Finding:
    state, says, hint = _meaning(asking, heard, error)
    facts: dict[str, Fact] = {
        "status": heard.status,
        "seconds": round(took, 3),
        "request_id": _request_id(asking, heard),
    }
    if heard.status is not None:
        says = f"{heard.status} after {_time(took)}: {says}"
        if facts["request_id"]:
            says += f" (request {facts['request_id']})"
    if state is State.OK and took > _SLOW:
        state, hint = State.WARN, asking.again(None)
        says += "; that is slow, for so little"
    return Finding("answer", state, says, hint=hint, facts=facts)


def _request_id(asking: Asking, heard: _Heard) -> str | None:
    found = heard.headers.get("x-request-id") or heard.headers.get("apim-request-id")
    return asking.veil.words(found, 100) if found else None


def _meaning(
    asking: Asking, heard: _Heard, error: ChunkupError | None
) -> tuple[State, str, str | None]:
    """State, words and hint for what came of it."""
    status, again = heard.status, asking.again
    if error is None:
        return State.OK, "Files can be listed", None
    if status is None:
        return State.FAIL, asking.veil.words(error.message), command(error.hint, again(None))
    if 200 <= status < 300:
        return State.FAIL, _nonsense(asking, heard, error), _elsewhere(asking)
    if not asking.named and status in {400, 401, 403}:
        return State.OK, "as is to be expected of a request without a key", None
    says = _SAYS.get(status) or _kind(status)
    if status == 401 and asking.endpoint.key is None:
        says = "the server wants a key, and none is sent"
    said = error.answer.message if error.answer is not None else ""
    # Of a key that is refused servers say nothing but which one that was.
    if said and status != 401:
        says += f"; it says: {asking.veil.words(said)}"
    if 300 <= status < 400:
        return State.FAIL, _redirect(asking, heard), _secure(asking)
    if status in {404, 405}:
        return State.FAIL, says, _elsewhere(asking)
    if status == 407 and asking.proxied:
        return State.FAIL, says, f"export {asking.proxied}=http://USER:PASSWORD@HOST:PORT"
    if status in {401, 403}:
        return State.FAIL, says, f"export {asking.variable}=..."
    lasting = status != 429 or isinstance(error, OutOfQuota)
    return State.FAIL if lasting else State.WARN, says, again(None)


def _kind(status: int) -> str:
    if status >= 500:
        return "the server, or a gateway before it, is in trouble; it is not you"
    return "the server refuses this"


def _nonsense(asking: Asking, heard: _Heard, error: ChunkupError) -> str:
    if "html" in heard.headers.get("content-type", "").lower():
        return (
            "a web page came instead of JSON: the login page of a network or a proxy, or an "
            "address that is no API"
        )
    return f"what came is no list of Files: {asking.veil.words(error.message)}"


def _redirect(asking: Asking, heard: _Heard) -> str:
    try:
        there = URL(heard.headers.get("location", "")).host
    except ValueError:
        there = None
    where = f" to {asking.veil.words(there, 100)}" if there else ""
    return f"it is a redirect{where}, and no redirect is followed; the base URL is not the API's"


# --- hints ----------------------------------------------------------------------------------


def _elsewhere(asking: Asking) -> str:
    """The same place with a version in its path, if it has none."""
    url = asking.endpoint.base_url
    return asking.again(None if _VERSION.search(url) else f"{url}/v1")


def _secure(asking: Asking) -> str:
    """The same host by https. Where a redirect leads is the server's word, and not advised."""
    url = asking.endpoint.base_url
    if url.startswith("http://"):
        return asking.again("https://" + url.removeprefix("http://"))
    return _elsewhere(asking)


# --- the clock ------------------------------------------------------------------------------


def _clock(heard: _Heard) -> Finding:
    told = http_date(heard.headers.get("date"))
    if told is None:
        return Finding("clock", State.SKIP, "not compared: no answer told the server's time")
    ahead = heard.moment - told
    facts = {"ahead": round(ahead, 1)}
    if abs(ahead) <= _SKEW:
        return Finding("clock", State.OK, "as the server's, to within 5 min", facts=facts)
    where = "ahead of" if ahead > 0 else "behind"
    says = f"this machine's clock is {duration_text(abs(ahead))} {where} the server's"
    return Finding("clock", State.WARN, says, hint="date -u", facts=facts)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 9.95 else duration_text(seconds)
