"""The server as an aiohttp application, and as something that listens."""

import hmac
import socket
from collections.abc import Callable, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from chunkup.server.answers import errors_as_json, stamp, start_clock
from chunkup.server.connection import CLOCK, Door
from chunkup.server.errors import ApiError
from chunkup.server.handlers import Arrival, Service
from chunkup.server.patience import DEFAULT_PATIENCE, PATIENCE, Patience
from chunkup.server.store import Store

__all__ = ["Arrival", "create_app", "start"]

# aiohttp sees to those that say where a request ends.
_SINGLE = ("Authorization", "Content-Encoding", "Transfer-Encoding", "Range")

# How long handlers may go on when the server stops; aiohttp waits at most twice as long.
_SHUTDOWN_SECONDS = 0.25


def create_app(  # noqa: PLR0913  (one for each thing that somebody wants otherwise)
    store: Store,
    *,
    key: str | None = None,
    observer: Callable[[Arrival], None] | None = None,
    middlewares: Sequence[Middleware] = (),
    with_uploads: bool = True,
    patience: Patience = DEFAULT_PATIENCE,
) -> web.Application:
    """Return the application over `store`, which stays the caller's to close.

    `key` is the only API key that is accepted; with None any, or none, will do. `observer`
    hears of every attempt to add a part, on the event loop. `middlewares` stand between the
    connection and the API: they see refusals as the answers they are, and what they raise
    themselves is answered in the API's error shape as well. `patience` bounds how long clients
    are waited for. Without `with_uploads` there is only
    the Files API, as on servers that have no other: to them /uploads is an unknown address.
    """
    service = Service(store, observer or (lambda _arrival: None))
    app = web.Application(
        middlewares=[start_clock, errors_as_json, *middlewares, errors_as_json, _gate(key)],
        client_max_size=store.limits.json_bytes,
    )
    app[PATIENCE] = patience
    app[CLOCK] = store.clock
    uploads, files = "/v1/uploads", "/v1/files"
    if with_uploads:
        app.add_routes(
            [
                web.post(uploads, service.create_upload),
                web.post(uploads + "/{upload_id}/parts", service.add_part),
                web.post(uploads + "/{upload_id}/complete", service.complete_upload),
                web.post(uploads + "/{upload_id}/cancel", service.cancel_upload),
            ]
        )
    app.add_routes(
        [
            web.post(files, service.create_file),
            web.get(files, service.list_files, allow_head=False),
            web.get(files + "/{file_id}", service.retrieve_file, allow_head=False),
            web.delete(files + "/{file_id}", service.delete_file),
            web.get(files + "/{file_id}/content", service.file_content, allow_head=False),
        ]
    )
    app.on_response_prepare.append(stamp(store.clock))
    app.cleanup_ctx.append(service.run)
    app.on_shutdown.append(service.stop)
    return app


async def start(
    app: web.Application,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    listener: socket.socket | None = None,
) -> tuple[web.AppRunner, str]:
    """Listen, and return the runner with the base URL, such as `http://127.0.0.1:8080/v1`.

    With port 0 the system chooses one. A `listener` that is bound already goes before both; it
    is closed with the runner, but stays the caller's when this raises. `await runner.cleanup()`
    stops, in well under a second even while requests are under way; their unfinished parts
    leave nothing behind.

    Raises:
        OSError: the address cannot be listened on.
    """
    runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_SECONDS)
    try:
        await runner.setup()
        await Door(runner, host, port, listener).start()
    except BaseException:
        await runner.cleanup()
        raise
    address, number = runner.addresses[0][:2]
    return runner, f"http://{f'[{address}]' if ':' in address else address}:{number}/v1"


def _gate(key: str | None) -> Middleware:
    @web.middleware
    async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
        _check_framing(request)
        unrouted = request.match_info.http_exception
        if unrouted is None and key is not None:
            _check_key(request.headers.get("Authorization", ""), key)
        return await handler(request)

    return gate


def _check_framing(request: web.Request) -> None:
    """Refuse what would be read otherwise than it was meant."""
    if request.version < (1, 0):
        raise ApiError(400, "Could not read the request: HTTP is older than 1.0.")
    headers = request.headers
    for name in _SINGLE:
        if len(headers.getall(name, [])) > 1:
            raise ApiError(400, f"Could not read the request: {name} is given twice.")
    if headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
        raise ApiError(501, "The only Transfer-Encoding of this API is chunked.")
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ApiError(415, "This API has no Content-Encoding.", code="unsupported_encoding")


def _check_key(authorization: str, key: str) -> None:
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer" or not given:
        message = (
            "You didn't provide an API key. You need to provide your API key in an"
            " Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
        raise ApiError(401, message, code="invalid_api_key")
    if not hmac.compare_digest(_octets(given.strip()), _octets(key)):
        raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
