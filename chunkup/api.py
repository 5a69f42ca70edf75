"""The calls, over aiohttp: sized bodies, bounded answers, foreign errors mapped here once.

Redirects are never followed (a key would follow them), cookies and ``.netrc`` never read.
"""

import asyncio
import errno
import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import truststore

from chunkup.answers import nonsense, read_file, read_upload, segment, text_of
from chunkup.body import PartBody
from chunkup.endpoint import Endpoint
from chunkup.errors import ServerTrouble, Unreachable, Untrusted
from chunkup.models import Job, RemoteFile, Upload
from chunkup.pace import Verdict, Watch
from chunkup.provider import http_date, interpret
from chunkup.text import printable

_log = logging.getLogger("chunkup")

_SMALL: Final = 1 << 20
_LISTING: Final = 32 << 20
_CONNECT: Final = 30.0
_CALL: Final = 120.0
_TICK: Final = 1.0
_NO_NETWORK: Final = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}
)
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
        # Server time minus monotonic time, by the Date of the last answer.
        self._offset: float | None = None

    def open(self) -> None:
        """Make the sessions; no connection is opened yet."""
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._session = self._make_session(
            aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=15)
        )
        # An idle connection may be closed by the server in the very moment it is used again.
        # A part is then sent anew; complete must not be put into that doubt.
        self._fresh = self._make_session(
            aiohttp.TCPConnector(limit=0, ssl=context, force_close=True)
        )

    def _make_session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": _AGENT, "Accept": "application/json"},
            trust_env=False,
            trace_configs=self._trace,
        )

    async def close(self) -> None:
        """Close every connection."""
        for session in (self._session, self._fresh):
            if session is not None:
                await session.close()
        self._session = self._fresh = None

    # --- time -------------------------------------------------------------------------------

    @property
    def knows_time(self) -> bool:
        """Whether any answer has told the server's time yet."""
        return self._offset is not None

    def server_now(self) -> float:
        """Unix seconds by the server's clock; by ours until it has answered once."""
        return time.time() if self._offset is None else time.monotonic() + self._offset

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
        return read_upload(await self._json("POST", "/uploads", "create the Upload", body))

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
        try:
            async with _watched(body, tracker, self._stall, moved):
                found = await self._json(
                    "POST", path, "take a part", body, upload_tracker=tracker, timeout=limit
                )
        finally:
            await body.aclose()
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
        began = time.monotonic()
        async with (
            _mapped(what),
            session.request(
                method,
                self._endpoint.base_url + path,
                params=params,
                json=dict(body) if isinstance(body, Mapping) else None,
                data=body if isinstance(body, PartBody) else None,
                headers=self._endpoint.headers(),
                # aiohttp would announce octets for a POST without a body.
                skip_auto_headers=() if body is not None else ("Content-Type",),
                allow_redirects=False,
                timeout=timeout or aiohttp.ClientTimeout(total=_CALL, sock_connect=_CONNECT),
                upload_tracker=upload_tracker,
            ) as response,
        ):
            moment = http_date(response.headers.get("Date"))
            if moment is not None:
                self._offset = moment - time.monotonic()
            raw = await _read(response, most)
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
                raise interpret(response.status, response.headers, text, what=what)
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise nonsense("JSON") from error
        if not isinstance(found, dict) or found.get("error") is not None:
            raise nonsense("an object")
        return found


@asynccontextmanager
async def _watched(
    body: PartBody, tracker: aiohttp.UploadTracker, stall: float, moved: Callable[[int], None]
) -> AsyncIterator[None]:
    """Look at a part's progress once a second; cut what is hopeless."""
    loop = asyncio.get_running_loop()
    watch = Watch(stall, loop.time())
    verdict = Verdict.HEALTHY
    timer: asyncio.TimerHandle | None = None

    def tick() -> None:
        nonlocal verdict, timer
        sent = body.acknowledged(tracker.bytes_written)
        moved(sent)
        verdict = watch.look(loop.time(), sent, whole=sent >= body.part_size)
        if verdict is Verdict.HEALTHY:
            timer = loop.call_later(_TICK, tick)
        else:
            scope.reschedule(loop.time())

    try:
        async with asyncio.timeout(None) as scope:
            timer = loop.call_later(_TICK, tick)
            yield
    except TimeoutError as error:
        what = "no byte moved" if verdict is Verdict.STALLED else "no answer came"
        raise Unreachable(f"{what} for {stall:.0f} s or longer") from error
    finally:
        if timer is not None:
            timer.cancel()


@asynccontextmanager
async def _mapped(what: str) -> AsyncIterator[None]:
    """Turn what aiohttp and the sockets raise into our words, here and nowhere else."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        raise Untrusted(
            f"the server's certificate is not trusted, so nothing was sent: "
            f"{error.certificate_error}; check the base URL and this machine's trust store",
        ) from error
    except aiohttp.ClientConnectorError as error:
        offline = isinstance(error, aiohttp.ClientConnectorDNSError) or error.errno in _NO_NETWORK
        raise Unreachable(
            f"cannot reach {error.host}: {error.strerror}", sent=False, offline=offline
        ) from error
    except aiohttp.ConnectionTimeoutError as error:
        raise Unreachable(
            f"no connection to the server was made in {_CONNECT:.0f} s", sent=False
        ) from error
    except TimeoutError as error:
        raise Unreachable(f"the server did not answer in time when asked to {what}") from error
    except (aiohttp.ClientError, OSError) as error:
        detail = printable(str(error)) or type(error).__name__
        raise Unreachable(f"the connection broke: {detail}") from error


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    found = bytearray()
    async for block in response.content.iter_any():
        found += block
        if len(found) > most:
            raise ServerTrouble(f"the server's answer is longer than {most} bytes")
    return bytes(found)
