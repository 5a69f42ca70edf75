"""One way for all requests: sessions, bounded answers, errors in our own words.

Redirects are never followed (a key would follow them), cookies and ``.netrc`` never read.
"""

import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from yarl import URL

from chunkup import names, trust
from chunkup.answers import nonsense
from chunkup.body import FormBody
from chunkup.clock import ServerClock
from chunkup.endpoint import Endpoint
from chunkup.errors import Stopped, Unauthorized
from chunkup.foreign import mapped, read
from chunkup.models import Upload
from chunkup.text import printable
from chunkup.veil import Veiled
from chunkup.verdicts import Call, http_date, interpret, owner_of, repeated

_log = logging.getLogger("chunkup")

CONNECT: Final = 30.0
_SMALL: Final = 1 << 20
_CALL: Final = 120.0
_AGENT: Final = "chunkup/0.1.0"


class Transport:
    """Requests to one endpoint. Open it inside a running loop."""

    def __init__(
        self, endpoint: Endpoint, *, trace_configs: Sequence[aiohttp.TraceConfig] = ()
    ) -> None:
        self.endpoint = endpoint
        self._trace = list(trace_configs)
        self._session: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        self._left: list[aiohttp.ClientSession] = []
        self._trust: ssl.SSLContext | bool = True
        self._clock = ServerClock()
        # Whose the last success was, by its own headers: the key's organization and project.
        self.owner: str | None = None

    def open(self) -> None:
        """Make the sessions; no connection is opened yet.

        Raises:
            BadOption: A file of certificates or keys cannot be used.
        """
        self._trust = trust.context(self.endpoint.trust)
        self._session = self._make_session(self._keeping())
        # An idle connection may be closed by the server in the very moment it is used again.
        # A part is then sent anew; complete must not be put into that doubt.
        self._fresh = self._make_session(
            aiohttp.TCPConnector(
                limit=0, ssl=self._trust, resolver=names.resolver(), force_close=True
            )
        )

    def _keeping(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(
            limit=0, ssl=self._trust, resolver=names.resolver(), keepalive_timeout=15
        )

    def _make_session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": _AGENT, "Accept": "application/json"},
            trust_env=False,
            trace_configs=self._trace,
        )
        # aiohttp would repeat each GET whose connection broke, at once and unseen by our budget.
        session._retry_connection = False  # noqa: SLF001  (its own tests set it; there is no option)
        return session

    def forget_connections(self) -> None:
        """Use no idle connection again; what is under way goes on.

        After a sleep of the machine the idle ones are dead, and nobody tells.
        """
        if self._session is not None:
            self._left.append(self._session)
            self._session = self._make_session(self._keeping())

    async def close(self) -> None:
        """Close every connection."""
        for session in (self._session, self._fresh, *self._left):
            if session is not None:
                await session.close()
        self._session = self._fresh = None

    # --- time -------------------------------------------------------------------------------

    @property
    def knows_time(self) -> bool:
        """Whether any answer has told the server's time yet."""
        return self._clock.known

    def server_now(self) -> float:
        """Unix seconds by the server's clock; by ours until it has answered once."""
        return self._clock.at(time.monotonic(), time.time())

    def born(self, upload: Upload) -> Upload:
        """An Upload that was made this moment, as the server's clock has it."""
        return self._clock.born(time.monotonic(), time.time(), upload)

    # --- requests ---------------------------------------------------------------------------

    async def json(  # noqa: PLR0913  (the few ways in which calls differ)
        self,
        method: str,
        path: str,
        what: Call,
        body: Mapping[str, Any] | FormBody | None = None,
        *,
        params: Mapping[str, str] | None = None,
        fresh: bool = False,
        most: int = _SMALL,
        timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109  (aiohttp's own kind)
        upload_tracker: aiohttp.UploadTracker | None = None,
    ) -> dict[str, Any]:
        """A request whose answer is an object.

        Args:
            method: The HTTP method.
            path: Below the base URL, its segments quoted.
            what: What is asked for, as a sentence about a refusal says it.
            body: JSON, or a form.
            params: Added to the URL's query.
            fresh: On a connection of its own.
            most: Bytes of an answer; a longer one is none.
            timeout: Default two minutes in all.
            upload_tracker: Hears how much of the body went out.

        Raises:
            ChunkupError: It was refused, or there was no answer.
        """
        async with (
            self.answer(
                method,
                path,
                what,
                body,
                params=params,
                fresh=fresh,
                timeout=timeout,
                upload_tracker=upload_tracker,
            ) as response,
            mapped(what),
        ):
            raw = await read(response, most)
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise nonsense("JSON") from error
        if not isinstance(found, dict) or found.get("error") is not None:
            raise nonsense("an object")
        return found

    @asynccontextmanager
    async def answer(  # noqa: PLR0913  (as json)
        self,
        method: str,
        path: str,
        what: Call,
        body: Mapping[str, Any] | FormBody | None = None,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        fresh: bool = False,
        timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109  (aiohttp's own kind)
        upload_tracker: aiohttp.UploadTracker | None = None,
        any_status: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer whose body is still to be read; as :meth:`json` otherwise.

        What breaks while it is read is the caller's to map. With ``any_status`` a refusal is an
        answer like any other.
        """
        session = self._fresh if fresh else self._session
        if session is None:
            raise Stopped("the connections were closed; the same call goes on")
        target = await self.endpoint.target(method, path)
        url, signed = target
        proxy = self.endpoint.proxies.for_url(URL(url))
        # What asks for a tunnel is all that a proxy sees of what goes through it.
        tunnel = URL(url).scheme == "https"
        passing = Veiled(proxy.headers if proxy is not None else {})
        began = time.monotonic()
        async with mapped(what, proxy):
            response = await session.request(
                method,
                url,
                params=params,
                json=dict(body) if isinstance(body, Mapping) else None,
                data=body if isinstance(body, FormBody) else None,
                headers=Veiled({**signed, **(headers or {}), **({} if tunnel else passing)}),
                proxy=proxy.url if proxy is not None else None,
                proxy_headers=passing if tunnel else None,
                # aiohttp would announce octets for a POST without a body.
                skip_auto_headers=() if body is not None else ("Content-Type",),
                allow_redirects=False,
                timeout=timeout or aiohttp.ClientTimeout(total=_CALL, sock_connect=CONNECT),
                upload_tracker=upload_tracker,
            )
        async with response:
            moment = http_date(response.headers.get("Date"))
            if moment is not None:
                self._clock.heard(time.monotonic(), moment)
            _log.debug(
                "%s %s: %d after %.0f ms, request %s",
                method,
                path,
                response.status,
                (time.monotonic() - began) * 1000,
                printable(response.headers.get("x-request-id", "-"), 100),
            )
            if isinstance(body, FormBody):
                body.repeated = repeated(response.headers)
            if any_status or 200 <= response.status < 300:
                self.owner = owner_of(response.headers) or self.owner
                yield response
                return
            async with mapped(what):
                text = signed.hide((await read(response, _SMALL)).decode("utf-8", "replace"))
        now = self.server_now()
        refusal = interpret(response.status, response.headers, text, what=what, now=now)
        if isinstance(refusal, Unauthorized):
            # A source that has another key by now makes this worth a second attempt.
            refusal.retryable |= await self.endpoint.target(method, path) != target
        raise refusal
