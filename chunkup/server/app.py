"""The server as an aiohttp application, and as something that listens."""

import hmac
import socket
from collections.abc import Callable, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from chunkup.server.answers import errors_as_json, stamp, start_clock
from chunkup.server.errors import ApiError
from chunkup.server.handlers import Arrival, Service
from chunkup.server.store import Store

__all__ = ["Arrival", "create_app", "start"]

# How long handlers may go on when the server stops; aiohttp waits at most twice as long.
_SHUTDOWN_SECONDS = 0.25

# Bytes read ahead per connection.
_READ_BYTES = 256 << 10


def create_app(
    store: Store,
    *,
    key: str | None = None,
    observer: Callable[[Arrival], None] | None = None,
    middlewares: Sequence[Middleware] = (),
) -> web.Application:
    """Return the application over `store`, which stays the caller's to close.

    `key` is the only API key that is accepted; with None any, or none, will do. `observer`
    hears of every attempt to add a part, on the event loop. `middlewares` stand between the
    connection and the API: they see refusals as the answers they are, and what they raise
    themselves is answered in the API's error shape as well.
    """
    service = Service(store, observer or (lambda _arrival: None))
    app = web.Application(
        middlewares=[start_clock, errors_as_json, *middlewares, errors_as_json, _gate(key)],
        client_max_size=store.limits.json_bytes,
    )
    uploads, files = "/v1/uploads", "/v1/files"
    app.add_routes(
        [
            web.post(uploads, service.create_upload),
            web.post(uploads + "/{upload_id}/parts", service.add_part),
            web.post(uploads + "/{upload_id}/complete", service.complete_upload),
            web.post(uploads + "/{upload_id}/cancel", service.cancel_upload),
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
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS, read_bufsize=_READ_BYTES
    )
    try:
        await runner.setup()
        if listener is None:
            await web.TCPSite(runner, host, port).start()
        else:
            await web.SockSite(runner, listener).start()
    except BaseException:
        await runner.cleanup()
        raise
    address, number = runner.addresses[0][:2]
    return runner, f"http://{f'[{address}]' if ':' in address else address}:{number}/v1"


def _gate(key: str | None) -> Middleware:
    @web.middleware
    async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
        unrouted = request.match_info.http_exception
        if unrouted is None and key is not None:
            _check_key(request.headers.get("Authorization", ""), key)
        return await handler(request)

    return gate


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
