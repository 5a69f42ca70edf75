"""The calls, over aiohttp: sized bodies, bounded answers, errors in our own words.

Redirects are never followed (a key would follow them), cookies and ``.netrc`` never read.
"""

import json
import logging
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import aiohttp
import truststore

from chunkup import names
from chunkup.answers import nonsense, read_file, read_upload, segment, text_of
from chunkup.body import PartBody
from chunkup.clock import ServerClock
from chunkup.endpoint import Endpoint
from chunkup.errors import ChunkupError, ServerTrouble, Unauthorized, Unreachable
from chunkup.foreign import mapped, read
from chunkup.models import Job, RemoteFile, Upload
from chunkup.provider import Provider
from chunkup.text import printable
from chunkup.verdicts import http_date, interpret
from chunkup.watching import watched

_log = logging.getLogger("chunkup")

_SMALL: Final = 1 << 20
_LISTING: Final = 16 << 20
_CONNECT: Final = 30.0
_CALL: Final = 120.0
_AGENT: Final = "chunkup/0.1.0"


class Api:
    """The Uploads and Files calls at one endpoint. Open it inside a running loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        stall_timeout: float,
        complete_timeout: float,
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
    ) -> None:
        self._endpoint = endpoint
        self._stall = stall_timeout
        self._complete_timeout = complete_timeout
        self._trace = list(trace_configs)
        self._session: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        self._left: list[aiohttp.ClientSession] = []
        self._trust: ssl.SSLContext | bool = True
        self._clock = ServerClock()

    def open(self) -> None:
        """Make the sessions; no connection is opened yet."""
        self._trust = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
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

    @property
    def provider(self) -> Provider:
        """Whose API this is."""
        return self._endpoint.provider

    # --- time -------------------------------------------------------------------------------

    @property
    def knows_time(self) -> bool:
        """Whether any answer has told the server's time yet."""
        return self._clock.known

    def server_now(self) -> float:
        """Unix seconds by the server's clock; by ours until it has answered once."""
        return self._clock.at(time.monotonic(), time.time())

    # --- Uploads ----------------------------------------------------------------------------

    async def create(self, job: Job) -> Upload:
        """POST /uploads."""
        body: dict[str, Any] = {
            "filename": job.filename,
            "purpose": job.purpose,
            "bytes": job.size,
            "mime_type": job.mime_type,
        }
        if job.expires_after is not None:
            body["expires_after"] = {"anchor": "created_at", "seconds": job.expires_after}
        made = read_upload(await self._json("POST", "/uploads", "create the Upload", body))
        return self._clock.born(time.monotonic(), time.time(), made)

    async def add_part(self, upload_id: str, body: PartBody, moved: Callable[[int], None]) -> str:
        """POST /uploads/{id}/parts; the part's id.

        ``moved`` is told about once a second how many bytes of the part the peer has
        acknowledged.

        Raises:
            Unreachable: Also when no byte moved for the stall timeout.
            ServerTrouble: Also for a success that came before the body was whole, which a
                server may send to a body that was cut on the way.
        """
        tracker = aiohttp.UploadTracker()
        path = f"/uploads/{segment(upload_id)}/parts"
        limit = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)
        answered = False
        try:
            async with watched(body, tracker, self._stall, moved):
                found = await self._json(
                    "POST", path, "take a part", body, upload_tracker=tracker, timeout=limit
                )
            answered = True
        except ChunkupError as error:
            answered = not isinstance(error, Unreachable)
            raise
        finally:
            await body.aclose(answered=answered)
            if body.error is not None:
                raise body.error
        done = tracker.upload_complete
        if body.xxh3 is None or not done.done() or done.exception() is not None:
            raise ServerTrouble("the server answered before it had the whole part", retryable=True)
        return text_of(found, "id")

    async def complete(self, upload_id: str, part_ids: Sequence[str], md5: str | None) -> Upload:
        """POST /uploads/{id}/complete, on a connection of its own."""
        body: dict[str, Any] = {"part_ids": list(part_ids)}
        if md5 is not None:
            body["md5"] = md5
        path = f"/uploads/{segment(upload_id)}/complete"
        limit = aiohttp.ClientTimeout(total=self._complete_timeout, sock_connect=_CONNECT)
        return read_upload(
            await self._json("POST", path, "complete the Upload", body, fresh=True, timeout=limit)
        )

    async def cancel(self, upload_id: str) -> None:
        """POST /uploads/{id}/cancel.

        Without a body and without a content type: an empty body that is announced as JSON
        makes gateways fail.
        """
        path = f"/uploads/{segment(upload_id)}/cancel"
        await self._json("POST", path, "cancel the Upload", fresh=True)

    # --- Files ------------------------------------------------------------------------------

    async def list_files(
        self, purpose: str, after: str | None, *, limit: int = 100
    ) -> tuple[list[RemoteFile], bool]:
        """One page of GET /files, newest first, and whether the server says there is more."""
        query = {"purpose": purpose, "order": "desc", "limit": str(limit)}
        if after is not None:
            query["after"] = after
        found = await self._json("GET", "/files", "list Files", params=query, most=_LISTING)
        data = found.get("data")
        if not isinstance(data, list):
            raise nonsense("a list of Files")
        return [read_file(item) for item in data], found.get("has_more") is True

    async def retrieve(self, file_id: str) -> RemoteFile:
        """GET /files/{id}."""
        return read_file(await self._json("GET", f"/files/{segment(file_id)}", "show the File"))

    # --- one way for all --------------------------------------------------------------------

    async def _json(  # noqa: PLR0913  (the few ways in which calls differ)
        self,
        method: str,
        path: str,
        what: str,
        body: Mapping[str, Any] | PartBody | None = None,
        *,
        params: Mapping[str, str] | None = None,
        fresh: bool = False,
        most: int = _SMALL,
        timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109  (aiohttp's own kind)
        upload_tracker: aiohttp.UploadTracker | None = None,
    ) -> dict[str, Any]:
        session = self._fresh if fresh else self._session
        if session is None:
            raise RuntimeError("the Api is not open")
        headers = await self._endpoint.headers()
        began = time.monotonic()
        async with (
            mapped(what),
            session.request(
                method,
                self._endpoint.base_url + path,
                params=params,
                json=dict(body) if isinstance(body, Mapping) else None,
                data=body if isinstance(body, PartBody) else None,
                headers=headers,
                # aiohttp would announce octets for a POST without a body.
                skip_auto_headers=() if body is not None else ("Content-Type",),
                allow_redirects=False,
                timeout=timeout or aiohttp.ClientTimeout(total=_CALL, sock_connect=_CONNECT),
                upload_tracker=upload_tracker,
            ) as response,
        ):
            moment = http_date(response.headers.get("Date"))
            if moment is not None:
                self._clock.heard(time.monotonic(), moment)
            raw = await read(response, most)
            _log.debug(
                "%s %s: %d in %.0f ms, request %s",
                method,
                path,
                response.status,
                (time.monotonic() - began) * 1000,
                printable(response.headers.get("x-request-id", "-"), 100),
            )
        if not 200 <= response.status < 300:
            text = raw.decode("utf-8", "replace")
            now = self.server_now()
            refusal = interpret(response.status, response.headers, text, what=what, now=now)
            if isinstance(refusal, Unauthorized):
                # A source that has another key by now makes this worth a second attempt.
                refusal.retryable |= await self._endpoint.headers() != headers
            raise refusal
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise nonsense("JSON") from error
        if not isinstance(found, dict) or found.get("error") is not None:
            raise nonsense("an object")
        return found
